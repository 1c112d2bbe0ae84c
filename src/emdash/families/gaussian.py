"""The Gaussian family, for any shape of covariance.

Sums are taken about the means that were bound, so they add across chunks and
do not cancel when the data lie far from the origin [Chan1983]_; the M-step is
the closed form of [Dempster1977]_. Letters are those of ``docs/formulas.md``.
"""

from __future__ import annotations

import math
from collections.abc import Set
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.families.base import Family
from emdash.families.conjugate import Conjugate, settled
from emdash.families.forms import Form, form_of
from emdash.families.missing import SUBSETS
from emdash.families.moments import EMPTY, EPS, LOST, center_of, per_row
from emdash.families.shape import CovarianceShape
from emdash.families.single import Single, holds
from emdash.families.singular import Collapse, floor_of, floored, narrowest, singular_components
from emdash.priors import NormalInverseWishart
from emdash.statistics import Statistics

__all__ = ["Gaussian", "GaussianParameters"]

Array = NDArray[np.float64]
Sums = tuple[Array, Array, Array]
"""N, F and S."""


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
        The point about which a tied scatter is summed; NaN if it is summed about each mean.
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
    n_threads : int
        Largest number of threads for the M-step; no number depends on it.
    arithmetic : {"float64", "float32"}
        What passes compute in. With "float32" those that would lose too many
        digits are float64 all the same: the bound kernel's ``arithmetic`` tells.
    prior : NormalInverseWishart or None
        Of means and covariances; the M-step then finds the mode of their posterior.
    """

    def __init__(
        self,
        shape: CovarianceShape,
        reg_covar: float = 0.0,
        n_threads: int = 1,
        arithmetic: str = "float64",
        prior: NormalInverseWishart | None = None,
    ) -> None:
        self.shape = shape
        self.reg_covar = reg_covar
        self.n_threads = n_threads
        self.arithmetic = arithmetic
        self.prior = prior

    def fields(self, parameters: GaussianParameters) -> tuple[tuple[str, tuple[int, ...]], ...]:
        K, d = parameters.means.shape
        S = self.shape.scatter_shape(K, d, parameters.center)
        return (("N", (K,)), ("F", (K, d)), ("S", S))

    def bind(self, parameters: GaussianParameters, log_weights: Array) -> Any:
        K, d = parameters.means.shape
        factors = parameters.precisions_cholesky
        log_offsets = (
            log_weights
            - 0.5 * d * math.log(2 * math.pi)
            + self.shape.log_determinants(factors, K, d)
        )
        single = self._single(parameters)
        bind = self.shape.bind if single is None else single.bind
        return bind(log_offsets, parameters.means, factors, parameters.center)

    def _single(self, parameters: GaussianParameters) -> Single | None:
        """Return how passes with these parameters run in float32, None if in float64."""
        if self.arithmetic == "float64":
            return None
        return self.shape.single(
            parameters.means, parameters.precisions_cholesky, parameters.center
        )

    def bind_missing(
        self, parameters: GaussianParameters, log_weights: Array, about: GaussianParameters
    ) -> Any:
        covariances, factors = parameters.covariances, parameters.precisions_cholesky
        name = self.shape.name
        if math.isnan(about.center[0]):  # a tied scatter, summed about each mean
            shape = (len(parameters.means), *covariances.shape)
            covariances, factors = (np.broadcast_to(a, shape) for a in (covariances, factors))
            name = "full"
        return SUBSETS[name].kernel()(
            log_weights, parameters.means, covariances, factors, about.means, about.center
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
        means, covariances = self._estimates(statistics, parameters)
        return self._sound(statistics, parameters, means, covariances)

    def _sound(
        self,
        statistics: Statistics,
        about: GaussianParameters,
        means: Array,
        covariances: Array,
        spared: Set[int | None] = frozenset(),
    ) -> GaussianParameters:
        """Return the record of parameters, or raise :class:`Collapse` about some not `spared`."""
        form = self._form
        try:
            found = self.parameters(statistics.N, means, covariances)
        except ValueError:
            if not np.isfinite(covariances).all():
                raise
            smallest = singular_components(form, means, covariances)
            # if rounding lets the eigenvalues pass, the factorisation that failed is the judge
            raise Collapse(statistics, about, smallest or narrowest(form, covariances)) from None
        clear = form.clear_of(self.reg_covar, covariances, means)
        if clear or form.are_sound(covariances, found.precisions_cholesky, means):
            return found
        smallest = singular_components(form, means, covariances)
        if smallest.keys() - spared:
            raise Collapse(statistics, about, smallest)
        return found

    def _estimates(
        self, statistics: Statistics, parameters: GaussianParameters
    ) -> tuple[Array, Array]:
        """Return means and covariances of the M-step, singular or not."""
        means, covariances = self._moments(statistics, parameters)
        if self.prior is not None:
            N = statistics.N
            prior = settled(self.prior, self._form, N, means, covariances)
            means, covariances = Conjugate(prior, self._form).mode(N, means, covariances)
        return means, self.shape.regularize(covariances, self.reg_covar)

    def settled(self, statistics: Statistics, parameters: GaussianParameters) -> Gaussian:
        if self.prior is None or self.prior.is_complete:
            return self
        means, covariances = self._moments(statistics, parameters)
        prior = settled(self.prior, self._form, statistics.N, means, covariances)
        return self.with_prior(prior)

    def with_prior(self, prior: NormalInverseWishart) -> Gaussian:
        """Return the same family with another prior."""
        other = copy(self)
        other.prior = prior
        return other

    @property
    def needs_rows(self) -> bool:
        return self.prior is None

    def log_prior(self, parameters: GaussianParameters) -> float:
        if self.prior is None:
            return 0.0
        conjugate = Conjugate(self.prior, self._form)
        return conjugate.log_density(parameters.means, parameters.precisions_cholesky)

    def _moments(
        self, statistics: Statistics, parameters: GaussianParameters
    ) -> tuple[Array, Array]:
        """Return the means of the components and their covariances about them."""
        N, F, S = _sums(statistics)
        covariances = self.shape.covariances(N, F, S, parameters.means, parameters.center)
        return parameters.means + per_row(F, N), covariances

    @property
    def _form(self) -> Form:
        return form_of(self.shape)

    def _total(
        self, statistics: Statistics, parameters: GaussianParameters
    ) -> tuple[Array, Array, Array]:
        """Return mean and covariance of all rows together, and the floor that follows, (d,)."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # the floor is checked
            means, covariances = self._moments(statistics, parameters)
            mean, total = self._form.total(statistics.N, means, covariances)
            return mean, total, floor_of(self._form, mean, total)

    def floored(
        self, statistics: Statistics, parameters: GaussianParameters, which: Set[int | None]
    ) -> GaussianParameters:
        means, covariances = self._estimates(statistics, parameters)
        *_, floor = self._total(statistics, parameters)
        covariances = floored(self._form, covariances, which, floor)
        return self._sound(statistics, parameters, means, covariances, spared=which)

    def placed(
        self,
        statistics: Statistics,
        about: GaussianParameters,
        parameters: GaussianParameters,
        rows: dict[int, Array],
    ) -> GaussianParameters:
        form, K = self._form, len(parameters.means)
        mean, total, floor = self._total(statistics, about)
        own = form.raised(total / K ** (2 / len(mean)), floor)
        means, each = parameters.means.copy(), form.each(parameters.covariances)
        for k, row in rows.items():
            means[k] = np.where(np.isnan(row), mean, row)
            if not form.shared:
                each[k] = own
        return self.parameters(statistics.N, means, form.stacked(each))

    def kept(
        self, statistics: Statistics, parameters: GaussianParameters, which: NDArray[np.intp]
    ) -> GaussianParameters:
        covariances = parameters.covariances
        return self.parameters(
            statistics.N[which],
            parameters.means[which],
            covariances if self._form.shared else covariances[which],
        )

    def nearer(
        self, statistics: Statistics, parameters: GaussianParameters
    ) -> GaussianParameters | None:
        """Return better points to take the sums about, if these lost digits.

        The variance is ``S / N - (F / N)**2``: with means far from the rows, as a
        user may give them to start from, the terms cancel. Components with less
        than one row do not count. A pass in float32 was judged by the covariances it
        began with; if those it ends with are so much narrower that it should not have
        been one, the sums are taken again, too.
        """
        sums = N, F, _ = _sums(statistics)
        shift = per_row(F, N)
        lost = self._lost_digits(sums, shift, parameters)
        if not lost and self._single_held(sums, shift, parameters):
            return None
        means = parameters.means + shift
        center = self.shape.center(N / N.sum(), means, None)
        return replace(parameters, means=means, center=center)

    def _lost_digits(self, sums: Sums, shift: Array, parameters: GaussianParameters) -> bool:
        """Tell whether variances cancelled against shifts of the means."""
        N, F, S = sums
        cancelled = self.shape.cancelled(N, S, shift)
        if EPS * cancelled.max() <= LOST * self.reg_covar:
            return False  # whatever the variances are; in small fits they cost a tenth of the time
        variances = self.shape.variances(N, F, S, parameters.means, parameters.center)
        kept = LOST * (np.maximum(variances, 0) + self.reg_covar)
        return bool((EPS * cancelled > kept)[N >= 1].any())

    def _single_held(self, sums: Sums, shift: Array, parameters: GaussianParameters) -> bool:
        """Tell whether a pass in float32, if it was one, was good enough for what it found."""
        if self._single(parameters) is None:
            return True
        N, F, S = sums
        found = self.shape.covariances(N, F, S, parameters.means, parameters.center)
        return holds(self.shape.regularize(found, self.reg_covar)[N >= 1], shift[N >= 1])

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
        factors = self.shape.factor(covariances, self.n_threads)
        center = self.shape.center(weights / weights.sum(), means, factors)
        return GaussianParameters(means, covariances, factors, center)

    def from_factors(self, weights: Array, means: Array, factors: Array) -> GaussianParameters:
        """Return the record of parameters with these means and Cholesky factors of precisions."""
        center = self.shape.center(weights / weights.sum(), means, factors)
        return GaussianParameters(means, self.shape.covariances_of(factors), factors, center)

    def reference(self, means: Array) -> GaussianParameters:
        K, d = means.shape
        factors = self.shape.unit_factors(K, d)
        return self.from_factors(np.ones(K), means, factors)

    def statistics(self, rows: Array, r: Array, parameters: GaussianParameters) -> dict[str, Array]:
        means, N = parameters.means, r.sum(axis=0)
        middle = center_of((N + EMPTY) / (N + EMPTY).sum(), means)
        return {
            "N": N,
            "F": r.T @ (rows - middle) - N[:, None] * (means - middle),
            "S": self.shape.scatter(rows, r, means, parameters.center),
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


def _sums(statistics: Statistics) -> Sums:
    """Return the sums in a unit in which a row weighs about one, exactly: no rule depends on it."""
    N, F, S, unit = statistics.N, statistics.F, statistics.S, statistics.unit
    return (N, F, S) if unit == 1 else (N / unit, F / unit, S / unit)
