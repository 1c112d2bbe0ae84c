"""The shape of a covariance as an object: full, tied, diagonal, spherical.

A shape knows the arrays of its covariance, the statistics its M-step needs, how
to factor them and which compiled kernel computes them. Everything else about a
Gaussian is in ``gaussian.py``. Letters are those of ``docs/formulas.md``.

Must never know: mixing weights, rows, sources, loops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.families.factors import (
    diagonal,
    draw_rows,
    factor_matrices,
    factor_positive_precisions,
    factor_precision_matrix,
    factor_variances,
    pack,
    unpack,
)
from emdash.families.single import Single, single_precision

__all__ = ["SHAPES", "CovarianceShape", "Diagonal", "Full", "Spherical", "Tied"]

Array = NDArray[np.float64]


class CovarianceShape(ABC):
    """What distinguishes one covariance type from another.

    Implement the methods below; :class:`~emdash.families.gaussian.Gaussian`
    and every model over it then work. ``K`` components, ``d`` features.
    Covariances and their factors have shape ``array_shape(K, d)``.
    """

    name: str

    @abstractmethod
    def array_shape(self, K: int, d: int) -> tuple[int, ...]:
        """Return the shape of the covariances and of their factors."""

    @abstractmethod
    def scatter_shape(self, K: int, d: int) -> tuple[int, ...]:
        """Return the shape of the scatter ``S`` in the statistics."""

    @abstractmethod
    def unit_factors(self, K: int, d: int) -> Array:
        """Return the factors of unit covariances."""

    @abstractmethod
    def count_parameters(self, K: int, d: int) -> int:
        """Return the number of free parameters of the covariances."""

    @abstractmethod
    def scatter(self, rows: Array, r: Array, means: Array, center: Array) -> Array:
        """Return ``S`` of rows with given responsibilities, in plain NumPy.

        Parameters
        ----------
        rows : (n, d)
        r : (n, K)
            Responsibilities times row weights.
        means : (K, d)
            The means the sums are taken about.
        center : (d,)
            See :func:`center_of`; only the tied shape sums about it.
        """

    @abstractmethod
    def covariances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        """Return the maximum-likelihood covariances.

        Parameters
        ----------
        N : (K,)
            Sum of responsibilities; 0 for an empty component.
        F : (K, d)
            Sum of ``r (x - mean)``.
        S : scatter_shape(K, d)
        means : (K, d)
            The means the sums were taken about, not the new ones.
        center : (d,)
        """

    @abstractmethod
    def regularize(self, covariances: Array, reg_covar: float) -> Array:
        """Add `reg_covar` to the diagonals of the covariances, in place, and return them."""

    @abstractmethod
    def factor(self, covariances: Array, n_threads: int = 1) -> Array:
        """Return the Cholesky factors of the precisions, as scikit-learn defines them.

        ``U`` upper triangular with ``U U' =`` precision; ``1 / sigma`` where the
        covariance is diagonal. They do not depend on the number of threads.

        Raises
        ------
        ValueError
            If a covariance is not positive definite, naming the component.
        """

    @abstractmethod
    def variances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        """Return the diagonals of :meth:`covariances`, shape (K, d), without the rest of them."""

    @abstractmethod
    def upper(self, factors: Array) -> Array:
        """Return the factors of the same precisions that are upper triangular.

        A lower-triangular factor of the precision, as ``numpy.linalg.cholesky``
        makes it, stands for the same covariance.
        """

    @abstractmethod
    def factor_precisions(self, precisions: Array) -> Array:
        """Return the Cholesky factors, given the precisions instead of the covariances.

        Raises
        ------
        ValueError
            If a precision is not symmetric and positive definite, naming the component.
        """

    @abstractmethod
    def precisions(self, factors: Array) -> Array:
        """Return the precisions ``U U'``."""

    @abstractmethod
    def covariances_of(self, factors: Array) -> Array:
        """Return the covariances that have these factors."""

    @abstractmethod
    def log_determinants(self, factors: Array, K: int, d: int) -> Array:
        """Return ``log |U|`` of each component, shape (K,)."""

    @abstractmethod
    def bind(self, log_offsets: Array, means: Array, factors: Array, center: Array) -> Any:
        """Return the compiled kernel with these parameters."""

    def single(self, means: Array, factors: Array, center: Array) -> Single | None:
        """Return how to run a pass in float32, or None where it must be float64."""
        return None

    @abstractmethod
    def sample(self, mean: Array, covariance: Array, n: int, rng: np.random.RandomState) -> Array:
        """Draw `n` rows from one component."""

    def component(self, covariances: Array, k: int) -> Array:
        """Return the covariance of component `k`."""
        return np.asarray(covariances[k])


EMPTY = 10 * np.finfo(np.float64).eps
"""Added to every N_k that divides, as scikit-learn does: an empty component is not 0/0."""


def per_row(sums: Array, N: Array) -> Array:
    """Return sums of components, (K, ...), divided by the components' N."""
    return np.asarray(sums / (N + EMPTY).reshape(N.shape + (1,) * (sums.ndim - 1)))


def center_of(weights: Array, means: Array) -> Array:
    """Return the point about which the tied scatter is summed: the mean of the means."""
    return np.asarray(weights @ means)


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
        return np.asarray(np.linalg.inv(self.precisions(factors)), dtype=np.float64)

    def upper(self, factors: Array) -> Array:
        if np.tril(factors, -1).any():
            return self.factor_precisions(self.precisions(factors))
        return factors

    def sample(self, mean: Array, covariance: Array, n: int, rng: np.random.RandomState) -> Array:
        return draw_rows(mean, covariance, n, rng)


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
        return factors

    def sample(self, mean: Array, covariance: Array, n: int, rng: np.random.RandomState) -> Array:
        return mean + rng.standard_normal(size=(n, len(mean))) * np.sqrt(covariance)


class Full(_Matrices):
    """Every component has its own covariance matrix, shape (K, d, d)."""

    name = "full"

    def array_shape(self, K: int, d: int) -> tuple[int, ...]:
        return (K, d, d)

    def scatter_shape(self, K: int, d: int) -> tuple[int, ...]:
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


class Tied(_Matrices):
    """All components share one covariance matrix, shape (d, d).

    The within-component scatter is recovered as total scatter about a centre
    minus scatter between the means, so the pass needs one scatter matrix and not
    K. Its relative error is about ``eps * (distance between means / sigma)**2``.
    """

    name = "tied"

    def array_shape(self, K: int, d: int) -> tuple[int, ...]:
        return (d, d)

    def scatter_shape(self, K: int, d: int) -> tuple[int, ...]:
        return (d * (d + 1) // 2,)

    def count_parameters(self, K: int, d: int) -> int:
        return d * (d + 1) // 2

    def scatter(self, rows: Array, r: Array, means: Array, center: Array) -> Array:
        x = rows - center
        return pack((r.sum(axis=1)[:, None] * x).T @ x)

    def covariances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        between = means + per_row(F, N) - center
        within = unpack(S, means.shape[1]) - (N[:, None] * between).T @ between
        return np.asarray(within / N.sum())

    def variances(self, N: Array, F: Array, S: Array, means: Array, center: Array) -> Array:
        between = means + per_row(F, N) - center
        within = S[diagonal(means.shape[1])] - N @ between**2
        return np.broadcast_to(within / N.sum(), means.shape)

    def factor_precisions(self, precisions: Array) -> Array:
        return factor_precision_matrix(precisions, None)

    def log_determinants(self, factors: Array, K: int, d: int) -> Array:
        return np.full(K, np.log(np.diagonal(factors)).sum())

    def bind(self, log_offsets: Array, means: Array, factors: Array, center: Array) -> Any:
        from emdash._kernels.gaussian import TiedKernel

        return TiedKernel(log_offsets, means, factors, center)

    def component(self, covariances: Array, k: int) -> Array:
        return covariances


class Diagonal(_Variances):
    """Every component has its own variance of each feature, shape (K, d)."""

    name = "diag"

    def array_shape(self, K: int, d: int) -> tuple[int, ...]:
        return (K, d)

    def scatter_shape(self, K: int, d: int) -> tuple[int, ...]:
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

    def scatter_shape(self, K: int, d: int) -> tuple[int, ...]:
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
    shape.name: shape for shape in (Full(), Tied(), Diagonal(), Spherical())
}
"""The registry: ``covariance_type`` of the estimators to the shape that implements it."""
