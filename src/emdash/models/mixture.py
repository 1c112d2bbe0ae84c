"""Mixtures: every row is drawn from one component, independently of the others.

Must never know: sources, engines, the loop, how a family computes.
"""

from __future__ import annotations

from collections.abc import Set
from copy import copy
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from emdash.chunk import Chunk
from emdash.families.base import Family
from emdash.models.incomplete import Impute, Incomplete, SampleMissing
from emdash.models.passes import Expect, ExpectAbout, Output, PerRow, Score
from emdash.statistics import Layout, Statistics

__all__ = ["Mixture", "MixtureParameters"]

Components = TypeVar("Components")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class MixtureParameters(Generic[Components]):
    """Parameters of a mixture of ``K`` components.

    Attributes
    ----------
    weights : (K,)
        Mixing weights; they sum to one.
    components : Components
        Parameters of the family.
    """

    weights: Array
    components: Components


_layout_of = lru_cache(maxsize=8)(Layout)
"""The same layout for every pass: it looks up where its fields are once."""


class Mixture(Generic[Components]):
    """A finite mixture over a family. NaN stands for a value that is missing at random.

    Parameters
    ----------
    family : Family
        The law of one component.
    concentration : float
        Of the symmetric Dirichlet prior of the weights, at least 1; 1 is no prior.
    """

    def __init__(self, family: Family[Components], concentration: float = 1.0) -> None:
        self.family = family
        self.concentration = concentration

    def _bind(
        self,
        parameters: MixtureParameters[Components],
        about: MixtureParameters[Components] | None = None,
    ) -> tuple[Any, Incomplete]:
        """Return the kernel for complete rows, and what answers for the others."""
        with np.errstate(divide="ignore"):  # a weight of zero never takes part
            log_weights = np.log(parameters.weights)
        components, centers = parameters.components, (about or parameters).components
        kernel = self.family.bind(components, log_weights)
        return kernel, Incomplete(self.family, components, log_weights, centers)

    def task(self, parameters: MixtureParameters[Components], pass_id: str = "") -> Expect:
        """Return the E-step with these parameters, ready for an engine."""
        kernel, incomplete = self._bind(parameters)
        return Expect(kernel, self._layout(parameters), pass_id, incomplete)

    def _layout(self, about: MixtureParameters[Components]) -> Layout:
        return _layout_of(self.family.fields(about.components))

    def nearer(
        self, statistics: Statistics, parameters: MixtureParameters[Components]
    ) -> MixtureParameters[Components] | None:
        """Return what to take the sums about again, if rounding spoilt them; else None."""
        with np.errstate(over="ignore", invalid="ignore"):  # maximize refuses overflow
            components = self.family.nearer(statistics, parameters.components)
        return None if components is None else MixtureParameters(parameters.weights, components)

    def task_about(
        self,
        parameters: MixtureParameters[Components],
        about: MixtureParameters[Components],
        pass_id: str = "",
    ) -> ExpectAbout:
        """Return the E-step with these parameters, its sums taken about others."""
        kernel, incomplete = self._bind(parameters, about)
        statistics = partial(self.statistics, parameters=about)
        return ExpectAbout(kernel, self._layout(about), statistics, pass_id, incomplete)

    def maximize(
        self, statistics: Statistics, parameters: MixtureParameters[Components]
    ) -> MixtureParameters[Components]:
        """Return the parameters that maximise the expected log-likelihood."""
        with np.errstate(over="ignore", invalid="ignore"):  # the family refuses overflow
            components = self.family.maximize(statistics, parameters.components)
        return MixtureParameters(self._weights(statistics.N), components)

    def _weights(self, N: Array) -> Array:
        """Return the mode of the weights' posterior."""
        counts = N + (self.concentration - 1)
        return np.asarray(counts / counts.sum())

    def settled(
        self, statistics: Statistics, parameters: MixtureParameters[Components]
    ) -> Mixture[Components]:
        """Return the model with what its priors left to the data taken from the sums of a pass.

        Parameters
        ----------
        statistics : Statistics
        parameters : MixtureParameters
            What the sums were taken about.
        """
        family = self.family.settled(statistics, parameters.components)
        return self if family is self.family else self.over(family)

    def over(self, family: Family[Components]) -> Mixture[Components]:
        """Return the same model over another family."""
        other = copy(self)
        other.family = family
        return other

    def log_prior(self, statistics: Statistics, parameters: MixtureParameters[Components]) -> float:
        """Return the log-density of the priors per unit of weight, but for its constants.

        EM raises the sum of it and :meth:`objective`. 0 without priors.

        Parameters
        ----------
        statistics : Statistics
            Says how much the rows weigh.
        parameters : MixtureParameters

        Raises
        ------
        ValueError
            If float64 cannot hold it.
        """
        result = self.family.log_prior(parameters.components)
        if self.concentration != 1:
            result += (self.concentration - 1) * float(np.log(parameters.weights).sum())
        if not result:
            return 0.0
        result /= statistics.weight
        if not np.isfinite(result):
            raise ValueError(
                f"The log-density of the priors is {result} per unit of weight: prior or "
                "weight_concentration_prior is too strong for rows that weigh "
                f"{statistics.weight:.3g} in all; scale sample_weight up, or weaken the prior"
            )
        return float(result)

    def floored(
        self,
        statistics: Statistics,
        components: Components,
        which: Set[int | None],
    ) -> MixtureParameters[Components]:
        """Return what :meth:`maximize` returns, some components kept from collapsing.

        Parameters
        ----------
        statistics : Statistics
        components : Components
            What the sums were taken about.
        which : set of (int or None)
            Which components; None is a scale that all share.
        """
        floored = self.family.floored(statistics, components, which)
        return MixtureParameters(self._weights(statistics.N), floored)

    def placed(
        self,
        statistics: Statistics,
        about: MixtureParameters[Components],
        parameters: MixtureParameters[Components],
        rows: dict[int, Array],
    ) -> MixtureParameters[Components]:
        """Return parameters with some components placed anew at rows, each with a weight of 1/K."""
        weights, placed = parameters.weights.copy(), list(rows)
        weights[placed] = 0.0
        weights *= (1 - len(placed) / len(weights)) / weights.sum()
        weights[placed] = 1 / len(weights)
        components = self.family.placed(statistics, about.components, parameters.components, rows)
        return MixtureParameters(weights, components)

    def kept(
        self,
        statistics: Statistics,
        parameters: MixtureParameters[Components],
        which: NDArray[np.intp],
    ) -> MixtureParameters[Components]:
        """Return the mixture of the components `which` alone."""
        weights = parameters.weights[which]
        components = self.family.kept(statistics, parameters.components, which)
        return MixtureParameters(weights / weights.sum(), components)

    def objective(self, statistics: Statistics, parameters: MixtureParameters[Components]) -> float:
        """Return the mean log-likelihood per unit of weight of the bound parameters."""
        return float(statistics.log_likelihood / statistics.weight)

    def rows(
        self,
        parameters: MixtureParameters[Components],
        output: Output,
        numbers: DTypeLike = np.float64,
    ) -> PerRow:
        """Return a question with one answer per row, of type `numbers`, ready for an engine."""
        kernel, incomplete = self._bind(parameters)
        return PerRow(kernel, output, incomplete, numbers)

    def score(self, parameters: MixtureParameters[Components]) -> Score:
        """Return the task that sums the log-likelihood only."""
        return Score(*self._bind(parameters))

    def impute(self, parameters: MixtureParameters[Components], n_features: int) -> Impute:
        """Return the task that fills missing cells with their posterior means."""
        _, incomplete = self._bind(parameters)
        return Impute(incomplete, n_features)

    def sample_missing(
        self, parameters: MixtureParameters[Components], n_features: int, n_draws: int, seed: int
    ) -> SampleMissing:
        """Return the task that draws missing cells from the posterior predictive.

        Parameters
        ----------
        parameters : MixtureParameters
        n_features : int
        n_draws : int
            Draws per row, independent of each other.
        seed : int
            From 0 to ``2**64 - 1``: the same seed gives the same draws, whatever the chunks.
        """
        _, incomplete = self._bind(parameters)
        return SampleMissing(incomplete, n_features, n_draws, seed)

    def marginal(
        self, parameters: MixtureParameters[Components], kept: NDArray[np.intp]
    ) -> MixtureParameters[Components]:
        """Return the mixture of some of the features, `kept`, without the others."""
        return MixtureParameters(
            parameters.weights, self.family.marginal(parameters.components, kept)
        )

    def conditional(
        self,
        parameters: MixtureParameters[Components],
        kept: NDArray[np.intp],
        given: NDArray[np.intp],
        values: Array,
    ) -> MixtureParameters[Components]:
        """Return the mixture of the features `kept` where the others have these values.

        Its weights are the posterior probabilities of the components given the values.

        Parameters
        ----------
        parameters : MixtureParameters
        kept, given : (m,), (q,)
            Features, together all of them.
        values : (q,)
            Of the features `given`.
        """
        marginal = self.marginal(parameters, given)
        weights: Array = self.rows(marginal, "responsibilities")(
            Chunk(np.asarray(values, dtype=np.float64)[None], index=0, start=0), 1
        )[0]
        components = self.family.conditional(parameters.components, kept, given, values)
        return MixtureParameters(weights, components)

    def reference(self, means: Array) -> MixtureParameters[Components]:
        """Return parameters about which the first sums can be taken."""
        K = len(means)
        return MixtureParameters(np.full(K, 1 / K), self.family.reference(means))

    def statistics(
        self,
        rows: Array,
        r: Array,
        parameters: MixtureParameters[Components],
        weights: Array | None = None,
    ) -> Statistics:
        """Return the statistics of rows with given responsibilities, in plain NumPy.

        Parameters
        ----------
        rows : (n, d)
        r : (n, K)
            Responsibilities.
        parameters : MixtureParameters
            What the sums are taken about.
        weights : (n,), optional
            Row weights; None means one.
        """
        result = Statistics.zeros(self._layout(parameters))
        if weights is not None:
            r = r * weights[:, None]
        for name, value in self.family.statistics(rows, r, parameters.components).items():
            getattr(result, name)[...] = value
        result.sums[1] = len(rows) if weights is None else weights.sum()
        unused = 0 if weights is None else int(np.count_nonzero(weights == 0))
        result.count(rows, unused=unused)
        return result

    def count_parameters(self, K: int, d: int) -> int:
        """Return the number of free parameters, mixing weights included."""
        return K - 1 + self.family.count_parameters(K, d)
