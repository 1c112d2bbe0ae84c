"""Sufficient statistics: named views on one float64 buffer that can be added.

Must never know: what the numbers mean, where the rows came from, who adds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUNTS", "HEADER", "Layout", "Statistics"]

COUNTS = ("n_rows", "n_bytes", "left_out", "n_used", "n_incomplete")
"""What was done: rows and bytes read, how many log-densities of a row and a component were ruled
out by a bound instead of computed, how many rows have an observed value and a weight that is not
zero, and how many have missing cells. Whole numbers, exact up to 2**53."""

HEADER = (*COUNTS, "log_likelihood", "weight")
"""Fields of every buffer: the counts, the log-likelihood of the rows and their total weight."""


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the fields of a :class:`Statistics` buffer, in order.

    Parameters
    ----------
    fields : tuple of (str, tuple of int)
        Name and shape of each field that follows the scalars of
        :data:`HEADER`.
    """

    fields: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout, (self.fields,)  # what is cached need not travel

    @cached_property
    def slices(self) -> dict[str, tuple[slice, tuple[int, ...]]]:
        """Where in the buffer each field lies, and its shape."""
        found: dict[str, tuple[slice, tuple[int, ...]]] = {}
        start = 0
        for name, shape in (*((name, ()) for name in HEADER), *self.fields):
            stop = start + math.prod(shape)
            found[name] = (slice(start, stop), shape)
            start = stop
        return found

    @cached_property
    def size(self) -> int:
        """Number of float64 values in a buffer of this layout."""
        return len(HEADER) + sum(math.prod(shape) for _, shape in self.fields)


def _scalar(name: str) -> Any:
    """Return the property that reads a field of the header."""
    index = HEADER.index(name)
    return property(lambda self: self.buffer.item(index))


class Statistics:
    """A sum over rows that can be added to the sum over other rows.

    Fields are attributes: ``statistics.N`` is a view of the buffer with the
    shape that the layout gives it.

    Parameters
    ----------
    layout : Layout
        Names and shapes of the fields.
    buffer : ndarray of shape (layout.size,), float64
        The numbers, in the order of the layout. Not copied, unless they are misaligned, as what
        comes over a network may be.
    pass_id : str
        Which pass over the data the sums belong to. Sums of different passes
        are taken about different means: adding them is an error.

    Examples
    --------
    >>> import numpy as np
    >>> from emdash.statistics import Layout, Statistics
    >>> layout = Layout((("N", (2,)),))
    >>> one = Statistics.zeros(layout)
    >>> one.N[:] = [1.5, 0.5]
    >>> (one + one).N
    array([3., 1.])
    """

    n_rows, n_bytes, left_out = _scalar("n_rows"), _scalar("n_bytes"), _scalar("left_out")
    n_used, n_incomplete = _scalar("n_used"), _scalar("n_incomplete")
    log_likelihood, weight = _scalar("log_likelihood"), _scalar("weight")

    def __init__(self, layout: Layout, buffer: NDArray[np.float64], pass_id: str = "") -> None:
        if buffer.shape != (layout.size,):
            raise ValueError(
                f"buffer has shape {buffer.shape}, but the layout needs ({layout.size},)"
            )
        self.layout = layout
        self.buffer = buffer if buffer.flags.aligned else buffer.copy()
        self.pass_id = pass_id

    @classmethod
    def zeros(cls, layout: Layout, pass_id: str = "") -> Statistics:
        """Return the statistics of no rows at all."""
        return cls(layout, np.zeros(layout.size), pass_id)

    @property
    def sums(self) -> NDArray[np.float64]:
        """What kernels write: the buffer from the log-likelihood on."""
        return self.buffer[len(COUNTS) :]

    @property
    def counts(self) -> list[float]:
        """Rows, bytes, log-densities left out, rows that were used, and incomplete rows."""
        counts: list[float] = self.buffer[: len(COUNTS)].tolist()
        return counts

    def count(
        self, rows: NDArray[Any], left_out: float = 0.0, unused: int = 0, incomplete: int = 0
    ) -> None:
        """Add to the counts that `rows` were read, and what became of them.

        Parameters
        ----------
        rows : ndarray
        left_out : float
            Log-densities that were not computed.
        unused : int
            Rows with nothing observed or a weight of zero.
        incomplete : int
            Rows with missing cells.
        """
        n = len(rows)
        for i, more in enumerate((n, rows.nbytes, left_out, n - unused, incomplete)):
            if more:
                self.buffer[i] += more

    @property
    def unit(self) -> float:
        """What one row weighs, as a power of two: exactly 1 without row weights."""
        if self.weight == self.n_used or self.n_used == 0:  # sums of rows that nobody counted
            return 1.0
        return float(2.0 ** round(math.log2(self.weight / self.n_used)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("layout", "buffer"):
            raise AttributeError(name)
        try:
            where, shape = self.layout.slices[name]
        except KeyError:
            raise AttributeError(
                f"no field {name!r}; the fields are {sorted(self.layout.slices)}"
            ) from None
        if not shape:
            return float(self.buffer[where.start])
        # the next time it is found without coming here: a pass over few rows asks often
        view = self.__dict__[name] = self.buffer[where].reshape(shape)
        return view

    def __add__(self, other: Statistics) -> Statistics:
        if not isinstance(other, Statistics):
            return NotImplemented
        if other.layout != self.layout:
            raise ValueError("cannot add statistics of different layouts")
        if other.pass_id != self.pass_id:
            raise ValueError(
                f"cannot add statistics of pass {self.pass_id!r} and pass {other.pass_id!r}: "
                "they are sums about different means"
            )
        return Statistics(self.layout, self.buffer + other.buffer, self.pass_id)

    def __reduce__(self) -> tuple[Any, ...]:
        return Statistics, (self.layout, self.buffer, self.pass_id)

    def __repr__(self) -> str:
        names = ", ".join(name for name, _ in self.layout.fields)
        return f"Statistics(weight={self.weight:g}, fields=[{names}], pass_id={self.pass_id!r})"
