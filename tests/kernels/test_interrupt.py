"""A signal in the middle of a kernel: its handler runs, and what that raises ends the kernel.

Every test sends a signal when a kernel has begun and looks at how far it came: the work
would take seconds, and is over at once.
"""

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from emdash._kernels import expect, factor, nearest
from emdash._kernels.gaussian import FullKernel

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals to send")

d = K = 64
N_ROWS = 400_000  # 2 to 4 seconds of one core
BLOCKS = 16


@pytest.fixture(scope="module")
def kernel():
    rng = np.random.default_rng(0)
    return FullKernel(np.zeros(K), rng.normal(size=(K, d)), np.stack([np.eye(d)] * K))


def overlapping(values, columns):
    """Return as many rows as there is memory for one feature: row i begins at value i."""
    return np.lib.stride_tricks.sliding_window_view(values, columns)


@pytest.fixture(scope="module")
def X():
    return overlapping(np.random.default_rng(1).normal(size=N_ROWS + d - 1), d)


@pytest.fixture
def send():
    """Send a signal to this process when something has become true."""
    threads = []

    def send_when(ready, number=signal.SIGINT):
        def wait():
            while not ready() and not given_up.is_set():
                time.sleep(0.001)
            os.kill(os.getpid(), number)

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    given_up = threading.Event()
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    yield send_when
    given_up.set()
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_pass_is_interrupted(kernel, X, send, n_threads):
    out = np.zeros(kernel.statistics_size)
    send(lambda: out[1] > 0)  # the weight of the rows that are in the sums
    with pytest.raises(KeyboardInterrupt):
        expect.accumulate(kernel, X, None, out, n_threads)
    assert 0 < out[1] < N_ROWS


@pytest.mark.parametrize("n_threads", [1, 2])
def test_answers_per_row_are_interrupted(kernel, X, send, n_threads):
    log_likelihood = np.full(N_ROWS, np.nan)
    send(lambda: log_likelihood[0] < 0)
    with pytest.raises(KeyboardInterrupt):
        expect.posterior(kernel, X, n_threads, log_likelihood=log_likelihood)
    assert np.isnan(log_likelihood).any()


def test_while_another_thread_has_the_last_block(kernel, send):
    """The rows before it are incomplete and set aside at once, but for the last 500."""
    values = np.random.default_rng(1).normal(size=4 * N_ROWS + d - 1)
    last = len(values) // BLOCKS * (BLOCKS - 1)
    values[: last - 500] = np.nan
    X = overlapping(values, d)
    for _ in range(6):  # either thread may get that block
        out, marks = np.zeros(kernel.statistics_size), np.zeros(len(X), np.uint8)
        send(lambda out=out: out[1] > 0)  # the block before it is done
        with pytest.raises(KeyboardInterrupt):
            expect.accumulate(kernel, X, None, out, 2, incomplete=marks)
        assert 0 < out[1] < len(X) - last


def test_the_exception_of_a_handler_is_raised(kernel, X, send):
    def handler(number, frame):
        raise TimeoutError(f"signal {number} after {out[1]:.0f} rows")

    signal.signal(signal.SIGUSR1, handler)
    out = np.zeros(kernel.statistics_size)
    send(lambda: out[1] > 0, signal.SIGUSR1)
    with pytest.raises(TimeoutError, match="signal") as caught:
        expect.accumulate(kernel, X, None, out, 2)
    assert 0 < out[1] < N_ROWS
    assert caught.value.__context__ is None


@pytest.fixture(scope="module")
def undisturbed(kernel, X):
    X = X[: N_ROWS // 4]
    out = np.zeros(kernel.statistics_size)
    expect.accumulate(kernel, X, None, out, 2)
    return X, out


@pytest.mark.parametrize("n_threads", [1, 2])
def test_after_a_handler_that_returns_the_pass_goes_on(kernel, undisturbed, send, n_threads):
    X, expected = undisturbed
    few = X[:5000]
    alone, nested, out = (np.zeros(kernel.statistics_size) for _ in range(3))
    seen = []

    def handler(number, frame):
        expect.accumulate(kernel, few, None, nested, 2)  # it may do anything
        seen.append(out[1])

    signal.signal(signal.SIGUSR1, handler)
    send(lambda: out[1] > 0, signal.SIGUSR1)
    expect.accumulate(kernel, X, None, out, n_threads)
    assert len(seen) == 1
    assert 0 < seen[0] < len(X)  # in the middle
    assert out.tobytes() == expected.tobytes()
    expect.accumulate(kernel, few, None, alone, 1)
    assert nested.tobytes() == alone.tobytes()


def test_a_pass_of_another_thread_goes_on(kernel, undisturbed, send):
    """It is whoever waits for that thread who is interrupted."""
    X, expected = undisturbed
    out, done = np.zeros(kernel.statistics_size), threading.Event()

    def run():
        expect.accumulate(kernel, X, None, out, 1)
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    send(lambda: out[1] > 0)
    with pytest.raises(KeyboardInterrupt):
        done.wait(60)
    assert 0 < out[1] < len(X)
    thread.join()
    assert out.tobytes() == expected.tobytes()


def test_factors_are_interrupted(send):
    d, K = 1500, 8  # a second
    covariances = np.broadcast_to(np.eye(d), (K, d, d))
    out = np.zeros((K, d, d))
    send(lambda: out[0, -1, -1])
    with pytest.raises(KeyboardInterrupt):
        factor.factor(covariances, out)
    assert out[0, -1, -1] == 1
    assert out[-1, -1, -1] == 0


def test_the_nearest_points_are_interrupted(send):
    d, K, n = 100, 2000, 200_000
    rng = np.random.default_rng(0)
    X = overlapping(rng.normal(size=n + d - 1), d)
    labels, margins = np.zeros(n, np.intp), np.full(n, -np.inf)
    arguments = X, rng.normal(size=(K, d)), np.zeros(K), labels, margins, np.zeros(d)
    send(lambda: margins[0] > -np.inf)
    with pytest.raises(KeyboardInterrupt):
        nearest.settle(*arguments, np.empty(1 + K + K * d), least=0.0, relative=0.0, absolute=0.0)
    assert np.isneginf(margins[-1])
