"""Processes forked after a threaded fit: they fit, too, and do not hang."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

SCRIPT = """
import concurrent.futures, multiprocessing, sys, warnings
import numpy as np
from emdash import GaussianMixture

warnings.simplefilter("ignore")  # Python 3.12 warns of forks in processes with threads
rng = np.random.default_rng(0)
X = rng.normal(size=(30_000, 4)) + 5 * rng.integers(0, 2, size=(30_000, 1))
start = dict(
    weights_init=[0.5, 0.5],
    means_init=[[0.0] * 4, [5.0] * 4],
    precisions_init=[np.eye(4)] * 2,
)


def fit(source=X):
    return GaussianMixture(2, n_threads=2, **start).fit(source).means_


before = fit()
np.save(sys.argv[1], X)
fit(sys.argv[1])


def in_children(_=None):
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        for source in (X, sys.argv[1]):
            for means in pool.map(fit, [source] * 4):
                assert np.allclose(means, before, rtol=1e-12)


if sys.argv[2] == "main thread":
    in_children()
else:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(in_children).result()
assert (fit() == before).all()
print("done")
"""


@pytest.mark.parametrize("where", ["main thread", "another thread"])
def test_a_process_pool_after_a_fit(where, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "X.npy"), where],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "done\n"
