"""Tables whose rows can be read from anywhere: files of arrays, cut where they are stored.

Must never know: which format.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk
from emdash.sources.base import Source, as_rows, check_dtype, refuse_memory, rows_per_chunk

__all__ = ["Read", "SlicedSource"]

Read = Callable[[int, int], NDArray[Any]]
"""``read(start, stop)`` returns these rows as they are stored."""


class SlicedSource(Source):
    """A table of known length that is read in slices of rows.

    A subclass sets `name`, calls :meth:`_set_table`, and implements :meth:`opened`.

    Attributes
    ----------
    name : str
        What the table is called in errors.
    stored : int
        Rows that are stored together: slices are whole multiples of them.
    finest : int
        Fewest rows that can be read without reading others and throwing them
        away; less than `stored` only where storage has two levels.
    copies : float
        Memory of a read, in units of the numbers read, stored type.
    advice : str
        What to do about a table that is stored in too large pieces.
    """

    n_rows: int
    n_chunks: int
    name: str
    stored: int = 1
    finest: int = 1
    copies: float = 1.0
    advice = "store X in smaller pieces"

    @abstractmethod
    def opened(self) -> AbstractContextManager[Read]:
        """Open the table for some reads, and check that it is the one it was."""

    def _set_table(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Note shape and type, and plan the chunks.

        Raises
        ------
        ValueError
            If it is not a table of real numbers.
        """
        if dtype.names is not None:
            raise ValueError(
                f"{self.name} has records ({', '.join(dtype.names)}), expected numbers: convert it "
                "with numpy.lib.recfunctions.structured_to_unstructured"
            )
        if len(shape) != 2:
            raise ValueError(
                f"{self.name} holds an array of shape {shape}, expected two dimensions "
                "(rows, features): reshape(-1, 1) makes one column of a vector"
            )
        check_dtype(dtype, self.name)
        self.dtype = dtype
        self.n_rows, self.n_features = shape
        self._plan(self.stored, None)

    def _plan(self, piece: int, memory: int | None) -> None:
        rows = rows_per_chunk(self.n_features, self.dtype, memory)
        self.rows_per_chunk = max(1, piece, rows // piece * piece)
        self.n_chunks = max(1, -(-self.n_rows // self.rows_per_chunk))
        converted = 0 if self.dtype in (np.float64, np.float32) else 8
        row_bytes = self.n_features * (self.dtype.itemsize * self.copies + converted)
        self.chunk_memory = int(row_bytes * min(self.rows_per_chunk, self.n_rows))

    def __copy__(self) -> Self:
        """Return the same table in this process: what cannot be sent to another can be copied."""
        source = object.__new__(type(self))
        source.__dict__.update(self.__dict__)
        return source

    def limited(self, memory: int) -> Self:
        """Return the same table in slices that can be read within so much memory."""
        source = copy.copy(self)
        for piece in (self.stored, self.finest):
            source._plan(piece, memory)
            if source.chunk_memory <= memory // 2:
                return source
        if source.chunk_memory > memory:
            rows = min(self.n_rows, source.rows_per_chunk)
            what = f"a piece of {self.name} that is stored as a whole, {rows} rows,"
            refuse_memory(what, source.chunk_memory, memory, self.advice)
        return source

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Read successive runs of rows."""
        with self.opened() as read:
            for index in range(first, self.n_chunks if last is None else last):
                start = index * self.rows_per_chunk
                rows = read(start, min(start + self.rows_per_chunk, self.n_rows))
                yield Chunk(as_rows(rows, self.n_features, self.name), index, start)
                del rows  # before the next ones are read
