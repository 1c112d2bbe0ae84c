"""Quotients of sums that all shapes of a covariance share, and what may be lost in them.

Must never know: shapes, kernels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["APART", "EMPTY", "EPS", "LOST", "center_of", "per_row"]

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)

LOST = 1e-11
"""Relative rounding error of a variance beyond which sums are taken again about nearer means."""

APART = 1e-9
"""The same of a tied covariance, because of the distances between its means: 2000 sigma."""

EMPTY = 10 * EPS
"""Added to every N_k that divides, as scikit-learn does: an empty component is not 0/0."""


def per_row(sums: Array, N: Array) -> Array:
    """Return sums of components, (K, ...), divided by the components' N."""
    return np.asarray(sums / (N + EMPTY).reshape(N.shape + (1,) * (sums.ndim - 1)))


def center_of(weights: Array, means: Array) -> Array:
    """Return the mean of the means."""
    return np.asarray(weights @ means)
