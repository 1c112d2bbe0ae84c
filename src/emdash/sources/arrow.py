"""Tables of Arrow, and what all sources that are read with it have in common.

Columns become the columns of a Fortran-ordered array, each in one copy; what is
missing becomes NaN.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import accumulate
from typing import Any, Self

import numpy as np

from emdash.chunk import Chunk, Rows
from emdash.sources.base import Source, library, refuse_memory, rows_per_chunk
from emdash.sources.columns import choose, refuse_columns
from emdash.sources.sliced import Read, SlicedSource

__all__ = ["GroupedSource", "TableSource", "check_schema", "number_type", "to_rows"]


def check_schema(schema: Any, columns: Sequence[str] | None, where: str) -> list[str]:
    """Return the names of the columns to read.

    Parameters
    ----------
    schema : pyarrow.Schema
        Names and types of all columns.
    columns : sequence of str or None
        Those wanted; None means all but those that pandas wrote for the index of a frame.
    where : str
        What has them, for errors.

    Raises
    ------
    ValueError
        If one does not exist or does not hold real numbers, naming it.
    """
    if columns is None:
        # an index without a column, a range, is described by a dictionary
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        columns = [name for name in schema.names if name not in index]
    names = choose(schema.names, columns, where)
    kinds = [(name, schema.field(name).type) for name in names]
    refuse_columns([(name, kind) for name, kind in kinds if not _is_real(kind)], where)
    return names


def _is_real(kind: Any) -> bool:
    types = library("pyarrow.types", "reading a table")
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(test(kind) for test in tests) or bool(types.is_null(kind))


def number_type(schema: Any, names: Sequence[str]) -> np.dtype[Any]:
    """Return float32 if all columns are of this type, else float64."""
    single = all(str(schema.field(name).type) == "float" for name in names)
    return np.dtype(np.float32 if single else np.float64)


def to_rows(table: Any, names: Sequence[str], dtype: np.dtype[Any]) -> Rows:
    """Return columns of an Arrow table or record batch as rows of numbers."""
    rows = np.empty((table.num_rows, len(names)), dtype, order="F")
    fill_rows(rows, table, names)
    return rows


def fill_rows(rows: Rows, table: Any, names: Sequence[str]) -> None:
    """Write columns of an Arrow table or record batch to an array of its number of rows."""
    compute = library("pyarrow.compute", "reading a table")
    for j, name in enumerate(names):
        column = table.column(name)
        begin = 0
        for piece in getattr(column, "chunks", [column]):
            if str(piece.type) not in ("double", "float", "halffloat"):
                piece = compute.cast(piece, "float64", safe=False)
            numbers = piece.to_numpy(zero_copy_only=False)  # what is missing becomes NaN
            rows[begin : begin + len(numbers), j] = numbers
            begin += len(numbers)


class TableSource(SlicedSource):
    """A :class:`pyarrow.Table` in memory, converted slice by slice.

    Parameters
    ----------
    table : pyarrow.Table
        Of real numbers; chunks of its columns may differ.
    columns : sequence of str or None
        Which to use; None means all.
    """

    name = "the Arrow table X"

    def __init__(self, table: Any, columns: Sequence[str] | None = None) -> None:
        self.feature_names = check_schema(table.schema, columns, self.name)
        self.table = table.select(self.feature_names)
        number = number_type(table.schema, self.feature_names)
        self._set_table((table.num_rows, len(self.feature_names)), number)

    @contextmanager
    def opened(self) -> Iterator[Read]:
        """Slice the table; slices are not copied until they are converted."""

        def read(start: int, stop: int) -> Rows:
            piece = self.table.slice(start, stop - start)
            return to_rows(piece, self.feature_names or (), self.dtype)

        yield read


class GroupedSource(Source):
    """A file of columns that is stored in groups of rows, which are read whole.

    A subclass sets `name`, calls :meth:`_set_groups`, and implements :meth:`opened`.

    Attributes
    ----------
    name : str
        What the file is called in errors.
    feature_names : list of str
        Names of the columns.
    dtype : dtype
        float32 or float64.
    advice : str
        What to do about groups that are too large.
    copies : int
        Memory of a group as it comes out of the file, in units of its numbers.
    kept : int
        Bytes that the library keeps for each thread that reads, whatever it reads.
    """

    n_rows: int
    n_chunks: int
    name: str
    feature_names: list[str]
    dtype: np.dtype[Any]
    advice: str
    copies: int = 1
    kept: int = 0

    @abstractmethod
    def opened(self) -> AbstractContextManager[Callable[[int], Any]]:
        """Open the file, and check that it is the one it was.

        Yields
        ------
        read : callable
            ``read(group)`` returns pieces of the group, each a table or record batch.
        """

    def _set_groups(self, lengths: Sequence[int]) -> None:
        """Note the rows of every group, and plan the chunks."""
        self.lengths = list(lengths)
        self.n_features = len(self.feature_names)
        self.n_rows = sum(self.lengths)
        self._plan(None)

    def _plan(self, memory: int | None) -> None:
        """Join neighbouring groups as long as a chunk is no larger than it should be."""
        most = rows_per_chunk(self.n_features, self.dtype, memory)
        runs = [[0, 0]]  # first group, rows
        for group, length in enumerate(self.lengths):
            if runs[-1][1] and runs[-1][1] + length > most:
                runs.append([group, 0])
            runs[-1][1] += length
        self._firsts = [first for first, _ in runs] + [len(self.lengths)]
        self._starts = [0, *accumulate(rows for _, rows in runs)]
        self.n_chunks = len(runs)
        largest = max(rows for _, rows in runs)
        # the numbers, and one group of at most as many as it comes out of the file
        widest = max(self.lengths, default=0)
        numbers = self.n_features * (self.dtype.itemsize * largest + 8 * self.copies * widest)
        self.chunk_memory = self.kept + numbers

    def limited(self, memory: int) -> Self:
        """Return the same file in chunks that can be read within so much memory."""
        source = copy.copy(self)
        source._plan(memory)
        if source.chunk_memory > memory:
            what = f"a group of {max(self.lengths)} rows of {self.name}, which is read whole,"
            refuse_memory(what, source.chunk_memory, memory, self.advice)
        return source

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Read successive runs of groups."""
        with self.opened() as read:
            for index in range(first, self.n_chunks if last is None else last):
                yield Chunk(self._load(index, read), index, self._starts[index])

    def _load(self, index: int, read: Callable[[int], Any]) -> Rows:
        count = self._starts[index + 1] - self._starts[index]
        rows = np.empty((count, self.n_features), self.dtype, order="F")
        end = 0
        for group in range(self._firsts[index], self._firsts[index + 1]):
            for piece in read(group):
                begin, end = end, end + piece.num_rows
                fill_rows(rows[begin:end], piece, self.feature_names)
        return rows
