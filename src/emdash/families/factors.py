"""Cholesky factors of covariances and precisions, and packed triangles.

The only place where the mathematics of a Gaussian can fail, so the errors that
name the component are written here. Factors follow scikit-learn: ``U`` upper
triangular with ``U U' =`` precision, ``1 / sigma`` for variances.

Must never know: mixing weights, rows, covariance types.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "diagonal",
    "draw_rows",
    "factor_matrices",
    "factor_positive_precisions",
    "factor_precision_matrix",
    "factor_variances",
    "pack",
    "unpack",
]

Array = NDArray[np.float64]


def _ill_defined(where: str, detail: str) -> ValueError:
    return ValueError(
        "Fitting the mixture model failed because some components have ill-defined empirical "
        f"covariance: the covariance of {where} is not positive definite ({detail}), for "
        "instance because of singleton or repeated rows. Try to decrease n_components, "
        "increase reg_covar, or scale the input data."
    )


def _where(k: int | None) -> str:
    return "all components" if k is None else f"component {k}"


def factor_matrices(covariances: Array, n_threads: int = 1) -> Array:
    """Return upper-triangular ``U`` with ``U U'`` = inverse, of each matrix.

    Parameters
    ----------
    covariances : (K, d, d) or (d, d)
        Symmetric; one for each component, or one for all.
    n_threads : int
        Largest number of threads; the factors do not depend on it.

    Raises
    ------
    ValueError
        If one is not positive definite, naming the first component.
    """
    from emdash._kernels.factor import factor

    d = covariances.shape[-1]
    matrices = np.ascontiguousarray(covariances.reshape(-1, d, d), dtype=np.float64)
    factors = np.empty(matrices.shape)
    bad = factor(matrices, factors, n_threads)
    if bad < 0:
        return factors.reshape(covariances.shape)
    where = _where(None if covariances.ndim == 2 else bad)
    if not np.isfinite(matrices[bad]).all():
        raise _ill_defined(where, "it holds infinity or NaN: values of X overflow when squared")
    smallest = np.linalg.eigvalsh(matrices[bad])[0]
    raise _ill_defined(where, f"its smallest eigenvalue is {smallest:.3g}")


def factor_precision_matrix(precision: Array, k: int | None) -> Array:
    """Return upper-triangular ``U`` with ``U U' = precision`` (Cholesky from the last row up)."""
    if not (np.abs(precision - precision.T) <= 1e-8 + 1e-5 * np.abs(precision)).all():
        raise ValueError(f"precisions_init of {_where(k)} should be symmetric, positive-definite")
    try:
        flipped = np.linalg.cholesky(precision[::-1, ::-1])
    except np.linalg.LinAlgError:
        smallest = np.linalg.eigvalsh(precision)[0]
        raise ValueError(
            f"precisions_init of {_where(k)} should be symmetric, positive-definite, but its "
            f"smallest eigenvalue is {smallest:.3g}"
        ) from None
    return np.ascontiguousarray(flipped[::-1, ::-1])


def factor_variances(variances: Array) -> Array:
    """Return ``1 / sigma`` of variances, (K,) or (K, d); refuse those that are not positive."""
    bad = ~(np.isfinite(variances) & (variances > 0))
    if bad.any():
        k = int(np.argwhere(bad)[0][0])
        raise _ill_defined(_where(k), f"its smallest variance is {np.min(variances[k]):.3g}")
    return np.asarray(1.0 / np.sqrt(variances))


def factor_positive_precisions(precisions: Array) -> Array:
    """Return ``1 / sigma`` of precisions, (K,) or (K, d); refuse those that are not positive."""
    if not (precisions > 0).all():
        k = int(np.argwhere(~(precisions > 0))[0][0])
        raise ValueError(
            f"precisions_init of component {k} should be positive, got {np.min(precisions[k]):.3g}"
        )
    return np.asarray(np.sqrt(precisions))


@lru_cache(maxsize=16)
def _triangle(d: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of a lower triangle; kept, since small fits need it all the time."""
    return np.tril_indices(d)


def diagonal(d: int) -> NDArray[np.intp]:
    """Return where the diagonal of a (d, d) matrix lies in its packed lower triangle."""
    i = np.arange(d)
    return i * (i + 3) // 2


def pack(matrix: Array) -> Array:
    """Return the lower triangle of a (d, d) matrix, row after row."""
    return matrix[_triangle(len(matrix))]


def unpack(packed: Array, d: int) -> Array:
    """Return the symmetric matrices (..., d, d) whose packed lower triangles (..., P) are given."""
    matrix = np.empty((*packed.shape[:-1], d, d))
    rows, columns = _triangle(d)
    matrix[..., rows, columns] = packed
    matrix[..., columns, rows] = packed
    return matrix


def draw_rows(mean: Array, covariance: Array, n: int, rng: np.random.RandomState) -> Array:
    """Return `n` rows of a Gaussian, NumPy's where the variances are of similar size.

    NumPy factors the covariance by its singular values, whose rounding is relative to the
    largest: it drowns features with a standard deviation 1e8 times smaller. Where NumPy notices
    that, the correlations are factored instead.
    """
    try:
        return rng.multivariate_normal(mean, covariance, n, check_valid="raise")
    except ValueError:
        scale = np.sqrt(np.diagonal(covariance))
        correlation = covariance / scale / scale[:, None]
        return mean + scale * rng.multivariate_normal(np.zeros(len(mean)), correlation, n)
