"""What a checkpoint is of: the settings that decide where a fit goes, and marks of the data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emdash.checkpoint import Checkpoint, Keeper
from emdash.chunk import Chunk
from emdash.engines.base import Task
from emdash.priors import NormalInverseWishart
from emdash.sources.base import Source
from emdash.sources.weighted import ColumnWeightedSource, WeightedSource

if TYPE_CHECKING:
    from emdash.estimators._base import BaseMixture

__all__ = ["Marked", "count", "keeper_for"]

FREE = {
    *("tol", "max_iter", "n_init"),  # may be raised to go on
    *("n_threads", "verbose", "verbose_interval", "callback", "checkpoint", "warm_start"),
}
"""Parameters that may differ between a checkpoint and the fit that goes on from it."""

ROWS = 8
"""Rows at either end of the data that are compared."""

SPREAD = 1024
"""Rows all over the data that are compared, where they are in memory."""


def keeper_for(estimator: BaseMixture, source: Source) -> Keeper:
    """Return what keeps the state of a fit.

    With a checkpoint, the first and the last chunk of the source are loaded to know the data
    again; only the first, if only iterating tells which one is last. Of a Dask collection none:
    one chunk may need all the others, such as one minus the mean; its first pass tells
    (:class:`Marked`).
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
    return Keeper(checkpoint, _identity_of(estimator.get_params(deep=False), source))


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
            "first_rows": _end(source, last=False),
            "last_rows": _end(source, last=True) if source.n_chunks else None,
            "rows_between": _spread(source) if source.in_memory else None,
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


def _end(source: Source, *, last: bool) -> list[str] | None:
    """Return a mark of each row at one end of the data, from the outside in."""
    if source.collection:
        return None
    index = source.n_chunks - 1 if last and source.n_chunks else 0
    with closing(source.chunks(index, index + 1)) as chunks:  # type: ignore[type-var]
        ends = slice(None, -ROWS - 1, -1) if last else slice(ROWS)
        return [_digest(row) for chunk in chunks for row in _with_weights(chunk, ends)]


def _with_weights(chunk: Chunk, which: Any) -> Any:
    """Return some rows, each with its weight if it has one."""
    rows = np.asarray(chunk.rows[which], dtype=np.float64)
    return rows if chunk.weights is None else np.column_stack([rows, chunk.weights[which]])


def _spread(source: Source) -> list[str]:
    """Return one mark of rows all over an array in memory."""
    (chunk,) = source.chunks()
    numbers = np.linspace(0, len(chunk) - 1, SPREAD).astype(np.intp)
    return [_digest(_with_weights(chunk, numbers))]


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
