"""What a fit asks of a cluster: few tasks, little traffic, nothing left behind."""

import pickle
import threading

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
from clusters import computed, counted, eventually, forget_log, local_cluster, size, tasks, within
from dask.utils import key_split
from distributed import Client, wait

from emdash import GaussianMixture
from emdash.engines.dask import DaskEngine
from emdash.engines.local import usable_cores
from emdash.sources.dask import DaskSource

PASSES = 4


def fit(x, start, passes=PASSES):
    """Make a fixed number of passes over a Dask array."""
    with pytest.warns(UserWarning, match="did not converge"):
        return GaussianMixture(3, tol=0.0, max_iter=passes, **start).fit(x)


def ours(client):
    return [key for key in tasks(client) if key.startswith("emdash-")]


@pytest.fixture
def gathered(monkeypatch):
    """Everything that reaches this process as a result: list of (key, value)."""
    found = []
    result = distributed.Future._result

    async def note(future, *args, **kwargs):
        value = await result(future, *args, **kwargs)
        found.append((future.key, value))
        return value

    async def refuse(*args, **kwargs):
        raise AssertionError("gathers something")

    monkeypatch.setattr(distributed.Future, "_result", note)
    return found


def test_tasks_per_pass_are_bounded(X, start, client):
    x = da.from_array(np.repeat(X, 5, axis=0), chunks=(6, 4))
    assert x.numblocks[0] == 500
    fit(x, start)
    counts = computed(client)
    parts = counts["emdash-estep"] / PASSES
    assert 2 < parts <= 4 * 2  # two workers with one thread
    assert counts == {
        "emdash-plan": parts,  # once per fit
        "emdash-parameters": PASSES,
        "emdash-estep": parts * PASSES,
        "emdash-reduce": PASSES,
    }


def test_one_buffer_per_pass_reaches_the_driver(X, start, client, gathered):
    fit(da.from_array(X, chunks=(10, 4)), start)
    assert [key_split(key) for key, _ in gathered] == ["emdash-reduce"] * PASSES
    for _, total in gathered:
        K, d = 3, 4
        assert total.value.buffer.size == K * (1 + d + d * (d + 1) // 2) + 2
        assert len(pickle.dumps(total)) < 8 * total.value.buffer.size + 600


def test_only_the_sample_reaches_the_driver_for_a_start(X, client, gathered):
    x = da.from_array(X, chunks=(50, 4))
    x = x[x[:, 0] > 0]
    model = GaussianMixture(3, random_state=0).fit(x)
    count, sample, *passes = [total.value for _, total in gathered]
    assert len(passes) == model.n_iter_
    assert sum(count.values) == len(sample.rows) == (X[:, 0] > 0).sum()


def test_one_large_cluster_sums_in_a_tree(X, start, client, monkeypatch):
    monkeypatch.setattr("emdash.engines.dask.PARTS_PER_THREAD", 50)
    fit(da.from_array(X, chunks=(6, 4)), start)
    # 100 parts: 13 sums of eight, two sums of those, one of these
    assert computed(client)["emdash-reduce"] == PASSES * (13 + 2 + 1)


def test_chunks_are_streamed_and_never_kept(X, start, client, tmp_path):
    x = counted(da.from_array(X, chunks=(50, 4)), tmp_path / "count")
    seen = []

    def look(_):
        seen.append({key_split(key) for key in tasks(client)})

    with pytest.warns(UserWarning, match="did not converge"):
        GaussianMixture(3, tol=0.0, max_iter=PASSES, callback=look, **start).fit(x)
    assert size(tmp_path / "count") == PASSES * x.numblocks[0]  # read once per pass
    assert len(seen) == PASSES
    assert all(key.startswith("emdash-") for keys in seen for key in keys)
    eventually(lambda: not tasks(client))


def test_persisted_data_are_used_where_they_lie(X, start, client, tmp_path):
    x = counted(da.from_array(X, chunks=(50, 4)), tmp_path / "count").persist()
    wait(x)
    assert size(tmp_path / "count") == x.numblocks[0]
    streamed = fit(da.from_array(X, chunks=(50, 4)), start)
    persisted = fit(x, start)
    np.testing.assert_array_equal(persisted.covariances_, streamed.covariances_)
    scaled = fit(dask.optimize(2 * x)[0], start)  # futures inside fused tasks
    np.testing.assert_array_equal(scaled.means_, fit(2 * x, start).means_)
    assert size(tmp_path / "count") == x.numblocks[0]  # not computed again
    eventually(lambda: not ours(client))
    mine = [state for key, state in tasks(client).items() if key_split(key) == key_split(x.name)]
    assert mine == ["memory"] * x.numblocks[0]  # and still there


def test_persisted_data_under_a_local_scheduler(X, start, client):
    x = (2 * da.from_array(X, chunks=(50, 4))).persist()
    there = fit(x, start)
    forget_log(client)
    with dask.config.set(scheduler="threads"):
        here = fit(x, start)
    assert computed(client) == {}
    np.testing.assert_array_equal(here.means_, there.means_)


@pytest.mark.parametrize("persisted", [False, True])
def test_shared_reductions_run_once(X, start, client, tmp_path, persisted):
    x = counted(da.from_array(X, chunks=(10, 4)), tmp_path / "count")
    if persisted:
        x = x.persist()
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    model = fit(z, start)
    n = x.numblocks[0]
    # once for both reductions, or once for each of them; then once per pass
    assert size(tmp_path / "count") <= (n if persisted else (2 + PASSES) * n)
    counts = computed(client)
    assert counts["emdash-shared"] == 2
    assert counts["emdash-estep"] <= PASSES * 8
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    plain = fit(da.from_array(z, chunks=(10, 4)), start)
    np.testing.assert_allclose(model.covariances_, plain.covariances_, rtol=1e-10)
    eventually(lambda: not ours(client))


def test_nothing_is_left_after_a_fit(X, start, client):
    model = fit(da.from_array(X, chunks=(10, 4)), start)
    eventually(lambda: not tasks(client) and not client.futures)
    text = pickle.dumps(model)
    assert b"distributed" not in text
    assert b"dask" not in text
    assert pickle.loads(text).means_.shape == (3, 4)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(X, start, client, error):
    x = da.from_array(X, chunks=(10, 4))
    x = (x - x.mean(axis=0)) / x.std(axis=0)

    def stop(progress):
        if progress.number == 2:
            raise error("enough")

    with pytest.raises(error, match="enough") as caught:
        GaussianMixture(3, tol=0.0, callback=stop, **start).fit(x)
    del caught  # the traceback holds the frames of the fit
    eventually(lambda: not tasks(client))


def test_an_interrupted_pass_is_cancelled(X, start, client, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(distributed, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        GaussianMixture(3, tol=0.0, **start).fit(da.from_array(X, chunks=(10, 4)))
    eventually(lambda: not tasks(client))  # even while somebody keeps the traceback
    assert caught.value is not None


def test_two_fits_at_the_same_time(X, start, client):
    x = [da.from_array(X[:400], chunks=(50, 4)), da.from_array(2 * X, chunks=(30, 4))]
    alone = [GaussianMixture(3, tol=1e-6, **start).fit(data) for data in x]
    together = [GaussianMixture(3, tol=1e-6, **start) for _ in x]
    threads = [
        threading.Thread(target=model.fit, args=(data,), daemon=True)
        for model, data in zip(together, x, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for model, reference in zip(together, alone, strict=True):
        np.testing.assert_array_equal(model.covariances_, reference.covariances_)


@pytest.mark.parametrize("kind", ["streamed", "persisted", "standardised", "array"])
def test_a_fit_inside_a_task(X, start, client, kind):
    """On a worker with one thread, which would wait for ever for tasks of its own."""
    x = da.from_array(X, chunks=(50, 4))
    given = {
        "streamed": x,
        "persisted": (1 * x).persist(),
        "standardised": (x - x.mean(axis=0)) / x.std(axis=0),
        "array": X,
    }[kind]

    def fit_and_score(x):
        model = GaussianMixture(3, tol=1e-6, **start).fit(x)
        return model.means_, model.score(x)

    futures = [
        client.submit(fit_and_score, given, workers=[worker], pure=False)
        for worker in client.nthreads()  # all of them: none is free for other tasks
    ]
    for future in futures:
        means, score = future.result(timeout=60)
    with dask.config.set(scheduler="threads"):
        np.testing.assert_allclose(means, fit_and_score(given)[0], rtol=1e-12)
    assert np.isfinite(score)


@pytest.mark.parametrize("d", [20, 80, 460])
def test_large_parameters(client, d):
    """50 kB, 150 kB and 5 MB of parameters; from 100 kB on ``client.map`` hangs with them."""
    rng = np.random.default_rng(0)
    K = 3 if d > 50 else 16
    start = {
        "weights_init": np.full(K, 1 / K),
        "means_init": rng.normal(size=(K, d)),
        "precisions_init": np.broadcast_to(np.eye(d), (K, d, d)),
    }
    x = da.from_array(rng.normal(size=(30, d)), chunks=(10, d))
    assert K * d * d * 8 > {20: 50e3, 80: 150e3, 460: 5e6}[d]

    def passes():
        GaussianMixture(K, tol=0.0, max_iter=2, reg_covar=1.0, **start).fit(x)

    with pytest.warns(UserWarning, match="did not converge"):
        within(60, passes)


def test_one_thread_per_task(X, client):
    """Workers run as many tasks as they have threads, so a kernel must not use more."""

    def threads_of(chunk, n_threads):
        return [n_threads]

    class ThreadsOf:
        dtype, row_shape = np.intp, ()

        def __call__(self, chunk, n_threads, out=None):
            return np.full(len(chunk), n_threads)

    source = DaskSource(da.from_array(X, chunks=(50, 4)))
    assert DaskEngine(8).total(threads_of, source) == [1] * 12
    assert (DaskEngine(8).each(ThreadsOf(), source).compute() == 1).all()
    assert client.submit(usable_cores).result() == 1  # for a fit inside a task


def test_an_asynchronous_client_is_refused(X, start, cluster):
    import asyncio

    async def attempt():
        async with Client(cluster.scheduler_address, asynchronous=True):
            with pytest.raises(TypeError, match=r"asynchronous.*synchronous client"):
                GaussianMixture(3, **start).fit(da.from_array(X, chunks=(50, 4)))

    asyncio.run(attempt())


def test_no_workers_yet(X, start, monkeypatch):
    """A fit waits for the first worker, says so, and then uses those that come."""
    monkeypatch.setattr("emdash.engines.dask.PATIENCE", 0.2)
    with local_cluster(0) as cluster, Client(cluster) as client:
        x = da.from_array(X, chunks=(10, 4))
        seen = []

        def note(progress):
            seen.append(progress.number)

        model = GaussianMixture(3, tol=0.0, max_iter=3, callback=note, **start)
        threading.Timer(1.0, cluster.scale, (2,)).start()
        with (
            pytest.warns(UserWarning, match="did not converge"),
            pytest.warns(UserWarning, match="has no workers"),
        ):
            within(60, model.fit, x)
        assert seen == [1, 2, 3]
        assert computed(client)["emdash-estep"] > 0
