"""Telling the user how a fit goes: one record per pass, and lines a person can read.

Must never know: models, sources, engines.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emdash.em import Fit

__all__ = ["Pass", "Progress", "peak_memory"]


@dataclass(frozen=True)
class Pass:
    """One pass over the data, as handed to a ``callback``.

    Attributes
    ----------
    start : int
        Which start (``n_init``) it belongs to, from 0.
    number : int
        Number of the pass within the start, from 1.
    log_likelihood : float
        Natural logarithm of the likelihood per unit of weight, of the
        parameters that entered the pass.
    change : float
        Its change since the pass before; infinite in the first one.
    seconds : float
        Wall time of the pass and its M-step.
    n_rows : float
        Rows (or their total weight) that the pass read.
    """

    start: int
    number: int
    log_likelihood: float
    change: float
    seconds: float
    n_rows: float

    def __str__(self) -> str:
        change = "" if math.isinf(self.change) else f"   change {self.change:+.3e}"
        speed = self.n_rows / max(self.seconds, 1e-9)
        return (
            f"pass {self.number:4d}   log-likelihood {self.log_likelihood:.8f}{change}   "
            f"{speed / 1e6:.3g} M rows/s{_memory_text(peak_memory())}"
        )


def _memory_text(peak: int | None) -> str:
    return "" if peak is None else f"   peak memory {peak / 1e6:.0f} MB"


def peak_memory() -> int | None:
    """Return the peak resident memory of this process in bytes, None where it is not told."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Progress:
    """Follow a fit: make a :class:`Pass` of each step, print some, hand all to a callback.

    Parameters
    ----------
    verbose : int
        0 prints nothing; 1 every `interval`-th pass; 2 every pass.
    interval : int
        Passes between two lines.
    callback : callable or None
        Called with each :class:`Pass`.
    """

    def __init__(
        self, verbose: int, interval: int, callback: Callable[[Pass], object] | None
    ) -> None:
        self.verbose = verbose
        self.interval = 1 if verbose >= 2 else interval
        self.callback = callback
        self.start = -1
        self.n_rows = 0.0

    def begin(self) -> None:
        """Begin the next start."""
        self.start += 1
        self.clock = time.perf_counter()
        if self.verbose:
            print(f"Initialization {self.start}", flush=True)

    def step(self, fit: Fit[Any]) -> None:
        """Note one more pass."""
        now = time.perf_counter()
        change = fit.trace[-1] - fit.trace[-2] if fit.n_iter > 1 else math.inf
        record = Pass(self.start, fit.n_iter, fit.trace[-1], change, now - self.clock, self.n_rows)
        self.clock = now
        if self.verbose and (fit.n_iter % self.interval == 0 or fit.converged):
            print(f"  {record}", flush=True)
        if self.callback is not None:
            self.callback(record)

    def end(self, fit: Fit[Any]) -> None:
        """End this start."""
        if self.verbose:
            how = "converged" if fit.converged else "did not converge"
            print(f"Initialization {self.start} {how} after {fit.n_iter} passes.", flush=True)
