"""kill -9 of a fit at random moments: the checkpoint is whole, and at most a pass is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from emdash import GaussianMixture

ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
PASSES = 150
AHEAD = 8  # passes an attempt may make: 50 attempts must not end the fit on any machine
KILLED = {
    "n_components": 3,
    "random_state": 3,
    "tol": 0.0,
    "max_iter": PASSES,
    "n_init": 3,
    "init_params": "random_from_data",
}

SERVER = f"""
import os, signal, sys, time, warnings
import numpy as np
from emdash import GaussianMixture
from emdash.estimators._step import Step

warnings.simplefilter("ignore")
os.fsync = lambda file: None  # a killed process leaves its writes to the system
data, checkpoint = sys.argv[1:]
one_pass = Step.__call__
made, allowed = 0, 0

def announced(step, parameters):
    global made
    if made == allowed:
        signal.pause()  # until it is killed
    made += 1
    print("pass", step.progress.start, step.number + 1, flush=True)
    return one_pass(step, parameters)

Step.__call__ = announced
for line in sys.stdin:  # imports were made: a new process for the fit costs next to nothing
    allowed = int(line)
    pid = os.fork()
    if pid == 0:
        print("pid", os.getpid(), flush=True)
        fit = GaussianMixture(
            checkpoint=checkpoint, callback=lambda record: time.sleep(0.001), **{KILLED!r}
        ).fit(np.load(data))
        np.savez(data, *[getattr(fit, n) for n in {ATTRIBUTES!r}], fit.lower_bounds_)
        os._exit(0)
    print("ended", os.waitpid(pid, 0)[1], flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starting 50 processes takes too long")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_killed_fifty_times(tmp_path):
    """kill -9 at random moments loses at most the pass under way, and never the file."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3)) + 1.5 * rng.integers(0, 2, size=(600, 1))
    data, path = tmp_path / "rows.npy", tmp_path / "folder" / "fit.npz"
    path.parent.mkdir()
    np.save(data, X)
    chance = random.Random(0)
    passes, files = [], []
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(data), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        for _ in range(50):
            server.stdin.write(f"{AHEAD}\n")
            server.stdin.flush()
            pid = int(said(server, "pid")[0])
            attempt = [said(server, "pass") for _ in range(chance.randrange(AHEAD + 1))]
            time.sleep(chance.uniform(0, 0.003))
            os.kill(pid, signal.SIGKILL)
            while (line := server.stdout.readline()).startswith("pass"):
                attempt.append(tuple(map(int, line.split()[1:])))
            assert line == f"ended {signal.SIGKILL:d}\n"
            passes.append(attempt)
            files.append(held(path))
        server.stdin.write("-1\n")
        server.stdin.close()
        passes.append([tuple(map(int, line.split()[1:])) for line in server.stdout][1:-1])
        assert server.wait(60) == 0
    began = [one for attempt in passes for one in attempt]
    whole = [(start, number + 1) for start in range(3) for number in range(PASSES)]
    assert sorted(set(began)) == whole  # every pass, in order, those under way once more
    assert len(began) <= len(whole) + 50
    for attempt, file in zip(passes, files, strict=False):
        if attempt:
            start, number = attempt[-1]
            possible = [(start, number - 1), (start, number)]
            assert file in (*possible, *([(start + 1, 0)] if number == PASSES else []))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    expected = GaussianMixture(**KILLED).fit(X)
    with np.load(f"{data}.npz") as found:
        for name, array in zip((*ATTRIBUTES, "lower_bounds_"), found.values(), strict=True):
            assert array.tobytes() == np.asarray(getattr(expected, name)).tobytes(), name


def said(server, word):
    """Return the numbers in the next line, which must begin with this word."""
    first, *numbers = server.stdout.readline().split() or ["nothing"]
    assert first == word, (first, numbers)
    return tuple(map(int, numbers))


def held(path):
    """Return the last pass that a checkpoint holds, which must be whole; None if there is none."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}  # raises, if damaged
    return json.loads(str(arrays["checkpoint"]))["start"], len(arrays["current.history"])
