"""Dask arrays as sources: any graph, each chunk once, shared work once, nothing kept."""

import pickle
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest

from emdash import GaussianMixture
from emdash.engines.dask import DaskEngine
from emdash.engines.memory import MemoryLimit
from emdash.sources import open_source, shared
from emdash.sources.dask import DaskSource

N, D = 240, 3


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(N, D)) + 3.0


class Loads:
    """Makes an array of ten-row chunks that counts how often each is loaded."""

    def __init__(self, X):
        self.X = X
        self.log = []

    def array(self, rows=10, columns=D):
        def load(block_id):
            i, j = block_id
            self.log.append(block_id)
            return self.X[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]

        chunks = ((rows,) * (N // rows), (columns,) * (D // columns))
        return da.map_blocks(
            lambda block_id=None: load(block_id), chunks=chunks, dtype=float, meta=np.empty((0, 0))
        )


@pytest.fixture
def loads(X):
    return Loads(X)


def rows_of(source, n_threads=1):
    """Pass over the source once, as a fit does."""
    with dask.config.set(scheduler="threads"):
        return np.concatenate(
            DaskEngine(n_threads).total(lambda chunk, threads: [chunk.rows.copy()], source)
        )


GRAPHS = {
    "plain": lambda x: x,
    "mapped": lambda x: da.exp(x * 2).map_blocks(np.log),
    "slice": lambda x: x[13:200, ::-1],
    "filter": lambda x: x[x[:, 0] > 3],
    "two filters": lambda x: x[x[:, 0] > 2][:, 1:],
    "concatenated": lambda x: da.concatenate([x, x * 2]),
    "columns": lambda x: da.concatenate([x, x[:, :1] ** 2], axis=1),
    "merged": lambda x: x.rechunk((70, D)),
    "split": lambda x: x.rechunk((7, D)),
    "columns in chunks": lambda x: x.rechunk((50, 1)),
    "standardised": lambda x: (x - x.mean(axis=0)) / x.std(axis=0),
    "scaled": lambda x: (x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0)),
    "cumulative": lambda x: x.cumsum(axis=0),
    "whitened": lambda x: x @ np.linalg.cholesky(np.eye(D)),
    "one chunk": lambda x: x.rechunk(-1),
    "empty chunks": lambda x: da.concatenate([x[:0], x, x[:0]]),
    "delayed": lambda x: da.concatenate(
        [da.from_delayed(b, (np.nan, D), dtype=float) for b in x.to_delayed()[:, 0]]
    ),
}


@pytest.mark.filterwarnings("ignore:the c:UserWarning")  # columns, and dependent chunks
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("n_threads", [1, 3])
def test_any_graph(X, name, n_threads):
    x = GRAPHS[name](da.from_array(X, chunks=(10, D)))
    expected = x.compute(scheduler="synchronous")
    source = open_source(x)
    assert isinstance(source, DaskSource)
    assert source.n_features == expected.shape[1]
    assert source.n_rows in (None, len(expected))
    for _ in range(2):
        np.testing.assert_array_equal(rows_of(source, n_threads), expected)
    chunks = list(source.chunks())
    np.testing.assert_array_equal(np.concatenate([chunk.rows for chunk in chunks]), expected)
    assert [chunk.index for chunk in chunks] == list(range(source.n_chunks))
    counted = source.counted([len(chunk) for chunk in chunks])
    assert counted.n_rows == len(expected)
    starts = np.cumsum([0, *map(len, chunks)])[:-1]
    assert [chunk.start for chunk in counted.chunks()] == list(starts)
    assert [chunk.index for chunk in source.chunks(1, 2)] == [1][: source.n_chunks - 1]


def test_parts_travel_with_their_own_tasks_only(X):
    """A part of a large graph is small, so that the plan of a fit is."""
    x = da.map_blocks(np.zeros, (10, D), chunks=((10,) * 1000, (D,)), dtype=float)
    x = (x - x.mean(axis=0)) / (1 + x.std(axis=0))
    parts = DaskSource(x).parts(8)
    assert len(parts) == 125
    for part in parts[:3]:
        assert len(part.graph) < 8 * 5
        assert len(pickle.dumps(part)) < 20_000
        copy = pickle.loads(pickle.dumps(part))
        assert sum(len(chunk) for chunk in copy()) == 80


def test_each_chunk_is_loaded_once_per_pass(loads, X):
    source = DaskSource(loads.array() * 2 + 1)
    for _ in range(3):
        loads.log.clear()
        np.testing.assert_array_equal(rows_of(source), X * 2 + 1)
        assert sorted(loads.log) == [(i, 0) for i in range(24)]


def test_reductions_are_computed_once_per_fit(loads):
    x = loads.array()
    source = DaskSource((x - x.mean(axis=0)) / x.std(axis=0))
    rows_of(source)
    assert len(loads.log) <= 3 * 24  # the reductions and the pass
    loads.log.clear()
    rows_of(source)
    assert sorted(loads.log) == [(i, 0) for i in range(24)]
    loads.log.clear()
    rows_of(source.counted([10] * 24))
    assert len(loads.log) == 24


@pytest.mark.parametrize("rows", [7, 10])
def test_chunks_cut_from_a_larger_one_load_it_once(loads, X, rows):
    source = DaskSource(loads.array(rows=120).rechunk((rows, D)))
    np.testing.assert_array_equal(rows_of(source), X)
    parts = len(source.parts(16))
    assert len(loads.log) <= 2 + parts  # not once for each of the chunks
    assert source.n_chunks >= 24


def test_columns_that_are_stored_apart_are_not_kept(loads, X):
    """Each chunk reads all of them again; to keep them would be to load everything."""
    source = DaskSource(loads.array(rows=N, columns=1).rechunk((60, D)))
    np.testing.assert_array_equal(rows_of(source), X)
    assert len(loads.log) == 4 * D


def test_large_shared_results_are_not_kept(X, monkeypatch):
    monkeypatch.setattr(shared, "MOST_BYTES", 10)
    x = da.from_array(X, chunks=(10, D))
    z = x - x.mean(axis=0)
    source = DaskSource(z)
    with pytest.warns(UserWarning, match=r"too large to keep.*X.persist\(\)"):
        rows = rows_of(source)
    np.testing.assert_array_equal(rows, z.compute())


def test_shared_reductions_are_few():
    """Only the last steps of the two reductions; neither chunks nor partial sums."""
    x = da.ones((1000, D), chunks=(10, D))
    graphs = {
        "plain": (x * 2, 0),
        "split": (x.rechunk((7, D)), 0),
        "twice": (da.concatenate([x, x]), 0),
        "mean": (x - x.mean(axis=0), 1),
        "standardised": ((x - x.mean(axis=0)) / x.std(axis=0), 2),
    }
    for name, (array, expected) in graphs.items():
        (array,) = dask.optimize(array)
        keys = [row[0] for row in array.__dask_keys__()]
        found = shared.shared_reductions(dict(array.__dask_graph__()), keys)
        assert len(found) == expected, name


def test_finding_shared_work_takes_linear_time(monkeypatch):
    """Counted in visits of tasks, for a graph where all chunks share everything."""
    visits = []
    original = shared.dependencies

    def count(graph, key):
        visits.append(key)
        return original(graph, key)

    monkeypatch.setattr(shared, "dependencies", count)
    x = da.ones((3000, D), chunks=(1, D))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    (z,) = dask.optimize(z)
    graph = dict(z.__dask_graph__())
    shared.shared_reductions(graph, [row[0] for row in z.__dask_keys__()])
    assert len(visits) == len(graph)


def test_errors_of_the_graph_keep_their_type_and_name_the_chunk(X):
    def broken(block, block_id):
        if block_id[0] == 3:
            raise KeyError("no such column")
        return block

    x = da.from_array(X, chunks=(10, D)).map_blocks(broken, dtype=float, meta=np.empty((0, 0)))
    for n_threads in (1, 2):
        with pytest.raises(KeyError, match="no such column") as caught:
            rows_of(DaskSource(x), n_threads)
        assert caught.value.__notes__ == ["while chunk 3 of the Dask array X was computed"]


def test_xarray(X):
    xarray = pytest.importorskip("xarray")
    table = xarray.DataArray(X, dims=("row", "column"))
    assert open_source(table) is None  # in memory: for scikit-learn
    source = open_source(table.chunk({"row": 50}))
    assert isinstance(source, DaskSource)
    np.testing.assert_array_equal(rows_of(source), X)


def test_neither_arrays_nor_maps_become_dask_arrays(X, tmp_path, monkeypatch):
    """``dask.array.from_array`` copies a memory map into memory."""
    from emdash import GaussianMixture

    def refuse(*args, **kwargs):
        raise AssertionError("called")

    np.save(tmp_path / "X.npy", X)
    lazy = da.from_array(X, chunks=(50, D))
    monkeypatch.setattr(da, "from_array", refuse)
    monkeypatch.setattr(da, "asarray", refuse)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for data in (X, tmp_path / "X.npy", mapped, [X], lazy):
        GaussianMixture(2, random_state=0).fit(data).predict(data)


def test_what_a_chunk_takes(X):
    """As far as it can be known: not what it is computed from, nor what is there already."""
    x = da.from_array(X, chunks=((70, 100, 70), D))
    assert DaskSource(x).chunk_memory == 0
    assert DaskSource(2 * x).chunk_memory == 100 * D * 8
    assert DaskSource((2 * x).astype("int16")).chunk_memory == 100 * D * (2 + 8)
    assert DaskSource(2 * x).weighted(np.ones(N)).chunk_memory == 100 * (D + 1) * 8
    unknown = DaskSource(x[x[:, 0] > -9])
    assert unknown.chunk_memory == 0
    assert unknown.counted([70, 100, 70]).chunk_memory == 100 * D * 8


def test_memory_limit_on_this_machine(X):
    x = da.from_array(X, chunks=(60, D)) * 2
    model = GaussianMixture(1, covariance_type="spherical", memory_limit="1kB")
    with pytest.raises(MemoryError, match=r"one chunk of X \(0\.00144 MB\).*X\.rechunk"):
        model.fit(x)
    model.set_params(memory_limit="1MB").fit(x)

    def who(chunk, n_threads):
        time.sleep(0.01)
        return [threading.get_ident()]

    source = DaskSource(x.rechunk((10, D)))
    for threads in (1, 2):
        limit = MemoryLimit(threads * source.chunk_memory)
        assert len({*DaskEngine(4, limit).total(who, source)}) <= threads
