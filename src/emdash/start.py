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
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk, Rows, first_infinite
from emdash.engines.base import Engine, fold
from emdash.kmeans import k_means, seed_rows
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.models.passes import BLOCK_ROWS
from emdash.observed import rows_that_show
from emdash.sources.base import Source
from emdash.start_missing import observed_start
from emdash.start_weights import OfWeighted, with_weight
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
    """Some rows of successive chunks; adding puts them one after the other.

    Attributes
    ----------
    rows : (m, d)
    weights : (m,) or None
    """

    rows: Rows
    weights: Array | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, other: RowSample) -> RowSample:
        weights = None
        if self.weights is not None and other.weights is not None:
            weights = np.concatenate([self.weights, other.weights])
        return RowSample(np.concatenate([self.rows, other.rows]), weights)


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
        bad = first_infinite(rows)
        if bad >= 0:
            chunk.refuse(int(wanted[bad]))
        return RowSample(rows, None if chunk.weights is None else chunk.weights[wanted])


def has_holes(rows: Rows) -> bool:
    """Tell whether a cell is missing."""
    return bool(np.isnan(rows.min()))


def starting_rows(
    source: Source,
    engine: Engine,
    K: int,
    random_state: np.random.RandomState,
    most_bytes: int | None = None,
) -> RowSample:
    """Return the rows to start from: all of them in memory, else a bounded sample.

    Of rows with missing cells it is always a sample, in which every column has an observed value.

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
        If a row to start from holds infinity, with its number; if a column has no observed
        value, naming it.
    """
    assert source.n_rows is not None
    limit = SAMPLE_BYTES if most_bytes is None else min(SAMPLE_BYTES, most_bytes)
    whole = most_bytes is None or 8 * source.n_rows * source.n_features <= most_bytes
    if source.in_memory and whole:
        (chunk,) = source.chunks()
        bad = first_infinite(chunk.rows)
        if bad >= 0:
            chunk.refuse(bad)
        if not has_holes(chunk.rows):
            return RowSample(chunk.rows, chunk.weights)
    least = 100 * K
    most = min(SAMPLE_ROWS, max(limit // (8 * source.n_features), least))
    sample = _sample(source, engine, most, least, random_state)
    rows = sample.rows if sample.weights is None else sample.rows[sample.weights > 0]
    unseen = np.flatnonzero(np.isnan(rows).all(axis=0))
    if len(unseen) == 0 or len(rows) == 0:
        return sample
    return sample + RowSample(*rows_that_show(unseen, source, engine))


def _sample(
    source: Source,
    engine: Engine,
    most: int,
    least: int,
    random_state: np.random.RandomState,
) -> RowSample:
    """Return at most `most` rows, of which at least `least` have a weight, if there are so many."""
    assert source.n_rows is not None
    take = TakeRows(_draw_numbers(source.n_rows, most, random_state))
    sample: RowSample = engine.total(take, source)
    if sample.weights is None or len(sample) == source.n_rows:
        return sample
    if np.count_nonzero(sample.weights) >= least:
        return sample
    # nearly all weights are zero: draw among the others
    lengths = engine.total(OfWeighted(count_chunk), source).values
    take = TakeRows(_draw_numbers(sum(lengths), most, random_state))
    again: RowSample = engine.total(OfWeighted(take, [0, *accumulate(lengths)]), source)
    return again


def _draw_numbers(
    n: int, most: int, random_state: np.random.RandomState
) -> NDArray[np.integer[Any]] | None:
    """Return so many of `n` row numbers, sorted; None if there are no more."""
    if n <= most:
        return None
    from sklearn.utils.random import sample_without_replacement

    drawn = sample_without_replacement(
        n, most, method="tracking_selection", random_state=random_state
    )
    return np.sort(drawn)


def start_from(
    rows: Rows,
    model: Mixture[Any],
    K: int,
    method: str,
    random_state: np.random.RandomState,
    n_threads: int = 1,
    weights: Array | None = None,
) -> MixtureParameters[Any]:
    """Return starting parameters for `K` components.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Rows to start from, as of :func:`starting_rows`. Those with missing cells are clustered
        and filled in first, and what has no observed value left out.
    model : Mixture
        Does the M-step.
    K : int
        Number of components, at most the number of rows with weight.
    method : {"kmeans", "k-means++", "random", "random_from_data"}
        Where the responsibilities come from; the same draws as scikit-learn.
    random_state : RandomState
        Advanced by the draws.
    n_threads : int
        Most threads; the answer does not depend on it.
    weights : ndarray of shape (n,), optional
        Row weights. Rows with a weight of zero do not take part.
    """
    rows, weights = with_weight(rows, weights, K)
    with np.errstate(over="ignore", invalid="ignore"):  # maximize refuses overflow
        means, sums = _begin(rows, weights, K, method, random_state, n_threads)
        about = model.reference(means)
        statistics = sums(model, about)
    nearer = model.nearer(statistics, about)
    if nearer is not None:
        about, statistics = nearer, sums(model, nearer)
    return model.maximize(statistics, about)


def _begin(
    rows: Rows,
    weights: Array | None,
    K: int,
    method: str,
    random_state: np.random.RandomState,
    n_threads: int,
) -> tuple[Array, Sums]:
    """Return the means of a start, and what takes the sums of its responsibilities."""
    if not has_holes(rows):
        return METHODS[method](rows, weights, K, random_state, n_threads)
    observed = observed_start(rows, K, random_state, weights)
    rows, weights = observed.rows, None if weights is None else weights[observed.numbers]
    if method == "kmeans":
        return observed.centers, _of_labels(rows, weights, observed.labels, n_threads)
    return METHODS[method](rows, weights, K, random_state, n_threads)


def _of_labels(rows: Rows, weights: Array | None, labels: NDArray[np.intp], n_threads: int) -> Sums:
    """Return what sums rows whose components are known, in one compiled pass."""

    def sums(model: Mixture[Any], about: MixtureParameters[Any]) -> Statistics:
        from emdash._kernels import expect

        task = model.task(about)
        result = Statistics.zeros(task.layout)
        expect.accumulate(task.kernel, rows, weights, result.sums, n_threads, labels=labels)
        result.count(rows)
        return result

    return sums


def _of_blocks(blocks: Callable[[], Iterable[tuple[Array, Array, Array | None]]]) -> Sums:
    """Return what sums blocks of rows, responsibilities and weights, the same in every call."""

    def sums(model: Mixture[Any], about: MixtureParameters[Any]) -> Statistics:
        total: Statistics = fold(model.statistics(x, r, about, w) for x, r, w in blocks())
        return total

    return sums


def _blocks(rows: Rows, weights: Array | None) -> Iterator[tuple[Array, Array | None]]:
    for begin in range(0, len(rows), BLOCK_ROWS):
        here = slice(begin, begin + BLOCK_ROWS)
        x = np.asarray(rows[here], dtype=np.float64)
        yield x, None if weights is None else weights[here]


def _kmeans(
    rows: Rows,
    weights: Array | None,
    K: int,
    random_state: np.random.RandomState,
    n_threads: int,
) -> tuple[Array, Sums]:
    centres, labels = k_means(rows, K, random_state, n_threads, weights)
    return centres, _of_labels(rows, weights, labels, n_threads)


def _random(
    rows: Rows,
    weights: Array | None,
    K: int,
    random_state: np.random.RandomState,
    n_threads: int,
) -> tuple[Array, Sums]:
    """Return uniform random responsibilities, drawn block by block in the order of the rows."""
    before = random_state.get_state()

    def draw() -> Iterator[tuple[Array, Array, Array | None]]:
        random_state.set_state(before)
        for x, w in _blocks(rows, weights):
            r = random_state.uniform(size=(len(x), K))
            yield x, r / r.sum(axis=1, keepdims=True), w

    mean = rows.mean(axis=0, dtype=np.float64)
    return np.broadcast_to(mean, (K, len(mean))), _of_blocks(draw)


def _rows_as_means(rows: Rows) -> tuple[Array, Sums]:
    """Return one row per component; covariances start at ``reg_covar``."""
    x = np.asarray(rows, dtype=np.float64)
    return x, _of_blocks(lambda: [(x, np.eye(len(x)), None)])


def _random_from_data(
    rows: Rows,
    weights: Array | None,
    K: int,
    random_state: np.random.RandomState,
    n_threads: int,
) -> tuple[Array, Sums]:
    p = None if weights is None else weights / weights.sum()
    return _rows_as_means(rows[random_state.choice(len(rows), size=K, replace=False, p=p)])


@np.errstate(over="ignore", invalid="ignore")  # the M-step refuses overflow, with advice
def _kmeans_plusplus(
    rows: Rows,
    weights: Array | None,
    K: int,
    random_state: np.random.RandomState,
    n_threads: int,
) -> tuple[Array, Sums]:
    return _rows_as_means(seed_rows(rows, K, random_state, n_threads, weights))


METHODS = {
    "kmeans": _kmeans,
    "k-means++": _kmeans_plusplus,
    "random": _random,
    "random_from_data": _random_from_data,
}
"""The registry of ``init_params``."""
