"""How close a pass comes to what the machine can do: percent of the arithmetic floor.

Peaks are measured first; a pass can then not be faster than its useful multiply-adds
at the speed of dgemm plus its exponentials at the speed of our exp2, nor than its
bytes at the speed of reading. Percents do not depend on the machine, ratios to other
systems (`rivals.py`) do.

    python benchmarks/roofline.py [--quick] [--threads 1 2] [--cases "full (10,10)" ...]

Useful multiply-adds per row, P = d (d + 1) / 2, of the E-step and of the sums:

- full: K (P + d) and C (P + d); C is K up to d = 16, and for more features the number of
  components whose responsibility is not rounding error: kernels skip the others;
- diag: 2 K d and 2 C d; spherical: K d and C d + K;
- tied: P + K d and C d, and P again if the pass forms the scatter of the rows.

Times are CPU seconds per thread, the smallest of the rounds: other programs do not
count. Waiting for a slower thread does, as long as it spins; on a busy machine
OMP_WAIT_POLICY=passive keeps that out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

if __name__ == "__main__":  # a script sees its own folder, but this is a package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.data import QUICK, Truth, clusters, draw
from benchmarks.iteration import Iteration
from benchmarks.rivals import CASES, Case
from emdash._kernels.expect import posterior
from emdash._kernels.gaussian import SphericalKernel
from emdash.models.passes import Expect

__all__ = ["Peaks", "Time", "Work", "main", "significant", "work"]

SIGNIFICANT = 2.0**-54
"""Kernels for d > 16 leave smaller responsibilities out (of rare components even smaller ones)."""

DENSE_UP_TO = 16
"""Number of features up to which kernels add every component of every row."""

SAMPLE_ROWS = 20_000
"""Rows on which significant components are counted."""


@dataclass(frozen=True)
class Time:
    """The shortest of the rounds, in seconds; CPU time is per thread."""

    wall: float
    cpu: float


def fastest(run: Callable[[], object], n_threads: int, rounds: int, at_least: float) -> Time:
    """Time a call, repeated within a round until `at_least` seconds have passed."""
    wall = cpu = np.inf
    run()
    for _ in range(rounds):
        calls, begin, begin_cpu = 0, time.perf_counter(), time.process_time()
        while not calls or time.perf_counter() < begin + at_least:
            run()
            calls += 1
        cpu = min(cpu, (time.process_time() - begin_cpu) / calls / n_threads)
        wall = min(wall, (time.perf_counter() - begin) / calls)
    return Time(wall, cpu)


@dataclass(frozen=True)
class Peaks:
    """What this machine can do with all threads together, per second.

    Attributes
    ----------
    multiply_adds
        Of dgemm, square, 1024.
    exponentials
        Of our own exp2: the time that log-likelihoods take beyond labels, many components,
        one feature. Labels search the maximum as well and note where it is, so that
        the rate is a little too high and percents are a little too low. A faster exp2 raises
        this peak: compare two commits by their times.
    bytes
        Of the dot product of a vector that fits no cache with itself.
    """

    multiply_adds: float
    exponentials: float
    bytes: float

    @classmethod
    def measure(cls, n_threads: int, rounds: int, quick: bool) -> Peaks:
        """Measure them with all threads busy, each on its own: no barrier, no imbalance."""
        at_least = 0.0 if quick else 0.05
        side, n, K, length = (64, 2_000, 64, 10_000) if quick else (1024, 50_000, 256, 20_000_000)
        rng = np.random.default_rng(0)
        A, products = rng.standard_normal((side, side)), np.empty((n_threads, side, side))
        X, means = rng.standard_normal((n, 1)), rng.standard_normal((K, 1))
        kernel = SphericalKernel(np.zeros(K), means, np.ones(K))
        labels, likelihoods = np.empty((n_threads, n), np.intp), np.empty((n_threads, n))
        vectors = rng.standard_normal((n_threads, length))
        runs: tuple[Callable[[int], object], ...] = (
            lambda t: np.matmul(A, A, out=products[t]),
            lambda t: posterior(kernel, X, 1, log_likelihood=likelihoods[t]),
            lambda t: posterior(kernel, X, 1, labels=labels[t]),
            lambda t: vectors[t] @ vectors[t],
        )
        with ThreadPoolExecutor(n_threads) as pool:  # each of the runs releases the GIL

            def seconds(run: Callable[[int], object]) -> float:
                def everywhere() -> object:
                    return list(pool.map(run, range(n_threads)))

                return fastest(everywhere, n_threads, rounds, at_least).cpu / n_threads

            gemm, likelihood, label, dot = map(seconds, runs)
        exponentials = n * K / max(likelihood - label, 1e-9)
        return cls(side**3 / gemm, exponentials, vectors[0].nbytes / dot)

    def __str__(self) -> str:
        return (
            f"dgemm {2e-9 * self.multiply_adds:.1f} Gflop/s, "
            f"exp2 {1e-9 * self.exponentials:.2f}e9/s, read {1e-9 * self.bytes:.1f} GB/s"
        )


@dataclass(frozen=True)
class Work:
    """What a row must cost."""

    multiply_adds: float
    exponentials: float
    bytes: float

    def floor(self, peaks: Peaks) -> float:
        """Return the shortest possible time per row in seconds."""
        return max(
            self.multiply_adds / peaks.multiply_adds + self.exponentials / peaks.exponentials,
            self.bytes / peaks.bytes,
        )


def significant(task: Expect, X: NDArray[Any]) -> float:
    """Return the mean number of components per row whose responsibility counts."""
    responsibilities = np.empty((len(X), task.kernel.n_components))
    posterior(task.kernel, X, 1, responsibilities=responsibilities)
    return float((responsibilities > SIGNIFICANT).sum(axis=1).mean())


def work(
    covariance_type: str, d: int, K: int, itemsize: int, counted: float, scatter: bool
) -> Work:
    """Return what a row of a pass costs; see the top of this file.

    Parameters
    ----------
    covariance_type : str
    d, K, itemsize : int
    counted : float
        Components per row that the sums need (K where none is skipped).
    scatter : bool
        Whether a tied pass forms the scatter of the rows.
    """
    P = d * (d + 1) / 2
    multiply_adds = {
        "full": (K + counted) * (P + d),
        "diag": 2 * (K + counted) * d,
        "spherical": (K + counted) * d + K,
        "tied": (K + counted) * d + P * (2 if scatter else 1),
    }[covariance_type]
    return Work(multiply_adds, K, d * itemsize)


def lines(cases: Iterable[Case], threads: Iterable[int], rounds: int, quick: bool) -> Iterator[str]:
    """Yield the peaks and the lines of the table as they are measured, in Markdown."""
    from threadpoolctl import threadpool_limits

    limits = list(threads)
    peaks = {}
    for n_threads in limits:
        with threadpool_limits(1):
            peaks[n_threads] = Peaks.measure(n_threads, rounds, quick)
        yield f"threads {n_threads}: {peaks[n_threads]}"
    yield ""
    head = ["case", "n", "comps/row", "threads", "us/row", "CPU us/row", "multiply-adds", "exps"]
    head += ["bytes", "floor us", "% of floor"]
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for case in cases:
        truth = clusters(case.d, case.K, case.overlap, case.covariance_type)
        X = draw(truth, case.rows(quick), case.dtype)
        for n_threads in limits:
            with threadpool_limits(n_threads):
                found = cells(case, X, truth, n_threads, peaks[n_threads], rounds, quick)
                yield "| " + " | ".join(found) + " |"


def cells(
    case: Case,
    X: NDArray[Any],
    truth: Truth,
    n_threads: int,
    peaks: Peaks,
    rounds: int,
    quick: bool,
) -> Iterator[str]:
    """Yield the columns of one line."""
    iteration = Iteration(X, truth.nearby(), case.covariance_type, n_threads)
    task = iteration.model.task(iteration.parameters)
    components = significant(task, X[:SAMPLE_ROWS])
    counted = components if case.d > DENSE_UP_TO else case.K
    # sums besides log-likelihood, weight, N and F: nothing is left if no scatter is formed
    scatter = task.kernel.statistics_size > 2 + case.K * (1 + case.d)
    needed = work(case.covariance_type, case.d, case.K, X.itemsize, counted, scatter)
    taken = fastest(
        lambda: iteration.engine.total(task, iteration.source),
        n_threads,
        rounds,
        0.0 if quick else 0.1,
    )
    floor = 1e6 * needed.floor(peaks)
    wall, cpu = (1e6 * seconds / len(X) for seconds in (taken.wall, taken.cpu))
    note = " with scatter" if case.covariance_type == "tied" and scatter else ""
    yield from (str(case) + note, f"{len(X):.0e}", f"{components:.1f}", str(n_threads))
    yield from (f"{wall:.3g}", f"{cpu:.3g}", f"{needed.multiply_adds:.4g}")
    yield from (f"{needed.exponentials:g}", f"{needed.bytes:g}", f"{floor:.3g}")
    yield f"{100 * floor / cpu:.0f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the peaks and the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rows: shows that it runs")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--rounds", type=int, default=7, help="of which the shortest counts")
    parser.add_argument(
        "--cases", nargs="+", default=[""], metavar="TEXT", help="only cases that contain a text"
    )
    given = parser.parse_args(arguments)
    cases = [case for case in CASES if any(text in str(case) for text in given.cases)]
    if not cases:
        parser.error(f"no case contains any of {given.cases}; there are {[*map(str, CASES)]}")
    for line in lines(cases, given.threads, given.rounds, given.quick or QUICK):
        print(line, flush=True)


if __name__ == "__main__":
    main()
