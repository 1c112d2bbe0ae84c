"""Telling the user how a fit goes: one record per pass, and lines a person can read.

Must never know: models, sources, engines.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.em import Fit

__all__ = ["Pass", "Progress", "from_table", "peak_memory", "to_table"]


@dataclass(frozen=True)
class Pass:
    """One pass over the data: an entry of ``history_``, and what a ``callback`` gets.

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
        Its change since the pass before; infinite if there was none.
    seconds : float
        Wall time of the pass and its M-step.
    n_rows : int
        Rows of the data.
    n_bytes : int
        Bytes of the rows that were read, as they are in memory.
    left_out : float
        Fraction of the ``n_rows * n_components`` densities that were not computed, because a
        bound showed that they are below 2**-60 of their row's total. Measured on the rows, block by
        block; 0 where nothing is far enough apart, or where it would not pay.
    arithmetic : str
        ``"float64"`` or ``"float32"``: in what the densities were computed.
    """

    start: int
    number: int
    log_likelihood: float
    change: float
    seconds: float
    n_rows: int
    n_bytes: int
    left_out: float
    arithmetic: str

    def __str__(self) -> str:
        change = "" if math.isinf(self.change) else f"   change {self.change:+.3e}"
        speed = self.n_rows / max(self.seconds, 1e-9)
        left_out = f"   {self.left_out:.0%} left out" if self.left_out else ""
        return (
            f"pass {self.number:4d}   log-likelihood {self.log_likelihood:.8f}{change}   "
            f"{speed / 1e6:.3g} M rows/s{left_out}{_memory_text(peak_memory())}"
        )


_DTYPE = np.dtype(
    [(f.name, {"int": "i8", "float": "f8", "str": "U8"}[str(f.type)]) for f in fields(Pass)]
)


def to_table(history: list[Pass]) -> NDArray[np.void]:
    """Return records as a structured array with a field per attribute, for files."""
    return np.array([astuple(record) for record in history], dtype=_DTYPE)


def from_table(table: NDArray[np.void]) -> list[Pass]:
    """Return the records that :func:`to_table` made a table of.

    Raises
    ------
    ValueError
        If its fields are others.
    """
    if table.dtype != _DTYPE:
        raise ValueError(f"expected a table with the fields {_DTYPE.names}, got {table.dtype}")
    return [Pass(*record) for record in table.tolist()]


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

    Attributes
    ----------
    history : list of Pass
        Those of the start under way.
    """

    def __init__(
        self, verbose: int, interval: int, callback: Callable[[Pass], object] | None
    ) -> None:
        self.verbose = verbose
        self.interval = 1 if verbose >= 2 else interval
        self.callback = callback
        self.start = -1
        self.history: list[Pass] = []
        self._work: dict[str, Any] = {}

    def begin(self) -> None:
        """Begin the next start."""
        self.start += 1
        self.history = []
        self.clock = time.perf_counter()
        if self.verbose:
            print(f"Initialization {self.start}", flush=True)

    def did(self, **work: Any) -> None:
        """Note what the pass did: the fields of :class:`Pass` from `n_rows` on."""
        self._work = work

    def step(self, fit: Fit[Any]) -> None:
        """Note one more pass."""
        now = time.perf_counter()
        record = Pass(
            self.start, fit.n_iter, fit.trace[-1], fit.change, now - self.clock, **self._work
        )
        self.clock = now
        self.history.append(record)
        if self.verbose and (fit.n_iter % self.interval == 0 or fit.converged):
            print(f"  {record}", flush=True)
        if self.callback is not None:
            self.callback(record)

    def end(self, fit: Fit[Any]) -> None:
        """End this start."""
        if self.verbose:
            how = "converged" if fit.converged else "did not converge"
            print(f"Initialization {self.start} {how} after {fit.n_iter} passes.", flush=True)
