"""What a fit asks of a cluster: few tasks, little traffic, nothing left behind."""

import copy
import pickle
import re
import threading
import time
import zlib

import cloudpickle
import dask
import dask.array as da
import distributed
import numpy as np
import pytest
from clusters import computed, counted, eventually, forget_log, local_cluster, size, tasks, within
from dask.tokenize import tokenize
from dask.utils import key_split
from distributed import Client, wait
from sklearn.base import clone

from emdash import GaussianMixture
from emdash.engines.dask import DaskEngine
from emdash.sources.dask import DaskSource
from emdash.statistics import HEADER

pytestmark = pytest.mark.filterwarnings(
    "ignore:Components collapsed:sklearn.exceptions.ConvergenceWarning"
)

PASSES = 4


def fit(x, start, passes=PASSES):
    """Make a fixed number of passes over a Dask array."""
    with pytest.warns(UserWarning, match="did not converge"):
        return GaussianMixture(3, tol=0.0, max_iter=passes, **start).fit(x)


def five_thousand_chunks():
    """Return an array with chunks of two rows."""

    def rows(block_id=None):
        return np.arange(8.0).reshape(2, 4) % 3 + block_id[0] % 7

    return da.map_blocks(rows, chunks=((2,) * 5000, (4,)), dtype=float, meta=np.empty((0, 0)))


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


@pytest.mark.parametrize("persisted", [False, True])
def test_tasks_per_pass_are_bounded(start, client, persisted):
    """For five thousand chunks, as for any other number."""
    x = five_thousand_chunks()
    if persisted:
        x = x.persist()
        wait(x)
        forget_log(client)
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


def test_no_task_is_tied_to_a_worker(X, start, client):
    """A restarted worker has another address, and the task would wait for ever."""

    def look(progress):
        seen.append(client.run_on_scheduler(restrictions))

    def restrictions(dask_scheduler):
        return {
            key: (t.worker_restrictions, t.host_restrictions, t.resource_restrictions, t.actor)
            for key, t in dask_scheduler.tasks.items()
        }

    seen = []
    x = da.from_array(X, chunks=(10, 4))
    with pytest.warns(UserWarning, match="did not converge"):
        GaussianMixture(3, tol=0.0, max_iter=2, callback=look, **start).fit(x - x.mean(axis=0))
    for found in seen:
        assert {key_split(key) for key in found} >= {"emdash-plan", "emdash-shared"}
        assert not any(any(tied) for tied in found.values())


def test_one_buffer_per_pass_reaches_the_driver(X, start, client, gathered):
    fit(da.from_array(X, chunks=(10, 4)), start)
    assert [key_split(key) for key, _ in gathered] == ["emdash-reduce"] * PASSES
    for _, total in gathered:
        K, d = 3, 4
        size = K * (1 + d + d * (d + 1) // 2) + len(HEADER)
        assert total.value.buffer.size == size
        assert len(pickle.dumps(total)) < 8 * size + 600


def test_only_the_sample_reaches_the_driver_for_a_start(X, client, gathered):
    x = da.from_array(X, chunks=(50, 4))
    x = x[x[:, 0] > 0]
    model = GaussianMixture(3, random_state=0).fit(x)
    count, sample, *passes = [total.value for _, total in gathered]
    assert len(passes) == model.n_iter_
    assert sum(count.values) == len(sample.rows) == (X[:, 0] > 0).sum()


def test_one_large_cluster_sums_in_a_tree(X, start, client, monkeypatch):
    monkeypatch.setattr("emdash.engines.dask.PARTS_PER_THREAD", 50)
    fit(da.from_array(X, chunks=(6, 4)), start, passes=1)
    # 100 parts: 13 sums of eight, two sums of those, one of these
    assert computed(client)["emdash-reduce"] == 13 + 2 + 1


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


@pytest.mark.parametrize("megabytes", [0.05, 0.15, 5, 30])
def test_large_parameters(X, client, megabytes):
    """From 100 kB on ``client.map`` hangs with them; from 10 MB on Dask warns, which fails here."""
    ballast = np.random.default_rng(0).bytes(int(megabytes * 1e6))

    def heavy(chunk, n_threads):
        return [zlib.crc32(ballast)]

    engine = DaskEngine()
    for _ in range(2):
        answer = within(60, engine.total, heavy, DaskSource(da.from_array(X, chunks=(200, 4))))
        assert answer == [zlib.crc32(ballast)] * 3


@pytest.mark.parametrize("n_chunks", [4, 40])
def test_small_persisted_chunks_are_held_by_the_plan(X, start, client, monkeypatch, n_chunks):
    """So that 5000 of them are not 5000 arguments of the tasks of every pass; large ones are."""
    monkeypatch.setattr("emdash.engines.dask.HELD_BYTES", 8 * 15 * X[0].nbytes)
    x = (1 * da.from_array(X, chunks=(600 // n_chunks, 4))).persist()

    def arguments(dask_scheduler):
        tasks = dask_scheduler.tasks.items()
        return [
            len([d for d in task.dependencies if not str(d.key).startswith("emdash-")])
            for key, task in tasks
            if str(key).startswith("emdash-plan")
        ]

    seen = []
    model = GaussianMixture(
        3, callback=lambda _: seen.append(client.run_on_scheduler(arguments)), **start
    ).fit(x)
    assert [sum(held) for held in seen] == [40 if n_chunks == 40 else 0] * model.n_iter_


def test_passes_are_reported(X, start, client):
    """On the dashboard, and to whoever subscribes to the events; imbalance is measured."""
    engine = DaskEngine()
    assert engine.imbalance == 1
    engine.report({"pass": 0})  # no cluster yet: nobody to report to
    source = DaskSource(da.from_array(X, chunks=(10, 4)))

    def slow(chunk, n_threads):
        time.sleep(0.1 if chunk.index == 0 else 0)
        return [chunk.index]

    assert engine.total(slow, source) == list(range(60))
    assert 4 < engine.imbalance <= 8  # one of eight parts takes all the time
    engine.report({"pass": 1, "log_likelihood": -1.5})
    assert [event for _, event in client.get_events("emdash")][-1:] == [
        {"pass": 1, "log_likelihood": -1.5}
    ]

    def spans(dask_scheduler):
        found = dask_scheduler.extensions["spans"].spans_search_by_name["emdash",]
        return [{key_split(group.name) for group in span.groups} for span in found]

    before = len(client.run_on_scheduler(spans))
    engine.total(slow, source)
    assert len(client.run_on_scheduler(spans)) == before > 0  # one for all passes of a fit
    kinds = {"emdash-plan", "emdash-parameters", "emdash-estep", "emdash-reduce"}
    assert client.run_on_scheduler(spans)[-1] == kinds


def test_an_asynchronous_client_is_refused(X, start, cluster):
    import asyncio

    async def attempt():
        async with Client(cluster.scheduler_address, asynchronous=True):
            with pytest.raises(TypeError, match=r"asynchronous.*synchronous client"):
                GaussianMixture(3, **start).fit(da.from_array(X, chunks=(50, 4)))

    asyncio.run(attempt())


def test_no_workers_yet(X, start, monkeypatch):
    """A fit waits for the first worker, says so, and then uses those that come."""
    monkeypatch.setattr("emdash.engines.cluster.PATIENCE", 0.2)
    with local_cluster(0, processes=False) as cluster, Client(cluster) as client:
        x = da.from_array(X, chunks=(10, 4))
        model = GaussianMixture(3, tol=0.0, max_iter=3, **start)
        threading.Timer(0.5, cluster.scale, (2,)).start()
        with (
            pytest.warns(UserWarning, match="did not converge"),
            pytest.warns(UserWarning, match="has no workers"),
        ):
            within(60, model.fit, x)
        assert computed(client)["emdash-estep"] > 3 * 4  # more parts once there are two


def test_what_the_estimator_takes_along(X, start, client):
    """Nothing of the cluster, however it is copied; equal estimators have equal tokens."""
    models = [fit(da.from_array(X, chunks=(50, 4)), start) for _ in range(2)]
    with dask.config.set({"tokenize.ensure-deterministic": True}):
        tokens = {tokenize(model) for model in models}
        tokens |= {tokenize(pickle.loads(pickle.dumps(model))) for model in models}
        other = tokenize(fit(da.from_array(X, chunks=(50, 4)), start, passes=3))
    assert len(tokens) == 1
    assert other not in tokens
    for copied in (pickle.dumps(models[0]), cloudpickle.dumps(copy.deepcopy(models[0]))):
        assert not re.search(rb"distributed|dask|Client|Future", copied)
    assert tokenize(clone(models[0])) == tokenize(GaussianMixture(3, tol=0.0, max_iter=4, **start))
    names = {model.predict(da.ones((4, 4), chunks=(2, 4))).name for model in models}
    assert len(names) == 1  # so that Dask computes them once
