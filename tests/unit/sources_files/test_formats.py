"""What formats differ in: types of numbers, tables without rows, xarray, CSV."""

import pickle

import numpy as np
import pytest
import xarray
from stored_files import (
    START,
    D,
    check,
    check_lengths,
    in_csv,
    in_feather,
    in_hdf5,
    in_parquet,
    in_zarr,
)

from emdash import GaussianMixture
from emdash.sources import open_source


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "i2", "u1", "?"])
def test_types_of_numbers(X, dtype, tmp_path, small_chunks):
    data = (X % 2).astype(dtype)
    expected = np.float32 if dtype == "f4" else np.float64
    for make in (in_zarr, in_hdf5, in_parquet, in_feather):
        if dtype == ">f8" and make is not in_zarr:
            continue  # Arrow has no such thing, and HDF5 in old versions
        source = open_source(make(data, tmp_path))
        check(source, data.astype(float))
        assert {chunk.rows.dtype for chunk in source.chunks()} == {np.dtype(expected)}


def test_tables_without_rows(X, tmp_path):
    for make in (in_zarr, in_hdf5, in_parquet, in_feather, in_csv):
        source = open_source(make(X[:0], tmp_path))
        assert sum(map(len, source.chunks())) == 0
        with pytest.raises(ValueError, match=r"0 sample|n_samples = 0"):
            GaussianMixture(**START).fit(source)


# ------------------------------------------------------------------ xarray


def test_xarray(X):
    array = xarray.DataArray(X, dims=("row", "feature"))
    expected = GaussianMixture(**START).fit(X)
    np.testing.assert_array_equal(GaussianMixture(**START).fit(array).means_, expected.means_)
    for bad in (array[:, 0], array.expand_dims("time")):
        with pytest.raises(ValueError, match=r"2D array|dim 3"):
            GaussianMixture(**START).fit(bad)


@pytest.mark.parametrize("engine", ["scipy", "zarr"])
def test_xarray_on_disk_is_read_in_slices(engine, X, tmp_path, small_chunks):
    """Without Dask, and without being loaded whole, at once or little by little."""
    table = xarray.Dataset({"X": (("row", "feature"), X)})
    path = tmp_path / f"X.{engine}"
    how = {"consolidated": False} if engine == "zarr" else {}
    if engine == "zarr":
        table.to_zarr(path, encoding={"X": {"chunks": (4, D)}}, **how)
    else:
        table.to_netcdf(path, engine=engine)
    with xarray.open_dataset(path, engine=engine, chunks=None, **how) as opened:
        source = open_source(opened.X)
        lengths = check_lengths(source)
        assert set(lengths[:-1]) == {8 if engine == "zarr" else 10}
        check(source, X)
        check(pickle.loads(pickle.dumps(source)), X)
        fit = GaussianMixture(n_threads=2, **START).fit(opened.X)
        np.testing.assert_allclose(fit.means_, GaussianMixture(**START).fit(X).means_)
        assert not opened.X.variable._in_memory
        with pytest.raises(ValueError, match="expected two dimensions"):
            open_source(opened.X[:, 0])
        opened.X.load()  # now it is in memory, where the user wants it
        assert open_source(opened.X) is None


def test_an_xarray_file_that_changes_between_passes(X, tmp_path):
    xarray.Dataset({"X": (("row", "feature"), X)}).to_netcdf(tmp_path / "X.nc", engine="scipy")
    with xarray.open_dataset(tmp_path / "X.nc", engine="scipy", chunks=None) as opened:
        opened.X.encoding["source"] = str(tmp_path / "X.nc")  # as netCDF4 and h5netcdf do
        change = lambda progress: (tmp_path / "X.nc").touch()  # noqa: E731
        with pytest.raises(ValueError, match=r"X changed between passes.*X\.nc"):
            GaussianMixture(tol=0.0, callback=change, **START).fit(opened.X)


# ------------------------------------------------------------------ CSV


def test_chunks_of_csv_depend_on_the_file_alone(X, tmp_path, monkeypatch):
    """Wherever the cuts fall: each line belongs to the chunk in which it begins."""
    path = in_csv(X, tmp_path)
    first = len(path.read_bytes().splitlines(keepends=True)[1])  # ends where a chunk does
    for size in (1, 2, first - 1, first, first + 1, 64, 100, 1000, 10**6):
        monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", size)
        check(open_source(path), X)
    text = path.read_bytes()
    for other in (text[:-1], text + b"\n\n", text.replace(b"\n", b"\r\n")):
        path.write_bytes(other)
        check(open_source(path), X)


def test_csv_of_other_kinds(X, tmp_path):
    path = tmp_path / "X.tsv"
    path.write_text("a\tb\tflag\n1\t\ttrue\n3\tnan\tfalse\n")
    check(open_source(path), [[1, np.nan, 1], [3, np.nan, 0]])
    path = tmp_path / "X.csv"
    path.write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(ValueError, match="compressed"):
        open_source(path)
    path.write_text("a,b\n" + 200_000 * "1,2.5\n" + "1,oops\n")
    with pytest.raises(ValueError, match=r"X\.csv.*oops"):
        list(open_source(path).chunks())
