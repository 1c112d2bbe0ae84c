"""Several tables one after the other, such as the files of a directory."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Self

from emdash.chunk import Chunk
from emdash.sources.base import Source

__all__ = ["JoinedSource"]


class JoinedSource(Source):
    """Tables with the same columns, one below the other; travels as they do.

    Parameters
    ----------
    tables : sequence of Source
        At least one; they tell how many chunks they have.
    names : sequence of str
        What to call each in errors.

    Raises
    ------
    ValueError
        If one has other columns than the first, or another type of numbers.
    """

    n_chunks: int

    def __init__(self, tables: Sequence[Source], names: Sequence[str]) -> None:
        self.tables = list(tables)
        first = self.tables[0]
        for table, name in zip(self.tables, names, strict=True):
            if _columns(table) != _columns(first):
                raise ValueError(
                    f"{name} has {_described(table)}, but {names[0]} has {_described(first)}: "
                    "every file must have the same columns of the same type"
                )
        self.n_features, self.feature_names = first.n_features, first.feature_names
        self.dtype = first.dtype
        self._plan()

    def _plan(self) -> None:
        self._ends = list(accumulate(_chunks(table) for table in self.tables))
        self.n_chunks = self._ends[-1]
        self.chunk_memory = max(table.chunk_memory for table in self.tables)
        self._rows: list[int] | None = [0]
        for table in self.tables:
            if table.n_rows is None:
                self._rows = None
                break
            self._rows.append(self._rows[-1] + table.n_rows)
        self.n_rows = None if self._rows is None else self._rows[-1]

    def limited(self, memory: int) -> Self:
        """Return the same tables in chunks that load within so much memory."""
        source = copy.copy(self)
        source.tables = [table.limited(memory) for table in self.tables]
        source._plan()
        return source

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Load successive chunks of one table after the other."""
        last = self.n_chunks if last is None else last
        for number in range(bisect_right(self._ends, first), len(self.tables)):
            before = self._ends[number - 1] if number else 0
            if before >= last:
                return
            rows = None if self._rows is None else self._rows[number]
            table = self.tables[number]
            for chunk in table.chunks(
                max(first - before, 0), min(last, self._ends[number]) - before
            ):
                start = None if rows is None or chunk.start is None else rows + chunk.start
                yield replace(chunk, index=before + chunk.index, start=start)
                del chunk  # before the next one is loaded


def _chunks(table: Source) -> int:
    assert table.n_chunks is not None
    return table.n_chunks


def _columns(table: Source) -> tuple[Any, ...]:
    names = None if table.feature_names is None else tuple(table.feature_names)
    return table.n_features, names, table.dtype


def _described(table: Source) -> str:
    count, names, dtype = _columns(table)
    return f"{count} columns" + (f" {', '.join(names)}" if names else "") + f" of {dtype}"
