"""Rows without weight take no part in a start: leaving them out, of arrays and of chunks.

Must never know: models, sources, what is done with the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk, Rows

__all__ = ["OfWeighted", "with_weight"]

Array = NDArray[np.float64]


def with_weight(rows: Rows, weights: Array | None, K: int) -> tuple[Rows, Array | None]:
    """Return the rows that have a weight, and the weights unless they are all the same.

    So weights of zero and one start exactly where the rows with one alone start.

    Parameters
    ----------
    rows : (n, d)
    weights : (n,), optional
        None means one.
    K : int
        Fewest rows.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    if weights is None:
        return rows, None
    used = weights > 0
    n_used = int(np.count_nonzero(used))
    if n_used < K:
        raise ValueError(
            f"Expected at least n_components = {K} rows with a weight above zero to start from, "
            f"but there are {n_used}: decrease n_components or give more rows a weight"
        )
    if n_used < len(rows):
        rows, weights = rows[used], weights[used]
    return rows, None if (weights == weights[0]).all() else weights / weights.max()


@dataclass(frozen=True)
class OfWeighted:
    """A task for the rows of a chunk that have a weight, as if there were no others. Picklable.

    Attributes
    ----------
    task : callable
        Takes a chunk and a number of threads.
    starts : list of int or None
        How many rows with a weight come before each chunk; None if that is not known.
    """

    task: Callable[[Chunk, int], Any]
    starts: list[int] | None = None

    def __call__(self, chunk: Chunk, n_threads: int) -> Any:
        """Return the task's answer."""
        assert chunk.weights is not None
        used = np.flatnonzero(chunk.weights)
        rows = chunk.rows[used]
        infinite = np.isinf(rows).any(axis=1)
        if infinite.any():  # the task would name another row
            chunk.refuse(int(used[np.argmax(infinite)]))
        start = None if self.starts is None else self.starts[chunk.index]
        return self.task(Chunk(rows, chunk.index, start, chunk.weights[used]), n_threads)
