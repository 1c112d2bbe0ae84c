"""The shape of a covariance as an object.

A shape knows the arrays of its covariance, the statistics its M-step needs, how
to factor them and which compiled kernel computes them. Letters are those of
``docs/formulas.md``.

Must never know: mixing weights, rows, sources, loops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.families.moments import center_of
from emdash.families.single import Single

__all__ = ["CovarianceShape"]

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
    def scatter_shape(self, K: int, d: int, center: Array) -> tuple[int, ...]:
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
            See :meth:`center`; only the tied shape sums about it.
        """

    def center(self, weights: Array, means: Array, factors: Array | None) -> Array:
        """Return the point that is passed to the other methods, (d,).

        Parameters
        ----------
        weights : (K,)
            They sum to one.
        means : (K, d)
        factors : array_shape(K, d) or None
            What is known of the covariances; None if nothing is.
        """
        return center_of(weights, means)

    def cancelled(self, N: Array, S: Array, shift: Array) -> Array:
        """Return what an M-step subtracts from mean squares to get variances, (K, d).

        Parameters
        ----------
        N, S
            As for :meth:`covariances`.
        shift : (K, d)
            The new means less those that the sums were taken about.
        """
        return shift**2

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
