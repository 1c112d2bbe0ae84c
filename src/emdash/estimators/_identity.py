"""What a checkpoint is of: the settings that decide where a fit goes, and marks of the data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from emdash.checkpoint import Checkpoint, Keeper
from emdash.chunk import Chunk
from emdash.engines import engine_for
from emdash.sources.base import Source

if TYPE_CHECKING:
    from emdash.estimators._base import BaseMixture

__all__ = ["keeper_for"]

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
    again; only the first, if only iterating tells which one is last.
    """
    given = estimator.checkpoint
    if given is None:
        return Keeper(None, {})
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
            "first_rows": _end(source, Marks(last=False)),
            "last_rows": _end(source, Marks(last=True)) if source.n_chunks else None,
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
    return _digest(np.asarray(value, dtype=np.float64))


def _digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _end(source: Source, marks: Marks) -> list[str]:
    """Return the marks of one end of the data."""
    if source.collection:  # its own scheduler loads the chunk
        block = source.array.blocks[-1 if marks.last else 0]  # type: ignore[attr-defined]
        only = type(source)(block)  # type: ignore[call-arg]
        found: list[str] = engine_for(only, None).total(marks, only)
        return found
    index = source.n_chunks - 1 if marks.last and source.n_chunks else 0
    with closing(source.chunks(index, index + 1)) as chunks:  # type: ignore[type-var]
        return [mark for chunk in chunks for mark in marks(chunk, 1)]


def _spread(source: Source) -> list[str]:
    """Return one mark of rows all over an array in memory."""
    (chunk,) = source.chunks()
    numbers = np.linspace(0, len(chunk) - 1, SPREAD).astype(np.intp)
    return [_digest(np.asarray(chunk.rows[numbers], dtype=np.float64))]


class Marks:
    """A digest of each row at one end of a chunk, from the outside in. Picklable.

    Parameters
    ----------
    last : bool
        Whether the last rows are meant.
    """

    def __init__(self, last: bool) -> None:
        self.last = last

    def __call__(self, chunk: Chunk, n_threads: int) -> list[str]:
        """Return the digests."""
        rows = chunk.rows[: -ROWS - 1 : -1] if self.last else chunk.rows[:ROWS]
        return [_digest(row) for row in np.asarray(rows, dtype=np.float64)]
