"""What a family of distributions is: the law of one component or state.

Must never know: mixing weights and how components are combined, sources,
engines, loops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Set
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Family"]

Parameters = TypeVar("Parameters")
Array = NDArray[np.float64]


class Family(ABC, Generic[Parameters]):
    """The law of one component: implement these methods and every model works over it.

    ``Parameters`` is a frozen, picklable record of the parameters of all ``K``
    components together. Statistics must be sums over rows, so that they can be
    computed chunk by chunk.
    """

    @abstractmethod
    def fields(self, parameters: Parameters) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Return names and shapes of the statistics, in the order the kernel writes them.

        Parameters
        ----------
        parameters : Parameters
            What the sums are taken about.
        """

    @abstractmethod
    def bind(self, parameters: Parameters, log_weights: Array) -> Any:
        """Return the kernel with these parameters: the first half of the E-step.

        Parameters
        ----------
        parameters : Parameters
        log_weights : (K,)
            Logarithm of the mixing weights, added to the log-density of each component.

        Returns
        -------
        object
            A kernel that ``emdash._kernels.expect`` can run. Picklable.
        """

    def bind_missing(self, parameters: Parameters, log_weights: Array, about: Parameters) -> Any:
        """Return the kernel for rows with missing cells (NaN), missing at random.

        Its sums have the layout of :meth:`fields` and add to those of complete rows.

        Parameters
        ----------
        parameters, log_weights
            As for :meth:`bind`.
        about : Parameters
            What the sums are taken about.

        Raises
        ------
        TypeError
            If the family has none.
        """
        raise TypeError(f"{type(self).__name__} has no kernel for rows with missing values")

    @abstractmethod
    def maximize(self, statistics: Any, parameters: Parameters) -> Parameters:
        """Return the parameters that maximise the expected log-likelihood: the M-step.

        Parameters
        ----------
        statistics : Statistics
            Sums over all rows, with the fields of :meth:`fields`.
        parameters : Parameters
            The parameters that were bound when the sums were taken.

        Raises
        ------
        ValueError
            If they do not exist, for instance because a covariance is singular.
        """

    def nearer(self, statistics: Any, parameters: Parameters) -> Parameters | None:
        """Return parameters to take the sums about again, if rounding spoilt these sums.

        Parameters
        ----------
        statistics : Statistics
            Sums over all rows.
        parameters : Parameters
            What they were taken about.

        Returns
        -------
        Parameters or None
            None, as for families whose sums never cancel, if they are good.
        """
        return None

    def settled(self, statistics: Any, parameters: Parameters) -> Family[Parameters]:
        """Return the family with what its prior left to the data taken from the sums of a pass.

        Parameters
        ----------
        statistics, parameters
            As for :meth:`maximize`.
        """
        return self

    @property
    def needs_rows(self) -> bool:
        """Whether a component is nothing without rows; not if a prior holds it."""
        return True

    def log_prior(self, parameters: Parameters) -> float:
        """Return the logarithm of the prior density, but for its constants; 0 without a prior."""
        return 0.0

    def floored(
        self, statistics: Any, parameters: Parameters, which: Set[int | None]
    ) -> Parameters:
        """Return what :meth:`maximize` returns, some components kept from collapsing.

        Parameters
        ----------
        statistics, parameters
            As for :meth:`maximize`.
        which : set of (int or None)
            Components whose scale is kept above a floor relative to that of the data; None is a
            scale that all share.
        """
        raise TypeError(f"{type(self).__name__} has no floor under its components")

    def placed(
        self, statistics: Any, about: Parameters, parameters: Parameters, rows: dict[int, Array]
    ) -> Parameters:
        """Return parameters with some components placed anew, as wide as their share of the data.

        Parameters
        ----------
        statistics : Statistics
            Sums over all rows.
        about : Parameters
            What they were taken about.
        parameters : Parameters
            The other components.
        rows : dict of int to (d,)
            Where to place which component; NaN for the mean of all rows.
        """
        raise TypeError(f"{type(self).__name__} cannot place components anew")

    def kept(self, statistics: Any, parameters: Parameters, which: NDArray[np.intp]) -> Parameters:
        """Return the parameters without all components but ``which``.

        Parameters
        ----------
        statistics : Statistics
            Sums over all rows, of all components.
        parameters : Parameters
            Made from them.
        which : (m,)
            Numbers of the components to keep.
        """
        raise TypeError(f"{type(self).__name__} cannot drop components")

    @abstractmethod
    def reference(self, means: Array) -> Parameters:
        """Return parameters to take sums about before there are any: these means, unit scale.

        Parameters
        ----------
        means : (K, d)
            Points among the data.
        """

    @abstractmethod
    def statistics(self, rows: Array, r: Array, parameters: Parameters) -> dict[str, Array]:
        """Return the statistics of rows whose responsibilities are given, in plain NumPy.

        Parameters
        ----------
        rows : (n, d)
        r : (n, K)
            Responsibilities times row weights.
        parameters : Parameters
            What the sums are taken about.
        """

    def marginal(self, parameters: Parameters, kept: NDArray[np.intp]) -> Parameters:
        """Return the parameters of some of the features, ``kept``, without the others."""
        raise TypeError(f"{type(self).__name__} has no marginals")

    def conditional(
        self,
        parameters: Parameters,
        kept: NDArray[np.intp],
        given: NDArray[np.intp],
        values: Array,
    ) -> Parameters:
        """Return the parameters of the features ``kept`` where the others have these values.

        Parameters
        ----------
        parameters : Parameters
        kept, given : (m,), (q,)
            Features, together all of them.
        values : (q,)
            Of the features ``given``.
        """
        raise TypeError(f"{type(self).__name__} has no conditionals")

    @abstractmethod
    def sample(self, parameters: Parameters, counts: Any, rng: np.random.RandomState) -> Array:
        """Draw ``counts[k]`` rows from component ``k``, stacked in the order of components."""

    @abstractmethod
    def count_parameters(self, K: int, d: int) -> int:
        """Return the number of free parameters."""
