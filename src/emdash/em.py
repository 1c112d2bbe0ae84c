"""The expectation-maximization loop: repeat a step until the objective stands still.

Must never know: mixtures, Gaussians, arrays of rows, threads, clusters. It sees
a map ``theta -> (theta', objective)`` and a rule for stopping, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

__all__ = ["Fit", "Stop", "em"]

Parameters = TypeVar("Parameters")


@dataclass(frozen=True)
class Stop:
    """When to stop.

    Parameters
    ----------
    tolerance : float
        Stop when the objective changes by less than this between two steps.
        In the unit of the objective: natural-log likelihood per unit of weight.
    max_iter : int
        Largest number of steps; 0 returns the start.
    """

    tolerance: float
    max_iter: int

    def is_met(self, fit: Fit[Any]) -> bool:
        """Tell whether the last step changed the objective by less than the tolerance.

        Not if that step or the one before jumped: the change is then not one of the iteration.
        """
        # a tolerance of NumPy's float32 would make a float32 of the change
        return fit.n_iter > 0 and not fit.jumped and abs(fit.change) < float(self.tolerance)


@dataclass
class Fit(Generic[Parameters]):
    """Where the loop ended and how it got there.

    Attributes
    ----------
    parameters : Parameters
        The last parameters.
    trace : list of float
        Objective at the parameters *entering* each step: the E-step of step
        ``i`` evaluates the parameters that step ``i - 1`` made.
    converged : bool
        Whether the tolerance was met.
    previous : float
        What the first step was compared with.
    jumps : set of int
        Numbers, from 1, of the steps whose parameters do not continue the iteration, such as
        those with a part placed anew. The objective may fall there.
    """

    parameters: Parameters
    trace: list[float] = field(default_factory=list)
    converged: bool = False
    previous: float = -math.inf
    jumps: Set[int] = frozenset()

    @property
    def jumped(self) -> bool:
        """Whether the last step or the one before it jumped."""
        return self.n_iter in self.jumps or self.n_iter - 1 in self.jumps

    @property
    def n_iter(self) -> int:
        """Number of steps taken."""
        return len(self.trace)

    @property
    def change(self) -> float:
        """Change of the objective in the last step; infinite if nothing was before it."""
        before = self.trace[-2] if self.n_iter > 1 else self.previous
        return self.trace[-1] - before


def em(
    step: Callable[[Parameters], tuple[Parameters, float]],
    start: Parameters,
    stop: Stop,
    *,
    previous: float = -math.inf,
    trace: Sequence[float] = (),
    jumps: Set[int] = frozenset(),
    on_step: Callable[[Fit[Parameters]], object] | None = None,
) -> Fit[Parameters]:
    """Iterate `step` from `start` until the objective stands still.

    Parameters
    ----------
    step : callable
        Maps parameters to ``(next parameters, objective of the given ones)``.
    start : Parameters
        Where to begin.
    stop : Stop
        Tolerance and largest number of steps.
    previous : float
        Objective to compare the first step with: that of an earlier fit when
        training goes on from there, otherwise minus infinity.
    trace : sequence of float
        Objectives of the steps that led to `start`, when an interrupted loop goes on.
        They count towards the largest number of steps.
    jumps : set of int
        Numbers of the steps that jumped (:class:`Fit`); `step` adds its own while it runs.
        Neither they nor those that follow them end the loop.
    on_step : callable, optional
        Called with the :class:`Fit` so far after each step.

    Returns
    -------
    Fit
        Last parameters, trace of the objective, and whether it converged.

    Examples
    --------
    >>> from emdash.em import Stop, em
    >>> fit = em(lambda t: (t / 2, -abs(t)), 1.0, Stop(tolerance=1e-3, max_iter=50))
    >>> fit.converged, fit.n_iter
    (True, 11)
    """
    fit = Fit(start, list(trace), previous=previous, jumps=jumps)
    fit.converged = stop.is_met(fit)
    while not fit.converged and fit.n_iter < stop.max_iter:
        fit.parameters, objective = step(fit.parameters)
        fit.trace.append(objective)
        fit.converged = stop.is_met(fit)
        if on_step is not None:
            on_step(fit)
    return fit
