"""A Dask cluster: parts as tasks, sums in a fixed tree on the workers.

One task per part and pass, never one per chunk: a task costs the scheduler
0.3 ms and the worker 1 ms. Parameters and parts travel as tasks that return
their argument, so that a lost worker's copy is made again, which scattered data
are not. No task is tied to a worker. Measurements: `docs/architecture.md`, "Dask".
"""

from __future__ import annotations

import contextlib
import sys
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import dask
import numpy as np
from dask.base import get_scheduler

from emdash.chunk import Chunk
from emdash.engines.base import Engine, RowTask, Task, fold, part_length, run_part
from emdash.engines.local import LocalEngine, inside_a_task
from emdash.sources.base import as_rows
from emdash.sources.dask import DaskPart, DaskSource
from emdash.sources.shared import Compute

__all__ = ["DaskEngine"]

T = TypeVar("T")

PARTS_PER_THREAD = 4
"""Tasks per worker thread and pass, at most."""

FAN_IN = 8
"""Partial sums added by one task; a power of two keeps the order of `fold`."""

PATIENCE = 30.0
"""Seconds without a result after which a cluster without workers is mentioned."""


def identity(value: T) -> T:
    """Return the argument: how parameters and parts travel as recomputable tasks."""
    return value


def run(task: Task, part: DaskPart, persisted: list[Any]) -> Any:
    """Fold the task over one part with one thread; the worker's threads are the parallelism."""
    return run_part(task, part.attach(persisted), n_threads=1)


def add(partial_sums: Sequence[T]) -> T:
    """Add neighbouring partial sums."""
    return fold(partial_sums)


@dataclass(frozen=True)
class BlockTask:
    """A question with one answer per row, and where in the rows the blocks start."""

    task: RowTask
    starts: list[int | None]


def apply_to_block(block: Any, question: BlockTask, block_id: tuple[int, ...] = ()) -> Any:
    """Return the answers for one block of a Dask array."""
    index = block_id[0]
    rows = as_rows(block, block.shape[1], f"chunk {index} of X")
    return question.task(Chunk(rows, index, question.starts[index]), 1)


def current_client(array: Any) -> Any | None:
    """Return the distributed client that would compute this collection, or None.

    Inside a task of a worker there is none: a one-threaded worker that waits
    for tasks of its own would wait for ever.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None or inside_a_task():
        return None
    if dask.config.get("scheduler", None) in (None, "distributed", "dask.distributed"):
        with contextlib.suppress(ValueError):  # there is none
            _refuse_asynchronous(distributed.Client.current())
    client = getattr(get_scheduler(collections=[array]), "__self__", None)
    return client if isinstance(client, distributed.Client) else None


def _refuse_asynchronous(client: Any) -> None:
    if client.asynchronous:
        raise TypeError(
            f"{client} is asynchronous, but fit waits for its result: use a synchronous client, "
            "distributed.Client(address), or run fit in a thread, asyncio.to_thread(model.fit, X)"
        )


def wait_for(future: Any, client: Any) -> Any:
    """Wait for a future and return it; if it takes long because there are no workers, say so.

    Raises
    ------
    Exception
        What its task raised.
    """
    from distributed import wait

    while True:
        try:
            wait(future, timeout=PATIENCE)
        except TimeoutError:
            if not client.nthreads():
                warnings.warn(f"{client} has no workers: waiting for one", stacklevel=2)
        else:
            return future if future.status == "finished" else future.result()  # raises


class DaskEngine(Engine):
    """Run tasks over Dask arrays with whatever would compute them.

    With a distributed client, on its cluster; otherwise on this machine, with
    one thread under the synchronous scheduler. One engine serves one fit: it
    keeps the plan of its source on the cluster between passes.

    Parameters
    ----------
    n_threads : int or None
        Largest number of threads on this machine; the cluster's own threads
        are counted by the cluster.
    """

    def __init__(self, n_threads: int | None = None) -> None:
        self.n_threads = n_threads
        self.name = uuid.uuid4().hex[:8]
        self.passes = 0
        self._plan: list[tuple[Any, list[Any]]] = []
        self._planned: tuple[Any, ...] = ()
        self._shared: list[Any] = []

    def total(self, task: Task, source: Any) -> Any:
        """Run `task` on every chunk and add the answers, on the cluster if there is one."""
        client = current_client(source.array)
        if client is None:
            return self._local(source).total(task, source)
        futures: list[Any] = []
        try:
            return wait_for(self._submit(client, task, source, futures), client).result()
        except BaseException as error:
            _advise(error)
            self._plan, self._planned = [], ()
            with contextlib.suppress(Exception):  # the error that matters is the other one
                client.cancel([*futures, *self._shared], force=True)
            raise
        finally:
            futures.clear()

    def _local(self, source: DaskSource) -> LocalEngine:
        get = get_scheduler(collections=[source.array])
        alone = getattr(get, "__name__", "") == "get_sync"
        return LocalEngine(1 if alone else self.n_threads)

    def _submit(self, client: Any, task: Task, source: DaskSource, futures: list[Any]) -> Any:
        """Submit one pass; every future is noted in `futures` and the last one returned."""
        self.passes += 1

        def submit(kind: str, place: str, function: Any, *args: Any) -> Any:
            key = f"emdash-{kind}-{self.name}-{self.passes}-{place}"
            futures.append(client.submit(function, *args, key=key, pure=False))
            return futures[-1]

        parts = self._parts(client, source, submit)
        parameters = submit("parameters", "0", identity, task)
        row = [
            submit("estep", str(i), run, parameters, part, persisted)
            for i, (part, persisted) in enumerate(parts)
        ]
        level = 0
        while len(row) > 1 or level == 0:
            level += 1
            row = [
                submit("reduce", f"{level}-{i}", add, row[i : i + FAN_IN])
                for i in range(0, len(row), FAN_IN)
            ]
        return row[0]

    def _parts(self, client: Any, source: DaskSource, submit: Any) -> list[tuple[Any, list[Any]]]:
        """Return each part as a future on the cluster, with the persisted results it needs.

        Planned again when workers came or went; the bits of the answer do not
        depend on the plan.
        """
        threads = sum(client.nthreads().values())
        length = part_length(source.n_chunks, PARTS_PER_THREAD * threads)
        if self._planned != (client, source, length):
            detached = [part.detach() for part in source.parts(length, self._compute(client))]
            self._plan = [
                (submit("plan", str(i), identity, part), persisted)
                for i, (part, persisted) in enumerate(detached)
            ]
            self._planned = (client, source, length)
        return self._plan

    def _compute(self, client: Any) -> Compute:
        """Return how to run tasks so that their results stay on the cluster."""

        def compute(tasks: list[Any]) -> list[Any]:
            self._shared = client.compute(tasks)
            return [wait_for(future, client) for future in self._shared]

        return compute

    def each(self, task: RowTask, source: Any) -> Any:
        """Return the answers of `task` as a lazy Dask array with the row chunks of the input."""
        array = source.array
        name = uuid.uuid4().hex
        question = dask.delayed(
            BlockTask(task, source.starts), name=f"emdash-parameters-{name}", traverse=False
        )
        shape = (
            {"chunks": (array.chunks[0], task.row_shape)} if task.row_shape else {"drop_axis": 1}
        )
        return array.map_blocks(
            apply_to_block,
            question,
            dtype=task.dtype,
            meta=np.empty((0,) * (1 + len(task.row_shape)), task.dtype),
            name=f"emdash-predict-{name}",
            **shape,
        )


def _advise(error: BaseException) -> None:
    """Say what to do about a failure of the cluster itself."""
    if type(error).__name__ == "KilledWorker" or isinstance(error, MemoryError):
        error.add_note(
            "A worker holds one chunk of X per thread at a time, and what it takes to compute it. "
            "If they do not fit in its memory, make them smaller, X.rechunk({0: rows}), or give "
            "the workers more"
        )
