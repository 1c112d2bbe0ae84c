"""Sources that can only be read from the beginning, all of it in every pass.

Must never know: what yields the rows.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Self

from emdash.chunk import Chunk
from emdash.sources.base import Source, as_rows, refuse_memory

__all__ = ["StreamSource"]


class StreamSource(Source):
    """Batches of rows that come one after the other.

    A subclass sets `name` and `n_features`, and implements :meth:`_batches`.

    Attributes
    ----------
    name : str
        What is read, for errors.
    held : bool
        Whether the batches are all in memory anyway, so that none can be too large.
    """

    name: str
    memory: int | None = None
    held = False

    def __init__(self) -> None:
        self.n_rows = None
        self.n_chunks = None

    @abstractmethod
    def _batches(self) -> Iterator[Any]:
        """Yield tables of rows from the beginning; called once per pass."""

    def counted(self, lengths: Sequence[int]) -> Self:
        """Return the same batches with the number of rows known."""
        source = copy.copy(self)
        source.n_rows = sum(lengths)
        return source

    def limited(self, memory: int) -> Self:
        """Return the same batches, each of which is refused if it is larger than that."""
        source = copy.copy(self)
        source.memory = memory
        return source

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Read from the beginning; of the chunks before `first` nothing is kept."""
        start, index = 0, 0
        for batch in islice(self._batches(), last):
            rows = as_rows(batch, self.n_features, f"batch {index} of X")
            if self.memory is not None and not self.held and rows.nbytes > self.memory:
                advice = "yield smaller batches"
                refuse_memory(f"batch {index} of X", rows.nbytes, self.memory, advice)
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
