"""Where to start when cells are missing: k-means on what is observed, and rows filled in from it.

A distance is the sum of squares over the observed features times ``d / d_observed``, so rows with
few of them count like others. All rows with anything observed take part, however few are complete.

Must never know: models, sources, the loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ObservedStart", "observed_start"]

Array = NDArray[np.float64]
Labels = NDArray[np.intp]

BLOCK_ROWS = 4_096
"""Rows whose distances to all centres are in memory at a time."""

MOST_ITERATIONS = 100
TOLERANCE = 1e-4
"""Squared movement of the centres to stop at, in units of the mean variance, as in k-means."""


@dataclass(frozen=True)
class ObservedStart:
    """Clusters of rows with missing cells, and these rows without holes.

    Attributes
    ----------
    numbers : (m,)
        The rows with anything observed.
    rows : (m, d) float64
        These rows. A missing cell holds the value that another row of its cluster has there.
    centers : (K, d)
        In the unit of the data.
    labels : (m,)
        Cluster of each row.
    """

    numbers: Labels
    rows: Array
    centers: Array
    labels: Labels


def observed_start(
    rows: NDArray[np.floating[Any]],
    K: int,
    random_state: np.random.RandomState,
    weights: Array | None = None,
) -> ObservedStart:
    """Return clusters of rows of which some cells are NaN, and the rows filled in.

    Parameters
    ----------
    rows : (n, d)
        Every column has an observed value. Not modified.
    K : int
        Number of clusters.
    random_state : RandomState
        Draws the seeds.
    weights : (n,), optional
        Row weights, not negative.

    Raises
    ------
    ValueError
        If fewer than `K` rows with positive weight have an observed value.

    Examples
    --------
    >>> import numpy as np
    >>> from emdash.start_missing import observed_start
    >>> X = np.array([[0.0, 0.1], [np.nan, 0.0], [5.0, np.nan], [5.1, 5.2]])
    >>> start = observed_start(X, 2, np.random.RandomState(0))
    >>> start.labels[0] == start.labels[1], start.labels[2] == start.labels[3]
    (np.True_, np.True_)
    >>> start.rows[1]
    array([0., 0.])
    """
    holes = np.isnan(rows)
    numbers = np.flatnonzero(~holes.all(axis=1))
    w = np.ones(len(numbers)) if weights is None else np.asarray(weights)[numbers]
    if np.count_nonzero(w) < K:
        raise ValueError(
            f"Expected at least n_components = {K} rows with an observed value, but there are "
            f"{np.count_nonzero(w)}: decrease n_components or give more rows"
        )
    x = np.asarray(rows[numbers], dtype=np.float64)
    table = _Table(x, w)
    centers, labels = _lloyd(table, _seeds(table, K, random_state))
    return ObservedStart(numbers, _hot_deck(x, labels), centers + table.origin, labels)


class _Table:
    """Rows about their column means, zeros in the holes: so that distances are two products.

    Attributes
    ----------
    x, seen : (n, d)
        Values or 0, and 1 or 0.
    weights, scale : (n,)
        Row weights, and ``d / d_observed``.
    origin : (d,)
        Column means.
    """

    def __init__(self, rows: Array, weights: Array) -> None:
        self.origin = np.nanmean(rows, axis=0)
        self.seen = (~np.isnan(rows)).astype(np.float64)
        self.x = np.where(self.seen > 0, rows - self.origin, 0.0)
        self.weights = weights
        self.scale = rows.shape[1] / self.seen.sum(axis=1)

    def distances(self, centers: Array) -> Iterator[tuple[slice, Array]]:
        """Yield blocks of rows and their scaled squared distances to all centres."""
        for begin in range(0, len(self.x), BLOCK_ROWS):
            here = slice(begin, begin + BLOCK_ROWS)
            x, seen = self.x[here], self.seen[here]
            squares = (x**2).sum(axis=1)[:, None] - 2 * x @ centers.T + seen @ (centers**2).T
            yield here, np.maximum(squares, 0) * self.scale[here, None]

    def nearest(self, centers: Array) -> tuple[Labels, Array]:
        """Return each row's nearest centre, and the distance."""
        labels, distance = np.empty(len(self.x), dtype=np.intp), np.empty(len(self.x))
        for here, block in self.distances(centers):
            labels[here] = block.argmin(axis=1)
            distance[here] = block.min(axis=1)
        return labels, distance

    def means(self, labels: Labels, centers: Array) -> Array:
        """Return the centres that minimise the cost; a feature that no row shows stays."""
        w = self.weights * self.scale
        new = centers.copy()
        for k in range(len(centers)):
            mine = labels == k
            seen = w[mine] @ self.seen[mine]
            known = seen > 0
            new[k, known] = (w[mine] @ self.x[mine])[known] / seen[known]
        return new


def _seeds(table: _Table, K: int, random_state: np.random.RandomState) -> Array:
    """Return K rows picked by k-means++ [Arthur2007]_, the best of a few candidates each time.

    The holes of a picked row hold the column means.
    """
    candidates = 2 + int(math.log(K))
    first = random_state.choice(len(table.x), p=table.weights / table.weights.sum())
    centers = table.x[first][None]
    _, distance = table.nearest(centers)
    while len(centers) < K:
        cost = np.cumsum(table.weights * distance)
        if cost[-1] > 0:
            drawn = np.searchsorted(cost, random_state.uniform(size=candidates) * cost[-1])
        else:  # fewer distinct rows than clusters
            drawn = random_state.choice(np.flatnonzero(table.weights), size=candidates)
        trials = table.x[np.minimum(drawn, len(cost) - 1)]
        nearer = np.empty((len(distance), candidates))
        for here, block in table.distances(trials):
            nearer[here] = np.minimum(block, distance[here, None])
        best = int(np.argmin(table.weights @ nearer))
        centers, distance = np.vstack([centers, trials[best]]), nearer[:, best]
    return np.asarray(centers)


def _lloyd(table: _Table, centers: Array) -> tuple[Array, Labels]:
    """Return centres that no longer move, and every row's nearest one."""
    spread = (table.weights @ table.x**2).sum() / table.weights.sum() / centers.shape[1]
    for _ in range(MOST_ITERATIONS):
        labels, distance = table.nearest(centers)
        sizes = np.bincount(labels, weights=table.weights, minlength=len(centers))
        empty = np.flatnonzero(sizes == 0)
        farthest = np.argsort(-distance * (table.weights > 0), kind="stable")[: len(empty)]
        labels[farthest] = empty
        new = table.means(labels, centers)
        moved = ((new - centers) ** 2).sum()
        centers = new
        if moved <= TOLERANCE * spread:
            break
    return centers, table.nearest(centers)[0]


def _hot_deck(rows: Array, labels: Labels) -> Array:
    """Fill the holes: of a column, the rows of a cluster take the values of its others in turn.

    Means and variances of the columns stay as they are within a cluster; means in the place of
    the holes would make the variances too small. A cluster that shows no value of a column takes
    those of all rows.
    """
    filled = rows.copy()
    holes = np.isnan(rows)
    for j in range(rows.shape[1]):
        everyone = rows[~holes[:, j], j]
        for k in np.unique(labels[holes[:, j]]):
            mine = labels == k
            donors = rows[mine & ~holes[:, j], j]
            wanted = np.flatnonzero(mine & holes[:, j])
            filled[wanted, j] = np.resize(donors if len(donors) else everyone, len(wanted))
    return filled
