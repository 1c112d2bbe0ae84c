"""Anything that yields arrays of rows from the beginning, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from emdash.sources.base import check_container, check_dtype
from emdash.sources.columns import check_frame, frame_as_array, is_frame
from emdash.sources.stream import StreamSource

__all__ = ["BatchesSource"]


class BatchesSource(StreamSource):
    """A re-iterable of two-dimensional arrays with the same columns, or what makes iterators.

    Parameters
    ----------
    batches : iterable of array-like of shape (n_i, d), or callable that returns one
        A list of arrays, an object whose ``__iter__`` starts afresh each time, or a
        function such as a generator function: iterated once per pass, in order. Frames
        of pandas and polars keep their names. The type is float32 if all of a list are,
        or what is iterated begins with it; else float64.

    Raises
    ------
    TypeError
        For a generator or another iterator, which can be read only once.
    ValueError
        If it yields nothing, or something that is not a table; and in a pass, if
        it yields no longer the rows it did, or a frame with other columns than the first.
    """

    name = "X"
    _names: Sequence[Any] | None = None

    def __init__(self, batches: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        super().__init__()
        self.batches = batches
        self.held = isinstance(batches, list | tuple)
        first_pass = self._iterator()
        if first_pass is batches or self._iterator() is first_pass:
            _refuse_iterator(batches)
        first = next(first_pass, None)
        if first is None:
            raise ValueError("X yields no batches: Found array with 0 sample(s)")
        check_container(first, "the first batch of X")
        if is_frame(first):
            check_frame(first, "the first batch of X")
            self._names = list(first.columns)
            first, self.feature_names = frame_as_array(first)
        first = np.asarray(first)
        if first.ndim != 2:
            raise ValueError(
                f"the first batch of X has shape {first.shape}: Expected 2D array, got "
                f"{first.ndim}D array instead. Reshape your data to (rows, features)"
            )
        check_dtype(first.dtype, "the first batch of X")
        self.n_features, self.dtype = first.shape[1], first.dtype
        if isinstance(batches, list | tuple) and not all(map(_is_single, batches)):
            self.dtype = np.dtype(np.float64)  # whichever comes first

    def _batches(self) -> Iterator[Any]:
        for number, batch in enumerate(self._iterator()):
            if not is_frame(batch):
                yield batch
                continue
            where = f"batch {number} of X"
            check_frame(batch, where)
            if list(batch.columns) != self._names:
                raise ValueError(
                    f"{where} has the columns {list(batch.columns)}, but the first batch has "
                    f"{self._names}: select the same columns in the same order in every batch"
                )
            yield frame_as_array(batch)[0]

    def _iterator(self) -> Iterator[Any]:
        batches = self.batches() if callable(self.batches) else self.batches
        if not isinstance(batches, Iterable):
            raise TypeError(
                f"X is a function that returned {batches!r}, which yields no batches of rows: give "
                "a function that returns an iterator of arrays, such as a generator function"
            )
        return iter(batches)


def _is_single(batch: Any) -> bool:
    """Tell whether a batch is float32, an array or a frame."""
    kinds = batch.dtypes if is_frame(batch) else [getattr(batch, "dtype", None)]
    return all(str(kind).lower() == "float32" for kind in kinds)


def _refuse_iterator(batches: Any) -> None:
    what, name = type(batches).__name__, getattr(batches, "__name__", "make_batches")
    if not name.isidentifier():  # a generator expression
        name = "make_batches"
    if callable(batches):
        what += " that returns the same iterator every time"
    raise TypeError(
        f"X is a {what}, which can be read only once, but EM passes over the data many times. "
        f"Give the function that makes it, fit({name}) instead of fit({name}()), a list of "
        "arrays, or an object whose __iter__ returns a new iterator each time"
    )
