"""What a source delivers and a task consumes: rows that are loaded together.

Must never know: where the rows came from, what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chunk", "Rows", "first_infinite"]

Rows = NDArray[np.floating[Any]]

BLOCK_ROWS = 4_096
"""Rows that are looked at at a time."""


@dataclass(frozen=True)
class Chunk:
    """Rows that are loaded together.

    Attributes
    ----------
    rows : ndarray of shape (n, d), float64 or float32
        Any strides, possibly read-only; never modified.
    index : int
        Place of the chunk in its source.
    start : int or None
        Row number in the source of the first row; None when the lengths of the
        chunks before are not known.
    weights : ndarray of shape (n,), float64, or None
        Weight of each row; None means one.
    """

    rows: Rows
    index: int
    start: int | None
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def n_unused(self) -> int:
        """How many rows have a weight of zero."""
        return 0 if self.weights is None else len(self) - int(np.count_nonzero(self.weights))

    def locate(self, row: int) -> str:
        """Say in words where a row of the chunk lies in its source."""
        if self.start is None:
            return f"row {row} of chunk {self.index}"
        return f"row {self.start + row}"

    def refuse(self, row: int) -> NoReturn:
        """Raise the error about a row that holds infinity."""
        column = int(np.argmax(np.isinf(self.rows[row])))
        raise ValueError(
            f"Input X contains infinity in {self.locate(row)}, column {column}. "
            "Every value must be finite, or NaN where it is missing: drop such rows "
            "(X[~numpy.isinf(X).any(axis=1)]) or put NaN in place of infinity."
        )


def first_infinite(rows: Rows) -> int:
    """Return the first row that holds infinity, or -1."""
    for begin in range(0, len(rows), BLOCK_ROWS):
        infinite = np.isinf(rows[begin : begin + BLOCK_ROWS])
        if infinite.any():
            return begin + int(np.argmax(infinite.any(axis=1)))
    return -1
