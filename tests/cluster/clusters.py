"""Clusters of real processes on the loopback interface, and what the tests ask of them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
from dask.utils import key_split
from distributed import Client, LocalCluster


@contextlib.contextmanager
def local_cluster(
    n_workers: int, threads_per_worker: int = 1, processes: bool = True
) -> Iterator[LocalCluster]:
    """Start a cluster of processes; two at a time would warn of the same port, but for ":0"."""
    with (
        dask.config.set({"distributed.admin.low-level-log-length": 100_000}),  # see `computed`
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=threads_per_worker,
            processes=processes,
            dashboard_address=":0",
        ) as cluster,
    ):
        yield cluster


class ByHand:
    """``dask scheduler`` and ``dask worker`` processes on the loopback interface.

    Parameters
    ----------
    directory : Path
        For their files.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = str(directory / "scheduler.json")
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.started = 0
        self.scheduler = self._start("scheduler", "--port", "0", "--no-dashboard")

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        program = str(Path(sys.executable).with_name("dask"))
        where = ["--scheduler-file", self.file, "--host", "127.0.0.1"]
        settings = {
            "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "100000",  # see `computed`
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        }
        with open(self.directory / "log.txt", "a") as log:
            return subprocess.Popen(
                [program, *arguments, *where],
                stdout=log,
                stderr=log,
                env={**os.environ, **settings, **environment},
            )

    @property
    def scheduler_address(self) -> str:
        """Where the scheduler listens; waits until it does."""
        eventually(lambda: os.path.exists(self.file), 60)
        return str(json.loads(Path(self.file).read_text())["address"])

    def add(self, *arguments: str) -> str:
        """Start a worker, with one thread and no nanny unless told otherwise; return its name."""
        self.started += 1
        name = f"w{self.started}"
        folder = ["--local-directory", str(self.directory / name), "--no-dashboard"]
        arguments = arguments or ("--no-nanny",)
        self.workers[name] = self._start(
            "worker", *arguments, "--nthreads", "1", "--name", name, *folder
        )
        return name

    def kill(self, name: str) -> None:
        """Kill a worker so that it can say nothing any more."""
        process = self.workers.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> None:
        """Stop a worker, and its nanny if it has one."""
        process = self.workers.pop(name)
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def exactly(self, n_workers: int, client: Client) -> None:
        """Make it `n_workers`, all of them there."""
        while len(self.workers) < n_workers:
            self.add()
        while len(self.workers) > n_workers:
            self.stop(next(iter(self.workers)))
        eventually(lambda: len(client.nthreads()) == n_workers, 60)

    def close(self) -> None:
        """Stop everything."""
        for process in self.workers.values():
            process.terminate()
        for name in [*self.workers]:
            self.stop(name)
        self.workers["scheduler"] = self.scheduler
        self.stop("scheduler")


@contextlib.contextmanager
def cluster_by_hand(directory: Path, n_workers: int) -> Iterator[ByHand]:
    """Start a scheduler and workers by hand."""
    cluster = ByHand(directory)
    try:
        for _ in range(n_workers):
            cluster.add()
        yield cluster
    finally:
        cluster.close()


def within(seconds: float, function: Callable[..., Any], *args: Any) -> Any:
    """Call in a daemon thread, so that a hang becomes an error and the tests still end."""
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.extend((True, function(*args)))
        except BaseException as error:
            outcome.extend((False, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"still running after {seconds} s"
    if not outcome[0]:
        raise outcome[1]
    return outcome[1]


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until a condition holds: a cluster forgets tasks a moment after their release."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def tasks(client: Client) -> dict[str, str]:
    """Return the state of every task that the scheduler knows, by key."""
    return client.run_on_scheduler(
        lambda dask_scheduler: {str(k): task.state for k, task in dask_scheduler.tasks.items()}
    )


def computed(client: Client) -> dict[str, int]:
    """Return how many tasks came into memory so far, by what their key begins with."""

    def log(dask_scheduler: Any) -> list[Any]:
        return [entry[0] for entry in dask_scheduler.transition_log if entry[2] == "memory"]

    counts: dict[str, int] = {}
    for key in client.run_on_scheduler(log):
        counts[key_split(key)] = counts.get(key_split(key), 0) + 1
    return counts


def forget_log(client: Client) -> None:
    """Begin to count anew."""
    client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_log.clear())


def counted(array: da.Array, path: Path) -> da.Array:
    """Return the array; every time a chunk of it is computed, `path` grows by one byte."""
    name = str(path)

    def count(block: Any) -> Any:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, b"x")
        os.close(file)
        return block

    return array.map_blocks(count, dtype=array.dtype, meta=array._meta)


def size(path: Path) -> int:
    """Return how often chunks were computed."""
    return path.stat().st_size if path.exists() else 0
