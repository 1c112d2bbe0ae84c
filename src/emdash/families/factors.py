"""Cholesky factors of covariances and precisions, and packed triangles.

The only place where the mathematics of a Gaussian can fail, so the errors that
name the component are written here. Factors follow scikit-learn: ``U`` upper
triangular with ``U U' =`` precision, ``1 / sigma`` for variances.

Must never know: mixing weights, rows, covariance types.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "diagonal",
    "factor_matrices",
    "factor_positive_precisions",
    "factor_precision_matrix",
    "factor_variances",
    "ill_defined",
    "pack",
    "unpack",
    "where",
]

Array = NDArray[np.float64]


def ill_defined(details: Mapping[int | None, str]) -> str:
    """Return in scikit-learn's words that covariances are not positive definite.

    Parameters
    ----------
    details : dict of int or None to str
        What is known of the covariance of each component; None stands for one that all share.
    """
    each = [
        f"the covariance of {where(k)} is not positive definite ({detail})"
        for k, detail in details.items()
    ]
    return (
        "Fitting the mixture model failed because some components have ill-defined empirical "
        f"covariance: {'; '.join(each)}, for instance because of singleton or repeated rows. Try "
        "to decrease n_components, increase reg_covar, or scale the input data"
    )


def where(component: int | None) -> str:
    """Return whose covariance it is, in words."""
    return "all components" if component is None else f"component {component}"


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
    if np.isfinite(matrices[bad]).all():
        detail = f"its smallest eigenvalue is {np.linalg.eigvalsh(matrices[bad])[0]:.3g}"
    else:
        detail = "it holds infinity or NaN: values of X overflow when squared"
    raise ValueError(ill_defined({None if covariances.ndim == 2 else bad: detail}) + ".")


def factor_precision_matrix(precision: Array, k: int | None) -> Array:
    """Return upper-triangular ``U`` with ``U U' = precision`` (Cholesky from the last row up)."""
    if not (np.abs(precision - precision.T) <= 1e-8 + 1e-5 * np.abs(precision)).all():
        raise ValueError(f"precisions_init of {where(k)} should be symmetric, positive-definite")
    try:
        flipped = np.linalg.cholesky(precision[::-1, ::-1])
    except np.linalg.LinAlgError:
        smallest = np.linalg.eigvalsh(precision)[0]
        raise ValueError(
            f"precisions_init of {where(k)} should be symmetric, positive-definite, but its "
            f"smallest eigenvalue is {smallest:.3g}"
        ) from None
    return np.ascontiguousarray(flipped[::-1, ::-1])


def factor_variances(variances: Array) -> Array:
    """Return ``1 / sigma`` of variances, (K,) or (K, d); refuse those that are not positive."""
    bad = ~(np.isfinite(variances) & (variances > 0))
    if bad.any():
        k = int(np.argwhere(bad)[0][0])
        detail = f"its smallest variance is {np.min(variances[k]):.3g}"
        raise ValueError(ill_defined({k: detail}) + ".")
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


@lru_cache(maxsize=16)
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
