"""The Dask cluster of the demo, and a meter for the memory its workers use."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["N_WORKERS", "WORKER_BYTES", "Meter", "connect", "resident", "total_limit", "warm"]

N_WORKERS = 2
WORKER_BYTES = 300_000_000
"""Memory limit of a worker process; Dask kills one that goes beyond, and pauses one at 80 % of it.

Beside pyarrow, pandas and their like, which Dask imports if they are there, a worker takes 160 MB
before it has done anything.
"""

SAMPLING_SECONDS = 0.1


@contextmanager
def connect(scheduler: str | None, scratch: Path) -> Iterator[Any]:
    """Start two local worker processes, or connect to a cluster that runs already.

    Parameters
    ----------
    scheduler : str or None
        Address of an existing cluster; None starts one.
    scratch : Path
        Directory for the files of local workers.

    Yields
    ------
    distributed.Client
        The cluster is closed at the end if it was started here.
    """
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with Client(scheduler, timeout="10s") as client:
            yield client
        return
    with ExitStack() as stack:
        with _interrupts_held_back():
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=N_WORKERS,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=WORKER_BYTES,
                    dashboard_address=":0",  # any free port: 8787 may be in use
                    local_directory=str(scratch),
                    silence_logs=logging.CRITICAL,
                )
            )
        yield stack.enter_context(Client(cluster))


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the workers are up, and never reach those started meanwhile.

    A terminal sends it to every process; workers would answer with tracebacks,
    while it is for this process to close them. Threads and processes inherit
    the mask of signals; Windows has none, there the workers do answer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C goes to the main thread
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    masked = hasattr(signal, "pthread_sigmask")
    if masked:
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # it would unblock the signal when it is started
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if masked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    import psutil  # comes with distributed

    return int(psutil.Process().memory_info().rss)


def warm() -> None:
    """Import what a pass needs, so that libraries do not count as memory of the fit."""
    import dask.array  # noqa: F401

    import emdash._kernels.expect
    import emdash.engines.dask  # noqa: F401


def total_limit(client: Any) -> int:
    """Return the memory limit of all workers together in bytes; 0 if one has none."""
    limits = client.run(worker_limit)
    return sum(limits.values()) if all(limits.values()) else 0


def worker_limit(dask_worker: Any) -> int:
    """Return the memory limit of the worker this runs on in bytes; 0 if it has none."""
    return int(dask_worker.memory_manager.memory_limit or 0)


class Meter:
    """Follow a number in the background and remember where it began and its peak.

    Parameters
    ----------
    read : callable
        Returns the number, for instance bytes of resident memory.
    """

    def __init__(self, read: Callable[[], int]) -> None:
        self.read = read
        self.first = self.peak = read()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(SAMPLING_SECONDS):
            try:
                self.peak = max(self.peak, self.read())
            except OSError:  # a worker is gone; the fit will say so or go on without it
                continue
