"""What is done about components that collapse: one policy per line of a registry.

A component collapses when the M-step leaves it a covariance that is not positive definite to
working precision, or less weight than one row has. A policy is asked after every pass. It sees
sums and parameters only; the one that needs rows asks for those that fit worst, which costs a
pass, and only then.

Must never know: estimators, sources, engines, which family it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk
from emdash.families.singular import Collapse
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.models.passes import PerRow
from emdash.progress import Collapsed, Pass
from emdash.statistics import Statistics

__all__ = [
    "POLICIES",
    "MStep",
    "Policy",
    "Worst",
    "WorstRows",
    "in_words",
    "jumps",
    "jumps_in",
    "left_of",
]

Array = NDArray[np.float64]
Parameters = MixtureParameters[Any]
Smallest = dict[int | None, float]

ONE_ROW = 1 - 1e-9
"""A weight that is less than this many rows is less than one row, and not by rounding."""

JUMPS = ("re-seeded", "dropped")
"""What may make the objective fall, and does not continue the iteration."""


@dataclass  # not frozen: one is made in every pass
class MStep:
    """One M-step, as a policy sees it.

    Attributes
    ----------
    model : Mixture
    statistics : Statistics
        The sums of the pass, over all rows.
    about : MixtureParameters
        What they were taken about.
    row : float
        Mean weight of a row.
    past : sequence of tuple of Collapsed
        What happened in each pass of this start before in which anything did.
    worst : callable
        Takes a number and returns the distinct rows that fit worst, at most so many, (m, d).
    """

    model: Mixture[Any]
    statistics: Statistics
    about: Parameters
    row: float
    past: Sequence[tuple[Collapsed, ...]]
    worst: Callable[[int], Array]

    @property
    def weights(self) -> Array:
        """Weights of the components in rows, (K,): whatever the unit of the rows' own weights."""
        return np.asarray(self.statistics.N / self.row)

    def light(self) -> list[int]:
        """Return the components that weigh less than one row, and are not held by a prior."""
        one = ONE_ROW * self.row
        N = self.statistics.N.tolist()  # faster than comparing arrays
        if min(N) >= one or not self.model.family.needs_rows:
            return []
        return [k for k, weight in enumerate(N) if weight < one]

    def maximized(self) -> tuple[Parameters, Smallest]:
        """Return the parameters, and which covariances would be singular if they were not raised.

        A component that was raised once in this start stays above the floor: that is maximum
        likelihood under a constraint, whose objective does not fall again.
        """
        raised = self._raised()
        smallest: Smallest = {}
        if not raised:
            try:
                return self.model.maximize(self.statistics, self.about), smallest
            except Collapse as collapse:
                smallest = collapse.smallest
        raised |= smallest.keys()
        try:
            return self._floored(raised), smallest
        except Collapse as collapse:  # others than those of the passes before
            smallest = collapse.smallest
            return self._floored(raised | smallest.keys()), smallest

    def _raised(self) -> set[int | None]:
        """Return the components that were raised before, by their numbers now."""
        raised: set[int | None] = set()
        for collapses in self.past:
            raised |= {c.component for c in collapses if c.done == "regularized"}
            gone = {c.component for c in collapses if c.done == "dropped"}
            raised = {
                k if k is None else k - sum(g is not None and g < k for g in gone)
                for k in raised - gone
            }
        return raised

    def _floored(self, which: set[int | None]) -> Parameters:
        return self.model.floored(self.statistics, self.about.components, which)

    def told(self, component: int | None, smallest: Smallest, done: str) -> Collapsed:
        """Return the record of what was done about a component."""
        weights = self.weights
        weight = float(weights.sum() if component is None else weights[component])
        return Collapsed(component, weight, smallest.get(component), done)


Outcome = tuple[Parameters, tuple[Collapsed, ...]]


class Policy(ABC):
    """What to do about components that collapse."""

    @abstractmethod
    def __call__(self, step: MStep) -> Outcome:
        """Return the next parameters, and what happened."""

    def start(self, model: Mixture[Any], collapse: Collapse) -> Parameters:
        """Return parameters to start from where those that were found have collapsed.

        A start is only a guess, so every policy that goes on gives it the floor.
        """
        which = set(collapse.smallest)
        return model.floored(collapse.statistics, collapse.about, which)


class Raise(Policy):
    """Stop where scikit-learn stops: at a covariance that is not positive definite."""

    def __call__(self, step: MStep) -> Outcome:
        parameters = step.model.maximize(step.statistics, step.about)
        return parameters, tuple(step.told(k, {}, "kept") for k in step.light())

    def start(self, model: Mixture[Any], collapse: Collapse) -> Parameters:
        raise collapse


class Regularize(Policy):
    """Raise the covariance to a floor and keep it there; leave light components alone."""

    def __call__(self, step: MStep) -> Outcome:
        parameters, smallest = step.maximized()
        light = [k for k in step.light() if k not in smallest]
        if not smallest and not light:
            return parameters, ()
        told = [step.told(k, smallest, "regularized") for k in smallest]
        return parameters, (*told, *(step.told(k, {}, "kept") for k in light))


class Replace(Policy):
    """What the policies have in common that act on single components."""

    def __call__(self, step: MStep) -> Outcome:
        parameters, smallest = step.maximized()
        gone = sorted({*(k for k in smallest if k is not None), *step.light()})
        if not gone or len(gone) == len(parameters.weights):
            # a covariance of all, or all components: the data are at fault, not a component
            told = [step.told(k, smallest, "regularized") for k in smallest]
            return parameters, (*told, *(step.told(k, {}, "kept") for k in gone if not smallest))
        return self.replace(step, parameters, gone, smallest)

    @abstractmethod
    def replace(
        self, step: MStep, parameters: Parameters, gone: list[int], smallest: Smallest
    ) -> Outcome:
        """Return the next parameters without the components that collapsed, and what happened."""


class Reseed(Replace):
    """Place the component anew, at the row that fits worst; once in a start, then regularise it.

    Rows that are many times the same attract one component after the other.
    """

    def replace(
        self, step: MStep, parameters: Parameters, gone: list[int], smallest: Smallest
    ) -> Outcome:
        before = {c.component for each in step.past for c in each if c.done == "re-seeded"}
        again = [k for k in gone if k not in before]
        rows = list(step.worst(len(again))) if again else []
        placed = dict(zip(again, rows, strict=False))  # there may be fewer distinct rows
        if placed:
            parameters = step.model.placed(step.statistics, step.about, parameters, placed)
        done = {k: "re-seeded" if k in placed else "regularized" for k in {*gone, *smallest}}
        done |= {k: "kept" for k in gone if k not in placed and k not in smallest}
        order = sorted(done, key=lambda k: -1 if k is None else k)
        return parameters, tuple(step.told(k, smallest, done[k]) for k in order)


class Drop(Replace):
    """Go on without the component."""

    def replace(
        self, step: MStep, parameters: Parameters, gone: list[int], smallest: Smallest
    ) -> Outcome:
        which = np.setdiff1d(np.arange(len(parameters.weights)), gone)
        parameters = step.model.kept(step.statistics, parameters, which)
        told = [step.told(k, smallest, "dropped") for k in gone]
        shared = [step.told(k, smallest, "regularized") for k in smallest if k is None]
        return parameters, (*shared, *told)


POLICIES: dict[str, Policy] = {
    "regularize": Regularize(),
    "reseed": Reseed(),
    "drop": Drop(),
    "raise": Raise(),
}
"""The registry of ``on_collapse``."""


@dataclass(frozen=True)
class WorstRows:
    """The distinct rows of lowest log-likelihood among some, the lowest first.

    Adding keeps the lowest of both; of equals the first in the order of rows.

    Attributes
    ----------
    most : int
        How many are kept.
    found : tuple
        Log-likelihood, index of the chunk, row in the chunk, and the row itself.
    n_bytes : int
        Bytes of the rows that were read.
    """

    most: int
    found: tuple[tuple[float, int, int, Array], ...]
    n_bytes: int

    def __add__(self, other: WorstRows) -> WorstRows:
        both = sorted((*self.found, *other.found), key=lambda row: row[:3])
        return WorstRows(self.most, _distinct(both, self.most), self.n_bytes + other.n_bytes)

    def rows(self) -> Array:
        """Return the rows, (m, d)."""
        return np.array([row for *_, row in self.found])


def _distinct(
    ranked: Iterable[tuple[float, int, int, Array]], most: int
) -> tuple[tuple[float, int, int, Array], ...]:
    found: dict[bytes, tuple[float, int, int, Array]] = {}
    for entry in ranked:
        found.setdefault((entry[3] + 0.0).tobytes(), entry)  # + 0.0: minus zero is zero
        if len(found) == most:
            break
    return tuple(found.values())


@dataclass(frozen=True)
class Worst:
    """Find the rows of a chunk that a model fits worst. Picklable.

    Rows without weight, or with nothing observed, are not among them.

    Attributes
    ----------
    score : PerRow
        Log-likelihood of each row.
    most : int
        How many are wanted.
    """

    score: PerRow
    most: int

    def __call__(self, chunk: Chunk, n_threads: int) -> WorstRows:
        """Return the rows, in a copy."""
        values = self.score(chunk, n_threads)
        ranked = (
            (float(values[i]), chunk.index, int(i), np.array(chunk.rows[i], dtype=np.float64))
            for i in np.argsort(values, kind="stable")
            if chunk.weights is None or chunk.weights[i] > 0
        )
        known = (entry for entry in ranked if not np.isnan(entry[3]).all())
        return WorstRows(self.most, _distinct(known, self.most), chunk.rows.nbytes)


def jumps(collapses: Iterable[Collapsed]) -> bool:
    """Tell whether parameters after these did not continue the iteration."""
    return any(c.done in JUMPS for c in collapses)


def jumps_in(history: Iterable[Pass]) -> set[int]:
    """Return the numbers of the passes after which that was so."""
    return {record.number for record in history if jumps(record.collapses)}


def left_of(n_components: int, history: Iterable[Pass]) -> int:
    """Return how many components are left after some passes."""
    done = [c.done for record in history for c in record.collapses]
    return n_components - done.count("dropped")


def in_words(history: Sequence[Pass], n_components: int) -> str:
    """Return what a fit says at its end about components that collapsed; nothing if none did.

    Those that were only light and left alone count if they are so at the end.
    """
    acted = [(p.number, c) for p in history for c in p.collapses if c.done != "kept"]
    left = [(p.number, c) for p in history[-1:] for c in p.collapses if c.done == "kept"]
    if not acted and not left:
        return ""
    firsts: dict[tuple[int | None, str], tuple[int, Collapsed]] = {}
    for number, c in (*acted, *left):
        firsts.setdefault((c.component, c.done), (number, c))
    told = [f"{c} in pass {number}" for number, c in list(firsts.values())[:SHOWN]]
    if len(firsts) > SHOWN:
        told.append(f"{len(firsts) - SHOWN} more")
    left_over = left_of(n_components, history)
    rest = (
        f" {left_over} of {n_components} components are left." if left_over < n_components else ""
    )
    return (
        f"Components collapsed: {'; '.join(told)}.{rest} Each pass is in history_. Try to decrease "
        "n_components, look for repeated rows and constant columns, or give a prior; or choose "
        "another on_collapse."
    )


SHOWN = 5
"""Events that the warning tells in full."""
