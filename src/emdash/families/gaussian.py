"""The Gaussian family, for any shape of covariance.

Sums are taken about the means that were bound, so they add across chunks and
do not cancel when the data lie far from the origin [Chan1983]_; the M-step is
the closed form of [Dempster1977]_. Letters are those of ``docs/formulas.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.families.base import Family
from emdash.families.covariance import CovarianceShape, center_of, per_row
from emdash.families.missing import SUBSETS
from emdash.statistics import Statistics

__all__ = ["Gaussian", "GaussianParameters"]

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)

LOST = 1e-11
"""Relative rounding error of a variance beyond which sums are taken again about nearer means."""


@dataclass(frozen=True)
class GaussianParameters:
    """Parameters of ``K`` Gaussian components with ``d`` features.

    Attributes
    ----------
    means : (K, d)
        In the unit of the data.
    covariances : shape.array_shape(K, d)
        In the unit of the data squared.
    precisions_cholesky : shape.array_shape(K, d)
        Upper-triangular ``U`` with ``U U' =`` inverse covariance.
    center : (d,)
        The point about which a tied scatter is summed.
    """

    means: Array
    covariances: Array
    precisions_cholesky: Array
    center: Array


class Gaussian(Family[GaussianParameters]):
    """Multivariate normal components.

    Parameters
    ----------
    shape : CovarianceShape
        Full, tied, diagonal or spherical.
    reg_covar : float
        Added to the diagonal of every covariance after the M-step, in the unit
        of the data squared. It makes the log-likelihood fall by a negligible
        amount instead of rising to infinity on repeated rows.
    """

    def __init__(self, shape: CovarianceShape, reg_covar: float = 0.0) -> None:
        self.shape = shape
        self.reg_covar = reg_covar

    def fields(self, K: int, d: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
        return (("N", (K,)), ("F", (K, d)), ("S", self.shape.scatter_shape(K, d)))

    def bind(self, parameters: GaussianParameters, log_weights: Array) -> Any:
        K, d = parameters.means.shape
        factors = parameters.precisions_cholesky
        log_offsets = (
            log_weights
            - 0.5 * d * math.log(2 * math.pi)
            + self.shape.log_determinants(factors, K, d)
        )
        return self.shape.bind(log_offsets, parameters.means, factors, parameters.center)

    def bind_missing(
        self, parameters: GaussianParameters, log_weights: Array, about: GaussianParameters
    ) -> Any:
        return SUBSETS[self.shape.name].kernel()(
            log_weights,
            parameters.means,
            parameters.covariances,
            parameters.precisions_cholesky,
            about.means,
            about.center,
        )

    def marginal(
        self, parameters: GaussianParameters, kept: NDArray[np.intp]
    ) -> GaussianParameters:
        covariances = SUBSETS[self.shape.name].marginal(parameters.covariances, kept)
        return self._part(parameters.means[:, kept], covariances)

    def conditional(
        self,
        parameters: GaussianParameters,
        kept: NDArray[np.intp],
        given: NDArray[np.intp],
        values: Array,
    ) -> GaussianParameters:
        means, covariances = SUBSETS[self.shape.name].conditional(
            parameters.means, parameters.covariances, kept, given, values
        )
        return self._part(means, covariances)

    def _part(self, means: Array, covariances: Array) -> GaussianParameters:
        return self.parameters(np.ones(len(means)), means, covariances)

    def maximize(
        self, statistics: Statistics, parameters: GaussianParameters
    ) -> GaussianParameters:
        N, F, S = statistics.N, statistics.F, statistics.S
        covariances = self.shape.covariances(N, F, S, parameters.means, parameters.center)
        means = parameters.means + per_row(F, N)
        return self.parameters(N, means, self.shape.regularize(covariances, self.reg_covar))

    def nearer(
        self, statistics: Statistics, parameters: GaussianParameters
    ) -> GaussianParameters | None:
        """Return better points to take the sums about, if these lost digits.

        The variance is ``S / N - (F / N)**2``: with means far from the rows, as a
        user may give them to start from, the terms cancel. Components with less
        than one row do not count.
        """
        K, d = parameters.means.shape
        N, F, S = statistics.N, statistics.F, statistics.S
        shift = per_row(F, N)
        covariances = self.shape.covariances(N, F, S, parameters.means, parameters.center)
        kept = LOST * (np.maximum(self.shape.variances(covariances, K, d), 0) + self.reg_covar)
        lost = EPS * shift**2 > kept
        if not lost[N >= 1].any():
            return None
        return self.from_factors(N, parameters.means + shift, parameters.precisions_cholesky)

    def parameters(self, weights: Array, means: Array, covariances: Array) -> GaussianParameters:
        """Return the record of parameters with these means and covariances.

        Parameters
        ----------
        weights : (K,)
            Weights of the components, in any unit.
        means : (K, d)
        covariances : shape.array_shape(K, d)

        Raises
        ------
        ValueError
            If a covariance is not positive definite, naming the component.
        """
        factors = self.shape.factor(covariances)
        return GaussianParameters(
            means, covariances, factors, center_of(weights / np.sum(weights), means)
        )

    def from_factors(self, weights: Array, means: Array, factors: Array) -> GaussianParameters:
        """Return the record of parameters with these means and Cholesky factors of precisions."""
        return GaussianParameters(
            means,
            self.shape.covariances_of(factors),
            factors,
            center_of(weights / np.sum(weights), means),
        )

    def reference(self, means: Array) -> GaussianParameters:
        K, d = means.shape
        factors = self.shape.unit_factors(K, d)
        return self.from_factors(np.ones(K), means, factors)

    def statistics(self, rows: Array, r: Array, parameters: GaussianParameters) -> dict[str, Array]:
        means, center = parameters.means, parameters.center
        N = r.sum(axis=0)
        return {
            "N": N,
            "F": r.T @ (rows - center) - N[:, None] * (means - center),
            "S": self.shape.scatter(rows, r, means, center),
        }

    def sample(
        self, parameters: GaussianParameters, counts: Any, rng: np.random.RandomState
    ) -> Array:
        return np.vstack(
            [
                self.shape.sample(
                    mean, self.shape.component(parameters.covariances, k), int(n), rng
                )
                for k, (mean, n) in enumerate(zip(parameters.means, counts, strict=True))
            ]
        )

    def count_parameters(self, K: int, d: int) -> int:
        return K * d + self.shape.count_parameters(K, d)
