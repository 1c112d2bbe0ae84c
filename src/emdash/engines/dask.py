"""A Dask cluster: parts as tasks, sums in a fixed tree on the workers.

One task per part and pass, never one per chunk: a task costs the scheduler
0.3 ms and the worker 1 ms. Parameters and parts travel as tasks that make
them from their arguments, so that a lost worker's copy is made again, which scattered data
are not. No task is tied to a worker. Measurements: `docs/architecture.md`, "Dask".
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import dask
import numpy as np
from dask.base import get_scheduler, tokenize

from emdash.engines.base import Engine, RowTask, Task, part_length
from emdash.engines.cluster import (
    check_open,
    current_client,
    explain,
    first_failure,
    sizes,
    wait_for,
)
from emdash.engines.local import LocalEngine
from emdash.engines.memory import MemoryLimit
from emdash.engines.worker import (
    BlockTask,
    Timed,
    add,
    apply_to_block,
    apply_to_partition,
    hold,
    identity,
    run,
    unpickle,
)
from emdash.sources.dask import DaskSource
from emdash.sources.shared import Compute

__all__ = ["DaskEngine"]

PARTS_PER_THREAD = 4
"""Tasks per worker thread and pass, at most."""

FAN_IN = 8
"""Partial sums added by one task; a power of two keeps the order of `fold`."""

PIECE_BYTES = 4 << 20
"""Largest piece of the parameters in one message; Dask warns of graphs over 10 MB."""

HELD_BYTES = 8 << 20
"""Persisted results that a part holds on to; with more it asks for them in every pass.

Each costs the scheduler and the worker 60 microseconds, which does not matter when they are large.
"""


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
    memory : MemoryLimit or None
        What passes on this machine may take; those of workers are theirs to limit.

    Attributes
    ----------
    imbalance : float
        Wall time of the slowest part of the last pass over the mean of all, at
        least 1; exactly 1 before the first pass and on this machine.
    """

    def __init__(self, n_threads: int | None = None, memory: MemoryLimit | None = None) -> None:
        self.n_threads = n_threads
        self.memory = memory
        self.imbalance = 1.0
        self.name = uuid.uuid4().hex[:8]
        self.passes = 0
        self._client: Any = None
        self._span: dict[str, Any] = {}
        self._plan: list[tuple[Any, list[Any]]] = []
        self._planned: tuple[Any, ...] = ()
        self._detached: list[tuple[Any, list[Any]]] = []
        self._shared: list[Any] = []

    def total(self, task: Task, source: Any) -> Any:
        """Run `task` on every chunk and add the answers, on the cluster if there is one."""
        client = self._client_for(source)
        if client is None:
            return self._local(source).total(task, source)
        futures: list[Any] = []
        try:
            with dask.annotate(**self._span):
                total = self._pass(client, task, source, futures)
        except BaseException as error:
            self._plan, self._planned = [], ()
            cause = next((future for future in futures if future.status == "error"), None)
            try:
                explain(error, client, cause)
                raise
            finally:
                with contextlib.suppress(Exception):  # the error that matters is the other one
                    client.cancel([*futures, *self._shared], force=True)
        finally:
            futures.clear()
        self.imbalance = max(1.0, total.longest * total.n_parts / max(total.seconds, 1e-9))
        return total.value

    def report(self, event: dict[str, Any]) -> None:
        """Log an event under the topic ``"emdash"`` of the cluster, if there is one.

        Parameters
        ----------
        event : dict
            Numbers and strings; ``client.get_events("emdash")`` returns them.
        """
        if self._client is not None:
            self._client.log_event("emdash", event)

    def _client_for(self, source: DaskSource) -> Any | None:
        """Return the client of this fit; a fit on a cluster does not go on elsewhere."""
        if self._client is None:
            self._client = current_client(source.array)
            if self._client is not None:
                from distributed import span

                with span("emdash"):  # one for the whole fit
                    self._span = {"span": dask.get_annotations()["span"]}
        else:
            check_open(self._client)
        return self._client

    def _local(self, source: DaskSource) -> LocalEngine:
        get = get_scheduler(collections=[source.array])
        alone = getattr(get, "__name__", "") == "get_sync"
        engine = LocalEngine(1 if alone else self.n_threads, self.memory)
        engine.on_rows = self.on_rows
        return engine

    def _pass(self, client: Any, task: Task, source: DaskSource, futures: list[Any]) -> Timed:
        """Run one pass; every future is noted in `futures`."""
        self.passes += 1

        def submit(kind: str, function: Any, *args: Sequence[Any]) -> list[Any]:
            # all at once: a message for each costs the client a millisecond
            keys = [f"emdash-{kind}-{self.name}-{self.passes}-{i}" for i in range(len(args[0]))]
            made = client.map(function, *args, key=keys, pure=False)
            futures.extend(made)
            return list(made)

        plan = self._parts(client, source, submit)
        (parameters,) = submit("parameters", unpickle, [_pieces(task, submit)])
        parts = submit("estep", run, [parameters] * len(plan), *zip(*plan, strict=True))
        total = _add_up(parts, submit)
        wait_for(total, client, self._watch(parts, source))
        if total.status == "error":
            total = first_failure(parts, client) or total
        result: Timed = total.result()  # or raises
        return result

    def _watch(self, parts: list[Any], source: DaskSource) -> Callable[[], object] | None:
        """Return what tells of the rows of parts that have come to their end, if anybody asks."""
        on_rows = self.on_rows
        length = self._planned[2]
        bounds = [*source.starts[::length], source.n_rows]
        if on_rows is None or None in bounds:
            return None
        waiting = dict(zip(parts, np.diff(np.array(bounds)).tolist(), strict=True))

        def look() -> None:
            for part in [part for part in waiting if part.status == "finished"]:
                on_rows(waiting.pop(part))

        return look

    def _parts(self, client: Any, source: DaskSource, submit: Any) -> list[tuple[Any, list[Any]]]:
        """Return each part as a future on the cluster, with the persisted results it needs.

        Planned again when workers came or went, because Dask runs a part where its plan
        is; the bits of the answer do not depend on the plan.
        """
        workers = client.nthreads()
        length = part_length(source.n_chunks, PARTS_PER_THREAD * sum(workers.values()))
        if self._planned[:3] != (client, source, length):
            self._detached = [part.detach() for part in source.parts(length, self._compute(client))]
        if self._planned != (client, source, length, sorted(workers)):
            parts, needed = zip(*self._detached, strict=True)
            small = _which_are_small(needed, client)
            held = [p if is_small else [] for p, is_small in zip(needed, small, strict=True)]
            rest = [[] if is_small else p for p, is_small in zip(needed, small, strict=True)]
            self._plan = list(zip(submit("plan", hold, parts, held), rest, strict=True))
            self._planned = (client, source, length, sorted(workers))
        return self._plan

    def _compute(self, client: Any) -> Compute:
        """Return how to run tasks so that their results stay on the cluster."""

        def compute(tasks: list[Any]) -> list[Any]:
            self._shared = client.compute(tasks)
            wait_for(self._shared, client)
            for future in self._shared:
                if future.status != "finished":
                    future.result()  # raises
            return self._shared

        return compute

    def each(self, task: RowTask, source: Any) -> Any:
        """Return the answers of `task`, lazy and cut like the input.

        A Dask array with the row chunks of an array; for a data frame a series
        or, if a row has several answers, a data frame with its index.
        """
        name = tokenize(task, source.array.name)
        question = dask.delayed(
            BlockTask(task, source.starts), name=f"emdash-parameters-{name}", traverse=False
        )
        if source.frame is not None:
            return _each_partition(source, task, question)
        array = source.array
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


def _each_partition(source: DaskSource, task: RowTask, question: Any) -> Any:
    """Return the answers for a data frame, with its index."""
    pandas = import_module("pandas")
    frame: Any = source.frame
    answers = np.empty((0, *task.row_shape), task.dtype)
    kind = pandas.DataFrame if task.row_shape else pandas.Series
    empty = kind(answers, index=frame._meta.index[:0])
    return frame.astype(source.array.dtype).map_partitions(
        apply_to_partition, question, empty, meta=empty, token="emdash-predict"
    )


def _pieces(task: Task, submit: Any) -> list[Any]:
    """Return the pickle of a task, as it is or cut into pieces that have a message each."""
    from distributed.protocol.pickle import dumps

    data = dumps(task)
    if len(data) <= PIECE_BYTES:
        return [data]
    pieces = [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
    # each in a message of its own
    return [submit(f"parameters-piece{i}", identity, [piece])[0] for i, piece in enumerate(pieces)]


def _add_up(row: list[Any], submit: Any) -> Any:
    """Return the sum of partial sums, added by position."""
    level = 0
    while len(row) > 1 or level == 0:
        level += 1
        row = submit(
            f"reduce-level{level}", add, [row[i : i + FAN_IN] for i in range(0, len(row), FAN_IN)]
        )
    return row[0]


def _which_are_small(groups: Sequence[Sequence[Any]], client: Any) -> list[bool]:
    """Tell which groups of persisted results a part can hold on to."""
    keys = {future.key for group in groups for future in group}
    known = sizes(keys, client) if keys else {}
    too_large = HELD_BYTES + 1
    return [
        bool(group) and sum(known.get(f.key, too_large) for f in group) <= HELD_BYTES
        for group in groups
    ]
