"""One EM iteration from every kind of input, on this machine.

The table has a million rows: seconds per iteration are seconds per million rows.
``python -m benchmarks.passes`` prints how close passes over files come to their ceilings:
reading the source alone, and computing from memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Truth, clusters, draw, size
from benchmarks.iteration import Iteration
from emdash.chunk import Chunk
from emdash.engines.local import LocalEngine
from emdash.sources import open_source

__all__ = ["Ceilings", "Memory", "Missing", "Overlap", "Pass"]

ROWS = size(1_000_000)
BATCHES = 20
KINDS = ("ndarray", "fortran", "memmap", "npy", "zarr", "hdf5", "parquet", "csv", "batches", "dask")
FILES = ("npy", "zarr", "zarr-zstd")
CACHES = ("warm", "cold") if hasattr(os, "posix_fadvise") else ("warm",)


def offer(path: Path, kind: str) -> Any:
    """Return the table in a ``.npy`` file as one of the kinds of input."""
    if kind == "npy":
        return path
    if kind in WRITERS:
        file = path.with_name(f"{kind}{path.stem}")
        return WRITERS[kind](np.load(path, mmap_mode="r"), file)
    if kind == "memmap":
        return np.load(path, mmap_mode="r")
    if kind == "dask":
        return dask_table(path)
    X = np.load(path)
    if kind == "fortran":
        return np.asfortranarray(X)
    return np.array_split(X, BATCHES) if kind == "batches" else X


def in_zarr(X: NDArray[Any], file: Path, **how: Any) -> Path:
    """Write a Zarr array in chunks of 8 MB, once."""
    import zarr

    path = file.with_suffix(".zarr")
    if not path.exists():
        chunks = (min(len(X), 100_000), X.shape[1])
        zarr.create_array(path, data=np.asarray(X), chunks=chunks, **how)
    return path


def in_hdf5(X: NDArray[Any], file: Path) -> str:
    """Write an HDF5 dataset in chunks of 2 MB, once."""
    import h5py

    path = file.with_suffix(".h5")
    if not path.exists():
        with h5py.File(path, "w") as opened:
            opened.create_dataset("X", data=X, chunks=(min(len(X), 25_000), X.shape[1]))
    return f"{path}::X"


def in_arrow(X: NDArray[Any], file: Path, suffix: str) -> Path:
    """Write a Parquet or CSV file, once."""
    import pyarrow.csv
    import pyarrow.parquet

    path = file.with_suffix(suffix)
    if not path.exists():
        table = pyarrow.table({f"x{j}": np.ascontiguousarray(x) for j, x in enumerate(X.T)})
        if suffix == ".csv":
            pyarrow.csv.write_csv(table, path)
        else:
            pyarrow.parquet.write_table(table, path, row_group_size=100_000)
    return path


WRITERS: dict[str, Callable[[NDArray[Any], Path], Any]] = {
    "zarr": partial(in_zarr, compressors=None),
    "zarr-zstd": in_zarr,
    "hdf5": in_hdf5,
    "parquet": partial(in_arrow, suffix=".parquet"),
    "csv": partial(in_arrow, suffix=".csv"),
}


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


class Ceilings(NamedTuple):
    """Seconds of a pass over a file, and of its two halves.

    Attributes
    ----------
    reading : float
        A pass that looks at nothing, with the same threads.
    computing : float
        An iteration over the same rows in memory.
    together : float
        An iteration over the file.
    cpu_reading, cpu_computing, cpu_together : float
        Seconds of all cores for the same. Where reading takes the cores, not the disk,
        no pass can be faster than the sum of the first two over the cores.
    """

    reading: float
    computing: float
    together: float
    cpu_reading: float
    cpu_computing: float
    cpu_together: float

    @property
    def share(self) -> float:
        """The slower of the two halves over the whole: 1 if they overlap completely."""
        return max(self.reading, self.computing) / self.together

    @property
    def cpu_share(self) -> float:
        """The same in seconds of the cores: what is left on a busy machine to go by."""
        return max(self.cpu_reading, self.cpu_computing) / self.cpu_together

    @property
    def possible(self) -> float:
        """The share that would be left if nothing but reading and computing took time."""
        least = (self.cpu_reading + self.cpu_computing) * self.computing / self.cpu_computing
        slower = max(self.reading, self.computing)
        return slower / max(least, slower)


class Nothing:
    """What a pass that only reads adds up."""

    def __add__(self, other: Nothing) -> Nothing:
        return self


def look(chunk: Chunk, n_threads: int) -> Nothing:
    """Load a chunk and do nothing with it."""
    return Nothing()


def measure(file: Any, X: NDArray[Any], components: int, cold: bool, rounds: int) -> Ceilings:
    """Return the ceilings of a pass, interleaved, the median of some rounds."""
    start = around(X, components)
    of_file, of_memory = (Iteration(x, start, n_threads=2) for x in (file, X))
    engine, source = LocalEngine(2), open_source(file)
    calls = (lambda: engine.total(look, source), of_memory, of_file)
    taken = []
    for _ in range(rounds):
        for call in calls:
            if cold:
                forget(Path(file))
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    found = np.median(np.reshape(taken, (rounds, 3, 2)), axis=0)
    return Ceilings(*found[:, 0], *found[:, 1])


def around(X: NDArray[Any], components: int) -> Truth:
    """Return parameters of as many components as wanted, each about a row of the table.

    Any number can be started from: none is where there are no rows.
    """
    means = X[np.linspace(0, len(X) - 1, components).astype(np.intp)]
    covariances = np.broadcast_to(np.eye(X.shape[1]), (components, X.shape[1], X.shape[1]))
    return Truth(np.full(components, 1 / components), means, covariances)


def forget(path: Path) -> None:
    """Take a file, or the files of a directory, out of the system's cache."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            opened = os.open(file, os.O_RDONLY)
            os.fsync(opened)
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(opened)


class Overlap:
    """How much of a pass over a file its slower half is, reading or computing.

    Catches a team of threads that waits: parts of unequal length, a lock around reading.
    """

    params = (FILES, (10, 30))
    param_names = ("file", "components")
    rounds = 5

    def setup_cache(self) -> Path:
        """Write the table."""
        path = Path("overlap.npy").resolve()
        np.save(path, draw(clusters(10, 10), 4 * ROWS))
        return path

    def track_share(self, path: Path, kind: str, components: int) -> float:
        """Seconds of the slower half over seconds of the pass."""
        file = offer(path, kind)
        return measure(file, np.load(path), components, False, self.rounds).share

    track_share.unit = "of the pass"  # type: ignore[attr-defined]


def lines(rows: int, components: Sequence[int], rounds: int) -> Iterator[str]:
    """Yield a table of ceilings."""
    yield f"{rows} rows of 10 float64, full covariances, two threads, medians of {rounds} rounds, s"
    yield (
        "file       cache  K    reading  computing  together  share  possible  CPU of each, share"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "overlap.npy"
        np.save(path, draw(clusters(10, 10), rows))
        X = np.load(path)
        for kind in FILES:
            file = offer(path, kind)
            for cache in CACHES:
                for K in components:
                    c = measure(file, X, K, cache == "cold", rounds)
                    yield (
                        f"{kind:<10} {cache}  {K:>3}  {c.reading:8.3f}"
                        f"  {c.computing:9.3f}  {c.together:8.3f}  {c.share:5.2f}"
                        f"  {c.possible:8.2f}  {c.cpu_reading:.3f} {c.cpu_computing:.3f}"
                        f" {c.cpu_together:.3f} {c.cpu_share:.2f}"
                    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of ceilings."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=4 * ROWS)
    parser.add_argument("--components", type=int, nargs="+", default=[10, 30], metavar="K")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    for line in lines(given.rows, given.components, given.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
