"""Anything that can be iterated again and again and yields arrays of rows."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from emdash.chunk import Chunk
from emdash.sources.base import Source, as_rows, check_container, check_dtype

__all__ = ["BatchesSource"]


class BatchesSource(Source):
    """A re-iterable of two-dimensional arrays with the same columns.

    Parameters
    ----------
    batches : iterable of array-like of shape (n_i, d)
        A list of arrays, or an object whose ``__iter__`` starts afresh each
        time: it is iterated once per pass, in order.

    Raises
    ------
    TypeError
        For a generator or another iterator, which can be read only once.
    ValueError
        If it yields nothing, or something that is not a table; and in a pass, if
        it yields no longer the rows it did.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        first_pass = iter(batches)
        if first_pass is batches or iter(batches) is first_pass:
            raise TypeError(
                f"X is a {type(batches).__name__}, which can be read only once, but EM passes "
                "over the data many times. Give an object whose __iter__ returns a new "
                "iterator each time, such as a list of arrays or a class with "
                "'def __iter__(self): yield from make_batches()'"
            )
        self.batches = batches
        first = next(first_pass, None)
        if first is None:
            raise ValueError("X yields no batches: Found array with 0 sample(s)")
        check_container(first, "the first batch of X")
        first = np.asarray(first)
        if first.ndim != 2:
            raise ValueError(
                f"the first batch of X has shape {first.shape}: Expected 2D array, got "
                f"{first.ndim}D array instead. Reshape your data to (rows, features)"
            )
        check_dtype(first.dtype, "the first batch of X")
        self.n_features = first.shape[1]
        self.n_rows = None
        self.n_chunks = None

    def counted(self, lengths: Sequence[int]) -> BatchesSource:
        """Return the same batches with the number of rows known."""
        source = copy.copy(self)
        source.n_rows = sum(lengths)
        return source

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Iterate the batches once."""
        start, index = 0, 0
        for batch in islice(self.batches, last):
            rows = as_rows(batch, self.n_features, f"batch {index} of X")
            start += len(rows)
            if index >= first:
                yield Chunk(rows, index, start - len(rows))
            index += 1
            del batch, rows  # before the next one is loaded
        if last is None and (index == 0 or self.n_rows not in (None, start)):
            raise ValueError(
                f"X yielded {start} rows in this pass, but "
                f"{'some' if self.n_rows is None else self.n_rows} before: EM needs the same "
                "rows every time, so __iter__ must start afresh whenever X is iterated"
            )
