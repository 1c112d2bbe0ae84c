"""The shapes of a covariance: full, tied, diagonal, spherical.

What a shape knows is in ``shape.py``; everything else about a Gaussian in
``gaussian.py``. Letters are those of ``docs/formulas.md``.

Must never know: mixing weights, rows, sources, loops.
"""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.families.factors import (
    diagonal,
    factor_matrices,
    factor_positive_precisions,
    factor_precision_matrix,
    factor_variances,
    pack,
    unpack,
)
from emdash.families.moments import APART, EMPTY, EPS, LOST, center_of, per_row
from emdash.families.shape import CovarianceShape
from emdash.families.single import Single, single_precision

__all__ = ["SHAPES", "CovarianceShape", "Diagonal", "Full", "Spherical", "Tied"]

Array = NDArray[np.float64]

UNLIKE = 1e4
"""Ratio of standard deviations up to which rows are drawn as scikit-learn draws them."""


class _Matrices(CovarianceShape):
    """What the shapes with whole matrices, (..., d, d), have in common."""

    def unit_factors(self, K: int, d: int) -> Array:
        return np.broadcast_to(np.eye(d), self.array_shape(K, d)).copy()

    def regularize(self, covariances: Array, reg_covar: float) -> Array:
        np.einsum("...ii->...i", covariances)[...] += reg_covar
        return covariances

    def factor(self, covariances: Array, n_threads: int = 1) -> Array:
        return factor_matrices(covariances, n_threads)

    def precisions(self, factors: Array) -> Array:
        return factors @ np.swapaxes(factors, -1, -2)

    def covariances_of(self, factors: Array) -> Array:
        inverse = np.linalg.inv(factors)  # triangular: no pivots, whatever the units
        return np.asarray(np.swapaxes(inverse, -1, -2) @ inverse)

    def upper(self, factors: Array) -> Array:
        positive = (np.diagonal(factors, axis1=-2, axis2=-1) > 0).all()
        if not positive or np.tril(factors, -1).any():
            return self.factor_precisions(self.precisions(factors))
        return factors

    def sample(self, mean: Array, covariance: Array, n: int, rng: np.random.RandomState) -> Array:
        scale = np.sqrt(np.diagonal(covariance))
        if scale.max() <= UNLIKE * scale.min():
            return rng.multivariate_normal(mean, covariance, n, check_valid="ignore")
        # the small ones would drown in the rounding of the large ones
        correlation = covariance / np.outer(scale, scale)
        return mean + scale * rng.multivariate_normal(
            np.zeros(len(mean)), correlation, n, check_valid="ignore"
        )


class _Variances(CovarianceShape):
    """What the shapes with variances only have in common."""

    def unit_factors(self, K: int, d: int) -> Array:
        return np.ones(self.array_shape(K, d))

    def regularize(self, covariances: Array, reg_covar: float) -> Array:
        covariances += reg_covar
        return covariances

    def factor(self, covariances: Array, n_threads: int = 1) -> Array:
        return factor_variances(covariances)

    def factor_precisions(self, precisions: Array) -> Array:
        return factor_positive_precisions(precisions)

    def precisions(self, factors: Array) -> Array:
        return factors**2

    def covariances_of(self, factors: Array) -> Array:
        return np.asarray(factors**-2.0)

    def variances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        return np.broadcast_to(self.covariances(N, F, S, means, center), means.shape)

    def upper(self, factors: Array) -> Array:
        return np.abs(factors)

    def sample(self, mean: Array, covariance: Array, n: int, rng: np.random.RandomState) -> Array:
        return mean + rng.standard_normal(size=(n, len(mean))) * np.sqrt(covariance)


class Full(_Matrices):
    """Every component has its own covariance matrix, shape (K, d, d)."""

    name = "full"

    def array_shape(self, K: int, d: int) -> tuple[int, ...]:
        return (K, d, d)

    def scatter_shape(self, K: int, d: int, center: Array) -> tuple[int, ...]:
        return (K, d * (d + 1) // 2)

    def count_parameters(self, K: int, d: int) -> int:
        return K * d * (d + 1) // 2

    def scatter(self, rows: Array, r: Array, means: Array, center: Array) -> Array:
        d = rows.shape[1]
        S = np.empty((len(means), d * (d + 1) // 2))
        for k, mean in enumerate(means):
            present = r[:, k] != 0  # one-hot responsibilities: touch each row once
            x = rows[present] - mean
            S[k] = pack((r[present, k, None] * x).T @ x)
        return S

    def covariances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        from emdash._kernels.factor import covariances

        K, d = means.shape
        result = np.empty((K, d, d))
        covariances(N + EMPTY, S, per_row(F, N), result)
        return result

    def variances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        return per_row(S[:, diagonal(means.shape[1])], N) - per_row(F, N) ** 2

    def factor_precisions(self, precisions: Array) -> Array:
        return np.stack([factor_precision_matrix(p, k) for k, p in enumerate(precisions)])

    def log_determinants(self, factors: Array, K: int, d: int) -> Array:
        return np.asarray(np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1))

    def bind(self, log_offsets: Array, means: Array, factors: Array, center: Array) -> Any:
        from emdash._kernels.gaussian import FullKernel

        return FullKernel(log_offsets, means, factors)

    def single(self, means: Array, factors: Array, center: Array) -> Single | None:
        return single_precision(means, factors, center)


FULL = Full()


class Tied(_Matrices):
    """All components share one covariance matrix, shape (d, d).

    The within-component scatter is recovered as total scatter about a centre
    minus scatter between the means, so the pass needs one scatter matrix and not
    K. That loses ``eps * (distance between means / sigma)**2``. Where it is more than
    :data:`APART` the pass sums what the full shape does, and ``center`` is NaN.
    """

    name = "tied"

    def array_shape(self, K: int, d: int) -> tuple[int, ...]:
        return (d, d)

    def scatter_shape(self, K: int, d: int, center: Array) -> tuple[int, ...]:
        P = d * (d + 1) // 2
        return (K, P) if isnan(center[0]) else (P,)

    def count_parameters(self, K: int, d: int) -> int:
        return d * (d + 1) // 2

    def center(self, weights: Array, means: Array, factors: Array | None) -> Array:
        center = center_of(weights, means)
        if factors is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                apart = (means - center) @ factors
                most = APART / EPS  # the first is quicker, and nearly always enough
                if np.vdot(apart, apart) <= most or (weights @ apart**2).sum() <= most:
                    return center
        return np.full_like(center, np.nan)

    def cancelled(self, N: Array, S: Array, shift: Array) -> Array:
        if S.ndim == 2:
            return shift**2
        # with what is left of the total, too: that is harmless
        total = S[diagonal(shift.shape[1])] * (LOST / APART / N.sum())
        return np.asarray(np.maximum(shift**2, total))

    def scatter(self, rows: Array, r: Array, means: Array, center: Array) -> Array:
        if isnan(center[0]):
            return FULL.scatter(rows, r, means, center)  # of each component
        x = rows - center
        return pack((r.sum(axis=1)[:, None] * x).T @ x)

    def covariances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        if isnan(center[0]):
            each = FULL.covariances(N, F, S, means, center)
            return np.asarray(np.tensordot(N, each, 1) / N.sum())
        between = means + per_row(F, N) - center
        within = unpack(S, means.shape[1]) - (N[:, None] * between).T @ between
        return np.asarray(within / N.sum())

    def variances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        if isnan(center[0]):
            within = N @ FULL.variances(N, F, S, means, center)
            return np.broadcast_to(within / N.sum(), means.shape)
        between = means + per_row(F, N) - center
        within = S[diagonal(means.shape[1])] - N @ between**2
        return np.broadcast_to(within / N.sum(), means.shape)

    def factor_precisions(self, precisions: Array) -> Array:
        return factor_precision_matrix(precisions, None)

    def log_determinants(self, factors: Array, K: int, d: int) -> Array:
        return np.full(K, np.log(np.diagonal(factors)).sum())

    def bind(self, log_offsets: Array, means: Array, factors: Array, center: Array) -> Any:
        from emdash._kernels.gaussian import TiedKernel

        if isnan(center[0]):
            factors = np.broadcast_to(factors, (len(means), *factors.shape))
            return FULL.bind(log_offsets, means, factors, center)
        return TiedKernel(log_offsets, means, factors, center)

    def component(self, covariances: Array, k: int) -> Array:
        return covariances


class Diagonal(_Variances):
    """Every component has its own variance of each feature, shape (K, d)."""

    name = "diag"

    def array_shape(self, K: int, d: int) -> tuple[int, ...]:
        return (K, d)

    def scatter_shape(self, K: int, d: int, center: Array) -> tuple[int, ...]:
        return (K, d)

    def count_parameters(self, K: int, d: int) -> int:
        return K * d

    def scatter(self, rows: Array, r: Array, means: Array, center: Array) -> Array:
        return np.stack([r[:, k] @ (rows - mean) ** 2 for k, mean in enumerate(means)])

    def covariances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        return per_row(S, N) - per_row(F, N) ** 2

    def log_determinants(self, factors: Array, K: int, d: int) -> Array:
        return np.asarray(np.log(factors).sum(axis=1))

    def bind(self, log_offsets: Array, means: Array, factors: Array, center: Array) -> Any:
        from emdash._kernels.gaussian import DiagonalKernel

        return DiagonalKernel(log_offsets, means, factors)


class Spherical(_Variances):
    """Every component has one variance, shape (K,)."""

    name = "spherical"

    def array_shape(self, K: int, d: int) -> tuple[int, ...]:
        return (K,)

    def scatter_shape(self, K: int, d: int, center: Array) -> tuple[int, ...]:
        return (K,)

    def count_parameters(self, K: int, d: int) -> int:
        return K

    def scatter(self, rows: Array, r: Array, means: Array, center: Array) -> Array:
        return np.array([r[:, k] @ ((rows - m) ** 2).sum(axis=1) for k, m in enumerate(means)])

    def covariances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        squared_shift = (per_row(F, N) ** 2).sum(axis=1)
        return np.asarray((per_row(S, N) - squared_shift) / means.shape[1])

    def variances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        each = self.covariances(N, F, S, means, center)
        return np.broadcast_to(each[:, None], means.shape)

    def log_determinants(self, factors: Array, K: int, d: int) -> Array:
        return d * np.log(factors)

    def bind(self, log_offsets: Array, means: Array, factors: Array, center: Array) -> Any:
        from emdash._kernels.gaussian import SphericalKernel

        return SphericalKernel(log_offsets, means, factors)


SHAPES: dict[str, CovarianceShape] = {
    shape.name: shape for shape in (FULL, Tied(), Diagonal(), Spherical())
}
"""The registry: ``covariance_type`` of the estimators to the shape that implements it."""
