"""One EM iteration of an estimator: a pass over the source, then the M-step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emdash.engines.base import Engine, Task
from emdash.estimators._identity import Marked, count
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.progress import Progress
from emdash.sources.base import Source
from emdash.statistics import Statistics

__all__ = ["Step"]

Parameters = MixtureParameters[Any]


class Step:
    """The map that :func:`emdash.em.em` iterates.

    Parameters
    ----------
    model : Mixture
        The mathematics.
    engine : Engine
        Runs the pass.
    source : Source
        Where the rows are.
    K : int
        Number of components.
    progress : Progress
        Told what a pass did.

    Attributes
    ----------
    number : int
        Passes so far.
    weight : float or None
        Total weight of the rows that every pass must read; None before the first.
    learn : callable or None
        Called with marks of the chunks that the first pass saw, if anybody wants them.
    """

    def __init__(
        self, model: Mixture[Any], engine: Engine, source: Source, K: int, progress: Progress
    ) -> None:
        self.model, self.engine, self.source = model, engine, source
        self.K = K
        self.progress = progress
        self.number = 0
        self.n_rows: int | None = None
        self.weight: float | None = None
        self.learn: Callable[[str, list[str]], None] | None = None
        if progress.live:
            engine.on_rows = progress.read

    def __call__(self, parameters: Parameters) -> tuple[Parameters, float]:
        """Return the next parameters, and the objective of the given ones."""
        self.number += 1
        about = parameters
        task = self.model.task(parameters, pass_id=str(self.number))
        statistics = self._total(task)
        self._check_weight(statistics.weight)
        n_rows, n_bytes, left_out = statistics.counts
        nearer = self.model.nearer(statistics, parameters)
        if nearer is not None:
            about = nearer
            again = self.model.task_about(parameters, about, pass_id=f"{self.number} again")
            statistics = self._total(again)
            n_bytes, left_out = n_bytes + statistics.n_bytes, statistics.left_out
        self.n_rows = int(n_rows)
        self.progress.did(
            n_rows=int(n_rows),
            n_bytes=int(n_bytes),
            left_out=left_out / (n_rows * self.K),
            arithmetic=task.arithmetic,
            imbalance=self.engine.imbalance,
        )
        return (
            self.model.maximize(statistics, about),
            self.model.objective(statistics, parameters),
        )

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

    def _check_weight(self, weight: float) -> None:
        if weight < max(2, self.K):
            raise ValueError(
                "Expected n_samples >= n_components and at least 2 samples but got "
                f"n_components = {self.K}, n_samples = {weight:g}"
            )
        if self.weight is not None and weight != self.weight:
            raise ValueError(
                f"X changed between passes: pass {self.number} read {weight:g} rows, the pass "
                f"before {self.weight:g}. EM needs the same rows every time; an iterable must "
                "start afresh whenever it is iterated"
            )
        self.weight = weight
