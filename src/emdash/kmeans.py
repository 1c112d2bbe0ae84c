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

from dataclasses import dataclass
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
    variance : float
        Mean squared distance of the rows from their mean.
    offset : float
        Largest coordinate of that mean.
    """

    variance: float
    offset: float

    @property
    def centre(self) -> float:
        """Bound on the rounding of a centre, in standard deviations."""
        return float(CENTRE + 16 * EPS * self.offset / np.sqrt(self.variance))


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


def by_scikit_learn(
    rows: NDArray[Any], K: int, init: Any, random_state: np.random.RandomState
) -> tuple[Array, NDArray[np.intp]]:
    """Return what scikit-learn itself finds."""
    from sklearn.cluster import KMeans

    fit = KMeans(K, init=init, n_init=1, random_state=random_state).fit(rows)
    return np.asarray(fit.cluster_centers_, dtype=np.float64), fit.labels_.astype(np.intp)


def measure(rows: Array, n_threads: int) -> Scale:
    """Return where the rows are, from one pass."""
    from emdash._kernels.gaussian import DiagonalKernel

    d = rows.shape[1]
    sums = _pass(DiagonalKernel([0.0], rows[:1], np.ones((1, d))), rows, n_threads)
    n, F, S = sums[2], sums[3 : 3 + d], sums[3 + d :]
    scale = Scale(float((S / n - (F / n) ** 2).sum()), float(np.abs(rows[0] + F / n).max()))
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
    rows: Array, centres: Array, scale: Scale, n_threads: int
) -> tuple[Array, NDArray[np.intp]]:
    """Return centres and labels when they have come to rest [Lloyd1982]_.

    scikit-learn also stops when no label changes. Then no centre moves either.
    """
    from emdash._kernels.expect import posterior
    from emdash._kernels.gaussian import SphericalKernel

    K, d = centres.shape
    stop = TOLERANCE * scale.variance / d
    for _ in range(MAX_ITER):
        shift = _shift(rows, centres, scale, n_threads)
        centres = centres + shift
        moved = float((shift**2).sum())
        if abs(moved - stop) < 1e-6 * stop:
            raise Undecided
        if moved < stop:
            break
    _shift(rows, centres, scale, n_threads)  # the labels that are returned must be decided, too
    labels = np.empty(len(rows), np.intp)
    posterior(SphericalKernel(np.zeros(K), centres, np.ones(K)), rows, n_threads, labels=labels)
    return centres, labels


def _shift(rows: Array, centres: Array, scale: Scale, n_threads: int) -> Array:
    """Return how far the means of the rows nearest to the centres are from them."""
    from emdash._kernels.nearest import NearestKernel

    K, d = centres.shape
    # squared distances a, b to two centres that are wrong by e: 2 e (sqrt(a) + sqrt(b)), which
    # is at most e / s (4 a + s^2) where a = b, for any s
    kernel = NearestKernel(centres, 4 * scale.centre, scale.centre * scale.variance)
    sums = _pass(kernel, rows, n_threads)
    N, F, undecided = sums[2 : 2 + K], sums[2 + K : -1].reshape(K, d), sums[-1]
    if undecided or not N.all():
        raise Undecided
    return np.asarray(F / N[:, None])
