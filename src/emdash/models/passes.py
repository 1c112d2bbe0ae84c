"""What a pass over the rows of a mixture does with a chunk: the tasks that engines run.

Must never know: sources, engines, the M-step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from emdash.chunk import Chunk
from emdash.models.incomplete import Incomplete, answer
from emdash.statistics import Layout, Statistics

__all__ = ["BLOCK_ROWS", "Expect", "ExpectAbout", "Output", "PerRow", "Score"]

Array = NDArray[np.float64]
BLOCK_ROWS = 4_096
"""Rows handled at a time in plain NumPy: their responsibilities stay in the cache."""

SCORE_ROWS = 65_536
"""Rows whose log-likelihoods are in memory at a time while they are summed."""

TILE_ROWS = 480
"""Fewest rows that kernels compute together at full speed."""

WAITING = 12
"""Partial sums per thread: of finished parts, and of pairs of chunks up the tree of a part."""
SET_ASIDE = -2
"""What the pass returns when it left rows with missing cells to others."""

Output = Literal["labels", "log_likelihood", "responsibilities", "log_densities"]


@dataclass(frozen=True)
class Expect:
    """The E-step of one pass: turns a chunk into statistics. Picklable.

    Attributes
    ----------
    kernel : object
        Bound parameters.
    layout : Layout
        How the kernel orders its sums.
    pass_id : str
        Carried by the statistics, so that passes are never mixed.
    incomplete : Incomplete
        Answers for rows with missing cells.
    """

    kernel: Any
    layout: Layout
    pass_id: str
    incomplete: Incomplete

    @property
    def arithmetic(self) -> str:
        """In what the densities are computed, ``"float64"`` unless the kernel says otherwise."""
        return str(getattr(self.kernel, "arithmetic", "float64"))

    @property
    def memory(self) -> int:
        """Bytes of the sums while a chunk is computed, and of those that wait to be added."""
        sums = 8 * self.layout.size
        blocks = max(16, min(64, 8_000_000 // sums))  # as in expect.pyx
        return (blocks + WAITING) * sums

    def __call__(self, chunk: Chunk, n_threads: int) -> Statistics:
        """Return the statistics of the rows of a chunk."""
        from emdash._kernels.expect import accumulate

        result, unused = Statistics.zeros(self.layout, self.pass_id), chunk.n_unused
        left_out = np.zeros(1)
        marks = np.zeros(len(chunk), np.uint8)
        bad = accumulate(
            self.kernel,
            chunk.rows,
            chunk.weights,
            result.sums,
            n_threads,
            left_out=left_out,
            incomplete=marks,
        )
        if bad >= 0:
            chunk.refuse(bad)
        n_incomplete = 0
        if bad == SET_ASIDE:
            holes = marks.view(np.bool_)
            n_incomplete = int(np.count_nonzero(holes))
            unused += self.incomplete.accumulate(
                chunk.rows, chunk.weights, holes, result.sums, n_threads
            )
        result.count(chunk.rows, left_out[0], unused, n_incomplete)
        return result


@dataclass(frozen=True)
class ExpectAbout:
    """The E-step of one pass with the sums taken about other parameters. Picklable.

    In plain NumPy and therefore slow: only for the pass after a start far from the data.

    Attributes
    ----------
    kernel : object
        Bound parameters, which the responsibilities come from.
    layout : Layout
        How the sums are ordered.
    statistics : callable
        Takes rows, responsibilities and `weights`, and returns the sums about the other parameters.
    pass_id : str
        Carried by the statistics.
    incomplete : Incomplete
        Answers for rows with missing cells, its sums about the same parameters.
    """

    kernel: Any
    layout: Layout
    statistics: Callable[..., Statistics]
    pass_id: str
    incomplete: Incomplete

    def __call__(self, chunk: Chunk, n_threads: int) -> Statistics:
        """Return the statistics of the rows of a chunk, block by block."""
        from emdash._kernels.expect import posterior

        K = self.kernel.n_components
        total, unused = Statistics.zeros(self.layout, self.pass_id), chunk.n_unused
        for begin in range(0, len(chunk), BLOCK_ROWS):
            rows = np.asarray(chunk.rows[begin : begin + BLOCK_ROWS], dtype=np.float64)
            holes = np.asarray(np.isnan(rows).any(axis=1), dtype=np.bool_)
            weights = None if chunk.weights is None else chunk.weights[begin:][: len(rows)]
            unused += self.incomplete.accumulate(rows, weights, holes, total.sums, n_threads)
            rows = rows[~holes]
            weights = None if weights is None else weights[~holes]
            r, log_likelihood = np.empty((len(rows), K)), np.empty(len(rows))
            posterior(self.kernel, rows, 1, responsibilities=r, log_likelihood=log_likelihood)
            total.sums[:] += self.statistics(rows, r, weights=weights).sums
            total.sums[0] += _weighted_sum(log_likelihood, weights)
        total.count(chunk.rows, unused=unused)
        return total


def _weighted_sum(values: Array, weights: Array | None) -> Any:
    return values.sum() if weights is None else (weights * values).sum()


@dataclass(frozen=True)
class PerRow:
    """A question with one answer per row. Picklable.

    Attributes
    ----------
    kernel : object
        Bound parameters.
    output : {"labels", "log_likelihood", "responsibilities", "log_densities"}
        What is asked.
    incomplete : Incomplete
        Answers for rows with missing cells.
    numbers : {numpy.float64, numpy.float32}
        What answers are given in, labels apart; they are computed in float64.
    dtype, row_shape
        Type and shape of one row's answer.
    """

    kernel: Any
    output: Output
    incomplete: Incomplete
    numbers: DTypeLike = np.float64
    dtype: DTypeLike = field(init=False)
    row_shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        wide = self.output in ("responsibilities", "log_densities")
        object.__setattr__(self, "dtype", np.intp if self.output == "labels" else self.numbers)
        object.__setattr__(self, "row_shape", (self.kernel.n_components,) if wide else ())

    def __call__(self, chunk: Chunk, n_threads: int, out: NDArray[Any] | None = None) -> Any:
        """Return the answers for the rows of a chunk."""
        if out is None:
            out = np.empty((len(chunk), *self.row_shape), self.dtype)
        if self.dtype != np.float32:
            self._answer(chunk, 0, n_threads, out)
            return out
        length = max(TILE_ROWS, SCORE_ROWS // math.prod(self.row_shape))
        for begin in range(0, len(chunk), length):
            part = out[begin : begin + length]
            exact = np.empty(part.shape)
            self._answer(chunk, begin, n_threads, exact)
            with np.errstate(over="ignore", under="ignore"):
                part[...] = exact
        return out

    def _answer(self, chunk: Chunk, begin: int, n_threads: int, out: NDArray[Any]) -> None:
        """Write the answers for as many rows as `out` has, from row `begin` of the chunk."""
        rows = chunk.rows[begin : begin + len(out)]
        bad, _ = answer(self.kernel, self.incomplete, rows, n_threads, {self.output: out})
        if bad >= 0:
            chunk.refuse(begin + bad)


@dataclass(frozen=True)
class Score:
    """The log-likelihood of the rows, without the sums of an M-step. Picklable.

    Attributes
    ----------
    kernel : object
        Bound parameters.
    incomplete : Incomplete
        Answers for rows with missing cells.
    """

    kernel: Any
    incomplete: Incomplete

    def __call__(self, chunk: Chunk, n_threads: int) -> Statistics:
        """Return the log-likelihood and the weight of a chunk."""
        result, n_used = Statistics.zeros(Layout()), 0
        values = np.empty(min(len(chunk), SCORE_ROWS))
        for begin in range(0, len(chunk), SCORE_ROWS):
            rows = chunk.rows[begin : begin + SCORE_ROWS]
            weights = None if chunk.weights is None else chunk.weights[begin:][: len(rows)]
            outputs = {"log_likelihood": values[: len(rows)]}
            bad, n_empty = answer(self.kernel, self.incomplete, rows, n_threads, outputs)
            if bad >= 0:
                chunk.refuse(begin + bad)
            result.sums[0] += _weighted_sum(values[: len(rows)], weights)
            used = np.ones(len(rows)) if weights is None else weights
            if n_empty:
                used = used[~np.isnan(rows).all(axis=1)]
            result.sums[1] += used.sum()
            n_used += int(np.count_nonzero(used))
        result.count(chunk.rows, unused=len(chunk) - n_used)
        return result
