"""How much memory a call may take, and what follows from it.

The promise is about what the call adds to the process: chunks being read and
computed, sums, the sample of the start, answers. Chunks follow from the limit
alone and threads from both, so that the number of threads changes no bit.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from emdash.sources.base import Source, refuse_memory

__all__ = ["FRACTION", "MemoryLimit"]

FRACTION = 0.75
"""Of the memory that is free when a call begins, what it may take unless it is told otherwise."""

SAMPLE_SHARE = 8
"""The sample of the start takes a share of the memory: joining it and k-means copy it."""

SMALL = 16 << 20
"""Bytes that are not worth asking the system how much is free."""

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}

CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def parse(limit: int | str) -> int:
    """Return a number of bytes given as a number or like "500MB", "1.5 GB", "2GiB".

    Raises
    ------
    ValueError
        If it is neither.
    """
    text = str(limit).strip().upper()
    found = re.fullmatch(r"([0-9.]+)\s*([KMGT]?I?)B?", text)
    try:
        assert found is not None
        value = int(float(found[1]) * {**UNITS, **BINARY}[found[2]])
        assert value > 0
    except (AssertionError, KeyError, ValueError):
        raise ValueError(
            f"memory_limit={limit!r} is no amount of memory: give a number of bytes or a string "
            "such as '500MB' or '2GiB'"
        ) from None
    return value


def available() -> int:
    """Return how many bytes are free on this machine and in the container it may be."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for most, used in CGROUPS:
        try:
            free = min(free, int(Path(most).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return max(free, 0)


class MemoryLimit:
    """The memory that one call may take.

    Parameters
    ----------
    given : int, str or None
        As the user gave it; None means :data:`FRACTION` of what is free.
    """

    def __init__(self, given: int | str | None) -> None:
        self._given = None if given is None else parse(given)

    @cached_property
    def bytes(self) -> int:
        """Bytes that the call may take; looked up when first needed."""
        return int(FRACTION * available()) if self._given is None else self._given

    def cut(self, source: Source) -> Source:
        """Return the source in chunks that fit.

        Raises
        ------
        MemoryError
            If what its storage keeps together is too large.
        """
        if source.in_memory or source.collection:
            return source
        return source.limited(self.bytes)

    @property
    def sample_bytes(self) -> int | None:
        """Bytes of a start's sample, None if only the default counts.

        What happens to be free decides nothing, or the start would depend on it.
        """
        return None if self._given is None else self._given // SAMPLE_SHARE

    def threads(self, source: Source, task: Any, wanted: int) -> int:
        """Return how many threads may load and compute chunks at the same time.

        Raises
        ------
        MemoryError
            If there is not enough for one.
        """
        one = source.chunk_memory + getattr(task, "memory", 0)
        if one * wanted <= SMALL and self._given is None:
            return wanted
        if one > self.bytes:
            sums = getattr(task, "memory", 0)
            smaller = "use fewer components or a simpler covariance_type"
            if source.collection and source.chunk_memory > sums:  # others were cut to the limit
                smaller = "make its chunks smaller, X.rechunk({0: rows})"
            refuse_memory(
                f"one chunk of X ({source.chunk_memory / 1e6:.4g} MB) with the sums of the model "
                f"({sums / 1e6:.4g} MB)",
                one,
                self.bytes,
                smaller,
            )
        return max(1, min(wanted, self.bytes // max(one, 1)))

    def check_answer(self, size: int) -> None:
        """Refuse an answer that would not fit.

        Raises
        ------
        MemoryError
            Naming what writes it to a file instead.
        """
        if (size > SMALL or self._given is not None) and size > self.bytes:
            refuse_memory(
                "the answer for all rows",
                size,
                self.bytes,
                "write it to a file, 'emdash predict MODEL DATA -o FILE', or ask batch by batch",
            )
