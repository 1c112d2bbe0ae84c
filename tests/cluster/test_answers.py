"""Answers for Dask arrays: lazy, in the row chunks of the input, equal to those in memory."""

import math
import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from clusters import computed, counted, eventually, size, tasks
from distributed import wait

from emdash import GaussianMixture

METHODS = {
    "predict": (np.intp, ()),
    "predict_proba": (np.float64, (3,)),
    "score_samples": (np.float64, ()),
    "impute": (np.float64, (4,)),
}


@pytest.fixture(scope="module")
def X(X):
    """Some rows have missing cells, row 5 nothing else."""
    holes = X.copy()
    holes[::7, 1:3] = np.nan
    holes[5] = np.nan
    holes.setflags(write=False)
    return holes


@pytest.fixture(scope="module")
def model(X):
    return GaussianMixture(3, random_state=0).fit(X)


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture(params=["threads", "synchronous", "cluster"])
def scheduler(request):
    """Where to compute: the name of a scheduler, or None for the current client."""
    if request.param == "cluster":
        request.getfixturevalue("client")
        yield None
    else:
        with dask.config.set(scheduler=request.param):
            yield request.param


CHUNKS = [(200, 0, 1, 399), (600,), (37,) * 16 + (8,)]


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_answers(X, model, method, scheduler, chunks):
    x = da.from_array(X, chunks=(chunks, (4,)))
    answer = getattr(model, method)(x)
    dtype, row_shape = METHODS[method]
    assert isinstance(answer, da.Array)
    assert answer.dtype == answer._meta.dtype == dtype
    assert type(answer._meta) is np.ndarray
    assert answer._meta.ndim == answer.ndim == 1 + len(row_shape)
    assert answer.chunks == (chunks, *((k,) for k in row_shape))
    value = answer.compute()
    assert value.dtype == dtype
    np.testing.assert_array_equal(value, getattr(model, method)(X))


def test_draws(X, model, scheduler):
    x = da.from_array(X, chunks=((200, 0, 1, 399), (4,)))
    draws = model.sample_missing(x, 3, random_state=1)
    assert isinstance(draws, da.Array)
    assert draws.chunks == ((3,), (200, 0, 1, 399), (4,))
    np.testing.assert_array_equal(draws.compute(), model.sample_missing(X, 3, random_state=1))


def test_unknown_chunks(X, model, method, scheduler):
    x = da.from_array(X, chunks=(70, 4))
    x = x[x[:, 0] > 1]
    answer = getattr(model, method)(x)
    assert all(math.isnan(n) for n in answer.chunks[0])
    np.testing.assert_array_equal(answer.compute(), getattr(model, method)(X[X[:, 0] > 1]))


def test_columns_in_several_chunks(X, model, method):
    with pytest.warns(UserWarning, match=r"in 2 chunks.*chunks of whole rows of 2.19 kiB"):
        answer = getattr(model, method)(da.from_array(X, chunks=(70, 3)))
    assert answer.chunks[0] == (70,) * 8 + (40,)
    np.testing.assert_array_equal(answer.compute(), getattr(model, method)(X))


def test_nothing_runs_before_compute(X, model, method, client, tmp_path):
    x = counted(da.from_array(X, chunks=(50, 4)), tmp_path / "count")
    answer = getattr(model, method)(x)
    labels_of_some = answer[:10]
    assert size(tmp_path / "count") == 0
    assert computed(client) == {}
    labels_of_some.compute()
    assert size(tmp_path / "count") == 1  # one chunk holds the first ten rows
    assert computed(client)["emdash-parameters"] == 1


def test_persisted_input(X, model, method, client, tmp_path):
    x = counted(da.from_array(X, chunks=(50, 4)), tmp_path / "count").persist()
    wait(x)
    np.testing.assert_array_equal(getattr(model, method)(x).compute(), getattr(model, method)(X))
    assert size(tmp_path / "count") == x.numblocks[0]


def test_the_dtypes_of_blocks(X, model, client):
    whole = np.round(np.nan_to_num(X) * 10)
    for dtype in ("int64", "int8", "float32", ">f8"):
        x = da.from_array(whole.astype(dtype), chunks=(50, 4))
        np.testing.assert_array_equal(
            model.predict_proba(x).compute(), model.predict_proba(whole.astype(dtype))
        )


def test_large_parameters_travel_once(client):
    """They are one task, not part of every block's."""
    d, K = 128, 20
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, d))
    model = GaussianMixture(K, max_iter=0, init_params="random", random_state=0).fit(X)
    answer = model.predict(da.from_array(X[:, :1], chunks=(10, 1)).repeat(d, axis=1))
    graph = dict(answer.__dask_graph__())
    heavy = [key for key, task in graph.items() if len(pickle.dumps(task)) > 1_000_000]
    assert len(heavy) == 1
    assert str(heavy[0]).startswith("emdash-parameters-")


def test_fit_predict_is_lazy(X, client):
    x = da.from_array(X, chunks=(50, 4))
    labels = GaussianMixture(3, random_state=0).fit_predict(x)
    assert isinstance(labels, da.Array)
    np.testing.assert_array_equal(
        labels.compute(), GaussianMixture(3, random_state=0).fit(x).predict(X)
    )


def test_scores_are_numbers(X, model, scheduler):
    x = da.from_array(X, chunks=(50, 4))
    for name in ("score", "aic", "bic"):
        value = getattr(model, name)(x)
        assert type(value) is float
        assert value == pytest.approx(getattr(model, name)(X), rel=1e-12)


def test_a_score_leaves_nothing(X, model, client):
    model.score(da.from_array(X, chunks=(50, 4)))
    eventually(lambda: not tasks(client))


def test_the_number_of_columns_is_checked_at_once(X, model, method):
    with pytest.raises(ValueError, match="X has 3 features, but GaussianMixture is expecting 4"):
        getattr(model, method)(da.from_array(X[:, :3], chunks=(50, 3)))


def test_asynchronous_answers(X, model, method, cluster):
    """Laziness needs no client, so an asynchronous one is no obstacle."""
    import asyncio

    from distributed import Client

    async def ask():
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            return await client.compute(getattr(model, method)(da.from_array(X, chunks=(50, 4))))

    np.testing.assert_array_equal(asyncio.run(ask()), getattr(model, method)(X))
