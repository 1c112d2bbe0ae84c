"""Ctrl-C during a fit: it stops within a chunk, keeps what it has, and says how to go on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

import emdash
from emdash import GaussianMixture
from emdash.chunk import Chunk
from emdash.sources.base import Source

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="no signals to send"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

CHUNKS = 64
SETTINGS = {"n_components": 3, "tol": 0.0, "max_iter": 12}


noticed = threading.Event()


@pytest.fixture(autouse=True)
def _notice():
    """Know when the main thread has been interrupted."""
    noticed.clear()

    def handler(number, frame):
        if not noticed.is_set():  # however often it is sent
            noticed.set()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupted(Source):
    """Chunks of ten rows; Ctrl-C when the `when`-th is loaded, and those after it wait for that."""

    def __init__(self, X, when):
        self.pieces = np.array_split(X, CHUNKS)
        self.n_rows, self.n_features = X.shape
        self.n_chunks = CHUNKS
        self.when, self.loaded = when, 0
        self.lock = threading.Lock()

    def chunks(self, first=0, last=None):
        starts = [0, *np.cumsum([len(piece) for piece in self.pieces])]
        for i in range(first, CHUNKS if last is None else last):
            with self.lock:
                self.loaded += 1
                now = self.loaded
            if now == self.when:
                os.kill(os.getpid(), signal.SIGINT)
            if self.when and now >= self.when:
                for _ in range(300):
                    if noticed.wait(0.1):
                        break
                    # one that came just before the main thread waited is noticed after the wait
                    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                assert noticed.is_set()
                time.sleep(0.05)  # so that a thread that goes on would be seen
            yield Chunk(self.pieces[i], i, starts[i])


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(10 * CHUNKS, 2))
    X[::2] += 1.5
    return X


@pytest.fixture
def start(X):
    return {
        "means_init": X[:3],
        "weights_init": np.ones(3) / 3,
        "precisions_init": [np.eye(2)] * 3,
    }


def interrupt(source, **settings):
    estimator = GaussianMixture(**{**SETTINGS, **settings})
    with pytest.raises(KeyboardInterrupt) as caught:
        estimator.fit(source)
    (note,) = caught.value.__notes__
    return estimator, note


def assert_holds(estimator, expected, passes):
    """The parameters of a fit of so many passes, in an estimator that can be used."""
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        assert getattr(estimator, name).tobytes() == getattr(expected, name).tobytes(), name
    assert estimator.n_iter_ == len(estimator.history_) == passes
    assert estimator.lower_bounds_ == expected.lower_bounds_
    assert estimator.converged_ is False


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_stops_within_a_chunk_and_keeps_the_last_parameters(n_threads, X, start):
    source = Interrupted(X, when=4 * CHUNKS + 10)
    estimator, note = interrupt(source, n_threads=n_threads, **start)
    assert source.loaded <= source.when + 2 * n_threads
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("emdash")]
    shorter = GaussianMixture(3, tol=0.0, max_iter=4, **start).fit(Interrupted(X, when=None))
    assert_holds(estimator, shorter, passes=4)
    np.testing.assert_array_equal(estimator.predict(X), shorter.predict(X))
    assert note.startswith("The fit was interrupted after pass 4.")
    assert "set warm_start=True and call fit again" in note


def test_warm_start_goes_on(X, start, tmp_path):
    estimator, _ = interrupt(Interrupted(X, when=4 * CHUNKS + 10), **start)
    estimator.set_params(warm_start=True, max_iter=8).fit(Interrupted(X, when=None))
    expected = GaussianMixture(**SETTINGS, **start).fit(Interrupted(X, when=None))
    assert estimator.means_.tobytes() == expected.means_.tobytes()
    emdash.save(estimator, tmp_path / "model.npz")


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_checkpoint_goes_on_in_another_process(n_threads, X, start, tmp_path):
    checkpoint = emdash.Checkpoint(tmp_path / "fit.npz", seconds=3600)  # an interrupt is written
    settings = {**start, "n_threads": n_threads}
    before = Interrupted(X, when=4 * CHUNKS + 10)
    # all chunks once more: they tell whether a checkpoint is of the same data
    estimator, note = interrupt(before, checkpoint=checkpoint, **settings)
    assert f"call fit again with the same data to go on from {checkpoint.path}" in note
    found = GaussianMixture(**SETTINGS, checkpoint=checkpoint, **settings)
    again = Interrupted(X, when=None)
    found.fit(again)
    assert again.loaded == (1 + 12 - estimator.n_iter_) * CHUNKS
    expected = GaussianMixture(**SETTINGS, **settings).fit(Interrupted(X, when=None))
    assert_holds(found, expected, passes=12)


def test_in_the_middle_of_an_array_in_memory(monkeypatch):
    """An array is one chunk, of which the kernel has a second to go."""
    from emdash._kernels import expect

    passes, accumulate = [], expect.accumulate

    def spied(kernel, rows, weights, out, n_threads, **settings):
        def press_ctrl_c():
            while not out[1] and time.monotonic() < until:  # the weight of the rows added so far
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)

        until = time.monotonic() + 30
        passes.append(out)
        if len(passes) == 2:
            threading.Thread(target=press_ctrl_c).start()
        return accumulate(kernel, rows, weights, out, n_threads, **settings)

    X = np.random.default_rng(0).normal(size=(300_000, 40))
    start = {
        "n_components": 80,
        "means_init": X[:80],
        "weights_init": np.ones(80) / 80,
        "precisions_init": [np.eye(40)] * 80,
        "n_threads": 1,
    }
    monkeypatch.setattr(expect, "accumulate", spied)
    estimator, note = interrupt(X, **start)
    assert note.startswith("The fit was interrupted after pass 1.")
    first, second = passes
    assert first[1] == len(X)
    assert 0 < second[1] < len(X)
    shorter = GaussianMixture(**{**start, "tol": 0.0, "max_iter": 1}).fit(X)
    assert_holds(estimator, shorter, passes=1)


def test_of_several_starts_the_best_is_kept(X):
    settings = {"n_init": 3, "random_state": 0, "init_params": "random_from_data"}
    source = Interrupted(X, when=1 + CHUNKS + 2 * 12 * CHUNKS + 3)  # the first pass of the third
    estimator, note = interrupt(source, **settings)
    expected = GaussianMixture(**{**SETTINGS, **settings, "n_init": 2}).fit(
        Interrupted(X, when=None)
    )
    assert_holds(estimator, expected, passes=12)
    assert "after pass 12." in note


def test_in_the_first_pass(X, start):
    estimator, note = interrupt(Interrupted(X, when=3), **start)
    assert note.startswith("The fit was interrupted in its first pass. The estimator holds the")
    np.testing.assert_array_equal(estimator.means_, X[:3])
    assert (estimator.n_iter_, estimator.converged_, estimator.history_) == (0, False, [])


def test_before_there_is_a_start(X):
    estimator, note = interrupt(Interrupted(X, when=3), random_state=0)
    assert "before its first start was found" in note
    assert not hasattr(estimator, "means_")


def test_from_a_callback(X, start):
    def callback(record):
        if record.number == 5:
            raise KeyboardInterrupt

    estimator, note = interrupt(X, callback=callback, **start)
    assert estimator.n_iter_ == 5
    assert "after pass 5." in note
