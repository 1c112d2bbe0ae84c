"""One fit: its starts, their passes, the best of them, and what outlives an interruption."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from emdash.checkpoint import Keeper, Stage, State, better
from emdash.collapse import jumps_in
from emdash.em import Fit, Stop, em
from emdash.estimators._starts import Start
from emdash.estimators._step import Step
from emdash.models.mixture import MixtureParameters
from emdash.progress import Progress

__all__ = ["Run", "did_not_converge", "how_to_go_on"]

Parameters = MixtureParameters[Any]


class Run:
    """The passes of one fit.

    Parameters
    ----------
    step : Step
        One pass and its M-step.
    stop : Stop
        When a start ends.
    progress : Progress
        Told of every pass.
    keeper : Keeper
        Given every state that could be gone on from.
    previous : float
        Objective that the first pass is compared with.
    """

    def __init__(
        self, step: Step, stop: Stop, progress: Progress, keeper: Keeper, previous: float
    ) -> None:
        self.step, self.stop = step, stop
        self.progress, self.keeper = progress, keeper
        self.previous = previous

    def best(self, starts: Iterable[Start], state: State | None) -> tuple[Fit[Parameters], Stage]:
        """Run every start and return the best fit.

        Parameters
        ----------
        starts : iterable
            Parameters of the starts that are left, each with what draws those after it.
        state : State or None
            How far an earlier process came.
        """
        if state is not None:
            self.step.go_on_with(state)
            state = self._finish(state)
        for parameters, random in starts:
            number = 0 if state is None else state.start + 1
            best = None if state is None else better(state.best, state.current)
            state = State(number, Stage(parameters), best, random, *self._learned())
            self.keeper.note(state)
            state = self._finish(state)
        assert state is not None  # there is at least one start
        best = better(state.best, state.current)
        if best is not state.current:
            state = State(state.start, best, best, state.random, *self._learned())
            self.keeper.note(state)
            state = self._finish(state)  # if it was read from a file and the rule is another now
        return self._fit(state.current), state.current

    def _learned(self) -> tuple[float | None, dict[str, Any] | None]:
        """Return what the first pass told of the data, for the state."""
        return self.step.weight, self.step.prior

    def _finish(self, state: State) -> State:
        """Iterate the start under way until it ends."""
        stage = state.current
        fit = self._fit(stage)
        if stage.history and (fit.converged or fit.n_iter >= self.stop.max_iter):
            return state
        history = list(stage.history)

        def on_step(fit: Fit[Parameters]) -> None:
            nonlocal state
            record = self.progress.passed(fit)
            history.append(record)
            current = Stage(fit.parameters, tuple(history))
            state = State(state.start, current, state.best, state.random, *self._learned())
            self.keeper.note(state)
            collapses = "; ".join(map(str, record.collapses))
            self.step.engine.report({**vars(record), "collapses": collapses})
            self.progress.tell(fit, record)

        self.step.go_on_after(history)
        self.progress.begin(history[0].start if history else state.start, len(history))
        fit = em(
            self.step,
            stage.parameters,
            self.stop,
            previous=self.previous,
            trace=stage.trace,
            jumps=self.step.jumps,
            on_step=on_step,
        )
        self.progress.end(fit)
        return state

    def _fit(self, stage: Stage) -> Fit[Parameters]:
        """Return a stage as the loop has it."""
        jumps = jumps_in(stage.history)
        fit = Fit(stage.parameters, stage.trace, previous=self.previous, jumps=jumps)
        fit.converged = self.stop.is_met(fit)
        return fit


def how_to_go_on(stage: Stage, checkpoint: object) -> str:
    """Say what an interrupt left."""
    how = (
        f"call fit again with the same data to go on from {checkpoint}"
        if checkpoint is not None
        else "to go on from there, set warm_start=True and call fit again (with a "
        "checkpoint=, a fit can go on in another process, too)"
    )
    passes = len(stage.history)
    what = (
        f"after pass {passes}. The estimator holds its parameters"
        if passes
        else "in its first pass. The estimator holds the start"
    )
    return f"The fit was interrupted {what}, with converged_ False: {how}"


def did_not_converge(fit: Fit[Parameters], stop: Stop) -> str:
    """Say how far a fit that used all its passes is from its tolerance."""
    change = abs(fit.trace[-1] - fit.trace[-2]) if fit.n_iter > 1 else math.inf
    return (
        "Best performing initialization did not converge: after "
        f"max_iter={stop.max_iter} passes the log-likelihood per row still changed by "
        f"{change:.2g} (tol={stop.tolerance:g}). Try different init parameters, or increase "
        "max_iter, tol, or check for degenerate data."
    )
