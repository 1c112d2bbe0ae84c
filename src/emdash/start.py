"""Starting parameters: rows to start from, responsibilities for them, one M-step.

Data in memory are used whole, so that the start is scikit-learn's to the bit.
Of anything larger a bounded sample is drawn by row number, so that the start
depends neither on the chunks nor on the machine; a source with no more rows
than the sample holds starts exactly as it would in memory.

Must never know: families (it asks the model), the loop, Dask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk, Rows
from emdash.engines.base import Engine, fold
from emdash.kmeans import k_means
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.models.passes import BLOCK_ROWS
from emdash.sources.base import Source
from emdash.statistics import Statistics

__all__ = ["METHODS", "SAMPLE_ROWS", "count_rows", "start_from", "starting_rows"]

SAMPLE_ROWS = 65_536
"""Most rows that are gathered to start from."""

SAMPLE_BYTES = 256 << 20
"""Most bytes of them; wide tables give fewer rows, but never less than 100 per component."""

Array = NDArray[np.float64]
Sums = Callable[[Mixture[Any], MixtureParameters[Any]], Statistics]
"""Takes the sums of the rows to start from, about given parameters."""


@dataclass(frozen=True)
class Lengths:
    """Number of rows of successive chunks; adding puts them one after the other."""

    values: tuple[int, ...]

    def __add__(self, other: Lengths) -> Lengths:
        return Lengths(self.values + other.values)


def count_chunk(chunk: Chunk, n_threads: int) -> Lengths:
    """Return the number of rows of a chunk."""
    return Lengths((len(chunk),))


def count_rows(source: Source, engine: Engine) -> Source:
    """Return the source with its rows counted; costs a pass where they were not known."""
    if source.n_rows is not None:
        return source
    return source.counted(engine.total(count_chunk, source).values)


@dataclass(frozen=True)
class RowSample:
    """Some rows of successive chunks; adding puts them one after the other."""

    rows: Rows

    def __add__(self, other: RowSample) -> RowSample:
        return RowSample(np.concatenate([self.rows, other.rows]))


@dataclass(frozen=True)
class TakeRows:
    """Take the rows with the given numbers out of a chunk. Picklable.

    Attributes
    ----------
    numbers : ndarray of int, sorted, or None
        Row numbers in the source; None takes all.
    """

    numbers: NDArray[np.integer[Any]] | None

    def __call__(self, chunk: Chunk, n_threads: int) -> RowSample:
        """Return the rows wanted, in a copy."""
        if self.numbers is None:
            wanted: NDArray[np.integer[Any]] = np.arange(len(chunk))
        else:
            assert chunk.start is not None
            ends = [chunk.start, chunk.start + len(chunk)]
            first, last = np.searchsorted(self.numbers, ends)
            wanted = self.numbers[first:last] - chunk.start
        rows = chunk.rows[wanted]
        bad = first_not_finite(rows)
        if bad >= 0:
            chunk.refuse(int(wanted[bad]))
        return RowSample(rows)


def first_not_finite(rows: Rows) -> int:
    """Return the first row that holds NaN or infinity, or -1."""
    for begin in range(0, len(rows), BLOCK_ROWS):
        finite = np.isfinite(rows[begin : begin + BLOCK_ROWS]).all(axis=1)
        if not finite.all():
            return begin + int(np.argmin(finite))
    return -1


def starting_rows(
    source: Source,
    engine: Engine,
    K: int,
    random_state: np.random.RandomState,
    most_bytes: int | None = None,
) -> Rows:
    """Return the rows to start from: all of them in memory, else a bounded sample.

    Parameters
    ----------
    source : Source
        With its rows counted.
    engine : Engine
        Gathers the sample; only the sample reaches this process.
    K : int
        Number of components.
    random_state : RandomState
        Draws the row numbers, if there are more rows than the sample holds.
    most_bytes : int or None
        Bytes of the sample if less than :data:`SAMPLE_BYTES`; data in memory that are
        larger are then sampled, too.

    Raises
    ------
    ValueError
        If a row to start from is not finite, with its number.
    """
    assert source.n_rows is not None
    limit = SAMPLE_BYTES if most_bytes is None else min(SAMPLE_BYTES, most_bytes)
    whole = most_bytes is None or 8 * source.n_rows * source.n_features <= most_bytes
    if source.in_memory and whole:
        (chunk,) = source.chunks()
        bad = first_not_finite(chunk.rows)
        if bad >= 0:
            chunk.refuse(bad)
        return chunk.rows
    most = min(SAMPLE_ROWS, max(limit // (8 * source.n_features), 100 * int(K)))
    numbers = None
    if source.n_rows > most:
        from sklearn.utils.random import sample_without_replacement

        numbers = np.sort(
            sample_without_replacement(
                source.n_rows, most, method="tracking_selection", random_state=random_state
            )
        )
    sample: RowSample = engine.total(TakeRows(numbers), source)
    return sample.rows


def start_from(
    rows: Rows,
    model: Mixture[Any],
    K: int,
    method: str,
    random_state: np.random.RandomState,
    n_threads: int = 1,
) -> MixtureParameters[Any]:
    """Return starting parameters for `K` components.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Rows to start from, all finite.
    model : Mixture
        Does the M-step.
    K : int
        Number of components, at most ``n``.
    method : {"kmeans", "k-means++", "random", "random_from_data"}
        Where the responsibilities come from; the same draws as scikit-learn.
    random_state : RandomState
        Advanced by the draws.
    n_threads : int
        Most threads; the answer does not depend on it.
    """
    means, sums = METHODS[method](rows, K, random_state, n_threads)
    about = model.reference(means)
    return model.maximize(sums(model, about), about)


def _of_labels(rows: Rows, labels: NDArray[np.intp], n_threads: int) -> Sums:
    """Return what sums rows whose components are known, in one compiled pass."""

    def sums(model: Mixture[Any], about: MixtureParameters[Any]) -> Statistics:
        from emdash._kernels.expect import accumulate

        task = model.task(about)
        result = Statistics.zeros(task.layout)
        accumulate(task.kernel, rows, None, result.sums, n_threads, labels=labels)
        return result

    return sums


def _of_blocks(blocks: Iterable[tuple[Array, Array]]) -> Sums:
    """Return what sums blocks of rows with their responsibilities."""

    def sums(model: Mixture[Any], about: MixtureParameters[Any]) -> Statistics:
        total: Statistics = fold(model.statistics(x, r, about) for x, r in blocks)
        return total

    return sums


def _blocks(rows: Rows) -> Iterator[Array]:
    for begin in range(0, len(rows), BLOCK_ROWS):
        yield np.asarray(rows[begin : begin + BLOCK_ROWS], dtype=np.float64)


def _kmeans(
    rows: Rows, K: int, random_state: np.random.RandomState, n_threads: int
) -> tuple[Array, Sums]:
    centres, labels = k_means(rows, K, random_state, n_threads)
    return centres, _of_labels(rows, labels, n_threads)


def _random(
    rows: Rows, K: int, random_state: np.random.RandomState, n_threads: int
) -> tuple[Array, Sums]:
    """Return uniform random responsibilities, drawn block by block in the order of the rows."""

    def draw() -> Iterator[tuple[Array, Array]]:
        for x in _blocks(rows):
            r = random_state.uniform(size=(len(x), K))
            yield x, r / r.sum(axis=1, keepdims=True)

    mean = rows.mean(axis=0, dtype=np.float64)
    return np.broadcast_to(mean, (K, len(mean))), _of_blocks(draw())


def _rows_as_means(rows: Rows, indices: Any) -> tuple[Array, Sums]:
    """Return one row per component; covariances start at ``reg_covar``."""
    x = np.asarray(rows[indices], dtype=np.float64)
    return x, _of_blocks([(x, np.eye(len(x)))])


def _random_from_data(
    rows: Rows, K: int, random_state: np.random.RandomState, n_threads: int
) -> tuple[Array, Sums]:
    return _rows_as_means(rows, random_state.choice(len(rows), size=K, replace=False))


@np.errstate(over="ignore", invalid="ignore")  # the M-step refuses overflow, with advice
def _kmeans_plusplus(
    rows: Rows, K: int, random_state: np.random.RandomState, n_threads: int
) -> tuple[Array, Sums]:
    from sklearn.cluster import kmeans_plusplus

    return _rows_as_means(rows, kmeans_plusplus(rows, K, random_state=random_state)[1])


METHODS = {
    "kmeans": _kmeans,
    "k-means++": _kmeans_plusplus,
    "random": _random,
    "random_from_data": _random_from_data,
}
"""The registry of ``init_params``."""
