"""Memory of the passes: what a chunk and its scratch take, however many rows there are.

Each kind of input is measured in a process of its own, at two numbers of rows:
the high-water mark of its resident memory above what it held before the call,
less the answer that was asked for. And the memory of a whole default fit, before
and after its start is found.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux resets the high-water mark"
)

STATUS = """
def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024


def reset():  # the high-water mark begins anew
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
"""

MEASURE = """
import gc, json, os, sys, warnings
import numpy as np
from emdash import GaussianMixture

warnings.simplefilter("ignore")
kind, folder = sys.argv[1:]
K, d = 16, 8
start = dict(
    weights_init=np.full(K, 1 / K),
    means_init=np.linspace(-1, 1, K * d).reshape(K, d),
    precisions_init=np.broadcast_to(np.eye(d), (K, d, d)),
)


block = np.random.default_rng(0).normal(size=(50_000, d))


def filled(n, dtype=np.float64, order="C"):
    X = np.empty((n, d), dtype, order)
    for begin in range(0, n, 50_000):
        X[begin : begin + 50_000] = block[: n - begin]
    return X


def on_disk(n, order="C"):
    name = os.path.join(folder, f"{n}.npy")
    np.save(name, filled(n, order=order))
    return name


class Batches:
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return (block.copy() for _ in range(self.n // 50_000))


def lazy(n):
    import dask.array as da
    chunks = ((50_000,) * (n // 50_000), (d,))
    return da.map_blocks(lambda: block.copy(), chunks=chunks, dtype=float)


def frozen(n):
    X = filled(n)
    X.setflags(write=False)
    return X


INPUTS = {
    "read-only array": frozen,
    "float32": lambda n: filled(n, np.float32),
    "Fortran order": lambda n: filled(n, order="F"),
    "memory map": lambda n: np.load(on_disk(n), mmap_mode="r"),
    "file": on_disk,
    "file in Fortran order": lambda n: on_disk(n, "F"),
    "batches": Batches,
    "dask": lazy,
}


def excess(call, X):
    gc.collect()
    reset()
    before = status("VmRSS")
    answer = call(X)
    asked_for = answer.nbytes if isinstance(answer, np.ndarray) else 0  # Dask's are lazy
    return status("VmHWM") - before - asked_for


model = GaussianMixture(K, max_iter=2, tol=0.0, n_threads=2, **start)
calls = {
    "fit": lambda X: model.fit(X) and None,
    "score": lambda X: model.score(X),
    "predict": lambda X: model.predict(X),
    "predict_proba": lambda X: model.predict_proba(X),
}
for call in calls.values():
    call(filled(100))  # everything is imported and every pool started
    if kind == "dask":
        call(lazy(100_000))
found = {}
for n in (500_000, 1_300_000):
    X = INPUTS[kind](n)
    for name, call in calls.items():
        found.setdefault(name, []).append(excess(call, X))
    del X
print(json.dumps(found))
"""

KINDS = [
    "read-only array",
    "float32",
    "Fortran order",
    "memory map",
    "file",
    "file in Fortran order",
    "batches",
    "dask",
]


def measure(script, *arguments):
    """Run a script in a process of its own and return what it prints."""
    run = subprocess.run(
        [sys.executable, "-c", STATUS + script, *arguments],
        capture_output=True,
        text=True,
        # what is freed goes back at once, so that it does not hide what is taken next
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"},
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_the_rows(kind, tmp_path):
    # 800 000 more rows: 51 MB as a copy, 102 MB as responsibilities, 6 MB as one number each.
    # Chunks of 8.4 MB are in memory one per thread, but two need not be full at once.
    more = 4e6 + (8.4e6 if kind in ("memory map", "file", "file in Fortran order") else 0)
    for name, (few, many) in measure(MEASURE, kind, str(tmp_path)).items():
        assert many - few < more, f"{name}: {few / 1e6:.1f} MB, then {many / 1e6:.1f} MB"
        assert many < 30e6, f"{name}: {many / 1e6:.1f} MB"


WHOLE_FIT = """
import json, sys, warnings
import numpy as np
from emdash import GaussianMixture
from emdash.estimators import _starts

warnings.simplefilter("ignore")
dtype = np.dtype(sys.argv[1])
rng = np.random.default_rng(0)
X = 2 * rng.normal(size=(10, 10))[rng.integers(10, size=500_000)].astype(dtype)
for begin in range(0, len(X), 50_000):
    X[begin : begin + 50_000] += rng.normal(size=(50_000, 10))
model = GaussianMixture(10, max_iter=2, tol=0.0, n_threads=2)
model.set_params(random_state=0).fit(X[:100_000])  # everything is imported, every pool started
start_from = _starts.start_from


def then_begin_anew(*arguments):
    start = start_from(*arguments)
    found.append(status("VmHWM") - before)
    reset()
    return start


_starts.start_from = then_begin_anew
found = []
reset()
before = status("VmRSS")
model.fit(X)
found.append(status("VmHWM") - before)
print(json.dumps([excess / X.nbytes for excess in found]))
"""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_default_fit_takes_little_beside_the_data(dtype):
    start, after = measure(WHOLE_FIT, dtype)
    numbers = 8 / np.dtype(dtype).itemsize  # a copy of the rows in float64 would be as large
    assert start < 0.25 * numbers  # two numbers per row of ten, where scikit-learn copies the rows
    assert after < 0.05  # of the bytes given
