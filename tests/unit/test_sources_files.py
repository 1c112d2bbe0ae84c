"""Files of every format: each row once per pass, stored pieces read whole, by reference."""

import json
import pickle
import shutil
import subprocess
import sys
import time
import zlib
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest
import xarray
import zarr

import emdash
from emdash import GaussianMixture
from emdash.sources import open_source
from emdash.sources.array import MemmapSource
from emdash.sources.paths import FORMATS

D = 3
NAMES = ["a", "b", "c"]


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of ten rows of float64, where nothing larger is stored together."""
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 10 * D * 8)


@pytest.fixture
def X():
    return np.arange(96 * D, dtype=float).reshape(96, D) / 7


def as_table(X):
    return pa.table(dict(zip(NAMES, X.T, strict=True)))


def in_zarr(X, folder, version=3, chunks=(7, 2), **how):
    path = folder / "X.zarr"
    array = zarr.create_array(
        path, shape=X.shape, dtype=X.dtype, chunks=chunks, zarr_format=version, **how
    )
    array[:] = X
    return path


def in_hdf5(X, folder, **how):
    with h5py.File(folder / "X.h5", "w") as file:
        file.create_dataset("deep/X", data=X, **how)
    return f"{folder / 'X.h5'}::deep/X"


def in_npy(X, folder):
    np.save(folder / "X.npy", X)
    return folder / "X.npy"


def in_parquet(X, folder):
    pa.parquet.write_table(as_table(X), folder / "X.parquet", row_group_size=7)
    return folder / "X.parquet"


def in_feather(X, folder):
    pa.feather.write_feather(as_table(X), folder / "X.feather", chunksize=9)
    return folder / "X.feather"


def in_csv(X, folder, **how):
    path = folder / "X.csv"
    pa.csv.write_csv(as_table(X), path, pa.csv.WriteOptions(**how))
    return path


def in_folder(X, folder):
    (folder / "year=1").mkdir()
    for i, piece in enumerate(np.split(X, [13, 13, 50])):
        path = folder / ("year=1" if i == 3 else "") / f"{i}.parquet"
        pa.parquet.write_table(as_table(piece), path, row_group_size=4)
    return folder


def in_list(X, folder):
    paths = [str(folder / f"{i}.npy") for i in range(4)]
    for path, piece in zip(paths, np.split(X, [13, 13, 50]), strict=True):
        np.save(path, piece)
    return paths


FILES = {
    "npy": in_npy,
    "zarr 2": lambda X, folder: in_zarr(X, folder, version=2),
    "zarr 3": in_zarr,
    "zarr, shards": lambda X, folder: in_zarr(X, folder, chunks=(4, 3), shards=(16, 3)),
    "zarr.Array": lambda X, folder: zarr.open_array(in_zarr(X, folder)),
    "hdf5": in_hdf5,
    "hdf5, chunks": lambda X, folder: in_hdf5(X, folder, chunks=(8, 2), compression="gzip"),
    "h5py.Dataset": lambda X, folder: h5py.File(in_hdf5(X, folder).partition("::")[0])["deep/X"],
    "parquet": in_parquet,
    "feather": in_feather,
    "csv": in_csv,
    "csv without names": lambda X, folder: in_csv(X, folder, include_header=False),
    "folder": in_folder,
    "list": in_list,
    "pyarrow.Dataset": lambda X, folder: pa.dataset.dataset(in_parquet(X, folder)),
}


@pytest.fixture(params=FILES)
def given(request, X, tmp_path):
    """The rows in one kind of file, as they are given to `fit`."""
    return FILES[request.param](X, tmp_path)


def check(source, X):
    """All chunks together are the table, each says where it is, and so do the parts."""
    chunks = list(source.chunks())
    np.testing.assert_array_equal(np.concatenate([chunk.rows for chunk in chunks]), X)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    starts = np.cumsum([0, *map(len, chunks)])
    for chunk, start in zip(chunks, starts, strict=False):
        assert chunk.start == start or (source.n_rows is None and chunk.start is None)
    assert source.n_rows in (len(X), None)
    assert source.n_chunks in (len(chunks), None)
    for length in (1, 4):
        runs = [[chunk.index for chunk in part()] for part in source.parts(length)]
        assert list(chain.from_iterable(runs)) == list(range(len(chunks)))
    lengths = [len(chunk) for chunk in chunks]
    if source.n_rows is None:
        counted = source.counted(lengths)
        assert counted.n_rows == len(X)
        assert [chunk.start for chunk in counted.chunks()] == list(starts[:-1])
    return lengths


def test_every_row_once_and_in_order(given, X, small_chunks):
    source = open_source(given)
    assert source.n_features == D
    assert len(check(source, X)) > 5
    check(pickle.loads(pickle.dumps(source)), X)


def test_sources_travel_by_reference(X, tmp_path):
    """The description of a table is shorter than the table."""
    long = np.resize(X, (100_000, D))
    for i, make in enumerate(FILES.values()):
        folder = tmp_path / str(i)
        folder.mkdir()
        assert len(pickle.dumps(open_source(make(long[:500], folder)))) < 5000
    array = np.load(in_npy(long, tmp_path), mmap_mode="r")
    for view in (array, array[7:50], array[::-2], array[:, 1:], np.asfortranarray(X)):
        if isinstance(view, np.memmap):
            text = pickle.dumps(MemmapSource(view))
            assert len(text) < 1000
            check(pickle.loads(text), view)
    private = MemmapSource(np.load(tmp_path / "X.npy", mmap_mode="c"))
    with pytest.raises(TypeError, match="private to this process"):
        pickle.dumps(private)


def test_what_lies_in_memory_is_not_sent_by_value(X, tmp_path):
    array = zarr.create_array(zarr.storage.MemoryStore(), data=X)
    check(open_source(array), X)
    with pytest.raises(TypeError, match=r"zarr\.save_array"):
        pickle.dumps(open_source(array))
    with h5py.File("none", "w", driver="core", backing_store=False) as file:
        source = open_source(file.create_dataset("X", data=X))
        check(source, X)
        with pytest.raises(TypeError, match="in the memory of this process"):
            pickle.dumps(source)


# ------------------------------------------------------------------ stored pieces, read once


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ({"chunks": (7, 3)}, 7),
        ({"chunks": (4, 3)}, 8),  # two chunks make a better piece
        ({"chunks": (4, 3), "shards": (16, 3)}, 16),
        ({"chunks": (2, 3), "shards": (4, 3)}, 8),
    ],
)
def test_zarr_chunks_and_shards_are_read_whole_and_once(how, rows, X, tmp_path, small_chunks):
    path = in_zarr(X, tmp_path, **how)
    gets = []

    class Store(zarr.storage.LocalStore):
        async def get(self, key, *args, **kwargs):
            gets.append(key)
            return await super().get(key, *args, **kwargs)

    array = zarr.open_array(Store(path, read_only=True))
    gets.clear()
    lengths = check_lengths(open_source(array))
    assert set(lengths[:-1]) == {rows}
    data = [key for key in gets if key.startswith("c/")]
    assert len(data) == len(set(data)) == -(-96 // how.get("shards", how["chunks"])[0])


def check_lengths(source):
    return [len(chunk) for chunk in source.chunks()]


def test_hdf5_chunks_are_read_whole(X, tmp_path, small_chunks):
    assert set(check_lengths(open_source(in_hdf5(X, tmp_path, chunks=(4, 3))))) == {8}
    again = tmp_path / "again"
    again.mkdir()
    assert set(check_lengths(open_source(in_hdf5(X, again, chunks=(24, 3))))) == {24}


@pytest.mark.filterwarnings("ignore:Best performing")
def test_row_groups_are_read_whole_and_once(X, tmp_path, small_chunks, monkeypatch):
    source = open_source(in_parquet(X, tmp_path))
    assert set(check_lengths(source)) == {7, 5}
    read = []
    iter_batches = pa.parquet.ParquetFile.iter_batches

    def counted(self, *args, row_groups, **kwargs):
        read.extend(row_groups)
        return iter_batches(self, *args, row_groups=row_groups, **kwargs)

    monkeypatch.setattr(pa.parquet.ParquetFile, "iter_batches", counted)
    GaussianMixture(n_threads=2, tol=0.0, max_iter=2, **START).fit(source)
    assert sorted(read) == sorted(2 * list(range(14)))


START = {
    "weights_init": [1.0],
    "means_init": np.ones((1, D)),
    "precisions_init": np.eye(D)[None] / 100,
}


@pytest.mark.filterwarnings("ignore:Best performing")
@pytest.mark.parametrize("kind", FILES)
def test_a_source_is_read_exactly_once_per_pass(kind, X, tmp_path, small_chunks, monkeypatch):
    source = open_source(FILES[kind](X, tmp_path))
    loaded = []
    chunks = type(source).chunks

    def counted(self, first=0, last=None):
        for chunk in chunks(self, first, last):
            loaded.append(chunk.index)
            yield chunk

    monkeypatch.setattr(type(source), "chunks", counted)
    fit = GaussianMixture(n_threads=2, tol=0.0, max_iter=3, **START).fit(source)
    assert fit.n_iter_ == 3
    one_pass = list(range(len(set(loaded))))
    assert sorted(loaded) == sorted(3 * one_pass)


# ------------------------------------------------------------------ a source that changes


@pytest.mark.parametrize("kind", sorted(FILES.keys() - {"h5py.Dataset"}))
def test_a_source_that_changes_between_passes(kind, X, tmp_path):
    source = open_source(FILES[kind](X, tmp_path))

    def change(progress):
        if progress.number == 2:
            for old in list(tmp_path.iterdir()):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            FILES[kind](X[:90], tmp_path)

    with pytest.raises(ValueError, match=r"X changed between passes.*(replaced|\(90, 3\))"):
        GaussianMixture(tol=0.0, callback=change, **START).fit(source)


def test_an_array_that_grows_between_passes(X, tmp_path):
    array = zarr.open_array(in_zarr(X, tmp_path))
    with h5py.File(tmp_path / "X.h5", "w") as file:
        dataset = file.create_dataset("X", data=X, maxshape=(None, D), chunks=(8, D))
        for table in (array, dataset):

            def grow(progress, table=table):
                if progress.number == 2:
                    table.resize((100, D))

            with pytest.raises(ValueError, match="X changed between passes"):
                GaussianMixture(tol=0.0, callback=grow, **START).fit(table)


@pytest.mark.parametrize("layout", [{}, {"chunks": (32, D)}, {"chunks": (8, D), "compression": 1}])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.usefixtures("small_chunks")
def test_rows_that_are_written_in_an_open_file_between_passes(layout, n_threads, X, tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        dataset = file.create_dataset("X", data=X, **layout)

        def change(progress):
            if progress.number == 2:
                time.sleep(0.02)  # a file's time advances in steps of some milliseconds
                dataset[40, 1] += 1e-9

        with pytest.raises(
            ValueError, match=r"X changed between passes: rows \d+ to .*X\.h5::/X were"
        ):
            GaussianMixture(tol=0.0, callback=change, n_threads=n_threads, **START).fit(dataset)


def test_another_dataset_of_the_file_may_be_written_between_passes(X, tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        dataset, log = (
            file.create_dataset("X", data=X),
            file.create_dataset("log", data=np.zeros(99)),
        )

        def write(progress):
            log[progress.number] = progress.log_likelihood

        gm = GaussianMixture(tol=1e-3, callback=write, **START).fit(dataset)
        assert log[gm.n_iter_] == gm.lower_bound_


def test_rows_of_an_open_file_are_summed_once(X, tmp_path, monkeypatch):
    """And again only if the file was written to, which a file open for reading cannot be."""
    from emdash.sources import hdf5

    counted, crc32 = [], zlib.crc32

    def counting(rows):
        counted.append(len(rows))
        return crc32(rows)

    monkeypatch.setattr(hdf5.zlib, "crc32", counting)
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["X"] = X
    for mode, passes_with_sums in (("r+", 1), ("r", 0)):
        with h5py.File(tmp_path / "X.h5", mode) as file:
            source = open_source(file["X"])
            counted.clear()
            for _ in range(4):
                assert sum(map(len, source.chunks())) == len(X)
            assert sum(counted) == passes_with_sums * len(X)


# ------------------------------------------------------------------ paths


def test_what_is_not_there(tmp_path):
    for suffix in FORMATS:
        for name in ("none", "none/deeper"):
            with pytest.raises(FileNotFoundError):
                open_source(tmp_path / f"{name}{suffix}")


@pytest.mark.parametrize("suffix", sorted(FORMATS.keys() - {".csv", ".tsv", ".zarr"}))
def test_what_is_something_else(suffix, tmp_path):
    (tmp_path / f"X{suffix}").write_text("1,2\n3,4\n")
    name = f"X{suffix}" + ("::X" if suffix in (".h5", ".hdf5", ".hdf") else "")
    with pytest.raises(ValueError, match=rf"X\{suffix} is not an? "):
        open_source(str(tmp_path / name))


def test_groups_name_what_they_hold(X, tmp_path):
    path = in_hdf5(X, tmp_path)
    file = path.partition("::")[0]
    for name in (file, f"{file}::deep", f"{file}::other"):
        with pytest.raises(ValueError, match=r"names no dataset.*X\.h5::deep/X"):
            open_source(name)
    group = zarr.open_group(tmp_path / "group", mode="w")
    group.create_array("deep/X", data=X)
    with pytest.raises(ValueError, match=r"is a Zarr group.*group::deep/X"):
        open_source(f"{tmp_path / 'group'}::deep")
    check(open_source(f"{tmp_path / 'group'}::deep/X"), X)
    with pytest.raises(ValueError, match="is not a Zarr array"):
        open_source(f"{tmp_path / 'group'}::deep/Y")


def test_files_that_do_not_belong_together(X, tmp_path):
    np.save(tmp_path / "1.npy", X)
    for other in (X[:, :2], X.astype("f4")):
        np.save(tmp_path / "2.npy", other)
        with pytest.raises(ValueError, match=r"2\.npy has .* but .*1\.npy has 3 columns"):
            open_source([tmp_path / "1.npy", tmp_path / "2.npy"])
    in_parquet(X, tmp_path)
    with pytest.raises(ValueError, match="several formats"):
        open_source(tmp_path)


def test_shapes_and_types_that_are_no_tables(X, tmp_path):
    for bad, message in (
        (X[:, 0], r"shape \(96,\)"),
        (X[:, :, None], r"shape \(96, 3, 1\)"),
        (X.astype(complex), "complex128"),
        (X.astype("S8"), "dtype"),
    ):
        for make in (in_zarr, in_hdf5)[bad.dtype.kind == "S" :]:  # Zarr 3 has no type for these
            folder = tmp_path / f"{make.__name__}{bad.dtype}{bad.ndim}"
            folder.mkdir()
            how = {"chunks": bad.shape} if make is in_zarr else {}
            with pytest.raises(ValueError, match=message):
                open_source(make(bad, folder, **how))


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


# ------------------------------------------------------------------ libraries


def test_a_missing_library_is_named_with_its_extra(X, tmp_path):
    """In a process of its own where none of the optional libraries can be imported."""
    paths = [in_zarr(X, tmp_path), in_hdf5(X, tmp_path), in_parquet(X, tmp_path)]
    paths += [in_feather(X, tmp_path), in_csv(X, tmp_path)]
    code = """
import json, sys
for name in ("zarr", "h5py", "pyarrow", "pandas", "polars", "xarray"):
    sys.modules[name] = None
import emdash
messages = []
for path in sys.argv[1:]:
    try:
        emdash.open_table(path)
    except ImportError as error:
        messages.append(str(error))
print(json.dumps(messages))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=True
    )
    messages = json.loads(run.stdout)
    for message, library in zip(messages, ["zarr", "h5py", *3 * ["pyarrow"]], strict=True):
        assert f"needs {library} " in message
        assert "pip install 'emdash[io]'" in message


def test_arrays_are_never_given_to_dask():
    """``dask.array.from_array`` copies a memory map into memory."""
    for path in Path(emdash.__file__).parent.rglob("*.py"):
        if "demo" not in path.parts:
            assert "from_array" not in path.read_text("utf-8"), path
