"""Arrays, memory maps, files and batches: every row once, in order, without copies."""

import pickle
import sys
import types
from itertools import chain

import numpy as np
import pandas as pd
import pytest

from emdash.sources import open_source
from emdash.sources.array import ArraySource, MemmapSource
from emdash.sources.base import CHUNK_BYTES, as_rows, rows_per_chunk
from emdash.sources.batches import BatchesSource
from emdash.sources.npy import NpySource

D = 3


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of ten rows of float64."""
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 10 * D * 8)


@pytest.fixture
def X():
    return np.arange(96 * D, dtype=float).reshape(96, D)


def saved(X, folder):
    np.save(folder / "X.npy", X)
    return folder / "X.npy"


def check(source, X):
    """All chunks together are the table, each says where it is, and so do the parts."""
    chunks = list(source.chunks())
    np.testing.assert_array_equal(np.concatenate([chunk.rows for chunk in chunks]), X)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    starts = np.cumsum([0, *map(len, chunks)])
    assert [chunk.start for chunk in chunks] == list(starts[:-1])
    assert source.n_features == X.shape[1]
    assert all(chunk.rows.dtype in (np.float64, np.float32) for chunk in chunks)
    for length in (1, 2, 4, 64):
        parts = source.parts(length)
        indices = [[chunk.index for chunk in part()] for part in parts]
        assert list(chain.from_iterable(indices)) == list(range(len(chunks)))
        if source.n_chunks is not None:
            assert source.n_chunks == len(chunks)
            assert [len(run) for run in indices[:-1]] == [length] * (len(indices) - 1)


DTYPES = ["f8", "f4", ">f8", ">f4", "f2", "g", "i1", "u8", ">i4", "?"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_files_and_maps(X, dtype, order, tmp_path, small_chunks):
    data = np.asarray((X % 2).astype(dtype), order=order)
    path = saved(data, tmp_path)
    for source in (NpySource(path), NpySource(str(path)), open_source(path)):
        check(source, data.astype(float))
        assert source.n_rows == 96
        assert source.n_chunks > 1
    for mode in ("r", "r+", "c"):
        check(MemmapSource(np.load(path, mmap_mode=mode)), data.astype(float))


def test_a_table_without_rows_is_one_empty_chunk(X, tmp_path):
    for data in (X[:0], np.asfortranarray(X[:0])):
        check(NpySource(saved(data, tmp_path)), data)
    assert open_source(np.load(saved(X, tmp_path), mmap_mode="r")[:0]) is None  # no map at all


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_of_the_format(X, version, tmp_path):
    with open(tmp_path / "X.npy", "wb") as file:
        np.lib.format.write_array(file, X, version=version)
    check(NpySource(tmp_path / "X.npy"), X)


def test_a_file_travels_as_its_path(X, tmp_path):
    source = NpySource(saved(X, tmp_path))
    text = pickle.dumps(source)
    assert len(text) < 1000
    check(pickle.loads(text), X)


def test_a_file_may_be_longer_than_its_array(X, tmp_path):
    path = saved(X, tmp_path)
    with path.open("ab") as file:
        file.write(b"something else")
    check(NpySource(path), X)


def test_chunks_of_a_file_are_a_few_megabytes(tmp_path):
    """In memory, where bytes have become float64."""
    for d, dtype in ((1, "f8"), (50, "f4"), (50, "u1"), (7, "i2"), (3_000_000, "f8")):
        chunk = as_rows(np.zeros((rows_per_chunk(d, np.dtype(dtype)), d), dtype), d, "X")
        assert len(chunk) >= 1
        assert CHUNK_BYTES / 2 < chunk.nbytes <= CHUNK_BYTES or len(chunk) == 1


def test_parts_of_a_map_with_an_offset(X, tmp_path, small_chunks):
    """The map starts at a page, the array anywhere, a view of it anywhere else."""
    with open(tmp_path / "raw", "wb") as file:
        file.write(b"x" * 5001)
        X.tofile(file)
    array = np.memmap(tmp_path / "raw", dtype=float, mode="r", offset=5001, shape=X.shape)
    check(MemmapSource(array), X)
    check(MemmapSource(array[7:50]), X[7:50])
    check(MemmapSource(array[::-2]), X[::-2])
    check(MemmapSource(array[:, 1:]), X[:, 1:])


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_changes_of_a_map_survive_a_pass(mode, tmp_path):
    """Pages that are let go come back as they were, and a private copy keeps its changes."""
    data = np.zeros((200_000, D))
    array = np.load(saved(data, tmp_path), mmap_mode=mode)
    array[:] = 7.0
    for _ in range(2):
        assert all((chunk.rows == 7.0).all() for chunk in MemmapSource(array).chunks())
    assert (array == 7.0).all()
    on_disk = np.load(tmp_path / "X.npy")
    assert (on_disk == (7.0 if mode == "r+" else 0.0)).all()


def test_arrays_are_not_copied(X):
    for data in (X, X.astype("f4"), np.asfortranarray(X), X[::-2, 1:]):
        (chunk,) = ArraySource(data).chunks()
        assert chunk.rows is data
        check(ArraySource(data), data)
    assert list(ArraySource(X).chunks(1)) == []


def test_map_and_batches_are_not_copied(X, tmp_path):
    array = np.load(saved(X, tmp_path), mmap_mode="r")
    assert all(np.shares_memory(chunk.rows, array) for chunk in MemmapSource(array).chunks())
    assert all(np.shares_memory(chunk.rows, X) for chunk in BatchesSource([X[:9], X[9:]]).chunks())


class Batches:
    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def test_batches(X):
    cuts = [X[:1], X[1:1], X[1:40].astype("i8"), np.asfortranarray(X[40:].astype("f4"))]
    for batches in (cuts, tuple(cuts), Batches(*cuts), [pd.DataFrame(cut) for cut in cuts]):
        source = open_source(batches)
        assert isinstance(source, BatchesSource)
        check(source, X)
        assert source.n_rows is None
        counted = source.counted([1, 0, 39, 56])
        assert counted.n_rows == 96
        assert source.n_rows is None
        check(counted, X)
        assert [chunk.index for chunk in source.chunks(1, 3)] == [1, 2]


def test_batches_are_read_once_per_pass(X):
    read = []

    class Reading:
        def __iter__(self):
            for i in range(4):
                read.append(i)
                yield X

    source = BatchesSource(Reading())
    assert read in ([0], [])  # the first one tells the number of columns
    read.clear()
    for _ in source.chunks():
        pass
    assert read == [0, 1, 2, 3]


# ------------------------------------------------------------------ the registry


def test_what_scikit_learn_validates(X):
    """None means: an array, or something that becomes one."""
    assert open_source(X) is None
    assert open_source(X.tolist()) is None
    assert open_source(list(X)) is None
    assert open_source(pd.DataFrame(X)) is None
    assert open_source([]) is None
    assert open_source(3.0) is None
    assert open_source(np.ma.masked_array(X)) is None


def test_a_copy_of_a_map_is_an_array(X, tmp_path):
    array = np.load(saved(X, tmp_path), mmap_mode="r")
    assert isinstance(open_source(array), MemmapSource)
    assert isinstance(open_source(array[3:]), MemmapSource)
    assert isinstance(array.copy(), np.memmap)  # keeps the type, but lies in memory
    assert open_source(array.copy()) is None


def test_polars(X):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(X)
    assert open_source(frame) is None
    check(open_source([frame[:40], frame[40:]]), X)


def test_anything_with_an_array_interface(X):
    class Table:
        def __array__(self, dtype=None, copy=None):
            return X

        def __iter__(self):
            raise AssertionError("is not a series of batches")

    assert open_source(Table()) is None


def test_dask_is_not_imported_for_others(X, tmp_path):
    before = set(sys.modules)
    assert isinstance(open_source([X]), BatchesSource)
    assert isinstance(open_source(saved(X, tmp_path)), NpySource)
    assert not {name for name in set(sys.modules) - before if name.startswith("dask")}


def test_as_rows_names_the_place():
    for bad, message in (
        (np.zeros((2, 4)), r"chunk 3 has shape \(2, 4\), expected \(rows, 3\)"),
        (np.zeros(3), r"chunk 3 has shape \(3,\), expected \(rows, 3\)"),
        (np.zeros((2, 3), "M8[s]"), "chunk 3 has dtype datetime64"),
        (np.zeros((2, 3), "V3"), "chunk 3 has dtype"),
        (np.zeros((2, 3), complex), "Complex data not supported: chunk 3 has dtype complex128"),
    ):
        with pytest.raises(ValueError, match=message):
            as_rows(bad, 3, "chunk 3")
    sparse = types.SimpleNamespace(toarray=None)
    with pytest.raises(TypeError, match=r"chunk 3 is sparse.*toarray"):
        as_rows(sparse, 3, "chunk 3")
