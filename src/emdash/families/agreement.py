"""Whether covariances and the Cholesky factors of their precisions belong together.

Of a fit they do; but attributes can be set or edited by hand at any time, so every call that uses
them looks: quickly, in ``K d**2`` operations, and closely only at what looks wrong. Letters are
those of ``docs/formulas.md``.

Must never know: mixing weights, rows, estimators.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emdash.families.forms import Matrix, form_of
from emdash.families.shape import CovarianceShape

__all__ = ["belong_together", "disagreeing", "has_matrices"]

Array = NDArray[np.float64]

DIFFERS = 1e-3
"""How far ``U' covariance U`` may be from the identity: the relative error of a variance."""

LARGEST = 1e150
"""No factor of a fit is as large: its square, the precision, is a number."""

GOLDEN = 0.6180339887498949


def has_matrices(shape: CovarianceShape) -> bool:
    """Tell whether covariances of this shape are matrices, not variances."""
    return isinstance(form_of(shape), Matrix)


def belong_together(shape: CovarianceShape, covariances: Array, factors: Array) -> bool:
    """Tell whether these are covariances and their upper-triangular factors, as a fit leaves them.

    Meant to be quick, since nearly always they are. What is not finite does not belong together.
    """
    with np.errstate(all="ignore"):
        if not has_matrices(shape):
            off = np.abs(covariances * factors * factors - 1).max()
            return bool(off <= DIFFERS) and bool(factors.min() > 0 and factors.max() < LARGEST)
        d = covariances.shape[-1]
        v, below = _probes(d)
        flat = factors.reshape(-1, d * d)
        diagonals = flat[:, :: d + 1]
        if (flat @ below).any() or not (diagonals.min() > 0 and diagonals.max() < LARGEST):
            return False
        return bool(_off(covariances, factors, v).max() <= DIFFERS)


@lru_cache(maxsize=4)
def _probes(d: int) -> tuple[Array, Array]:
    """Return vectors that tell matrices apart: (d,), and (d * d,) that sees what is below.

    No entry is small, but for the zeros of the second, and none is a simple ratio of others, so
    that differences do not cancel in the products.
    """
    v = 1 + (GOLDEN * np.arange(d)) % 1
    below: Array = np.tril(1 + (GOLDEN * np.arange(d * d).reshape(d, d)) % 1, -1)
    return np.asarray(v, dtype=np.float64), below.reshape(-1)


def _off(covariances: Array, factors: Array, v: Array) -> Array:
    """Return how far each ``U' covariance U v`` is from ``v``, shape (..., d).

    The product has no unit: features of any scale count alike.
    """
    image = np.swapaxes(factors, -1, -2) @ (covariances @ (factors @ v)[..., None])
    return np.abs(image[..., 0] - v)


def disagreeing(
    shape: CovarianceShape, covariances: Array, factors: Array, eps: float
) -> NDArray[np.intp]:
    """Return the components whose covariance is not that of their factor.

    Parameters
    ----------
    shape : CovarianceShape
    covariances, factors : shape.array_shape(K, d)
        Finite. A factor is any ``U`` with ``U U' =`` precision, of either triangle.
    eps : float
        Relative rounding error of the numbers that were given; an ill-conditioned covariance and
        its factor may differ by as much as that explains.

    Returns
    -------
    components : ndarray of int
        In order; 0 stands for all components where these share one covariance.
    """
    if not has_matrices(shape):
        with np.errstate(over="ignore"):
            agrees = np.abs(covariances * factors * factors - 1) <= DIFFERS
        return np.flatnonzero(~agrees.reshape(len(agrees), -1).all(axis=1))
    d = covariances.shape[-1]
    with np.errstate(over="ignore", invalid="ignore"):
        off = _off(covariances, factors, _probes(d)[0]).max(axis=-1).reshape(-1)
    suspects = np.flatnonzero(~(off <= DIFFERS))
    explained = [_rounding(covariances.reshape(-1, d, d)[k], eps) for k in suspects]
    return np.asarray(suspects[~(off[suspects] <= explained)])


def _rounding(covariance: Array, eps: float) -> float:
    """Return what rounding explains of ``|U' covariance U - 1|``: ``d eps`` times the condition.

    The condition is that of the correlations: scales of the features do no harm.
    """
    if not (np.diagonal(covariance) > 0).all():
        return 0.0
    sigma = np.sqrt(np.diagonal(covariance))
    eigenvalues = np.linalg.eigvalsh(covariance / sigma / sigma[:, None])
    if not eigenvalues[0] > 0:
        return 0.0
    return float(len(sigma) * eps * eigenvalues[-1] / eigenvalues[0])
