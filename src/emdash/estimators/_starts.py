"""The starts of a fit, drawn one after the other - in another process, too, than those before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

from emdash.checkpoint import State
from emdash.collapse import POLICIES
from emdash.engines.base import Engine
from emdash.engines.local import usable_cores
from emdash.engines.memory import MemoryLimit
from emdash.families.singular import Collapse
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.sources.base import Source
from emdash.start import count_rows, start_from, starting_rows

if TYPE_CHECKING:
    from emdash.estimators._base import BaseMixture

__all__ = ["Start", "draw_starts"]

Start = tuple[MixtureParameters[Any], Mapping[str, Any] | None]
"""Parameters to start from, and what the starts after it are drawn with, for a checkpoint."""


class Draws:
    """The random numbers of a fit, and how to go on drawing them in another process.

    Parameters
    ----------
    random_state : RandomState
        What the user gave; used, and advanced, unless `states` are given.
    kept : bool
        Whether :meth:`states` will be asked for.
    states : dict or None
        What it returned in the process before.

    Attributes
    ----------
    rows : RandomState
        Draws which rows to start from.
    starts : RandomState
        Draws the starts, one after the other.
    """

    def __init__(
        self,
        random_state: np.random.RandomState,
        kept: bool,
        states: Mapping[str, Any] | None = None,
    ) -> None:
        if states is None:
            self.rows = self.starts = random_state
            self._before = random_state.get_state(legacy=False) if kept else None
        else:
            self.rows, self.starts = _restored(states["rows"]), _restored(states["starts"])
            self._before = states["rows"]

    def states(self) -> dict[str, Any]:
        """Return what another process needs to draw the starts that are left."""
        return {"rows": _plain(self._before), "starts": _plain(self.starts.get_state(legacy=False))}


def _plain(state: Any) -> dict[str, Any]:
    """Return the state of a generator in the types of JSON."""
    inner = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in state["state"].items()}
    return {**state, "state": inner}


def _restored(state: Mapping[str, Any]) -> np.random.RandomState:
    """Return a generator in the state that :func:`_plain` returned."""
    inner = {
        k: np.array(v, dtype=np.uint64) if isinstance(v, list) else v
        for k, v in state["state"].items()
    }
    random_state = np.random.RandomState(getattr(np.random, state["bit_generator"])())
    random_state.set_state({**state, "state": inner})
    return random_state


def draw_starts(
    estimator: BaseMixture,
    given: dict[str, Any],
    source: Source,
    engine: Engine,
    model: Mixture[Any],
    state: State | None,
) -> Iterator[Start]:
    """Yield the starts that are left.

    Parameters
    ----------
    estimator : BaseMixture
        Says how many and how.
    given : dict
        What the user gave of the start.
    source, engine, model
        Where the rows are, what reads them, what makes parameters of them.
    state : State or None
        How far an earlier process came.
    """
    kept = estimator.checkpoint is not None
    draws = Draws(check_random_state(estimator.random_state), kept, state.random if state else None)
    K = int(estimator.n_components)  # of few bits, or a bool, it cannot be computed with
    sample = None
    for _ in range(state.start + 1 if state else 0, estimator.n_init):
        parameters = None
        if not estimator._is_complete(given):
            if sample is None:
                source = count_rows(source, engine)
                estimator._check_rows(source)
                most = MemoryLimit(estimator.memory_limit).sample_bytes
                sample = starting_rows(source, engine, K, draws.rows, most)
            try:
                parameters = start_from(
                    sample.rows,
                    model,
                    K,
                    estimator.init_params,
                    draws.starts,
                    estimator.n_threads or usable_cores(),
                    sample.weights,
                )
            except Collapse as collapse:
                parameters = POLICIES[estimator.on_collapse].start(model, collapse)
        yield estimator._apply_init(given, parameters), draws.states() if kept else None
