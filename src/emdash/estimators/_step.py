"""One EM iteration of an estimator: a pass over the source, then the M-step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from emdash.checkpoint import State
from emdash.collapse import MStep, Policy, Worst, WorstRows, jumps, jumps_in
from emdash.engines.base import Engine, Task
from emdash.estimators._identity import Marked, count
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.observed import refuse_columns_without_values
from emdash.priors import NormalInverseWishart
from emdash.progress import Collapsed, Pass, Progress
from emdash.sources.base import Source
from emdash.sources.weighted import check_total
from emdash.statistics import Statistics

__all__ = ["Step"]

Array = NDArray[np.float64]
Parameters = MixtureParameters[Any]


class Step:
    """The map that :func:`emdash.em.em` iterates.

    Parameters
    ----------
    model : Mixture
        The mathematics. The first pass tells what its priors leave to the data.
    engine : Engine
        Runs the pass.
    source : Source
        Where the rows are.
    K : int
        Number of components.
    progress : Progress
        Told what a pass did.
    policy : Policy
        What to do about components that collapse.

    Attributes
    ----------
    number : int
        Passes of this start so far.
    past : list of tuple of Collapsed
        What collapsed in each of them in which anything did.
    jumps : set of int
        After which of them the parameters did not continue the iteration.
    weight : float or None
        Total weight of the rows that every pass must read; None before the first.
    learn : callable or None
        Called with marks of the chunks that the first pass saw, if anybody wants them.
    """

    def __init__(
        self,
        model: Mixture[Any],
        engine: Engine,
        source: Source,
        K: int,
        progress: Progress,
        policy: Policy,
    ) -> None:
        self.model, self.engine, self.source = model, engine, source
        self.K = K
        self.progress = progress
        self.policy = policy
        self.go_on_after(())
        self.n_rows: int | None = None
        self.weight: float | None = None
        self.learn: Callable[[str, list[str]], None] | None = None
        if progress.live:
            engine.on_rows = progress.read

    @property
    def prior(self) -> dict[str, Any] | None:
        """The components' prior as the first pass settled it; None before, or if there is none."""
        prior = getattr(self.model.family, "prior", None)
        return None if prior is None or self.weight is None else prior.plain()

    def go_on_with(self, state: State) -> None:
        """Take up what the first pass of an earlier process found."""
        self.weight = state.weight
        if state.prior is not None:
            family: Any = self.model.family
            self.model = self.model.over(family.with_prior(NormalInverseWishart.of(state.prior)))

    def go_on_after(self, history: Sequence[Pass]) -> None:
        """Begin a start, or go on with one after the passes of its history."""
        self.past = [record.collapses for record in history if record.collapses]
        self.jumps = jumps_in(history)
        self.number = len(history)

    def __call__(self, parameters: Parameters) -> tuple[Parameters, float]:
        """Return the next parameters, and the objective of the given ones."""
        self.number += 1
        about = parameters
        task = self.model.task(parameters, pass_id=str(self.number))
        statistics = self._total(task)
        n_rows, n_bytes, left_out, n_used, n_incomplete = statistics.counts
        if self.number == 1 and 0 < n_rows == n_incomplete:  # a complete row shows every column
            refuse_columns_without_values(self.source, self.engine)
        self._check_rows(int(n_rows), int(n_used), statistics.weight)
        nearer = self.model.nearer(statistics, parameters)
        if nearer is not None:
            about = nearer
            again = self.model.task_about(parameters, about, pass_id=f"{self.number} again")
            statistics = self._total(again)
            n_bytes, left_out = n_bytes + statistics.n_bytes, statistics.left_out
        self.model = self.model.settled(statistics, about)
        log_likelihood = self.model.objective(statistics, parameters)
        log_prior = self.model.log_prior(statistics, parameters)
        imbalance = self.engine.imbalance
        following, collapses, extra = self._maximize(statistics, about, parameters)
        self.progress.did(
            n_rows=int(n_rows),
            n_bytes=int(n_bytes) + extra,
            left_out=left_out / (n_rows * len(parameters.weights)),
            arithmetic=task.arithmetic,
            imbalance=imbalance,
            collapses=collapses,
            log_likelihood=log_likelihood,
            log_prior=log_prior,
        )
        return following, log_likelihood + log_prior

    def _maximize(
        self, statistics: Statistics, about: Parameters, bound: Parameters
    ) -> tuple[Parameters, tuple[Collapsed, ...], int]:
        """Return the M-step, what collapsed in it, and how many bytes were read because of that."""
        read = 0

        def worst(most: int) -> Array:
            nonlocal read
            task = Worst(self.model.rows(bound, "log_likelihood"), most)
            self.progress.reading("rows that fit worst", self.n_rows)
            found: WorstRows = self.engine.total(task, self.source)
            read = found.n_bytes
            return found.rows()

        row = statistics.weight / statistics.n_used
        step = MStep(self.model, statistics, about, row, self.past, worst)
        following, collapses = self.policy(step)
        if collapses:
            self.past.append(collapses)
            self.jumps |= {self.number} if jumps(collapses) else set()
        return following, collapses, read

    def _total(self, task: Task) -> Statistics:
        self.progress.reading(f"pass {self.number:4d}", self.source.n_rows or self.n_rows)
        statistics: Statistics
        if self.learn is None:
            statistics = self.engine.total(task, self.source)
        else:
            total = self.engine.total(Marked(task), self.source)
            self.learn("chunks", total.summary())
            self.learn, statistics = None, total.answer
        return statistics

    def recognize(self) -> None:
        """Mark the data in a pass of its own, for a fit that went on from its end and made none."""
        assert self.learn is not None
        self.learn("chunks", self.engine.total(Marked(count), self.source).summary())

    def _check_rows(self, n_rows: int, n_used: int, weight: float) -> None:
        if n_rows == self.n_rows and weight == self.weight:
            return  # as in the pass before
        check_total(weight, n_used)
        if n_used < max(2, self.K):
            raise ValueError(
                "Expected n_samples >= n_components and at least 2 samples but got "
                f"n_components = {self.K}, n_samples = {n_used}"
                + (" with an observed value and a weight above zero" if n_used < n_rows else "")
            )
        # not to the bit: a fit that goes on in another process may have other chunks
        if self.weight is not None and not math.isclose(weight, self.weight, rel_tol=1e-12):
            what = "rows" if weight == n_used else "units of weight"
            self._refuse_change(f"{weight:.12g} {what}", f"{self.weight:.12g}")
        if self.n_rows not in (None, n_rows):
            self._refuse_change(f"{n_rows} rows", str(self.n_rows))
        self.n_rows, self.weight = n_rows, weight

    def _refuse_change(self, found: str, before: str) -> NoReturn:
        raise ValueError(
            f"X changed between passes: pass {self.number} read {found}, the pass before "
            f"{before}. EM needs the same rows every time; an iterable must start afresh whenever "
            "it is iterated"
        )
