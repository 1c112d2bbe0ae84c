"""Mixtures: every row is drawn from one component, independently of the others.

Must never know: sources, engines, the loop, how a family computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from emdash.chunk import Chunk
from emdash.families.base import Family
from emdash.models.incomplete import Impute, Incomplete, SampleMissing, answer
from emdash.statistics import Layout, Statistics

__all__ = ["Mixture", "MixtureParameters", "Output"]

Components = TypeVar("Components")
Array = NDArray[np.float64]
BLOCK_ROWS = 4_096
"""Rows handled at a time in plain NumPy: their responsibilities stay in the cache."""

SCORE_ROWS = 65_536
"""Rows whose log-likelihoods are in memory at a time while they are summed."""

WAITING = 12
"""Partial sums per thread: of finished parts, and of pairs of chunks up the tree of a part."""
SET_ASIDE = -2
"""What the pass returns when it left rows with missing cells to others."""

Output = Literal["labels", "log_likelihood", "responsibilities", "log_densities"]


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


@dataclass(frozen=True)
class Expect:
    """The E-step of one pass: turns a chunk into statistics. Picklable.

    Attributes
    ----------
    kernel : object
        Bound parameters.
    layout : Layout
        How the kernel orders its sums.
    pass_id : str
        Carried by the statistics, so that passes are never mixed.
    incomplete : Incomplete or None
        Answers for rows with missing cells; None refuses them.
    """

    kernel: Any
    layout: Layout
    pass_id: str
    incomplete: Incomplete | None = None

    @property
    def arithmetic(self) -> str:
        """In what the densities are computed, ``"float64"`` unless the kernel says otherwise."""
        return str(getattr(self.kernel, "arithmetic", "float64"))

    @property
    def memory(self) -> int:
        """Bytes of the sums while a chunk is computed, and of those that wait to be added."""
        sums = 8 * self.layout.size
        blocks = max(16, min(64, 8_000_000 // sums))  # as in expect.pyx
        return (blocks + WAITING) * sums

    def __call__(self, chunk: Chunk, n_threads: int) -> Statistics:
        """Return the statistics of the rows of a chunk."""
        from emdash._kernels.expect import accumulate

        result = Statistics.zeros(self.layout, self.pass_id)
        left_out = np.zeros(1)
        marks = None if self.incomplete is None else np.zeros(len(chunk), np.uint8)
        bad = accumulate(
            self.kernel,
            chunk.rows,
            chunk.weights,
            result.sums,
            n_threads,
            left_out=left_out,
            incomplete=marks,
        )
        if bad >= 0:
            chunk.refuse(bad)
        if bad == SET_ASIDE and self.incomplete is not None and marks is not None:
            self.incomplete.accumulate(
                chunk.rows, chunk.weights, marks.view(np.bool_), result.sums, n_threads
            )
        result.count(chunk.rows, left_out[0])
        return result


@dataclass(frozen=True)
class ExpectAbout:
    """The E-step of one pass with the sums taken about other parameters. Picklable.

    In plain NumPy and therefore slow: only for the pass after a start far from the data.

    Attributes
    ----------
    model : Mixture
        Takes the sums.
    kernel : object
        Bound parameters, which the responsibilities come from.
    about : MixtureParameters
        What the sums are taken about.
    pass_id : str
        Carried by the statistics.
    incomplete : Incomplete or None
        Answers for rows with missing cells, its sums about the same parameters.
    """

    model: Mixture[Any]
    kernel: Any
    about: MixtureParameters[Any]
    pass_id: str
    incomplete: Incomplete | None = None

    def __call__(self, chunk: Chunk, n_threads: int) -> Statistics:
        """Return the statistics of the rows of a chunk, block by block."""
        from emdash._kernels.expect import posterior

        K, d = self.kernel.n_components, self.kernel.n_features
        total = Statistics.zeros(self.model._layout(K, d), self.pass_id)
        for begin in range(0, len(chunk), BLOCK_ROWS):
            rows = np.asarray(chunk.rows[begin : begin + BLOCK_ROWS], dtype=np.float64)
            if self.incomplete is not None:
                holes = np.asarray(np.isnan(rows).any(axis=1), dtype=np.bool_)
                weights = None if chunk.weights is None else chunk.weights[begin:][: len(rows)]
                self.incomplete.accumulate(rows, weights, holes, total.sums, n_threads)
                rows = rows[~holes]
            r, log_likelihood = np.empty((len(rows), K)), np.empty(len(rows))
            posterior(self.kernel, rows, 1, responsibilities=r, log_likelihood=log_likelihood)
            total.sums[:] += self.model.statistics(rows, r, self.about).sums
            total.sums[0] += log_likelihood.sum()
        total.count(chunk.rows)
        return total


@dataclass(frozen=True)
class PerRow:
    """A question with one answer per row. Picklable.

    Attributes
    ----------
    kernel : object
        Bound parameters.
    output : {"labels", "log_likelihood", "responsibilities", "log_densities"}
        What is asked.
    incomplete : Incomplete or None
        Answers for rows with missing cells; None refuses them.
    dtype, row_shape
        Type and shape of one row's answer.
    """

    kernel: Any
    output: Output
    incomplete: Incomplete | None = None
    dtype: DTypeLike = field(init=False)
    row_shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        wide = self.output in ("responsibilities", "log_densities")
        object.__setattr__(self, "dtype", np.intp if self.output == "labels" else np.float64)
        object.__setattr__(self, "row_shape", (self.kernel.n_components,) if wide else ())

    def __call__(self, chunk: Chunk, n_threads: int, out: NDArray[Any] | None = None) -> Any:
        """Return the answers for the rows of a chunk."""
        if out is None:
            out = np.empty((len(chunk), *self.row_shape), self.dtype)
        bad, _ = answer(self.kernel, self.incomplete, chunk.rows, n_threads, {self.output: out})
        if bad >= 0:
            chunk.refuse(bad)
        return out


@dataclass(frozen=True)
class Score:
    """The log-likelihood of the rows, without the sums of an M-step. Picklable.

    Attributes
    ----------
    kernel : object
        Bound parameters.
    incomplete : Incomplete or None
        Answers for rows with missing cells; None refuses them.
    """

    kernel: Any
    incomplete: Incomplete | None = None

    def __call__(self, chunk: Chunk, n_threads: int) -> Statistics:
        """Return the log-likelihood and the weight of a chunk."""
        result, weight = Statistics.zeros(Layout()), float(len(chunk))
        values = np.empty(min(len(chunk), SCORE_ROWS))
        for begin in range(0, len(chunk), SCORE_ROWS):
            rows = chunk.rows[begin : begin + SCORE_ROWS]
            outputs = {"log_likelihood": values[: len(rows)]}
            bad, n_empty = answer(self.kernel, self.incomplete, rows, n_threads, outputs)
            if bad >= 0:
                chunk.refuse(begin + bad)
            result.sums[0] += values[: len(rows)].sum()
            weight -= n_empty
        result.sums[1] = weight
        result.count(chunk.rows)
        return result


_layout_of = lru_cache(maxsize=8)(Layout)
"""The same layout for every pass: it looks up where its fields are once."""


class Mixture(Generic[Components]):
    """A finite mixture over a family.

    Parameters
    ----------
    family : Family
        The law of one component.
    missing : bool
        Whether NaN stands for a value that is missing at random. Otherwise it is refused.
    """

    def __init__(self, family: Family[Components], missing: bool = False) -> None:
        self.family = family
        self.missing = missing

    def _incomplete(
        self,
        parameters: MixtureParameters[Components],
        about: MixtureParameters[Components] | None = None,
    ) -> Incomplete:
        with np.errstate(divide="ignore"):
            log_weights = np.log(parameters.weights)
        centers = (about or parameters).components
        return Incomplete(self.family, parameters.components, log_weights, centers)

    def _if_missing(
        self,
        parameters: MixtureParameters[Components],
        about: MixtureParameters[Components] | None = None,
    ) -> Incomplete | None:
        return self._incomplete(parameters, about) if self.missing else None

    def _bind(self, parameters: MixtureParameters[Components]) -> Any:
        with np.errstate(divide="ignore"):  # a weight of zero never takes part
            return self.family.bind(parameters.components, np.log(parameters.weights))

    def task(self, parameters: MixtureParameters[Components], pass_id: str = "") -> Expect:
        """Return the E-step with these parameters, ready for an engine."""
        kernel = self._bind(parameters)
        layout = self._layout(kernel.n_components, kernel.n_features)
        return Expect(kernel, layout, pass_id, self._if_missing(parameters))

    def _layout(self, K: int, d: int) -> Layout:
        return _layout_of(self.family.fields(K, d))

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
        return ExpectAbout(
            self, self._bind(parameters), about, pass_id, self._if_missing(parameters, about)
        )

    def maximize(
        self, statistics: Statistics, parameters: MixtureParameters[Components]
    ) -> MixtureParameters[Components]:
        """Return the parameters that maximise the expected log-likelihood."""
        with np.errstate(over="ignore", invalid="ignore"):  # the family refuses overflow
            components = self.family.maximize(statistics, parameters.components)
        N = statistics.N
        return MixtureParameters(N / N.sum(), components)

    def objective(self, statistics: Statistics, parameters: MixtureParameters[Components]) -> float:
        """Return the mean log-likelihood per unit of weight of the bound parameters."""
        return float(statistics.log_likelihood / statistics.weight)

    def rows(self, parameters: MixtureParameters[Components], output: Output) -> PerRow:
        """Return a question with one answer per row, ready for an engine."""
        return PerRow(self._bind(parameters), output, self._if_missing(parameters))

    def score(self, parameters: MixtureParameters[Components]) -> Score:
        """Return the task that sums the log-likelihood only."""
        return Score(self._bind(parameters), self._if_missing(parameters))

    def impute(self, parameters: MixtureParameters[Components], n_features: int) -> Impute:
        """Return the task that fills missing cells with their posterior means."""
        return Impute(self._incomplete(parameters), n_features)

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
        return SampleMissing(self._incomplete(parameters), n_features, n_draws, seed)

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
        self, rows: Array, r: Array, parameters: MixtureParameters[Components]
    ) -> Statistics:
        """Return the statistics of rows with given responsibilities, in plain NumPy.

        Parameters
        ----------
        rows : (n, d)
        r : (n, K)
            Responsibilities times row weights.
        parameters : MixtureParameters
            What the sums are taken about.
        """
        K, d = r.shape[1], rows.shape[1]
        result = Statistics.zeros(self._layout(K, d))
        for name, value in self.family.statistics(rows, r, parameters.components).items():
            getattr(result, name)[...] = value
        result.sums[1] = len(rows)
        result.count(rows)
        return result

    def count_parameters(self, K: int, d: int) -> int:
        """Return the number of free parameters, mixing weights included."""
        return K - 1 + self.family.count_parameters(K, d)
