"""Persisted chunks that the cluster has forgotten: an error at once instead of waiting for ever."""

import dask
import dask.array as da
import numpy as np
import pytest
from clusters import local_cluster, within
from distributed import Client, wait

from emdash import GaussianMixture

LOST = r"(?s)no longer on the cluster.*client\.scatter.*restart.*another cluster"


@pytest.fixture(autouse=True)
def _scheduler():
    """Dask leaves its setting behind when a client is closed before its with block ends."""
    with dask.config.set(scheduler=None):
        yield


@pytest.fixture(scope="module")
def x(X):
    return da.from_array(X, chunks=(50, 4))


def persisted(x):
    held = x.persist()
    wait(held)
    return held


def fit(x, start, **settings):
    return within(20, GaussianMixture(3, tol=1e-7, **start, **settings).fit, x)


@pytest.mark.parametrize("then", [lambda p: p, lambda p: 2 * p + 1, lambda p: p - p.mean(axis=0)])
def test_cancelled(x, start, client, then):
    held = persisted(x)
    client.cancel(held, force=True)
    with pytest.raises(RuntimeError, match=LOST):
        fit(then(held), start)


def test_cancelled_weights_and_rows_to_score(x, start, client):
    model = fit(x, start)
    weights = persisted(da.ones(600, chunks=50))
    held = persisted(x)
    client.cancel([weights, held], force=True)
    with pytest.raises(RuntimeError, match=LOST):
        within(20, model.score, held)
    with pytest.raises(RuntimeError, match=LOST):
        within(20, GaussianMixture(3, **start).fit, x, None, weights)


def test_cancelled_between_two_passes(x, start, client, monkeypatch):
    """Small chunks are held by the plan; these are not."""
    monkeypatch.setattr("emdash.engines.dask.HELD_BYTES", 0)
    held = persisted(x)

    def cancel(progress):
        if progress.number == 2:
            client.cancel(held, force=True)

    with pytest.raises(RuntimeError, match=LOST):
        fit(held, start, callback=cancel)


def test_nothing_holds_them(x, start, client):
    """`dask.optimize` leaves only the names of what was persisted."""
    (array,) = dask.optimize(x.persist() + 0)
    with pytest.raises(RuntimeError, match=LOST):
        fit(array, start)


def test_restarted_closed_or_on_another_cluster(x, start, client):
    with local_cluster(1, processes=False) as other:
        with Client(other, set_as_default=False) as theirs:
            held = theirs.persist(x)
            with pytest.raises(RuntimeError, match=LOST):
                fit(held, start)
        with Client(other) as theirs:
            held = persisted(x)
            theirs.restart(wait_for_workers=False)  # the worker has no nanny
            with pytest.raises(RuntimeError, match=LOST):
                fit(held, start)
    with dask.config.set(scheduler="synchronous"), pytest.raises(RuntimeError, match=LOST):
        fit(held, start)


def test_another_client_of_the_same_cluster_has_persisted_them(x, start, cluster, client):
    """Nothing is lost then: the chunks are used where they are."""
    expected = fit(x, start)
    held = x.map_blocks(np.array, dtype=x.dtype, meta=x._meta).persist()
    wait(held)
    with Client(cluster.scheduler_address):
        model = fit(held, start)
    np.testing.assert_array_equal(model.covariances_, expected.covariances_)


def test_a_current_client_that_is_closed(x, start, cluster):
    with Client(cluster.scheduler_address) as client:
        client.close()
        with pytest.raises(RuntimeError, match=r"is closed but still the current client: open"):
            GaussianMixture(3, **start).fit(x)
