"""The same bits on one, two and three workers, started by hand or not, under every scheduler."""

import random
import time

import dask
import dask.array as da
import numpy as np
import pytest
from clusters import computed, forget_log, local_cluster, within
from distributed import Client

from emdash import GaussianMixture
from emdash.estimators._rounded import exact

CHUNKS = {
    "even": (50,) * 12,
    "odd": (1, 0, 7, 300, 0, 0, 91, 64, 64, 64, 8, 1, 0),
    "one": (600,),
}


def fit(X, chunks, start):
    """Fit with passes only, the number of iterations fixed by convergence."""
    return GaussianMixture(3, tol=1e-7, **start).fit(da.from_array(X, chunks=(chunks, X.shape[1])))


def assert_same_bits(model, reference):
    assert model.n_iter_ == reference.n_iter_ > 3
    assert model.lower_bounds_ == reference.lower_bounds_
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        # rows of float32: before the attributes were rounded
        np.testing.assert_array_equal(exact(model, name), exact(reference, name))


@pytest.fixture(scope="module")
def references(X, start):
    """The fit under the synchronous scheduler, by chunking."""
    with dask.config.set(scheduler="synchronous"):
        return {name: fit(X, chunks, start) for name, chunks in CHUNKS.items()}


@pytest.mark.parametrize("scheduler", ["threads", "synchronous", "processes"])
def test_local_schedulers(X, start, references, scheduler):
    with dask.config.set(scheduler=scheduler):
        for name, chunks in CHUNKS.items():
            assert_same_bits(fit(X, chunks, start), references[name])


@pytest.mark.parametrize(("n_workers", "threads"), [(1, 1), (3, 2)])
def test_local_clusters(X, start, references, n_workers, threads):
    with local_cluster(n_workers, threads) as cluster, Client(cluster) as client:
        for name, chunks in CHUNKS.items():
            assert_same_bits(within(60, fit, X, chunks, start), references[name])
        assert computed(client)["emdash-estep"] > 0  # it did run there


def test_workers_that_are_threads_of_this_process(X, start, references):
    with Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as client:
        assert_same_bits(within(60, fit, X, CHUNKS["odd"], start), references["odd"])
        assert computed(client)["emdash-estep"] > 0


def test_cluster_started_by_hand(X, start, references, client):
    for name, chunks in CHUNKS.items():
        assert_same_bits(within(60, fit, X, chunks, start), references[name])
    assert computed(client)["emdash-estep"] > 0


def test_the_answer_is_that_of_memory(X, start, client, tmp_path):
    """Of an array, a file, batches and any chunks, rows counted or not: to 1e-12."""
    reference = GaussianMixture(3, tol=1e-7, **start).fit(X)
    labels = reference.predict(X)
    np.save(tmp_path / "X.npy", X)
    lazy = {name: da.from_array(X, chunks=(chunks, (4,))) for name, chunks in CHUNKS.items()}
    lazy["uncounted"] = lazy["odd"][lazy["odd"][:, 0] > -np.inf]
    for x in (tmp_path / "X.npy", np.array_split(X, 7), *lazy.values()):
        model = GaussianMixture(3, tol=1e-7, **start).fit(x)
        assert model.n_iter_ == reference.n_iter_
        for name in ("weights_", "means_", "covariances_"):
            np.testing.assert_allclose(
                getattr(model, name), getattr(reference, name), rtol=1e-12, atol=1e-14
            )
        np.testing.assert_array_equal(np.asarray(model.predict(x)), labels)


def test_the_order_of_finishing_changes_no_bit(X, start, client, references):
    """Chunks take their time, another in every pass and on every worker."""

    def dawdle(block):
        time.sleep(random.SystemRandom().uniform(0, 0.01))
        return block

    x = da.from_array(X, chunks=(CHUNKS["odd"], (4,))).map_blocks(
        dawdle, dtype=float, meta=np.empty((0, 0))
    )
    assert_same_bits(GaussianMixture(3, tol=1e-7, **start).fit(x), references["odd"])


def test_the_layout_of_blocks_changes_no_bit(X, start, client):
    """Whole numbers, so that every type holds the same values."""

    def misaligned(block):
        bytes_ = np.empty(block.nbytes + 1, np.uint8)
        copy = bytes_[1:].view(block.dtype).reshape(block.shape)
        copy[...] = block
        assert not copy.flags.aligned
        return copy

    def read_only(block):
        block = block.copy()
        block.flags.writeable = False
        return block

    layouts = {
        "fortran": np.asfortranarray,
        "strided": lambda block: np.repeat(block, 2, axis=1)[:, ::2],
        "misaligned": misaligned,
        "read-only": read_only,
        "big-endian": lambda block: block.astype(">f8"),
        "float32": lambda block: block.astype("float32"),
        "int16": lambda block: block.astype("int16"),
    }
    whole = da.from_array(np.round(10 * X), chunks=(70, 4))
    start = {**start, "means_init": 10 * start["means_init"]}
    reference = GaussianMixture(3, tol=1e-5, **start).fit(whole)
    assert reference.n_iter_ > 3
    for layout in layouts.values():
        dtype = layout(np.zeros((1, 4))).dtype
        x = whole.map_blocks(layout, dtype=dtype, meta=np.empty((0, 0), dtype))
        assert_same_bits(GaussianMixture(3, tol=1e-5, **start).fit(x), reference)


def test_the_whole_fit_with_its_start(X, client):
    x = da.from_array(X, chunks=(37, 4))
    there = GaussianMixture(3, random_state=3).fit(x)
    assert computed(client)["emdash-estep"] > 0
    with dask.config.set(scheduler="threads"):
        here = GaussianMixture(3, random_state=3).fit(x)
    np.testing.assert_array_equal(there.covariances_, here.covariances_)


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_a_configured_scheduler_wins_over_the_client(X, start, client, scheduler):
    with dask.config.set(scheduler=scheduler):
        fit(X, CHUNKS["even"], start).score(da.from_array(X, chunks=100))
    assert computed(client) == {}


def test_the_current_client_is_used(X, start, client, references):
    """The innermost of several, as everywhere in Dask."""
    with (
        local_cluster(1, processes=False) as other,
        Client(other, set_as_default=False) as inner,
    ):
        with inner.as_current():
            assert_same_bits(fit(X, CHUNKS["even"], start), references["even"])
        assert computed(inner)["emdash-estep"] > 0
        assert computed(client) == {}
        forget_log(inner)
        fit(X, CHUNKS["even"], start)
        assert computed(inner) == {}
        assert computed(client)["emdash-estep"] > 0


def test_unknown_row_counts_and_columns_in_several_chunks(X, client):
    x = da.from_array(X, chunks=(70, 3))
    x = x[x[:, 0] > 0].rechunk({1: -1})
    assert np.isnan(x.shape[0])
    there = GaussianMixture(3, random_state=0).fit(x)
    here = GaussianMixture(3, random_state=0).fit(X[X[:, 0] > 0])
    assert there.n_iter_ == here.n_iter_
    np.testing.assert_allclose(there.covariances_, here.covariances_, rtol=1e-10)
    np.testing.assert_allclose(there.score(x), here.score(X[X[:, 0] > 0]), rtol=1e-12)
