"""Files of every format: each row once per pass, stored pieces read whole, by reference."""

import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest
import zarr
from stored_files import FILES, START, D, check, check_lengths, in_hdf5, in_npy, in_parquet, in_zarr

import emdash
from emdash import GaussianMixture
from emdash.sources import open_source
from emdash.sources.array import MemmapSource


@pytest.fixture(params=FILES)
def given(request, X, tmp_path):
    """The rows in one kind of file, as they are given to `fit`."""
    return FILES[request.param](X, tmp_path)


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


def test_arrays_are_never_given_to_dask():
    """``dask.array.from_array`` copies a memory map into memory."""
    for path in Path(emdash.__file__).parent.rglob("*.py"):
        if "demo" not in path.parts:
            assert "from_array" not in path.read_text("utf-8"), path


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
