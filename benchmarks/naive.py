"""The obvious way to run EM on a Dask array: one task per chunk and pass.

What `emdash.engines.dask` is measured against. The kernel and the M-step are
emdash's own, so the difference is scheduling alone.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from emdash.chunk import Chunk
from emdash.models.mixture import Expect
from emdash.sources.dask import DaskSource
from emdash.statistics import Statistics

__all__ = ["NaiveEngine"]


def block_statistics(block: NDArray[Any], task: Expect) -> NDArray[Any]:
    """Return the statistics of one chunk as a row."""
    return task(Chunk(block, index=0, start=None), 1).buffer[None]


class NaiveEngine:
    """Map the E-step over the blocks of a Dask array, sum the results, compute."""

    def total(self, task: Expect, source: DaskSource) -> Statistics:
        """Return the statistics of all rows; the whole graph is built anew."""
        array = source.array
        sums = array.map_blocks(
            block_statistics,
            task,
            dtype=float,
            chunks=((1,) * array.numblocks[0], (task.layout.size,)),
        ).sum(axis=0)
        return Statistics(task.layout, sums.compute(), task.pass_id)
