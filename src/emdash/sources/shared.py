"""What the chunks of a Dask array have in common, computed once per fit.

``(x - x.mean(0)) / x.std(0)`` makes every chunk depend on two reductions over
the whole table. As chunks are computed apart from each other, and again in
every pass, each would repeat both reductions: work that grows with the square
of the number of chunks. Here such tasks are found and run once; the rest of the
graph then starts from their results. Only small results are kept, because a
large one - a chunk that two others are cut from - would be the data themselves.

Must never know: who runs the tasks.
"""

from __future__ import annotations

import math
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from graphlib import TopologicalSorter
from typing import Any

import dask
from dask._task_spec import DataNode
from dask.delayed import Delayed, delayed
from dask.sizeof import sizeof

__all__ = [
    "LOST",
    "Compute",
    "buried_futures",
    "compute_here",
    "dependencies",
    "is_future",
    "result_of",
    "share",
]

Key = Any
Compute = Callable[[list[Any]], Sequence[Any]]
"""Runs Dask collections and returns their results, or futures of them."""


MOST_BYTES = 16 << 20
"""Largest results that are kept, all together."""

MANY_TASKS = 64
"""Results of more tasks than this are worth keeping; a quarter of a small graph is, too."""

LOST = (
    "X is made of data that are no longer on the cluster and cannot be computed again: they came "
    "from client.scatter and their worker was lost, or were released or cancelled, or lost in a "
    "restart, or persisted on another cluster or by a client that is closed. Make X (and "
    "sample_weight) from what can be read again, such as dask.array.from_zarr, and persist that"
)
"""What to tell who waits for results that nobody has."""

_SEVERAL = object()


class _TooLargeError(Exception):
    """A result is too large to be kept."""


def compute_here(tasks: list[Any]) -> Sequence[Any]:
    """Run Dask collections with the current scheduler."""
    return dask.compute(*tasks)  # type: ignore[no-any-return]


def share(graph: dict[Key, Any], keys: Sequence[Key], compute: Compute) -> dict[Key, Any]:
    """Return the graph with the results of the tasks that many chunks share in their place.

    Parameters
    ----------
    graph : dict
        Nodes and futures by key.
    keys : sequence
        Keys of the chunks.
    compute : callable
        Runs collections where the chunks will be run.
    """
    common = shared_reductions(graph, keys)
    if not common:
        return graph
    most = MOST_BYTES // len(common)
    name = f"emdash-shared-{uuid.uuid4().hex[:8]}"
    tasks = [
        delayed(_bounded)(Delayed(key, graph), most, dask_key_name=f"{name}-{i}")
        for i, key in enumerate(common)
    ]
    try:
        results = compute(tasks)
    except _TooLargeError:
        warnings.warn(
            f"{len(common)} results that several chunks of X need are too large to keep: every "
            "pass computes them again for each of these chunks. If that takes long, give "
            "X.persist(), or write X to a file or a Zarr array first and fit to that",
            stacklevel=2,
        )
        return graph
    known = zip(common, results, strict=True)
    return {**graph, **{k: v if is_future(v) else DataNode(k, v) for k, v in known}}


def is_future(task: Any) -> bool:
    """Tell whether a node of a graph is a future, without importing distributed."""
    return type(task).__module__.startswith("distributed.") and hasattr(task, "key")


def buried_futures(graph: Mapping[Key, Any]) -> dict[Key, Any]:
    """Return futures of the results that tasks refer to but the graph does not hold.

    ``dask.optimize`` leaves such a graph if it is given an array that was persisted.
    """
    keys = {key for task in graph.values() for key in getattr(task, "dependencies", ())}
    missing = keys - graph.keys()
    if not missing:
        return {}
    from distributed import Future

    return {key: Future(key) for key in missing}


def result_of(future: Any) -> Any:
    """Return the result of a future of this process, or of one that belongs to no client.

    The latter came inside the argument of a task, or was buried: Dask finds the
    result by its key, and steps aside meanwhile if it needs this thread.

    Raises
    ------
    RuntimeError
        If it is no longer there.
    """
    if future.client is None:
        return delayed(_bounded)(Delayed(future.key, {future.key: future}), math.inf).compute()
    with suppress(CancelledError):
        if future.client.status != "closed":
            return future.result()
    raise RuntimeError(LOST)


def dependencies(graph: Mapping[Key, Any], key: Key) -> set[Key]:
    """Return the keys that a node of a graph needs; a future, which equals its key, none."""
    return set() if is_future(graph[key]) else set(graph[key].dependencies)


def _bounded(value: Any, most: float) -> Any:
    """Return the value unless it takes more bytes than `most`."""
    if sizeof(value) > most:
        raise _TooLargeError
    return value


def shared_reductions(graph: Mapping[Key, Any], keys: Sequence[Key]) -> list[Key]:
    """Return the tasks that several chunks need and that are made of many tasks themselves.

    One sweep from the chunks to the roots: what only a found task needs is not
    looked at again, so that in the example above the chunks of ``x`` belong to
    one chunk each.
    """
    needs = {key: dependencies(graph, key) for key in graph}
    many = min(len(graph) // 4, MANY_TASKS)
    owner: dict[Key, Any] = {key: index for index, key in enumerate(keys)}
    found = []
    for key in reversed(list(TopologicalSorter(needs).static_order())):
        mine = owner.get(key)
        if mine is None:
            continue
        if mine is _SEVERAL and _takes_more_tasks(needs, key, many):
            found.append(key)
            continue
        for other in needs[key]:
            owner[other] = mine if owner.get(other, mine) == mine else _SEVERAL
    return found


def _takes_more_tasks(needs: Mapping[Key, set[Key]], key: Key, many: int) -> bool:
    seen, pending = {key}, [key]
    while pending and len(seen) <= many:
        new = needs[pending.pop()] - seen
        seen |= new
        pending.extend(new)
    return len(seen) > many
