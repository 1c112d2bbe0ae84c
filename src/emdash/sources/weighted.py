"""Rows that have weights: beside them in an array, or as a column of the table itself.

Must never know: what weights are for, Dask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk
from emdash.sources import open_source
from emdash.sources.array import ArraySource
from emdash.sources.base import Source, check_container, check_dtype, is_lazy
from emdash.sources.columns import choose, frame_as_array

__all__ = [
    "ColumnWeightedSource",
    "WeightedSource",
    "as_weights",
    "check_total",
    "check_weights",
    "split_column",
]

Array = NDArray[np.float64]

RANGE = 1e-100, 1e100
"""What a row may weigh on average, so that no sum of weights times squares leaves float64."""


def as_weights(weights: Any, n_rows: int, where: str = "") -> Array:
    """Return one float64 number per row, not copied if it need not be.

    Parameters
    ----------
    weights : array-like of shape (n_rows,)
        What the user gave. The values are not looked at (:func:`check_weights`).
    n_rows : int
        Number of rows of X.
    where : str
        Which part of it, for errors, such as ``"chunk 3 of "``.

    Raises
    ------
    ValueError, TypeError
        For another shape, and for what does not hold real numbers.
    """
    name = f"{where}sample_weight"
    if is_lazy(weights):
        raise TypeError(
            f"{name} is a lazy Dask collection, but X is not: give sample_weight.compute(), or a "
            "Dask array X"
        )
    check_container(weights, name)
    array: NDArray[Any] = np.asarray(weights)
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} does not hold numbers only: {error}") from None
    check_dtype(array.dtype, name)
    if array.shape != (n_rows,):
        raise ValueError(
            f"{name} has shape {array.shape}, but {where}X has {n_rows} rows: expected one weight "
            f"per row, shape ({n_rows},)"
        )
    return np.asarray(array, dtype=np.float64)


def check_weights(chunk: Chunk) -> Chunk:
    """Return the chunk if its weights are finite and not negative.

    Raises
    ------
    ValueError
        Naming the first value that is not, and its row.
    """
    assert chunk.weights is not None
    good = (chunk.weights >= 0) & (chunk.weights < np.inf)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"sample_weight is {chunk.weights[row]} in {chunk.locate(row)}: weights must be finite "
            "and not negative. Give a row that should not count the weight 0"
        )
    return chunk


def check_total(weight: float, n_used: float) -> None:
    """Refuse weights that are all zero, or that no sum could be computed with.

    Parameters
    ----------
    weight : float
        Their sum.
    n_used : float
        How many are not zero.

    Raises
    ------
    ValueError
        Saying how to scale them.
    """
    if n_used > 0 and not RANGE[0] < weight / n_used < RANGE[1]:
        raise ValueError(
            f"sample_weight is {weight / n_used:.3g} on average, which is too "
            f"{'small' if weight < 1 else 'large'} to compute with: divide it by its largest "
            "value, parameters do not depend on its scale"
        )


class WeightedSource(Source):
    """The rows of a source, with weights that lie in memory.

    Parameters
    ----------
    source : Source
        With its rows counted, not a Dask collection.
    weights : array-like of shape (n,)

    Raises
    ------
    ValueError
        If there are more or fewer weights than rows, or one is not a finite number from zero
        on, naming its value and row.
    """

    def __init__(self, source: Source, weights: Any) -> None:
        assert source.n_rows is not None
        self.source, self.weights = source, as_weights(weights, source.n_rows)
        check_weights(Chunk(self.weights[:, None], index=0, start=0, weights=self.weights))
        _take_over(self, source)

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Yield the chunks of the source with their weights."""
        for chunk in self.source.chunks(first, last):
            assert chunk.start is not None  # the rows are counted
            yield replace(chunk, weights=self.weights[chunk.start : chunk.start + len(chunk)])
            del chunk  # before the next one is loaded


class ColumnWeightedSource(Source):
    """A table with names, of which one column holds the weights and is no feature.

    Parameters
    ----------
    source : Source
        Not a Dask collection. If the column is its last, features are not copied.
    column : str
        Name of the column.
    """

    def __init__(self, source: Source, column: str) -> None:
        names = list(source.feature_names or ())
        self.source, self.column = source, column
        self.index = names.index(column)
        _take_over(self, source)
        self.n_features = source.n_features - 1
        self.feature_names = names[: self.index] + names[self.index + 1 :]
        copied = 1 if self.index == self.n_features else source.n_features
        self.chunk_memory += source.chunk_memory * copied // source.n_features

    def limited(self, memory: int) -> ColumnWeightedSource:
        """Return the same table in chunks that load within so much memory."""
        return ColumnWeightedSource(self.source.limited(memory), self.column)

    def counted(self, lengths: Sequence[int]) -> ColumnWeightedSource:
        """Return the same table with the number of rows of every chunk known."""
        return ColumnWeightedSource(self.source.counted(lengths), self.column)

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Load chunks and take the column out of them."""
        j = self.index
        for chunk in self.source.chunks(first, last):
            rows = chunk.rows
            features = rows[:, :j] if j == self.n_features else np.delete(rows, j, axis=1)
            weights = np.array(rows[:, j], dtype=np.float64)
            yield check_weights(replace(chunk, rows=features, weights=weights))
            del chunk, rows, features  # before the next one is loaded


def _take_over(wrapper: Source, source: Source) -> None:
    """Set the attributes that every source has to those of another."""
    for name in Source.__annotations__:
        setattr(wrapper, name, getattr(source, name))


def split_column(X: Any, column: str) -> tuple[Any, Any]:
    """Return a table without one of its columns, and the weights that this column holds.

    Parameters
    ----------
    X : table with names
        A data frame, also one of Dask, or what :func:`emdash.open_table` takes or returns.
    column : str
        Name of the column.

    Returns
    -------
    X : object
        Without the column.
    weights : array or None
        None if `X` is now a source that brings them along.

    Raises
    ------
    ValueError
        If there is no such column, or columns have no names.
    """
    if isinstance(X, Source) and X.collection and X.feature_names:
        X = X.frame  # type: ignore[attr-defined]  # to cut a column off is its library's business
    frame = hasattr(X, "columns") and hasattr(X, "dtypes")
    source = None if frame else open_source(X)
    names = list(X.columns) if frame else list(getattr(source, "feature_names", None) or ())
    if not names:
        raise ValueError(
            f"sample_weight={column!r} names a column, but the columns of X have no names: give "
            "the weights as an array"
        )
    choose(names, [column], "X")
    others = [name for name in names if name != column]
    if not others:
        raise ValueError(f"sample_weight={column!r} leaves no feature: it is X's only column")
    if not frame:
        # the column last, where it is taken off without copying the others
        ordered = source if isinstance(X, Source) else open_source(X, [*others, column])
        assert ordered is not None
        weighted = ColumnWeightedSource(ordered, column)
        if not weighted.in_memory:
            return weighted, None
        (chunk,) = weighted.chunks()  # taken apart once, not in every pass
        return ArraySource(chunk.rows, others), chunk.weights
    if is_lazy(X):
        return X[others], X[column]
    return X[others], frame_as_array(X[[column]])[0][:, 0]
