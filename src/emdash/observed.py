"""Columns of which nothing is observed, and rows that show the others.

Must never know: models, the loop, Dask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk, Rows
from emdash.engines.base import Engine
from emdash.sources.base import Source

__all__ = ["refuse_columns_without_values", "rows_that_show"]


@dataclass(frozen=True)
class Shown:
    """For each column asked for the first row with a value there, as far as one was met.

    Attributes
    ----------
    columns : (m,)
    rows : (m, d)
        Row ``i`` has NaN in column ``columns[i]`` if none was met.
    weights : (m,) or None
        Of these rows.
    """

    columns: NDArray[np.intp]
    rows: Rows
    weights: NDArray[np.float64] | None

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether a row was met, for each of the columns."""
        seen: NDArray[np.bool_] = ~np.isnan(self.rows[np.arange(len(self.columns)), self.columns])
        return seen

    def __add__(self, other: Shown) -> Shown:
        rows = np.where(self.found[:, None], self.rows, other.rows)
        weights = None
        if self.weights is not None and other.weights is not None:
            weights = np.where(self.found, self.weights, other.weights)
        return Shown(self.columns, rows, weights)


@dataclass(frozen=True)
class Show:
    """Find rows that show columns in a chunk. Picklable.

    Attributes
    ----------
    columns : (m,)
        Column numbers.
    """

    columns: NDArray[np.intp]

    def __call__(self, chunk: Chunk, n_threads: int) -> Shown:
        """Return the first row of the chunk with a value, for each column."""
        rows = np.full((len(self.columns), chunk.rows.shape[1]), np.nan, chunk.rows.dtype)
        weights = None if chunk.weights is None else np.zeros(len(self.columns))
        for i, column in enumerate(self.columns):
            seen = ~np.isnan(chunk.rows[:, column])
            if chunk.weights is not None:
                seen &= chunk.weights > 0
            if seen.any():
                rows[i] = chunk.rows[np.argmax(seen)]
                if weights is not None and chunk.weights is not None:
                    weights[i] = chunk.weights[np.argmax(seen)]
        return Shown(self.columns, rows, weights)


def rows_that_show(
    columns: Sequence[int] | NDArray[Any], source: Source, engine: Engine
) -> tuple[Rows, NDArray[np.float64] | None]:
    """Return the first row with a value in a column, for each of the columns; costs a pass.

    Parameters
    ----------
    columns : sequence of int
        Column numbers.
    source : Source
        Where the rows are.
    engine : Engine
        Reads them.

    Returns
    -------
    rows : ndarray of shape (m, d)
    weights : ndarray of shape (m,), or None
        Their weights, if the source has any.

    Raises
    ------
    ValueError
        If there is none, naming the column.
    """
    shown: Shown = engine.total(Show(np.asarray(columns, dtype=np.intp)), source)
    if not shown.found.all():
        column = shown.columns[np.argmin(shown.found)]
        name = "" if source.feature_names is None else f" ({source.feature_names[column]!r})"
        raise ValueError(
            f"Input X has no observed value in column {column}{name}: every value is NaN. Nothing "
            "can be learnt about such a column: leave it out"
        )
    return shown.rows, shown.weights


def refuse_columns_without_values(source: Source, engine: Engine) -> None:
    """Raise an error that names the first column of which nothing is observed, if there is one.

    Raises
    ------
    ValueError
        As :func:`rows_that_show`.
    """
    rows_that_show(range(source.n_features), source, engine)
