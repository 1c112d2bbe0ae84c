"""Dask arrays, chunk by chunk: the graph of each chunk is cut out and run where it is needed.

Nothing is persisted: a chunk that the user did not persist is computed inside
the task that consumes it and forgotten. Chunks that were persisted on a cluster
appear in the graph as futures; they are kept apart so that an engine can hand
them to its tasks as arguments.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dask
import numpy as np
from dask.core import get_dependencies
from dask.local import get_sync

from emdash.chunk import Chunk
from emdash.sources.base import Part, Source, as_rows, check_dtype

__all__ = ["DaskPart", "DaskSource"]

Key = Any


class Graph(dict[Key, Any]):
    """A culled graph that Dask must not look into while it travels inside a task."""

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return tuple(sorted(map(str, self)))


@dataclass
class DaskPart:
    """A run of neighbouring chunks of a Dask array. Picklable; call it to load them in turn.

    Attributes
    ----------
    keys : list
        Key of each chunk in the graph.
    graph : Graph
        The tasks that make these chunks and no others.
    futures : dict
        Persisted results that the tasks begin from, by key. Whoever sends the
        part elsewhere sends them beside it (see :meth:`detach`).
    first : int
        Index of the first chunk.
    starts : list of int or None
        Row number where each chunk starts, as far as known.
    n_features : int
        Number of columns.
    """

    keys: list[Key]
    graph: Graph
    first: int
    starts: list[int | None]
    n_features: int
    futures: dict[Key, Any] = field(default_factory=dict)

    def detach(self) -> tuple[DaskPart, list[Key], list[Any]]:
        """Return the part without its futures, their keys, and the futures."""
        part = copy.copy(self)
        part.futures = {}
        return part, list(self.futures), list(self.futures.values())

    def attach(self, keys: Sequence[Key], values: Sequence[Any]) -> DaskPart:
        """Return the part with persisted results in their places."""
        part = copy.copy(self)
        part.graph = Graph({**self.graph, **dict(zip(keys, values, strict=True))})
        return part

    def __call__(self) -> Iterator[Chunk]:
        """Compute one chunk after the other, in this thread."""
        graph = {**self.graph, **{key: future.result() for key, future in self.futures.items()}}
        for offset, (key, start) in enumerate(zip(self.keys, self.starts, strict=True)):
            index = self.first + offset
            # one chunk's tasks only: nothing computed for it outlives it
            block = get_sync(_ancestors(graph, [key])[0], key)
            yield Chunk(as_rows(block, self.n_features, f"chunk {index} of X"), index, start)


def _ancestors(graph: Mapping[Key, Any], keys: Sequence[Key]) -> tuple[Graph, dict[Key, Any]]:
    """Return the tasks that `keys` depend on, and apart from them the persisted results."""
    tasks, futures = Graph(), {}
    pending = list(keys)
    while pending:
        key = pending.pop()
        if key in tasks or key in futures:
            continue
        task = graph[key]
        if _is_future(task):
            futures[key] = task
        else:
            tasks[key] = task
            pending.extend(get_dependencies(graph, key))
    return tasks, futures


def _is_future(task: Any) -> bool:
    """Tell whether a node is a future, without importing distributed for those who do not use it."""
    return type(task).__module__.startswith("distributed.") and hasattr(task, "key")


class DaskSource(Source):
    """A two-dimensional Dask array, chunked along its rows.

    Parameters
    ----------
    array : dask.array.Array of shape (n, d)
        Row counts may be unknown; columns in several chunks are joined.

    Raises
    ------
    ValueError
        If it is not two-dimensional, or its type or blocks are not plain real numbers.
    """

    collection = True

    def __init__(self, array: Any) -> None:
        if array.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {array.ndim}D array instead: the Dask array X has shape "
                f"{array.shape}. Reshape your data either using X.reshape(-1, 1) or X[:, None] "
                "if it has a single feature"
            )
        check_dtype(array.dtype, "the Dask array X")
        if not isinstance(array._meta, np.ndarray) or isinstance(array._meta, np.ma.MaskedArray):
            raise ValueError(
                f"the blocks of the Dask array X are {type(array._meta).__name__}, expected "
                "numpy.ndarray: convert them with X.map_blocks(lambda block: block.toarray()) "
                "if they are sparse, or X.map_blocks(numpy.ma.filled, numpy.nan) if masked"
            )
        if math.isnan(array.shape[1]):
            raise ValueError(
                "the number of columns of the Dask array X is not known: "
                "call X.compute_chunk_sizes() first"
            )
        if array.numblocks[1] > 1:
            array = array.rechunk({1: -1})
        self.array = array
        self.n_features = int(array.shape[1])
        self.n_chunks = array.numblocks[0]
        self._count(array.chunks[0])

    def _count(self, lengths: Sequence[float]) -> None:
        """Note the lengths of the chunks and where each starts, up to the first unknown one."""
        ends = np.cumsum(np.asarray(lengths, dtype=float))
        starts = [0.0, *ends[:-1]]
        self.starts = [None if math.isnan(start) else int(start) for start in starts]
        total = ends[-1] if len(ends) else 0.0
        self.n_rows = None if math.isnan(total) else int(total)

    def counted(self, lengths: Sequence[int]) -> DaskSource:
        """Return the same array with the length of every chunk known."""
        source = copy.copy(self)
        source._count(lengths)
        return source

    def _graph(self) -> Mapping[Key, Any]:
        """Return the tasks of all chunks, optimised unless persisted results hang on them."""
        graph = dict(self.array.__dask_graph__())
        if any(_is_future(task) for task in graph.values()):
            return graph  # Dask's optimisation would bury the futures inside fused tasks
        (optimized,) = dask.optimize(self.array)
        return dict(optimized.__dask_graph__())

    def parts(self, length: int) -> list[Part]:
        """Cut the array into runs of `length` chunks, each with its own tasks only."""
        graph = self._graph()
        keys = [row[0] for row in self.array.__dask_keys__()]
        parts: list[Part] = []
        for first in range(0, len(keys), length):
            run = slice(first, first + length)
            tasks, futures = _ancestors(graph, keys[run])
            parts.append(
                DaskPart(keys[run], tasks, first, self.starts[run], self.n_features, futures)
            )
        return parts

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Compute successive chunks in this thread."""
        for part in self.parts(1)[first:last]:
            yield from part()
