"""``memory_limit`` is a promise: kept by fit and predict where the system would not give more.

A process of its own, with everything imported and every thread started once (the address
space of a stack counts whole), is forbidden to
allocate more than the limit on top of what it holds, then works on files eight times as
large.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from emdash.sources import open_source

UNDER_A_LIMIT = """
import gc, json, resource, sys, warnings
import numpy as np
from click.testing import CliRunner
import emdash
from emdash.cli import main

warnings.simplefilter("ignore")
limit, kind, big, small, folder = int(sys.argv[1]), *sys.argv[2:]
model_file = f"{folder}/model.npz"


def command(*args):
    done = CliRunner().invoke(main, [str(arg) for arg in args])
    assert done.exit_code == 0, done.output + repr(done.exception)


def fit(path):
    model = emdash.GaussianMixture(5, max_iter=2, tol=0.0, n_threads=2, random_state=0,
                                   memory_limit=limit)
    emdash.save(model.fit(path), model_file)
    return model


def predict(path, *options):
    command("predict", model_file, path, "-o", f"{folder}/answers.{kind}", *options,
            "--memory-limit", str(limit), "--threads", "2")


def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024


def peak(call, *args):
    # resident memory, of which only that of the process itself grows here
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    answer = call(*args)
    return answer, status("VmHWM") - before


fit(small), predict(small), predict(small, "--proba")
gc.collect()
if kind == "npy":  # zarr has threads of its own, whose address space counts, used or not
    most = status("VmData") + limit
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        np.ones(limit // 8 + 100_000)
    except MemoryError:
        pass
    else:
        raise AssertionError("the limit is not enforced")
model, peak_fit = peak(fit, big)
peaks = [peak_fit, peak(predict, big)[1], peak(predict, big, "--proba")[1]]
refused = ""
try:
    model.predict_proba(big)
except MemoryError as error:
    refused = str(error)
print(json.dumps({"weights": model.weights_.tolist(), "refused": refused, "peaks": peaks}))
"""

LIMIT = 24_000_000
D = 8


def rows(n):
    rng = np.random.default_rng(0)
    block = rng.normal(size=(50_000, D)) + 4.0 * rng.integers(0, 5, size=(50_000, 1))
    return np.resize(block, (n, D))


def write(kind, path, X):
    if kind == "npy":
        np.save(path, X)
        return
    import zarr

    array = zarr.open_array(str(path), mode="w", shape=X.shape, chunks=(20_000, D), dtype=X.dtype)
    array[:] = X


def small_stacks():
    """A megabyte of address space for each new thread instead of eight."""
    import resource

    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.RLIM_INFINITY))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts private memory")
@pytest.mark.parametrize("kind", ["npy", "zarr"])
def test_the_promise_is_kept_under_an_enforced_limit(kind, tmp_path):
    X = rows(3_200_000)
    assert X.nbytes > 8 * LIMIT
    paths = [tmp_path / f"{name}.{kind}" for name in ("big", "small")]
    for path, table in zip(paths, (X, X[:200_000]), strict=True):
        write(kind, path, table)
    code = [sys.executable, "-c", UNDER_A_LIMIT, str(LIMIT), kind, *map(str, paths), str(tmp_path)]
    # what is freed goes back at once, or it would come on top of the limit
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    run = subprocess.run(
        code, capture_output=True, text=True, env=env, timeout=120, preexec_fn=small_stacks
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert max(found["peaks"]) < LIMIT, found["peaks"]
    assert sum(found["weights"]) == pytest.approx(1)
    assert "emdash predict MODEL DATA -o FILE" in found["refused"]
    answers = open_source(tmp_path / f"answers.{kind}")
    assert (answers.n_rows, answers.n_features) == (len(X), 5)
