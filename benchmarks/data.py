"""Data for the benchmarks: Gaussian clusters with a known overlap, made from a seed.

Cost depends on the overlap where kernels skip components that cannot matter,
so every benchmark says which it uses (see :data:`SEPARATIONS`).

Must never know: emdash, its rivals, timers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["QUICK", "SEPARATIONS", "Truth", "clusters", "draw", "nearest", "size"]

Array = NDArray[np.float64]

QUICK = os.environ.get("EMDASH_BENCH_QUICK") == "1"
"""Whether to run on small data: to see that the benchmarks work, not to measure."""

SEPARATIONS = {"well": 25.0, "mod": 3.0, "all": 0.3}
"""Mean distance of a cluster to its nearest neighbour, in standard deviations.

Well separated: one component matters for a row. Moderate: a few do. All: all do.
"""

SPREAD = 0.6
"""Half-width of the logarithm of the eigenvalues of the covariances.

With it about 17 of 64 components matter per row (responsibility above 2**-52) at
d = 64, "mod", close to the data that the targets of `rivals.py` were measured on.
"""


def size(rows: int) -> int:
    """Return how many rows to use where `rows` are wanted for a measurement."""
    return max(400, rows // 200) if QUICK else rows


@dataclass(frozen=True)
class Truth:
    """Parameters of a Gaussian mixture.

    Attributes
    ----------
    weights : (K,)
    means : (K, d)
        In units of the standard deviation, which is 1 on average over directions.
    covariances : (K, d, d)
        In the square of that unit.
    """

    weights: Array
    means: Array
    covariances: Array

    def shaped(self, covariance_type: str) -> Array:
        """Return the covariances in scikit-learn's shape for a covariance type."""
        diagonals = np.diagonal(self.covariances, axis1=1, axis2=2)
        return {
            "full": self.covariances,
            "tied": np.tensordot(self.weights, self.covariances, 1),
            "diag": diagonals.copy(),
            "spherical": diagonals.mean(axis=1),
        }[covariance_type]

    def nearby(self, seed: int = 1) -> Truth:
        """Return parameters a little off, as in the middle of a fit."""
        rng = np.random.default_rng(seed)
        step = 0.1 * rng.standard_normal(self.means.shape) / np.sqrt(self.means.shape[1])
        return Truth(self.weights, self.means + step, self.covariances)


def clusters(
    d: int, K: int, overlap: str = "mod", covariance_type: str = "full", seed: int = 0
) -> Truth:
    """Return K clusters in d dimensions that a mixture of the given type can describe.

    The means lie at random in a random subspace of at most three dimensions, so
    that neighbours are equally far apart whatever d is.

    Parameters
    ----------
    d, K : int
        Number of features and of clusters, at least two.
    overlap : {"well", "mod", "all"}
        Key of :data:`SEPARATIONS`.
    covariance_type : {"full", "tied", "diag", "spherical"}
        Shape of the covariances; full and tied ones are rotated at random.
    seed : int
        Same seed, same clusters.
    """
    rng = np.random.default_rng([seed, d, K])
    points = rng.standard_normal((K, min(d, 3)))
    points *= SEPARATIONS[overlap] / nearest(points).mean()
    means = points @ _rotation(rng, d)[: min(d, 3)]
    weights = rng.uniform(0.5, 1.5, K)
    return Truth(weights / weights.sum(), means, _covariances(rng, d, K, covariance_type))


def nearest(points: Array) -> Array:
    """Return the distance of every point to the nearest other one."""
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.asarray(distances.min(axis=1))


def _covariances(rng: np.random.Generator, d: int, K: int, covariance_type: str) -> Array:
    if covariance_type == "tied":
        return np.repeat(_covariances(rng, d, 1, "full"), K, axis=0)
    if covariance_type == "spherical":
        return np.exp(rng.uniform(-SPREAD, SPREAD, (K, 1, 1))) * np.eye(d)
    covariances = np.empty((K, d, d))
    for covariance in covariances:
        eigenvalues = np.exp(rng.uniform(-SPREAD, SPREAD, d))
        directions = _rotation(rng, d) if covariance_type == "full" else np.eye(d)
        covariance[...] = (directions * (eigenvalues * d / eigenvalues.sum())) @ directions.T
    return covariances


def _rotation(rng: np.random.Generator, d: int) -> Array:
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return np.asarray(q * np.sign(np.diagonal(r)))


def draw(truth: Truth, n: int, dtype: DTypeLike = np.float64, seed: int = 0) -> NDArray[Any]:
    """Return n rows drawn from a mixture, in random order, read-only.

    Parameters
    ----------
    truth : Truth
        What to draw from.
    n : int
        Number of rows.
    dtype : dtype
        float64 or float32.
    seed : int
        Same seed, same rows.
    """
    rng = np.random.default_rng([seed, n])
    labels = rng.choice(len(truth.weights), size=n, p=truth.weights)
    rows = rng.standard_normal((n, truth.means.shape[1]))
    for k, mean in enumerate(truth.means):
        mine = labels == k
        rows[mine] = rows[mine] @ np.linalg.cholesky(truth.covariances[k]).T + mean
    rows = rows.astype(dtype, copy=False)
    rows.flags.writeable = False
    return rows
