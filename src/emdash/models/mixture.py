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
    """

    kernel: Any
    layout: Layout
    pass_id: str

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
        bad = accumulate(
            self.kernel, chunk.rows, chunk.weights, result.sums, n_threads, left_out=left_out
        )
        if bad >= 0:
            chunk.refuse(bad)
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
    """

    model: Mixture[Any]
    kernel: Any
    about: MixtureParameters[Any]
    pass_id: str

    def __call__(self, chunk: Chunk, n_threads: int) -> Statistics:
        """Return the statistics of the rows of a chunk, block by block."""
        from emdash._kernels.expect import posterior

        K, d = self.kernel.n_components, self.kernel.n_features
        total = Statistics.zeros(self.model._layout(K, d), self.pass_id)
        for begin in range(0, len(chunk), BLOCK_ROWS):
            rows = np.asarray(chunk.rows[begin : begin + BLOCK_ROWS], dtype=np.float64)
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
    dtype, row_shape
        Type and shape of one row's answer.
    """

    kernel: Any
    output: Output
    dtype: DTypeLike = field(init=False)
    row_shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        wide = self.output in ("responsibilities", "log_densities")
        object.__setattr__(self, "dtype", np.intp if self.output == "labels" else np.float64)
        object.__setattr__(self, "row_shape", (self.kernel.n_components,) if wide else ())

    def __call__(self, chunk: Chunk, n_threads: int, out: NDArray[Any] | None = None) -> Any:
        """Return the answers for the rows of a chunk."""
        from emdash._kernels.expect import posterior

        if out is None:
            out = np.empty((len(chunk), *self.row_shape), self.dtype)
        bad = posterior(self.kernel, chunk.rows, n_threads, **{self.output: out})
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
    """

    kernel: Any

    def __call__(self, chunk: Chunk, n_threads: int) -> Statistics:
        """Return the log-likelihood and the weight of a chunk."""
        from emdash._kernels.expect import posterior

        result = Statistics.zeros(Layout())
        values = np.empty(min(len(chunk), SCORE_ROWS))
        for begin in range(0, len(chunk), SCORE_ROWS):
            rows = chunk.rows[begin : begin + SCORE_ROWS]
            bad = posterior(self.kernel, rows, n_threads, log_likelihood=values[: len(rows)])
            if bad >= 0:
                chunk.refuse(begin + bad)
            result.sums[0] += values[: len(rows)].sum()
        result.sums[1] = len(chunk)
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
    """

    def __init__(self, family: Family[Components]) -> None:
        self.family = family

    def _bind(self, parameters: MixtureParameters[Components]) -> Any:
        with np.errstate(divide="ignore"):  # a weight of zero never takes part
            return self.family.bind(parameters.components, np.log(parameters.weights))

    def task(self, parameters: MixtureParameters[Components], pass_id: str = "") -> Expect:
        """Return the E-step with these parameters, ready for an engine."""
        kernel = self._bind(parameters)
        return Expect(kernel, self._layout(kernel.n_components, kernel.n_features), pass_id)

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
        return ExpectAbout(self, self._bind(parameters), about, pass_id)

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
        return PerRow(self._bind(parameters), output)

    def score(self, parameters: MixtureParameters[Components]) -> Score:
        """Return the task that sums the log-likelihood only."""
        return Score(self._bind(parameters))

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
