"""Dask arrays, chunk by chunk: the graph of each chunk is cut out and run where it is needed.

Nothing is persisted: a chunk that the user did not persist is computed inside
the task that consumes it and forgotten. Chunks that were persisted on a cluster
appear in the graph as futures; they are kept apart so that an engine can hand
them to its tasks as arguments.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import dask
import numpy as np
from dask._task_spec import Task, TaskRef, convert_legacy_graph
from dask.base import normalize_token

from emdash.chunk import Chunk
from emdash.sources.base import Source, as_rows, check_dtype
from emdash.sources.collections import (
    as_array,
    is_frame,
    join_columns,
    refuse_transfers,
    weights_like,
)
from emdash.sources.recipe import Recipe, recipes
from emdash.sources.shared import (
    Compute,
    buried_futures,
    compute_here,
    is_future,
    result_of,
    share,
)
from emdash.sources.weighted import as_weights, check_weights

__all__ = ["DaskPart", "DaskSource", "normalize_token"]

Key = Any

REPETITION = 2.0
"""How often a pass may compute a task, on average, before that is mentioned."""


class _Weighted(NamedTuple):
    """A block of rows and the block of their weights, brought together by a task."""

    rows: Any
    weights: Any


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
    _given: dict[Key, Any] = field(default_factory=dict)
    _recipes: list[Recipe] = field(default_factory=list, repr=False)  # made when first called

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recipes": []}

    def detach(self) -> tuple[DaskPart, list[Any]]:
        """Return the part without its futures, and the futures."""
        part = replace(self, futures=dict.fromkeys(self.futures), _recipes=[])
        return part, list(self.futures.values())

    def attach(self, values: Sequence[Any]) -> DaskPart:
        """Return the part with persisted results in the places of its futures."""
        # the recipes stay with the original, which is there for the next pass
        return replace(self, futures={}, _given=dict(zip(self.futures, values, strict=True)))

    def __call__(self) -> Iterator[Chunk]:
        """Compute one chunk after the other, in this thread."""
        values = {**self._given}
        todo = self._prepared()
        for offset, index in enumerate(range(self.first, self.first + len(self.keys))):
            try:
                block = todo[offset].compute(values)
            except Exception as error:
                error.add_note(f"while chunk {index} of the Dask array X was computed")
                raise
            if todo[offset].keeps_too_much(values, block):
                values = {**self._given}
                todo = self._prepare_again(offset + 1)
            chunk = self._chunk(block, index, self.starts[offset])
            del block
            yield chunk
            del chunk  # before the next one is computed

    def _chunk(self, block: Any, index: int, start: int | None) -> Chunk:
        rows, weights = block if isinstance(block, _Weighted) else (block, None)
        rows = as_rows(rows, self.n_features, f"chunk {index} of X")
        if weights is None:
            return Chunk(rows, index, start)
        weights = as_weights(weights, len(rows), f"chunk {index} of ")
        return check_weights(Chunk(rows, index, start, weights))

    def _nodes(self) -> dict[Key, Any]:
        """Return the graph; futures of this process become tasks that wait for them."""
        waiting = {key: Task(key, partial(result_of, value)) for key, value in self.futures.items()}
        return {**self.graph, **waiting}

    def _prepared(self) -> list[Recipe]:
        if not self._recipes:
            self._recipes[:] = recipes(self._nodes(), self.keys, self._given)
        return self._recipes

    def _prepare_again(self, offset: int) -> list[Recipe]:
        """Return recipes that keep less, beginning anew at a chunk; from now on all do."""
        self._recipes[:] = recipes(self._nodes(), self.keys, self._given, several=False)
        rest = recipes(self._nodes(), self.keys[offset:], self._given, several=False)
        return [*self._recipes[:offset], *rest]


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
            pending.extend(task.dependencies)
    return tasks, futures


def _joined(graphs: Sequence[Mapping[Key, Any]]) -> dict[Key, Any]:
    return {key: task for graph in graphs for key, task in graph.items()}


class DaskSource(Source):
    """A two-dimensional Dask collection, chunked along its rows.

    Parameters
    ----------
    collection : dask.array.Array, dask.dataframe.DataFrame, or xarray.DataArray that holds one
        Of shape (n, d). Row counts may be unknown; columns in several chunks are joined.

    Attributes
    ----------
    array : dask.array.Array
        What is computed.
    frame : dask.dataframe.DataFrame or None
        What was given, if it has an index that answers should keep.
    weights : dask.array.Array or None
        Weights of the rows, in the same chunks.

    Raises
    ------
    TypeError
        For other Dask collections, with the call that makes an array of them.
    ValueError
        If it is not two-dimensional, or its type or blocks are not plain real numbers.
    """

    collection = True
    n_chunks: int
    weights: Any = None

    def __init__(self, collection: Any) -> None:
        self.frame = collection if is_frame(collection) else None
        if self.frame is not None and all(isinstance(name, str) for name in self.frame.columns):
            self.feature_names = list(self.frame.columns)
        array = as_array(collection)
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
        self.array = join_columns(array) if array.numblocks[1] > 1 else array
        self.n_features, self.dtype = int(array.shape[1]), array.dtype
        self.n_chunks = array.numblocks[0]
        self.graph_name = str(self.array.name)
        self._keys: list[Key] = [row[0] for row in self.array.__dask_keys__()]
        self._graph: dict[Key, Any] | None = None
        self._count(array.chunks[0])

    def _count(self, lengths: Sequence[float]) -> None:
        """Note the lengths of the chunks and where each starts, up to the first unknown one."""
        ends = np.cumsum(np.asarray(lengths, dtype=float))
        starts = [0.0, *ends[:-1]]
        self.starts = [None if math.isnan(start) else int(start) for start in starts]
        total = ends[-1] if len(ends) else 0.0
        self.n_rows = None if math.isnan(total) else int(total)
        self._most_rows = 0 if self.n_rows is None else int(max(lengths, default=0))
        self.chunk_memory = self._chunk_memory()
        self._cut: dict[tuple[int, int], DaskPart] = {}  # parts keep what they have prepared

    def _chunk_memory(self) -> int:
        """Return the bytes of the longest chunk: as its task leaves it, converted, and weights.

        Blocks that are in the graph as arrays are there already. What a block is computed from
        nobody can tell.
        """
        layers = getattr(self.array.dask, "layers", {})
        block = getattr(layers.get(self.array.name), "mapping", {}).get((self.array.name, 0, 0))
        width = 0 if isinstance(block, np.ndarray) else self.dtype.itemsize
        width += 0 if self.dtype in (np.float64, np.float32) else 8
        return self._most_rows * (self.n_features * width + (0 if self.weights is None else 8))

    def counted(self, lengths: Sequence[int]) -> DaskSource:
        """Return the same array with the length of every chunk known."""
        source = copy.copy(self)
        source._count(lengths)
        return source

    def weighted(self, weights: Any) -> DaskSource:
        """Return the same array with weights for its rows.

        Parameters
        ----------
        weights : array-like, Dask array or series of shape (n,)
            Each block is loaded with the block of X that it belongs to, in one task.
        """
        source = copy.copy(self)
        source.weights = weights_like(weights, self.array)
        source._keys = [("emdash-weighted", index) for index in range(self.n_chunks)]
        source.chunk_memory = source._chunk_memory()
        return source

    def _pairs(self) -> dict[Key, Any]:
        """Return the tasks that bring rows and weights together."""
        if self.weights is None:
            return {}
        rows, weights = self.array.__dask_keys__(), self.weights.__dask_keys__()
        pairs = zip(self._keys, rows, weights, strict=True)
        return {key: Task(key, _Weighted, TaskRef(row[0]), TaskRef(w)) for key, row, w in pairs}

    def _tasks(self) -> dict[Key, Any]:
        """Return the tasks of all chunks, optimised where that does no harm.

        It would bury futures of persisted results inside fused tasks, and fuse what rows and
        weights are both made of into the tasks of each, to be done twice.
        """
        collections = [self.array] if self.weights is None else [self.array, self.weights]
        graphs = [dict(collection.__dask_graph__()) for collection in collections]
        graph = _joined(graphs)
        refuse_transfers(graph)
        futures = buried_futures(graph)
        futures.update((key, task) for key, task in graph.items() if is_future(task))
        if not futures and len(graph) == sum(map(len, graphs)):
            graph = _joined([found.__dask_graph__() for found in dask.optimize(*collections)])
        nodes = convert_legacy_graph({k: v for k, v in graph.items() if k not in futures})
        return {**nodes, **futures, **self._pairs()}

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
        parts = [
            self._part(first, last, compute) for first, last in zip([0, *ends], ends, strict=False)
        ]
        self._warn_of_repetition(parts)
        return parts

    def _part(self, first: int, last: int, compute: Compute) -> DaskPart:
        if self._graph is None:
            self._graph = share(self._tasks(), self._keys, compute)
        if (first, last) not in self._cut:
            keys = self._keys[first:last]
            tasks, futures = _ancestors(self._graph, keys)
            starts = self.starts[first:last]
            part = DaskPart(keys, tasks, futures, first, starts, self.n_features)
            self._cut[first, last] = part
        return self._cut[first, last]

    def _warn_of_repetition(self, parts: Sequence[DaskPart]) -> None:
        """Say so when parts, which are computed apart, repeat most of each other's tasks."""
        assert self._graph is not None
        needed = set().union(*(part.graph for part in parts))
        times = sum(len(part.graph) for part in parts) / max(1, len(needed))
        if times >= REPETITION and not self._warned:
            self._warned = True
            warnings.warn(
                f"the chunks of the Dask array X depend on each other: every pass computes each "
                f"of its tasks {times:.1f} times. If they take long, call X.persist() first, or "
                "write X to a file or a Zarr array and fit to that",
                stacklevel=2,
            )

    _warned = False

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Compute successive chunks in this thread."""
        yield from self._part(first, self.n_chunks if last is None else last, compute_here)()
