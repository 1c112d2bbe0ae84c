"""Telling the user how a fit goes: one record per pass, and lines a person can read.

Must never know: models, sources, engines.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from statistics import median
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from emdash.em import Fit, Stop

__all__ = ["Collapsed", "Pass", "Progress", "from_table", "passes_left", "peak_memory", "to_table"]

REDRAWN = 0.2
"""Seconds between two states of a bar."""

BAR = 24
"""Characters of a bar."""

DECAY = 4
"""Passes over which the decay of the change is measured."""


@dataclass(frozen=True)
class Collapsed:
    """What happened to a component that collapsed in the M-step after a pass.

    Attributes
    ----------
    component : int or None
        Its number in that pass; None stands for the covariance that all components share.
    weight : float
        Its weight in rows: the sum of its responsibilities.
    smallest : float or None
        Smallest eigenvalue of its covariance, in the unit of the data squared, if this is not
        positive definite to working precision or was kept from becoming so; None if it is light.
    done : {"regularized", "re-seeded", "dropped", "kept"}
        What was done about it.
    """

    component: int | None
    weight: float
    smallest: float | None
    done: str

    def __str__(self) -> str:
        where = "all components" if self.component is None else f"component {self.component}"
        why = (
            "lighter than a row"
            if self.smallest is None
            else f"singular, its smallest eigenvalue {self.smallest:.3g}"
        )
        return f"{where} {self.done} ({why}, its weight {self.weight:.4g} rows)"


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
    imbalance : float
        How unevenly the work was shared: the longest time over the mean, of the threads of this
        machine or of the parts on a cluster. 1 is even, or not measured.
    log_prior : float
        Natural logarithm of the prior density per unit of weight, without its constants, of the
        same parameters; 0 without priors. What EM raises is ``log_likelihood + log_prior``, and
        `change` is the change of that.
    collapses : tuple of Collapsed
        Components that collapsed in the M-step after the pass, and what was done about it.
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
    imbalance: float
    log_prior: float = 0.0
    collapses: tuple[Collapsed, ...] = ()

    def __str__(self) -> str:
        seconds = max(self.seconds, 1e-9)
        words = [
            f"pass {self.number:4d}",
            f"log-likelihood {self.log_likelihood:.8f}",
            f"log-prior {self.log_prior:.8f}" if self.log_prior else "",
            "" if math.isinf(self.change) else f"change {self.change:+.3e}",
            _amount(self.n_rows / seconds, " rows/s"),
            _amount(self.n_bytes / seconds, "B/s"),
            f"{self.left_out:.0%} left out" if self.left_out else "",
            f"imbalance {self.imbalance:.2f}" if self.imbalance >= 1.1 else "",
            "; ".join(map(str, self.collapses)),
        ]
        return "  ".join(word for word in words if word)


_KINDS = {"int": "i8", "float": "f8", "str": "U8"}


def _dtype(width: int) -> np.dtype[np.void]:
    """Return the type of a table: what collapsed is a line of JSON of at most `width` letters."""
    kinds = ((f.name, _KINDS.get(str(f.type), f"U{width}")) for f in fields(Pass))
    return np.dtype(list(kinds))


def to_table(history: Sequence[Pass]) -> NDArray[np.void]:
    """Return records as a structured array with a field per attribute, for files."""
    lines = [json.dumps([asdict(each) for each in record.collapses]) for record in history]
    rows = [(*list(vars(r).values())[:-1], line) for r, line in zip(history, lines, strict=True)]
    return np.array(rows, dtype=_dtype(max(map(len, lines), default=1)))


def from_table(table: NDArray[np.void]) -> list[Pass]:
    """Return the records that :func:`to_table` made a table of.

    Raises
    ------
    ValueError
        If its fields are others.
    """
    names = table.dtype.names or ()
    width = table.dtype["collapses"].itemsize // 4 if "collapses" in names else 0
    if table.dtype != _dtype(width):
        raise ValueError(
            f"expected a table with the fields {_dtype(width).names}, got {table.dtype}"
        )
    return [Pass(*(*row[:-1], _collapsed(row[-1]))) for row in table.tolist()]


def _collapsed(line: str) -> tuple[Collapsed, ...]:
    return tuple(Collapsed(**each) for each in json.loads(line))


def peak_memory() -> int | None:
    """Return the peak resident memory of this process in bytes, None where it is not told."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def passes_left(trace: Sequence[float], stop: Stop) -> tuple[int, bool]:
    """Return how many passes are left, and whether that is an estimate or the bound.

    EM converges linearly: each change is about the same fraction of the one before. The estimate
    continues the last few changes to the tolerance.

    Parameters
    ----------
    trace : sequence of float
        Objective of every pass so far.
    stop : Stop
        The rule that ends the passes.

    Examples
    --------
    >>> from emdash.em import Stop
    >>> from emdash.progress import passes_left
    >>> passes_left([-1.0, -0.5, -0.25, -0.125], Stop(tolerance=0.01, max_iter=100))
    (4, True)
    >>> passes_left([-1.0], Stop(tolerance=0.01, max_iter=100))
    (99, False)
    """
    bound = max(0, stop.max_iter - len(trace))
    changes = [abs(b - a) for a, b in pairwise(trace[-DECAY - 1 :])]
    if len(changes) < 2 or stop.tolerance <= 0 or not 0 < changes[-1] < changes[0]:
        return bound, False
    decay = math.log(changes[-1] / changes[0]) / (len(changes) - 1)
    estimate = max(0, math.ceil(math.log(stop.tolerance / changes[-1]) / decay))
    return (estimate, True) if estimate < bound else (bound, False)


def _amount(value: float, unit: str) -> str:
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit.strip()}"


def _passes(number: int) -> str:
    return f"{number} pass" if number == 1 else f"{number} passes"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class _Line:
    """A line that is written over: on terminals and in notebooks. In a log it stays away."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        notebook = type(stream).__module__.startswith("ipykernel")
        self.shown = notebook or getattr(stream, "isatty", bool)()  # not every stream is a file
        self._width = 0

    def draw(self, text: str) -> None:
        """Show a text in place of the one before; an empty one leaves an empty line."""
        self.stream.write(f"\r{text.ljust(self._width)}" + ("" if text else "\r"))
        self.stream.flush()
        self._width = len(text)


class Progress:
    """Follow a fit: make a :class:`Pass` of each step, print some, hand all to a callback.

    A line per pass goes to standard output; on a terminal and in a notebook the pass under way is
    shown in a last line, as far as its engine tells how many rows were read.

    Parameters
    ----------
    verbose : int
        0 prints nothing; 1 every `interval`-th pass; 2 every pass.
    interval : int
        Passes between two lines.
    callback : callable or None
        Called with each :class:`Pass`.
    stop : Stop
        The rule that ends the passes, for an estimate of when.
    """

    def __init__(
        self,
        verbose: int,
        interval: int,
        callback: Callable[[Pass], object] | None,
        stop: Stop,
    ) -> None:
        self.verbose = verbose
        self.interval = 1 if verbose >= 2 else interval
        self.callback = callback
        self.stop = stop
        self.start = 0
        self._seconds: deque[float] = deque(maxlen=5)
        self._work: dict[str, Any] = {}
        self._line = _Line(sys.stdout) if verbose else None
        self._lock = threading.Lock()
        self.reading("start", None)

    @property
    def live(self) -> bool:
        """Whether :meth:`read` shows anything."""
        return self._line is not None and self._line.shown

    def begin(self, start: int, passes: int) -> None:
        """Begin a start, or go on with it after some passes."""
        self.start = start
        self._clock = time.perf_counter()
        self.clear()
        if self.verbose:
            goes_on = f" goes on after {_passes(passes)}" if passes else ""
            print(f"Initialization {start}{goes_on}", flush=True)

    def reading(self, what: str, n_rows: int | None) -> None:
        """Begin to read `n_rows` rows, None if nobody knows how many there will be."""
        self._what, self._rows, self._total = what, 0, n_rows
        self._began = self._drawn = time.perf_counter()

    def read(self, n_rows: int) -> None:
        """Note that so many more rows were read; any thread may."""
        with self._lock:
            self._rows += n_rows
            now = time.perf_counter()
            if now - self._drawn >= REDRAWN:
                self._drawn = now
                self._draw(self._under_way(now - self._began))

    def _under_way(self, seconds: float) -> str:
        speed = self._rows / max(seconds, 1e-9)
        head, tail = f"  {self._what}", _amount(speed, " rows/s")
        if not self._total:
            return f"{head}  {_amount(self._rows, ' rows')}  {tail}"
        done = min(1.0, self._rows / self._total)
        bar = ("#" * round(done * BAR)).ljust(BAR, ".")
        left = _duration(max(0, self._total - self._rows) / max(speed, 1e-9))
        return f"{head}  [{bar}] {done:4.0%}  {tail}  {left} left of it"

    def did(self, **work: Any) -> None:
        """Note what the pass did: the fields of :class:`Pass` from `n_rows` on."""
        self._work = work

    def passed(self, fit: Fit[Any]) -> Pass:
        """Return the record of the pass that has just ended."""
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        self._seconds.append(seconds)
        told = {"log_likelihood": fit.trace[-1], **self._work}
        return Pass(self.start, fit.n_iter, change=fit.change, seconds=seconds, **told)

    def tell(self, fit: Fit[Any], record: Pass) -> None:
        """Print the record and hand it to the callback."""
        self.clear()
        if self.verbose and (fit.n_iter % self.interval == 0 or fit.converged):
            print(f"  {record}{_memory()}{self._left(fit)}", flush=True)
        if self.callback is not None:
            self.callback(record)

    def clear(self) -> None:
        """Remove the bar."""
        self._draw("")

    def _draw(self, text: str) -> None:
        if self._line is not None and self._line.shown:
            self._line.draw(text)

    def _left(self, fit: Fit[Any]) -> str:
        passes, estimated = passes_left(fit.trace, self.stop)
        if fit.converged or not passes:
            return ""
        duration = _duration(passes * median(self._seconds))
        return f"  {'about' if estimated else 'at most'} {_passes(passes)}, {duration} left"

    def end(self, fit: Fit[Any]) -> None:
        """End this start."""
        if self.verbose:
            how = "converged" if fit.converged else "did not converge"
            print(f"Initialization {self.start} {how} after {_passes(fit.n_iter)}.", flush=True)


def _memory() -> str:
    peak = peak_memory()
    return "" if peak is None else f"  peak memory {peak / 1e6:.0f} MB"
