"""Rows of which some cells are missing (NaN), missing at random.

A pass sets them aside; here they are sorted by which cells are missing, a block of the chunk at a
time, and answered by the family's kernel for such rows. Their sums add to those of the complete
rows, so nothing else needs to know of them. A row with nothing observed counts for nothing, not
even for weight: it is as if it were not there; its posterior is the mixing weights.

Must never know: sources, engines, the loop, how a family computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from emdash.chunk import Chunk, Rows, first_infinite
from emdash.counter import normals, uniforms
from emdash.families.base import Family

__all__ = ["Impute", "Incomplete", "SampleMissing", "answer"]

Array = NDArray[np.float64]
Noise = Callable[[NDArray[np.intp]], Array]

BLOCK_BYTES = 1 << 24
"""Rows sorted at a time, in bytes: many rows share a pattern, and the copies stay small."""


@dataclass(frozen=True)
class Incomplete:
    """Bound parameters for rows with missing cells. Picklable.

    Attributes
    ----------
    family : Family
        Makes the kernel, when the first such row is met.
    components : Components
        Parameters of the family.
    log_weights : (K,)
        Logarithm of the mixing weights.
    about : Components
        What the sums are taken about.
    """

    family: Family[Any]
    components: Any
    log_weights: Array
    about: Any

    @cached_property
    def kernel(self) -> Any:
        """The compiled kernel."""
        return self.family.bind_missing(self.components, self.log_weights, self.about)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "kernel"}

    def accumulate(
        self,
        rows: Rows,
        weights: Array | None,
        incomplete: NDArray[np.bool_],
        sums: Array,
        n_threads: int,
    ) -> int:
        """Add to `sums` those of the rows that are marked in `incomplete`, (n,).

        Returns how many rows that have a weight have nothing observed.
        """
        from emdash._kernels.expect import accumulate

        part = np.empty_like(sums)
        n_empty = 0
        for block in _blocks(rows):
            numbers = np.flatnonzero(incomplete[block]) + block.start
            numbers, x, empty = _sorted(rows, numbers)
            observed = slice(0, len(x) - empty)
            left = numbers[observed.stop :]
            n_empty += len(left) if weights is None else int(np.count_nonzero(weights[left]))
            if observed.stop == 0:
                continue
            w = None if weights is None else weights[numbers[observed]]
            accumulate(self.kernel, x[observed], w, part, n_threads)
            sums += part
        return n_empty

    def posterior(
        self, complete: Any, rows: Rows, n_threads: int, outputs: dict[str, NDArray[Any]]
    ) -> tuple[int, int]:
        """Write the outputs of all rows; `complete` is the kernel for complete ones.

        Returns the first row that holds infinity or -1, and how many rows have nothing observed.
        """
        from emdash._kernels.expect import posterior

        n_empty = 0
        for block in _blocks(rows):
            here = {name: out[block] for name, out in outputs.items()}
            if posterior(complete, rows[block], n_threads, **here) < 0:
                continue
            bad = first_infinite(rows[block])
            if bad >= 0:
                return block.start + bad, 0
            holes = np.isnan(rows[block]).any(axis=1)
            whole = np.flatnonzero(~holes)
            _spread(complete, rows[block][whole], whole, here, n_threads)
            numbers, x, empty = _sorted(rows[block], np.flatnonzero(holes))
            _spread(self.kernel, x, numbers, here, n_threads)
            if empty and "log_likelihood" in here:
                here["log_likelihood"][numbers[-empty:]] = 0.0
            n_empty += empty
        return -1, n_empty

    def fill(self, rows: Rows, out: Array, n_threads: int, noise: Noise | None = None) -> int:
        """Write the rows with their missing cells filled in; return the first infinite row or -1.

        Parameters
        ----------
        rows : (n, d)
        out : (n, d)
        n_threads : int
        noise : callable, optional
            Gives the random numbers of rows, (m, 1 + d), for draws instead of means.
        """
        from emdash._kernels.expect import posterior

        for block in _blocks(rows):
            bad = first_infinite(rows[block])
            if bad >= 0:
                return int(block.start + bad)
            out[block] = rows[block]
            holes = np.flatnonzero(np.isnan(rows[block]).any(axis=1)) + block.start
            numbers, x, _ = _sorted(rows, holes)
            drawn = {} if noise is None else {"noise": noise(numbers)}
            filled = np.empty_like(x)
            posterior(self.kernel, x, n_threads, filled=filled, **drawn)
            out[numbers] = filled
        return -1


def _blocks(rows: Rows) -> Iterator[slice]:
    n, d = rows.shape
    step = max(1, BLOCK_BYTES // (8 * d))
    return (slice(begin, min(begin + step, n)) for begin in range(0, n, step))


def _sorted(rows: Rows, numbers: NDArray[np.intp]) -> tuple[NDArray[np.intp], Array, int]:
    """Return row numbers sorted by pattern, these rows, and how many (last) are all missing."""
    from emdash._kernels.patterns import sort_by_pattern

    x = np.empty((len(numbers), rows.shape[1]))
    return numbers, x, sort_by_pattern(rows, numbers, x)


def _spread(
    kernel: Any,
    rows: Rows,
    numbers: NDArray[np.intp],
    outputs: dict[str, NDArray[Any]],
    n_threads: int,
) -> None:
    """Write the outputs of some rows to their places."""
    from emdash._kernels.expect import posterior

    some = {name: np.empty((len(rows), *out.shape[1:]), out.dtype) for name, out in outputs.items()}
    posterior(kernel, rows, n_threads, **some)
    for name, out in outputs.items():
        out[numbers] = some[name]


def answer(
    kernel: Any,
    incomplete: Incomplete,
    rows: Rows,
    n_threads: int,
    outputs: dict[str, NDArray[Any]],
) -> tuple[int, int]:
    """Write per-row outputs; `kernel` answers for complete rows.

    Returns the first row that holds infinity or -1, and how many rows have nothing observed.
    """
    from emdash._kernels.expect import posterior

    bad = posterior(kernel, rows, n_threads, **outputs)
    return (-1, 0) if bad < 0 else incomplete.posterior(kernel, rows, n_threads, outputs)


@dataclass(frozen=True)
class Impute:
    """The rows with their missing cells replaced by posterior means. Picklable.

    Attributes
    ----------
    incomplete : Incomplete
        Bound parameters.
    n_features : int
    dtype, row_shape
        Type and shape of one row's answer: observed cells as they were, in float64.
    """

    incomplete: Incomplete
    n_features: int
    dtype: DTypeLike = field(init=False, default=np.float64)
    row_shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "row_shape", (self.n_features,))

    def __call__(self, chunk: Chunk, n_threads: int, out: NDArray[Any] | None = None) -> Any:
        """Return the rows of a chunk, filled in."""
        if out is None:
            out = np.empty((len(chunk), *self.row_shape))
        bad = self.incomplete.fill(chunk.rows, out, n_threads)
        if bad >= 0:
            chunk.refuse(bad)
        return out


@dataclass(frozen=True)
class SampleMissing:
    """The rows with their missing cells drawn from the posterior predictive. Picklable.

    A draw takes its random numbers from the seed, the row number and the number of the draw,
    so it depends neither on the chunks nor on the machine.

    Attributes
    ----------
    incomplete : Incomplete
        Bound parameters.
    n_features : int
    n_draws : int
        Draws per row.
    seed : int
        From 0 to ``2**64 - 1``.
    dtype, row_shape
        Type and shape of one row's answer: its draws one after the other, ``n_draws`` times
        ``n_features`` numbers.
    """

    incomplete: Incomplete
    n_features: int
    n_draws: int
    seed: int
    dtype: DTypeLike = field(init=False, default=np.float64)
    row_shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "row_shape", (self.n_draws * self.n_features,))

    def __call__(self, chunk: Chunk, n_threads: int, out: NDArray[Any] | None = None) -> Any:
        """Return the draws for the rows of a chunk, (n, n_draws * n_features)."""
        start = chunk.start
        if start is None:
            raise ValueError(
                f"draws belong to row numbers, and that of the first row of chunk {chunk.index} "
                "is not known: count the rows of the source first"
            )
        if out is None:
            out = np.empty((len(chunk), *self.row_shape))
        for draw in range(self.n_draws):

            def noise(numbers: NDArray[np.intp], draw: int = draw) -> Array:
                numbers_of_source = numbers + start
                u = uniforms(self.seed, numbers_of_source, self.n_features + 1, draw)
                u[:, 1:] = normals(u[:, 1:])
                return u

            here = slice(draw * self.n_features, (draw + 1) * self.n_features)
            bad = self.incomplete.fill(chunk.rows, out[:, here], n_threads, noise)
            if bad >= 0:
                chunk.refuse(bad)
        return out
