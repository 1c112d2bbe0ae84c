"""Threads: as many as the cluster was given, wherever its workers live, and what they leave."""

import os
import subprocess
import sys
import textwrap

import dask.array as da
import numpy as np
import pytest
from clusters import local_cluster
from distributed import Client

from emdash.engines.dask import DaskEngine
from emdash.sources.dask import DaskSource

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts in /proc")


@pytest.fixture(params=["no nanny", "nanny", "threads of this process"])
def client_of(request, monkeypatch):
    """A client of workers with one thread each."""
    if request.param == "no nanny":
        yield request.getfixturevalue("client")
        return
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    processes = request.param == "nanny"
    with local_cluster(2, processes=processes) as cluster, Client(cluster) as client:
        yield client
    if processes:
        assert os.environ["OMP_NUM_THREADS"] == "1"  # as the last test takes for granted


def test_a_task_is_one_thread(client_of):
    """A worker runs as many tasks as it has threads, so a kernel must not make more."""

    def threads_beside(chunk, n_threads):
        from emdash import GaussianMixture
        from emdash.engines.base import run_part
        from emdash.engines.local import usable_cores
        from emdash.sources.array import ArraySource

        model = GaussianMixture(2, max_iter=0, init_params="random", random_state=0)
        model.fit(chunk.rows)
        task = model._model().task(model._parameters())
        before = set(os.listdir("/proc/self/task"))
        run_part(task, ArraySource(chunk.rows).chunks, n_threads)
        names = []
        for made in set(os.listdir("/proc/self/task")) - before:
            with open(f"/proc/self/task/{made}/comm") as file:
                names.append(file.read().strip())
        return [(n_threads, usable_cores(), [n for n in names if not n.startswith("Dask")])]

    class ThreadsOf:
        dtype, row_shape = np.intp, ()

        def __call__(self, chunk, n_threads, out=None):
            return np.full(len(chunk), n_threads)

    x = da.from_array(np.random.default_rng(0).normal(size=(20_000, 4)), chunks=(5_000, 4))
    source = DaskSource(x)
    assert DaskEngine(8).total(threads_beside, source) == [(1, 1, [])] * 4
    assert (DaskEngine(8).each(ThreadsOf(), source).compute() == 1).all()


def test_a_local_fit_after_a_cluster_uses_all_threads():
    """Though the cluster has left ``OMP_NUM_THREADS=1`` behind in the environment."""
    code = """
    import os
    import numpy as np
    from emdash import GaussianMixture

    X = np.random.default_rng(0).normal(size=(500_000, 4))  # worth more than one thread
    model = GaussianMixture(2, max_iter=0, init_params="random", random_state=0)
    model.fit(X[:10])
    before = len(os.listdir("/proc/self/task"))
    model.predict(X)
    print(len(os.listdir("/proc/self/task")) - before, len(os.sched_getaffinity(0)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    more, cores = map(int, done.stdout.split())
    assert more == cores - 1, done.stderr  # this thread is one of them
