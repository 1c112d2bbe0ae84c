"""One cluster for all, one client per test, and data that every test here fits to."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import clusters`, whatever the import mode

import clusters
from distributed import Client

K, D = 3, 4


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Two worker processes with one thread each, started by hand, for tests that hurt nobody."""
    with clusters.cluster_by_hand(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        with Client(cluster.scheduler_address) as client:
            client.wait_for_workers(2, timeout=60)
        yield cluster


@pytest.fixture
def client(cluster):
    """The current client while a test runs."""
    with Client(cluster.scheduler_address) as client:
        clusters.forget_log(client)
        yield client


@pytest.fixture(scope="session")
def X():
    """Rows of three groups, (600, 4), in random order."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, D)) + 4.0 * rng.integers(0, K, size=(600, 1))
    X.setflags(write=False)
    return X


@pytest.fixture(scope="session")
def start():
    """Starting values for `X`, so that a fit is EM passes and nothing else."""
    return {
        "weights_init": np.full(K, 1 / K),
        "means_init": np.arange(K)[:, None] * 3.0 + np.arange(D) / 5,
        "precisions_init": np.broadcast_to(np.eye(D), (K, D, D)).copy(),
    }
