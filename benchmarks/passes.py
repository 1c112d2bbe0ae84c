"""One EM iteration from every kind of input, on this machine.

The table has a million rows: seconds per iteration are seconds per million rows.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Truth, clusters, draw, size
from benchmarks.iteration import Iteration
from emdash.models.mixture import Mixture

__all__ = ["Memory", "Missing", "Pass"]

ROWS = size(1_000_000)
BATCHES = 20
KINDS = ("ndarray", "fortran", "memmap", "npy", "batches", "dask")


def offer(path: Path, kind: str) -> Any:
    """Return the table in a ``.npy`` file as one of the kinds of input."""
    if kind == "npy":
        return path
    if kind == "memmap":
        return np.load(path, mmap_mode="r")
    if kind == "dask":
        return dask_table(path)
    X = np.load(path)
    if kind == "fortran":
        return np.asfortranarray(X)
    return np.array_split(X, BATCHES) if kind == "batches" else X


def dask_table(path: Path) -> Any:
    """Return a Dask array whose chunks read their rows from the file."""
    import dask.array

    rows, features = np.load(path, mmap_mode="r").shape
    step = -(-rows // BATCHES)
    return dask.array.map_blocks(
        read,
        dask.array.arange(0, rows, step, chunks=1)[:, None],
        path=path,
        step=step,
        dtype=np.float64,
        chunks=(tuple(min(step, rows - first) for first in range(0, rows, step)), (features,)),
    )


def read(first: NDArray[np.integer[Any]], path: Path, step: int) -> NDArray[Any]:
    """Return a copy of `step` rows of a ``.npy`` file."""
    return np.array(np.load(path, mmap_mode="r")[first.item() : first.item() + step])


class _Input:
    """A million rows of 10 features in a file, and an iteration over them as some input."""

    params = (KINDS,)
    param_names = ("input",)
    components = 10

    def setup_cache(self) -> Path:
        """Write the table; in a process of its own, so that the peaks below are not its."""
        path = Path("table.npy").resolve()
        np.save(path, draw(clusters(10, 10), ROWS))
        return path

    def setup(self, path: Path, kind: str) -> None:
        start = clusters(10, self.components).nearby()
        self.iteration = Iteration(offer(path, kind), start, n_threads=2)


class Pass(_Input):
    """An iteration with two threads from each kind of input.

    Catches a source that copies what it need not, reads the data twice, or no longer keeps
    both threads busy. ``ndarray`` is the measure; the others should stay close to it.
    """

    def time_iteration(self, path: Path, kind: str) -> None:
        """Pass, M-step and factorisations for a million rows."""
        self.iteration()


class Memory(_Input):
    """Peak memory of an iteration over 80 MB of data with 64 components.

    Catches a source that holds more than a few chunks at a time (files), one that copies
    the array (memory), and an array of n x K (512 MB) anywhere.
    """

    components = 64

    def peakmem_iteration(self, path: Path, kind: str) -> None:
        """Run one iteration."""
        self.iteration()


HIDDEN = {"none": (0.0, 0.0), "a tenth of a tenth": (0.1, 0.1), "a twentieth": (1.0, 0.05)}
"""Share of the rows with missing cells, and share of their cells that are missing."""


class Missing:
    """An iteration over rows of which cells are missing, with one thread.

    Catches complete rows that no longer run at full speed beside incomplete ones, regressions
    that are no longer shared by the rows of a pattern, and a slow sort. The goals, for full
    covariance: at most twice the complete pass with a tenth of the cells missing in a tenth of
    the rows, six times with a twentieth of all cells.
    """

    params = (tuple(HIDDEN), ("full", "tied", "diag", "spherical"))
    param_names = ("hidden", "covariance")

    def setup(self, hidden: str, covariance: str) -> None:
        truth = clusters(10, 10, covariance_type=covariance)
        whole = draw(truth, size(200_000))
        self.complete = self._iteration(whole, truth, covariance)
        self.iteration = self._iteration(hide(whole, *HIDDEN[hidden]), truth, covariance)

    def _iteration(self, X: NDArray[Any], truth: Truth, covariance: str) -> Iteration:
        iteration = Iteration(X, truth.nearby(), covariance, n_threads=1)
        iteration.model = Mixture(iteration.model.family, missing=True)
        return iteration

    def time_iteration(self, hidden: str, covariance: str) -> None:
        """Pass, M-step and factorisations for 200 000 rows."""
        self.iteration()

    def track_cost(self, hidden: str, covariance: str) -> float:
        """Return the time of an iteration in units of that over the rows with nothing hidden."""
        times: dict[Iteration, list[float]] = {self.iteration: [], self.complete: []}
        for _ in range(5):
            for iteration, found in times.items():
                begin = time.thread_time()
                iteration()
                found.append(time.thread_time() - begin)
        return statistics.median(times[self.iteration]) / statistics.median(times[self.complete])


def hide(X: NDArray[Any], rows: float, cells: float) -> NDArray[Any]:
    """Return a copy with some cells, of some of the rows, missing at random."""
    rng = np.random.default_rng(0)
    hidden = rng.random(X.shape) < cells
    hidden[rng.random(len(X)) >= rows] = False
    return np.where(hidden, np.nan, X)
