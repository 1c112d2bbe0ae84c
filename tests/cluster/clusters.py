"""Clusters of real processes on the loopback interface, and what the tests ask of them."""

from __future__ import annotations

import contextlib
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
def local_cluster(n_workers: int, threads_per_worker: int = 1) -> Iterator[LocalCluster]:
    """Start a cluster of processes; two at a time would warn of the same port, but for ":0"."""
    with (
        dask.config.set({"distributed.admin.low-level-log-length": 100_000}),  # see `computed`
        LocalCluster(
            n_workers=n_workers, threads_per_worker=threads_per_worker, dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster


@contextlib.contextmanager
def cluster_by_hand(directory: Path, n_workers: int) -> Iterator[str]:
    """Start ``dask scheduler`` and ``dask worker`` by hand; yield the scheduler file."""
    program = str(Path(sys.executable).with_name("dask"))
    file = str(directory / "scheduler.json")
    where = ["--scheduler-file", file, "--host", "127.0.0.1", "--no-dashboard"]
    commands = [[program, "scheduler", *where, "--port", "0"]]
    for i in range(n_workers):
        folder = str(directory / f"worker-{i}")
        commands.append(
            [
                program,
                "worker",
                *where,
                "--nthreads",
                "1",
                "--no-nanny",
                "--local-directory",
                folder,
            ]
        )
    processes = []
    try:
        for command in commands:
            with open(directory / "log.txt", "a") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        yield file
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


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
