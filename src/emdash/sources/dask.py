"""Dask arrays, chunk by chunk: the graph of each chunk is cut out and run where it is needed.

Nothing is persisted: a chunk that the user did not persist is computed inside
the task that consumes it and forgotten. Chunks that were persisted on a cluster
appear in the graph as futures; they are kept apart so that an engine can hand
them to its tasks as arguments.
"""

from __future__ import annotations

import copy
import math
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
from dask.core import quote
from dask.local import get_sync

from emdash.chunk import Chunk
from emdash.sources.base import Source, as_rows, check_dtype
from emdash.sources.shared import (
    Compute,
    buried_futures,
    compute_here,
    dependencies,
    is_future,
    result_of,
    share,
)

__all__ = ["DaskPart", "DaskSource"]

Key = Any


@dataclass
class DaskPart:
    """A run of neighbouring chunks of a Dask array. Picklable; call it to load them in turn.

    Attributes
    ----------
    keys : list
        Key of each chunk in the graph.
    graph : dict
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
    graph: dict[Key, Any]
    futures: dict[Key, Any]
    first: int
    starts: list[int | None]
    n_features: int

    def detach(self) -> tuple[DaskPart, list[Any]]:
        """Return the part without its futures, and the futures."""
        part = copy.copy(self)
        part.futures = dict.fromkeys(self.futures)
        return part, list(self.futures.values())

    def attach(self, values: Sequence[Any]) -> DaskPart:
        """Return the part with persisted results in the places of its futures."""
        part = copy.copy(self)
        results = zip(self.futures, map(quote, values), strict=True)
        part.graph, part.futures = {**self.graph, **dict(results)}, {}
        return part

    def __call__(self) -> Iterator[Chunk]:
        """Compute one chunk after the other, in this thread."""
        kept: dict[Key, Any] = {}
        for offset in range(len(self.keys)):
            yield self._load(offset, kept)

    def _load(self, offset: int, kept: dict[Key, Any]) -> Chunk:
        """Compute one chunk; `kept` goes from each to the next."""
        index = self.first + offset
        try:
            block = self._compute(offset, kept)
        except Exception as error:
            error.add_note(f"while chunk {index} of the Dask array X was computed")
            raise
        rows = as_rows(block, self.n_features, f"chunk {index} of X")
        return Chunk(rows, index, self.starts[offset])

    def _compute(self, offset: int, kept: dict[Key, Any]) -> Any:
        """Compute one chunk; of what was computed for it, nothing outlives it but `kept`."""
        key = self.keys[offset]
        tasks, futures = _ancestors(ChainMap(kept, self.futures, self.graph), [key])
        tasks.update((name, quote(result_of(future))) for name, future in futures.items())
        again = self._needed_again(tasks, offset + 1)
        # no callbacks: Dask would swap its global list of them under other threads
        block, *results = get_sync(tasks, [key, *again], callbacks=())
        kept.clear()
        kept.update(zip(again, map(quote, results), strict=True))
        return block

    def _needed_again(self, tasks: dict[Key, Any], offset: int) -> list[Key]:
        """Return the one task that the next chunk needs, too, such as what both are cut from.

        One, because that was in memory with this chunk anyway. Several might be
        all of the data: columns that are stored apart.
        """
        found: set[Key] = set()
        pending = self.keys[offset : offset + 1]
        while pending and len(found) < 2:
            key = pending.pop()
            if key not in tasks:
                pending.extend(dependencies(self.graph, key) if key in self.graph else ())
            elif hasattr(self.graph.get(key), "func"):  # neither data nor a path to them
                found.add(key)
        return list(found) if len(found) == 1 else []


def _ancestors(
    graph: Mapping[Key, Any], keys: Sequence[Key]
) -> tuple[dict[Key, Any], dict[Key, Any]]:
    """Return the tasks that `keys` depend on, and apart from them the persisted results."""
    tasks: dict[Key, Any] = {}
    futures: dict[Key, Any] = {}
    pending = list(keys)
    while pending:
        key = pending.pop()
        if key in tasks or key in futures:
            continue
        task = graph[key]
        if is_future(task):
            futures[key] = task
        else:
            tasks[key] = task
            pending.extend(dependencies(graph, key))
    return tasks, futures


def _as_array(collection: Any) -> Any:
    """Return the Dask array that a collection is or holds."""
    kind = type(collection)  # a Delayed object itself has every attribute
    if hasattr(kind, "numblocks"):
        return collection
    if hasattr(kind, "data") and hasattr(type(collection.data), "numblocks"):  # xarray
        return collection.data
    advice = (
        "X.to_dask_array(lengths=True)"
        if hasattr(kind, "to_dask_array")
        else "dask.array.from_delayed or dask.array.concatenate"
    )
    raise TypeError(f"X is a lazy Dask {kind.__name__}, not a Dask array: make one with {advice}")


class DaskSource(Source):
    """A two-dimensional Dask array, chunked along its rows.

    Parameters
    ----------
    array : dask.array.Array of shape (n, d), or an xarray object that holds one
        Row counts may be unknown; columns in several chunks are joined.

    Raises
    ------
    TypeError
        For other Dask collections, with the call that makes an array of them.
    ValueError
        If it is not two-dimensional, or its type or blocks are not plain real numbers.
    """

    collection = True
    n_chunks: int

    def __init__(self, array: Any) -> None:
        array = _as_array(array)
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
        self._keys: list[Key] = [row[0] for row in array.__dask_keys__()]
        self._graph: dict[Key, Any] | None = None
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

    def _tasks(self) -> dict[Key, Any]:
        """Return the tasks of all chunks, optimised unless persisted results hang on them."""
        graph = dict(self.array.__dask_graph__())
        futures = buried_futures(graph)
        if futures or any(is_future(task) for task in graph.values()):
            # not optimised: that would bury the futures inside fused tasks
            return {**graph, **futures}
        (optimized,) = dask.optimize(self.array)
        return dict(optimized.__dask_graph__())

    def parts(self, length: int, compute: Compute = compute_here) -> list[DaskPart]:
        """Cut the array into runs of `length` chunks, each with its own tasks only.

        Parameters
        ----------
        length : int
            Chunks per part, a power of two.
        compute : callable
            Runs, in the first call, what the chunks have in common.
        """
        ends = [*range(length, self.n_chunks, length), self.n_chunks]
        return [
            self._part(first, last, compute) for first, last in zip([0, *ends], ends, strict=False)
        ]

    def _part(self, first: int, last: int | None, compute: Compute) -> DaskPart:
        if self._graph is None:
            self._graph = share(self._tasks(), self._keys, compute)
        run = slice(first, last)
        tasks, futures = _ancestors(self._graph, self._keys[run])
        return DaskPart(self._keys[run], tasks, futures, first, self.starts[run], self.n_features)

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Compute successive chunks in this thread."""
        yield from self._part(first, last, compute_here)()
