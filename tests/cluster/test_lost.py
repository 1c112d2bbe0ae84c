"""What is lost or interrupted in mid-fit, on real processes: the same bits, or a clear error."""

import os
import signal
import threading
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from clusters import cluster_by_hand, counted, eventually, size, tasks, within
from distributed import Client, KilledWorker, wait

from emdash import GaussianMixture

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of killed processes

GONE = "was closed, or lost its scheduler, while fit was running"


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    """A cluster whose workers may be killed."""
    with cluster_by_hand(tmp_path_factory.mktemp("fragile"), 2) as cluster:
        yield cluster


@pytest.fixture
def client(fragile):
    """The current client, with two workers to begin with."""
    with Client(fragile.scheduler_address) as client:
        fragile.exactly(2, client)
        yield client


@pytest.fixture(scope="module")
def x(X):
    """Thirty chunks."""
    return da.from_array(X, chunks=(20, 4))


@pytest.fixture(scope="module")
def expected(x, start):
    """The fit without a cluster."""
    with dask.config.set(scheduler="synchronous"):
        model = GaussianMixture(3, tol=1e-7, **start).fit(x)
    assert model.n_iter_ > 3
    return model


def assert_same_bits(model, expected):
    np.testing.assert_array_equal(model.covariances_, expected.covariances_)
    assert model.lower_bounds_ == expected.lower_bounds_


def after_pass(number, action, seen=None):
    """Return a callback that does something once, after a pass, and notes all passes."""

    def callback(progress):
        if seen is not None:
            seen.append(progress)
        if progress.number == number:
            action()

    return callback


def test_a_worker_is_killed_in_mid_pass(x, start, client, fragile, expected, tmp_path):
    """By one of its own chunks. Each pass is reported once, and no task stays behind."""
    name = str(tmp_path / "count")
    fatal = 2 * x.numblocks[0] + 10  # in the third pass

    def kill(block):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, b"x")
        here = os.fstat(file).st_size
        os.close(file)
        if here == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    seen = []
    model = GaussianMixture(3, tol=1e-7, callback=after_pass(0, None, seen), **start)
    within(60, model.fit, x.map_blocks(kill, dtype=x.dtype, meta=x._meta))
    assert_same_bits(model, expected)
    assert os.path.getsize(name) > fatal  # it went on after the loss
    assert [record.number for record in seen] == list(range(1, model.n_iter_ + 1))
    assert [record.log_likelihood for record in seen] == model.lower_bounds_
    eventually(lambda: not tasks(client))
    eventually(lambda: len(client.nthreads()) == 1)
    fragile.workers = {n: p for n, p in fragile.workers.items() if p.poll() is None}


def test_a_worker_is_killed_that_holds_persisted_chunks(
    x, start, client, fragile, expected, tmp_path
):
    """Dask computes what was lost again, each chunk at most once more."""
    held = counted(x, tmp_path / "count").persist()
    wait(held)
    action = lambda: fragile.kill(next(iter(fragile.workers)))  # noqa: E731
    model = GaussianMixture(3, tol=1e-7, callback=after_pass(2, action), **start)
    within(60, model.fit, held)
    assert_same_bits(model, expected)
    assert x.numblocks[0] < size(tmp_path / "count") < 2 * x.numblocks[0]


@pytest.fixture(scope="module")
def nannies(tmp_path_factory):
    """Three workers, each started again by its nanny when it is killed."""
    with cluster_by_hand(tmp_path_factory.mktemp("nannies"), 0) as cluster:
        for _ in range(3):
            cluster.add("--nanny")
        yield cluster


@pytest.fixture
def with_nannies(nannies):
    """The current client, when the three are there."""
    with Client(nannies.scheduler_address) as client:
        eventually(lambda: len(client.nthreads()) == 3, 60)
        yield client


@pytest.mark.parametrize("persisted", [False, True])
def test_one_of_three_workers_with_nannies_is_killed(
    x, start, expected, with_nannies, tmp_path, persisted
):
    """In mid-pass. The answer is the same, and no chunk is computed more than once again."""
    client, chunks = with_nannies, x.numblocks[0]
    made, used = str(tmp_path / "made"), str(tmp_path / "used")

    def note(name, block_id):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, bytes([block_id[0]]))
        length = os.fstat(file).st_size
        os.close(file)
        return length

    def make(block, block_id):
        note(made, block_id)
        return block

    def use(block, block_id):
        if note(used, block_id) == chunks + chunks // 2:  # in the middle of the second pass
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    data = x.map_blocks(make, dtype=x.dtype, meta=x._meta)
    if persisted:
        data = data.persist()
        wait(data)
    model = GaussianMixture(3, tol=1e-7, **start)
    within(90, model.fit, data.map_blocks(use, dtype=x.dtype, meta=x._meta))
    assert_same_bits(model, expected)
    counts = np.bincount(np.frombuffer(Path(made).read_bytes(), np.uint8), minlength=chunks)
    once = 1 if persisted else model.n_iter_
    assert counts.min() == once
    assert counts.max() == once + 1
    eventually(lambda: not [key for key in tasks(client) if key.startswith("emdash-")])


def test_chunks_that_were_scattered_are_lost(X, start, client, fragile):
    """Nothing can compute them again: the error says why, and what to do."""
    futures = client.scatter(np.array_split(X, 12))
    chunks = [dask.delayed(future) for future in futures]
    x = da.concatenate([da.from_delayed(chunk, (50, 4), dtype=float) for chunk in chunks])
    action = lambda: fragile.kill(next(iter(fragile.workers)))  # noqa: E731
    model = GaussianMixture(3, tol=1e-7, callback=after_pass(2, action), **start)
    with pytest.raises(RuntimeError, match=r"no longer on the cluster.*client\.scatter"):
        within(60, model.fit, x)


def test_all_workers_are_gone_for_a_while(x, start, client, fragile, expected, monkeypatch):
    monkeypatch.setattr("emdash.engines.cluster.PATIENCE", 0.2)

    def action():
        for name in [*fragile.workers]:
            fragile.kill(name)
        threading.Timer(0.5, fragile.add).start()

    model = GaussianMixture(3, tol=1e-7, callback=after_pass(2, action), **start)
    with pytest.warns(UserWarning, match="has no workers: waiting for one"):
        within(60, model.fit, x)
    assert_same_bits(model, expected)


def test_all_workers_are_gone_for_good(x, start, client, fragile):
    def action():
        for name in [*fragile.workers]:
            fragile.kill(name)

    model = GaussianMixture(3, tol=1e-7, callback=after_pass(2, action), **start)
    with (
        dask.config.set({"emdash.no-workers-timeout": "500ms"}),
        pytest.raises(TimeoutError, match=r"had no workers for 0\.5 s.*no-workers-timeout"),
    ):
        within(60, model.fit, x)
    eventually(lambda: not tasks(client))


def test_all_workers_are_paused(x, start, client, fragile):
    """As they are with too small a memory_limit: nothing is lost, but nothing goes on either."""

    def pause_beyond(fraction, dask_worker):
        dask_worker.memory_manager.memory_pause_fraction = fraction

    model = GaussianMixture(3, tol=1e-7, **start)
    client.run(pause_beyond, 1e-9)
    eventually(
        lambda: {w["status"] for w in client.scheduler_info()["workers"].values()} == {"paused"}
    )
    try:
        with (
            dask.config.set({"emdash.no-workers-timeout": "500ms"}),
            pytest.raises(TimeoutError, match="had only paused workers, which have no memory left"),
        ):
            within(60, model.fit, x)
    finally:
        client.run(pause_beyond, 0.8)
    eventually(lambda: not tasks(client))


def test_a_worker_that_comes_is_used_within_two_passes(x, start, client, fragile, tmp_path):
    name = str(tmp_path / "pids")

    def note(block):
        with open(name, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.005)
        return block

    def at_work():
        with open(name) as file:
            return len(set(file.read().split()))

    workers = []

    def action(progress):
        workers.append(at_work())
        if progress.number == 2:
            fragile.add()
            client.wait_for_workers(3, timeout=60)

    slow = x.map_blocks(note, dtype=x.dtype, meta=x._meta)
    with pytest.warns(UserWarning, match="did not converge"):
        GaussianMixture(3, tol=0.0, max_iter=4, callback=action, **start).fit(slow)
    assert workers[1] == 2
    assert workers[3] == 3


def test_a_chunk_that_is_larger_than_a_worker(x, start, client, fragile):
    """The nanny kills it, twice: then there is advice instead of a third attempt."""
    fragile.exactly(0, client)
    fragile.add("--nanny", "--memory-limit", "400MB")

    def large(block, block_id):
        if block_id[0] == 3:
            wide = np.ones(100_000_000)  # 800 MB
            time.sleep(5)
            return block * wide[0]
        return block

    large_chunk = x.map_blocks(large, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(KilledWorker) as caught:
        within(90, GaussianMixture(3, **start).fit, large_chunk)
    assert "X.rechunk({0: rows})" in "".join(caught.value.__notes__)
    eventually(lambda: not tasks(client))
    fragile.stop(next(iter(fragile.workers)))


@pytest.mark.parametrize("persisted", [False, True])
def test_ctrl_c(X, start, client, tmp_path, persisted):
    """Nothing is left behind, and what runs stops within a chunk."""
    x = da.from_array(X, chunks=(2, 4))
    if persisted:
        x = x.persist()

    def slow(block):
        time.sleep(0.05)
        return block

    x = counted(x, tmp_path / "count").map_blocks(slow, dtype=x.dtype, meta=x._meta)

    def interrupt():
        eventually(lambda: size(tmp_path / "count") > 3)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        GaussianMixture(3, **start).fit(x)
    eventually(lambda: not [key for key in tasks(client) if key.startswith("emdash-")])
    assert caught.value is not None  # even while somebody keeps the traceback

    def stopped():
        before = size(tmp_path / "count")
        time.sleep(0.3)
        return size(tmp_path / "count") == before

    eventually(stopped, 5.0)
    assert size(tmp_path / "count") < 100  # of 300; a part has 64


@pytest.mark.parametrize("when", ["between two passes", "in the middle of one"])
def test_the_client_is_closed(x, start, fragile, client, tmp_path, when):
    """A fit that began on a cluster does not go on elsewhere."""
    with Client(fragile.scheduler_address) as mine:
        if when == "between two passes":
            callback = after_pass(2, mine.close)
        else:
            callback = None
            x = counted(x, tmp_path / "count").map_blocks(
                lambda block: (time.sleep(0.05), block)[1], dtype=x.dtype, meta=x._meta
            )

            def close():
                eventually(lambda: size(tmp_path / "count") > 2)
                mine.close()

            threading.Thread(target=close, daemon=True).start()
        with pytest.raises(RuntimeError, match=GONE):
            within(60, GaussianMixture(3, tol=0.0, callback=callback, **start).fit, x)
    eventually(lambda: not tasks(client))


@pytest.mark.parametrize("when", ["between two passes", "in the middle of one"])
def test_the_scheduler_dies(x, start, tmp_path, when):
    """The fit ends with an error about the connection instead of waiting for ever."""
    with cluster_by_hand(tmp_path, 1) as cluster, Client(cluster.scheduler_address) as client:
        scheduler = client.run_on_scheduler(os.getpid)

        def kill(block=None):
            os.kill(scheduler, signal.SIGKILL)
            return block

        model = GaussianMixture(3, tol=0.0, **start)
        if when == "between two passes":
            model.set_params(callback=after_pass(2, kill))
        else:
            x = x.map_blocks(kill, dtype=x.dtype, meta=x._meta)
        with pytest.raises(RuntimeError, match=GONE):
            within(60, model.fit, x)
