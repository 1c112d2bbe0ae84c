"""k-means as scikit-learn runs it, in compiled passes: the same draws, the same labels.

scikit-learn is asked instead wherever rounding could decide, so the labels are
the same and not only as good: if a draw of k-means++ falls on the border
between two rows, two points are equally near to a row (data on a grid), the
centres stop within rounding of the tolerance, or a cluster is empty. The passes
read the rows in place, where scikit-learn copies them; what is kept is one
number per row and one label.

Must never know: mixtures, sources, engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["k_means"]

Array = NDArray[np.float64]

MAX_ITER = 300
TOLERANCE = 1e-4
"""scikit-learn's defaults: most iterations; squared shift of the centres, in mean variances."""

BLOCK_ROWS = 65_536
"""Rows whose distances are in memory at a time."""

EPS = float(np.finfo(np.float64).eps)

CENTRE = 1e-12
"""Bound on the rounding of a centre, in standard deviations of the data, without what their
distance from the origin adds: a million rows summed one by one are wrong by some 1e-13."""


class Undecided(Exception):
    """Rounding could decide differently in scikit-learn."""


@dataclass(frozen=True)
class Scale:
    """Where the rows are and how far they spread: the unit of all that rounding can do.

    Attributes
    ----------
    mean : (d,)
    variance : float
        Mean squared distance of the rows from it.
    """

    mean: Array
    variance: float

    @cached_property
    def centre(self) -> float:
        """Bound on the rounding of a centre, in standard deviations."""
        return float(CENTRE + 16 * EPS * np.abs(self.mean).max() / np.sqrt(self.variance))


def k_means(
    rows: NDArray[Any], K: int, random_state: np.random.RandomState, n_threads: int
) -> tuple[Array, NDArray[np.intp]]:
    """Return the centres and labels of ``KMeans(K, n_init=1, random_state=random_state)``.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        All finite; ``n`` at least `K`.
    K : int
        Number of clusters.
    random_state : RandomState
        Advanced as scikit-learn advances it.
    n_threads : int
        Most threads of a pass; the answer does not depend on it.

    Returns
    -------
    centres : ndarray of shape (K, d), float64
        Up to rounding those of scikit-learn.
    labels : ndarray of shape (n,), intp
        Those of scikit-learn.
    """
    if rows.dtype != np.float64:  # scikit-learn computes in float32 then
        return by_scikit_learn(rows, K, "k-means++", random_state)
    before = random_state.get_state()
    try:
        scale = measure(rows, n_threads)
        seeds = plus_plus(rows, K, scale, random_state, n_threads)
    except Undecided:
        random_state.set_state(before)
        return by_scikit_learn(rows, K, "k-means++", random_state)
    try:
        return lloyd(rows, seeds, scale, n_threads)
    except Undecided:
        return by_scikit_learn(rows, K, seeds, random_state)


@np.errstate(over="ignore", invalid="ignore")  # the M-step refuses overflow, with advice
def by_scikit_learn(
    rows: NDArray[Any], K: int, init: Any, random_state: np.random.RandomState
) -> tuple[Array, NDArray[np.intp]]:
    """Return what scikit-learn itself finds."""
    from sklearn.cluster import KMeans

    fit = KMeans(K, init=init, n_init=1, random_state=random_state).fit(rows)
    return np.asarray(fit.cluster_centers_, dtype=np.float64), fit.labels_.astype(np.intp)


@np.errstate(over="ignore", invalid="ignore")
def measure(rows: Array, n_threads: int) -> Scale:
    """Return where the rows are, from one pass."""
    from emdash._kernels.gaussian import DiagonalKernel

    d = rows.shape[1]
    sums = _pass(DiagonalKernel([0.0], rows[:1], np.ones((1, d))), rows, n_threads)
    n, F, S = sums[2], sums[3 : 3 + d], sums[3 + d :]
    scale = Scale(rows[0] + F / n, float((S / n - (F / n) ** 2).sum()))
    if not EPS * (F / n) @ (F / n) < CENTRE * scale.variance < np.inf:
        raise Undecided  # one row many times, or values whose squares are beyond float64
    return scale


def _pass(kernel: Any, rows: Array, n_threads: int, weights: Array | None = None) -> Array:
    from emdash._kernels.expect import accumulate

    out = np.empty(kernel.statistics_size)
    accumulate(kernel, rows, weights, out, n_threads)
    return out


def plus_plus(
    rows: Array, K: int, scale: Scale, random_state: np.random.RandomState, n_threads: int
) -> Array:
    """Return the rows that scikit-learn's greedy k-means++ draws [Arthur2007]_."""
    from emdash._kernels.nearest import PotentialKernel

    n = len(rows)
    trials = 2 + int(np.log(K))
    seeds = rows[[random_state.choice(n, p=np.full(n, 1 / n))]]
    closest = np.full(n, np.inf)  # squared distances to the nearest seed
    sums = _add_seed(rows, seeds[0], closest, n_threads)
    while len(seeds) < K:
        total = sums[-1]
        rounding = 1e-11 * total + 1e-14 * n * scale.variance
        draws = random_state.uniform(size=trials) * total
        candidates = rows[[_find(draw, closest, sums, rounding) for draw in draws]]
        left = _pass(PotentialKernel(candidates), rows, n_threads, closest)[2:]
        best = candidates[np.argmin(left)]
        if (candidates[left - left.min() < rounding] != best).any():
            raise Undecided
        seeds = np.vstack([seeds, best])
        sums = _add_seed(rows, best, closest, n_threads)
    return seeds


def _add_seed(rows: Array, seed: Array, closest: Array, n_threads: int) -> Array:
    """Update the distances to the nearest seed; return their running sum, block by block."""
    from emdash._kernels.expect import posterior
    from emdash._kernels.gaussian import SphericalKernel

    kernel = SphericalKernel([0.0], [seed], [1.0])
    distances = np.empty((min(BLOCK_ROWS, len(rows)), 1))
    sums = []
    for begin in range(0, len(rows), BLOCK_ROWS):
        mine = closest[begin : begin + BLOCK_ROWS]
        block = distances[: len(mine)]
        posterior(kernel, rows[begin : begin + BLOCK_ROWS], n_threads, log_densities=block)
        np.minimum(mine, np.multiply(block, -2.0, out=block)[:, 0], out=mine)
        sums.append(mine.sum())
    return np.cumsum(sums)


def _find(draw: float, closest: Array, sums: Array, rounding: float) -> int:
    """Return the first row up to which the distances add up to `draw`."""
    block = min(int(np.searchsorted(sums, draw)), len(sums) - 1)
    begin = block * BLOCK_ROWS
    before = sums[block - 1] if block else 0.0
    running = before + np.cumsum(closest[begin : begin + BLOCK_ROWS])
    row = min(int(np.searchsorted(running, draw)), len(running) - 1)
    lower = running[row - 1] if row else before
    if not lower + rounding < draw < running[row] - rounding:
        raise Undecided
    return begin + row


def lloyd(
    rows: Array, seeds: Array, scale: Scale, n_threads: int
) -> tuple[Array, NDArray[np.intp]]:
    """Return centres and labels when they have come to rest [Lloyd1982]_.

    scikit-learn also stops when no label changes. Then no centre moves either.
    """
    K, d = seeds.shape
    stop = TOLERANCE * scale.variance / d
    centres = seeds - scale.mean
    clusters = Clusters(rows, scale, K)
    with ThreadPoolExecutor(n_threads) as pool:
        run = map if n_threads == 1 or len(rows) <= BLOCK_ROWS else pool.map
        clusters.settle(centres, np.zeros(K), run)
        for _ in range(MAX_ITER):
            before, centres = centres, clusters.means()
            moves = np.sqrt(((centres - before) ** 2).sum(axis=1))
            clusters.settle(centres, moves, run)
            moved = float((moves**2).sum())
            if abs(moved - stop) < 1e-6 * stop:
                raise Undecided
            if moved < stop:
                break
    return scale.mean + centres, clusters.labels


class Clusters:
    """The rows by their nearest centre; centres are given less the mean of the rows.

    Attributes
    ----------
    labels : (n,)
        Which centre is nearest.
    margins : (n,)
        How much farther the next one is at least; minus infinity before the first look.
    sums : (K + K d,)
        Number of rows and sum of their differences from the mean, by label.
    """

    def __init__(self, rows: Array, scale: Scale, K: int) -> None:
        n, d = rows.shape
        self.rows, self.scale, self.K = rows, scale, K
        self.labels = np.zeros(n, np.intp)
        self.margins = np.full(n, -np.inf)
        self.sums = np.zeros(K + K * d)
        self.sums[0] = n

    def means(self) -> Array:
        """Return the mean of the rows of every label."""
        N = self.sums[: self.K, None]
        if not N.all():
            raise Undecided  # scikit-learn moves the centre to a row that is far from its own
        return np.asarray(self.sums[self.K :].reshape(self.K, -1) / N)

    def settle(self, centres: Array, moves: Array, run: Callable[..., Iterable[Array]]) -> None:
        """Bring everything up to date with centres that have moved by so much."""
        from emdash._kernels.nearest import settle

        rounding = self.scale.centre
        second, largest = np.sort(np.append(moves, 0.0))[-2:]
        used = moves + np.where(moves == largest, second, largest)  # its own, and any other's
        points = self.scale.mean + centres

        def settle_range(begin: int) -> Array:
            mine = slice(begin, begin + BLOCK_ROWS)
            changes = np.empty(1 + len(self.sums))
            settle(
                self.rows[mine],
                points,
                used,
                self.labels[mine],
                self.margins[mine],
                self.scale.mean,
                changes,
                least=8 * rounding * np.sqrt(self.scale.variance),
                # squared distances a, b to two centres that are wrong by e: 2 e (sqrt(a) +
                # sqrt(b)), which is at most e / s (4 a + s^2) where a = b, for any s
                relative=4 * rounding,
                absolute=rounding * self.scale.variance,
            )
            return changes

        for changes in run(settle_range, range(0, len(self.rows), BLOCK_ROWS)):
            self.sums += changes[1:]
            if changes[0]:
                raise Undecided
