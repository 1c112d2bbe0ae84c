"""A Dask cluster: parts as tasks, sums in a fixed tree on the workers.

One task per part and pass, never one per chunk: a task costs the scheduler
0.3 ms and the worker 1 ms. Parameters and parts travel as tasks that return
their argument, so that a lost worker's copy is made again, which scattered data
are not. No task is tied to a worker. Measurements: `docs/architecture.md`, "Dask".
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from dask.base import get_scheduler

from emdash.chunk import Chunk
from emdash.engines.base import Engine, RowTask, Task, fold, part_length, run_part
from emdash.engines.local import LocalEngine
from emdash.sources.base import as_rows
from emdash.sources.dask import DaskPart, DaskSource

__all__ = ["DaskEngine"]

T = TypeVar("T")

PARTS_PER_THREAD = 4
"""Tasks per worker thread and pass, at most."""

FAN_IN = 8
"""Partial sums added by one task; a power of two keeps the order of `fold`."""


def identity(value: T) -> T:
    """Return the argument: how parameters and parts travel as recomputable tasks."""
    return value


@dataclass(frozen=True)
class Keys:
    """Keys of persisted results, hidden from Dask, which looks for keys inside arguments."""

    values: Sequence[Any]


def run(task: Task, part: DaskPart, keys: Keys, persisted: list[Any]) -> Any:
    """Fold the task over one part with one thread; the worker's threads are the parallelism."""
    return run_part(task, part.attach(keys.values, persisted), n_threads=1)


def apply_to_block(block: Any, task: RowTask, block_id: tuple[int, ...] = ()) -> Any:
    """Return the answers for one block of a Dask array."""
    rows = as_rows(block, block.shape[1], f"chunk {block_id[0]} of X")
    return task(Chunk(rows, block_id[0], None), 1)


def add(partial_sums: Sequence[T]) -> T:
    """Add neighbouring partial sums."""
    return fold(partial_sums)


def current_client(array: Any) -> Any | None:
    """Return the distributed client that would compute this collection, or None.

    Inside a task of a worker there is none: a one-threaded worker that waits
    for tasks of its own would wait for ever.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    client = getattr(get_scheduler(collections=[array]), "__self__", None)
    if not isinstance(client, distributed.Client) or _inside_a_task(distributed):
        return None
    if client.asynchronous:
        raise TypeError(
            f"{client} is asynchronous, but fit waits for its result; "
            "use a synchronous client, distributed.Client(address)"
        )
    return client


def _inside_a_task(distributed: Any) -> bool:
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True


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
        self._plan: tuple[Any, Any, list[tuple[Any, Keys, list[Any]]]] | None = None

    def total(self, task: Task, source: Any) -> Any:
        """Run `task` on every chunk and add the answers, on the cluster if there is one."""
        client = current_client(source.array)
        if client is None:
            return self._local(source).total(task, source)
        futures: list[Any] = []
        try:
            return self._submit(client, task, source, futures).result()
        except BaseException:
            client.cancel(futures, force=True)
            self._plan = None
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

        parts = self._planned(client, source)
        parameters = submit("parameters", "0", identity, task)
        row = [
            submit("estep", str(i), run, parameters, part, keys, persisted)
            for i, (part, keys, persisted) in enumerate(parts)
        ]
        level = 0
        while len(row) > 1 or level == 0:
            level += 1
            row = [
                submit("reduce", f"{level}-{i}", add, row[i : i + FAN_IN])
                for i in range(0, len(row), FAN_IN)
            ]
        return row[0]

    def _planned(self, client: Any, source: DaskSource) -> list[tuple[Any, Keys, list[Any]]]:
        """Return each part as a future on the cluster, with the persisted results it needs."""
        if self._plan is None or self._plan[0] is not client or self._plan[1] is not source:
            threads = max(1, sum(client.nthreads().values()))
            length = part_length(source.n_chunks, PARTS_PER_THREAD * threads)
            plan = []
            for i, part in enumerate(source.parts(length)):
                detached, keys, persisted = part.detach()
                key = f"emdash-plan-{self.name}-{self.passes}-{i}"
                future = client.submit(identity, detached, key=key, pure=False)
                plan.append((future, Keys(keys), persisted))
            self._plan = (client, source, plan)
        return self._plan[2]

    def each(self, task: RowTask, source: Any) -> Any:
        """Return the answers of `task` as a lazy Dask array with the row chunks of the input."""
        array = source.array
        shape = {"chunks": (array.chunks[0], task.row_shape)} if task.row_shape else {"drop_axis": 1}
        return array.map_blocks(
            apply_to_block,
            task,
            dtype=task.dtype,
            meta=np.empty((0,) * (1 + len(task.row_shape)), task.dtype),
            name=f"emdash-predict-{uuid.uuid4().hex}",
            **shape,
        )
