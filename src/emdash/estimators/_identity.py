"""What a checkpoint is of: the settings that decide where a fit goes, and marks of the data."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emdash.checkpoint import Checkpoint, Keeper
from emdash.chunk import Chunk
from emdash.engines.base import Task
from emdash.engines.memory import MemoryLimit
from emdash.priors import NormalInverseWishart
from emdash.sources.base import Source
from emdash.sources.weighted import ColumnWeightedSource, WeightedSource

if TYPE_CHECKING:
    from emdash.estimators._base import BaseMixture

__all__ = ["Marked", "count", "keeper_for"]

FREE = {
    *("tol", "max_iter", "n_init"),  # may be raised to go on
    *("n_threads", "memory_limit"),  # how, not what
    *("verbose", "verbose_interval", "callback", "checkpoint", "warm_start"),
}
"""Parameters that may differ between a checkpoint and the fit that goes on from it."""

ROWS = 8
"""Rows at either end of the data that are compared."""

LOOK_BYTES = 256 << 20
"""Bytes of rows that are compared, of data larger than that: the first chunk, the last, and others
evenly between. The rows of an array in memory are one chunk, so all are.
"""


def keeper_for(estimator: BaseMixture, source: Source) -> Keeper:
    """Return what keeps the state of a fit.

    With a checkpoint, some chunks of the source are loaded to know the data again; only the first,
    if only iterating tells which one is last. Of a Dask collection none: one chunk may need all
    the others, such as one minus the mean; its first pass tells (:class:`Marked`).
    """
    given = estimator.checkpoint
    if given is None:
        return Keeper(None, {})
    if estimator.warm_start:
        raise ValueError(
            "warm_start goes on from the attributes of this estimator, a checkpoint from those "
            "in its file: choose one. To go on from a checkpoint, raise max_iter or lower tol"
        )
    checkpoint = given if isinstance(given, Checkpoint) else Checkpoint(given)
    cut = MemoryLimit(estimator.memory_limit).cut(source)
    return Keeper(checkpoint, _identity_of(estimator.get_params(deep=False), cut))


def _identity_of(settings: Mapping[str, Any], source: Source) -> dict[str, dict[str, Any]]:
    """Return what tells a fit from others, as values of JSON."""
    return {
        "model": {name: _plain(value) for name, value in settings.items() if name not in FREE},
        "data": {
            "n_features": source.n_features,
            "n_rows": source.n_rows,
            "n_chunks": source.n_chunks,
            "weights": _weights(source),
            "graph": getattr(source, "graph_name", None),
            **({} if source.collection else _look(source)),
        },
    }


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it: arrays by a digest, random states as None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.random.RandomState):
        return None  # the file holds its state
    if isinstance(value, NormalInverseWishart):
        return value.plain()
    return _digest(np.asarray(value, dtype=np.float64))


def _digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _look(source: Source) -> dict[str, list[str]]:
    """Return marks of the rows at either end, from the outside in, and a checksum of chunks.

    A checksum of some chunks is named after how many rows they are: with other chunks it is of
    others, and cannot be compared. That of all rows is the same for any chunks.
    """
    marks: dict[str, list[str]] = {}
    checksum = rows = looked = 0
    ends: Any = ()
    for chunk in _spread(source):
        if not looked:
            marks["first_rows"] = [_digest(row) for row in _with_weights(chunk, slice(ROWS))]
        ends = _with_weights(chunk, slice(None, -ROWS - 1, -1))
        checksum, rows, looked = _checksum(chunk, checksum), rows + len(chunk), looked + 1
        del chunk  # before the next one is loaded
    if source.n_chunks is not None:
        marks["last_rows"] = [_digest(row) for row in ends]
        name = "rows" if looked == source.n_chunks else f"{rows} rows in {looked} chunks"
        marks[name] = [f"{checksum:08x}"]
    return marks


def _spread(source: Source) -> Iterator[Chunk]:
    """Load the first chunk, the last, and others evenly between; only the first of a stream."""
    most = 2
    with closing(source.chunks(0, 1)) as chunks:  # type: ignore[type-var]
        for chunk in chunks:
            most = max(most, LOOK_BYTES // max(1, chunk.rows.nbytes))
            yield chunk
            del chunk
    if source.n_chunks is not None:
        places = np.linspace(0, source.n_chunks - 1, min(source.n_chunks, most))
        for index in places[1:].astype(int).tolist():
            with closing(source.chunks(index, index + 1)) as chunks:  # type: ignore[type-var]
                yield from chunks


def _checksum(chunk: Chunk, before: int) -> int:
    """Continue a checksum with the rows of a chunk, in any layout; 0.3 ns per byte."""
    block = max(1, (1 << 14) // chunk.rows.shape[1])
    for begin in range(0, len(chunk), block):
        rows = np.ascontiguousarray(_with_weights(chunk, slice(begin, begin + block)))
        before = zlib.crc32(rows.data, before)
    return before


def _with_weights(chunk: Chunk, which: Any) -> Any:
    """Return some rows, each with its weight if it has one."""
    rows = np.asarray(chunk.rows[which], dtype=np.float64)
    return rows if chunk.weights is None else np.column_stack([rows, chunk.weights[which]])


def _weights(source: Source) -> str:
    """Return a mark of all weights where they are in memory, else only whether there are any."""
    if isinstance(source, WeightedSource):
        return _digest(source.weights)
    lazy = isinstance(source, ColumnWeightedSource) or getattr(source, "weights", None) is not None
    return "in the chunks" if lazy else "none"


@dataclass(frozen=True)
class Marked:
    """A task that also marks the chunks it sees. Picklable.

    Attributes
    ----------
    task : callable
        The task.
    """

    task: Task

    def __call__(self, chunk: Chunk, n_threads: int) -> MarkedSum:
        """Return the task's answer, and a mark of the chunk's first row."""
        rows = _with_weights(chunk, slice(1))
        marks = {chunk.index: _digest(rows)} if len(rows) else {}
        return MarkedSum(self.task(chunk, n_threads), marks)


@dataclass(frozen=True)
class MarkedSum:
    """The answers over some chunks, and the marks of these."""

    answer: Any
    marks: dict[int, str]

    def __add__(self, other: MarkedSum) -> MarkedSum:
        return MarkedSum(self.answer + other.answer, self.marks | other.marks)

    def summary(self) -> list[str]:
        """Return the mark of the first row, and one of those of all chunks."""
        in_order = [self.marks[index] for index in sorted(self.marks)]
        return [*in_order[:1], _digest(np.array(in_order))]


def count(chunk: Chunk, n_threads: int) -> int:
    """Look at a chunk and do nothing with it, for a pass that only marks."""
    return len(chunk)


def token_of(estimator: BaseMixture) -> Any:
    """Return what Dask knows an estimator by: everything but the times in its history."""
    from emdash.sources.dask import normalize_token

    attributes = {name: value for name, value in vars(estimator).items() if name != "history_"}
    return normalize_token((type(estimator), attributes))
