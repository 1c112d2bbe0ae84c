"""Whether covariances and the Cholesky factors of their precisions belong together.

Of a fit they always do; parameters that were set or edited by hand are looked at again by every
call that uses them, so the look costs ``K d**2`` operations and not ``K d**3``. Letters are those
of ``docs/formulas.md``.

Must never know: mixing weights, rows, estimators.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emdash.families.covariance import CovarianceShape

__all__ = ["disagreeing", "has_matrices"]

Array = NDArray[np.float64]

DIFFERS = 1e-3
"""How far ``U' covariance U`` may be from the identity: the relative error of a variance."""

GOLDEN = 0.6180339887498949


def has_matrices(shape: CovarianceShape) -> bool:
    """Tell whether covariances of this shape are matrices, not variances."""
    return shape.array_shape(1, 2)[-2:] == (2, 2)


def disagreeing(
    shape: CovarianceShape, covariances: Array, factors: Array, eps: float
) -> NDArray[np.intp]:
    """Return the components whose covariance is not that of their factor.

    Parameters
    ----------
    shape : CovarianceShape
    covariances, factors : shape.array_shape(K, d)
        A factor is any ``U`` with ``U U' =`` precision, of either triangle.
    eps : float
        Relative rounding error of the numbers that were given; an ill-conditioned covariance and
        its factor may differ by as much as that explains.

    Returns
    -------
    components : ndarray of int
        In order; 0 stands for all components where these share one covariance.
    """
    with np.errstate(all="ignore"):  # infinity and NaN disagree with everything
        if has_matrices(shape):
            return _disagreeing_matrices(covariances, factors, eps)
        agrees = np.abs(covariances * factors**2 - 1) <= DIFFERS
    return np.flatnonzero(~agrees.reshape(len(agrees), -1).all(axis=1))


def _disagreeing_matrices(covariances: Array, factors: Array, eps: float) -> NDArray[np.intp]:
    """Return which ``U' covariance U`` differ from the identity, told by what they do to a vector.

    The product has no unit, so that features of any scale count alike. No entry of the vector
    is small, and none is a simple ratio of others, so that differences do not cancel in the sum.
    """
    d = covariances.shape[-1]
    v = 1 + (GOLDEN * np.arange(d)) % 1
    image = np.swapaxes(factors, -1, -2) @ (covariances @ (factors @ v)[..., None])
    off = np.abs(image[..., 0] - v).max(axis=-1).reshape(-1)
    suspects = np.flatnonzero(~(off <= DIFFERS))
    if len(suspects) == 0:
        return suspects
    matrices = covariances.reshape(-1, d, d)
    explained = [_rounding(matrices[k], eps) for k in suspects]
    return np.asarray(suspects[~(off[suspects] <= explained)])


def _rounding(covariance: Array, eps: float) -> float:
    """Return what rounding explains of ``|U' covariance U - 1|``: ``d eps`` times the condition.

    The condition is that of the correlations: scales of the features do no harm.
    """
    if not np.isfinite(covariance).all() or not (np.diagonal(covariance) > 0).all():
        return 0.0
    sigma = np.sqrt(np.diagonal(covariance))
    eigenvalues = np.linalg.eigvalsh(covariance / sigma / sigma[:, None])
    if not eigenvalues[0] > 0:
        return 0.0
    return float(len(sigma) * eps * eigenvalues[-1] / eigenvalues[0])
