"""One EM iteration of emdash beside scikit-learn and every other system that is installed.

Same rows, same start, same number of threads, interleaved in one process; medians.
Before a time is believed the parameters after the iteration must be the same.

    python benchmarks/rivals.py [--quick] [--threads 1 2] [--cases "full (10,10)" ...]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if __name__ == "__main__":  # a script sees its own folder, but this is a package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.data import QUICK, clusters, draw
from benchmarks.systems import SYSTEMS, Answer, Emdash, Problem, ScikitLearn, System, why_not

__all__ = ["CASES", "Case", "Iteration", "compare", "difference", "main"]


@dataclass(frozen=True)
class Case:
    """A line of the table.

    Attributes
    ----------
    covariance_type, d, K, n, overlap, dtype
        What is fitted to which data (see `benchmarks.data`).
    targets : (float, float) or None
        Wanted ratio of scikit-learn's time to emdash's with one and with two threads.
    over_onedal : float or None
        Wanted ratio of oneDAL's time to emdash's with two threads.
    """

    covariance_type: str
    d: int
    K: int
    n: int
    overlap: str = "mod"
    targets: tuple[float, float] | None = None
    over_onedal: float | None = None
    dtype: str = "float64"

    def rows(self, quick: bool) -> int:
        """Return how many rows to use."""
        fewest = max(1000, 3 * self.d * self.K)  # every covariance must stay positive definite
        return min(self.n, max(fewest, self.n // QUICK_SHARE)) if quick else self.n

    def __str__(self) -> str:
        dtype = "" if self.dtype == "float64" else f" {self.dtype}"
        return f"{self.covariance_type} ({self.d},{self.K}) {self.overlap}{dtype}"


CASES = (
    Case("full", 1, 4, 1_000_000, "mod", (60, 90), 3),
    Case("full", 2, 8, 1_000_000, "mod", (60, 120), 3),
    Case("full", 4, 16, 500_000, "mod", (45, 75)),
    Case("full", 8, 8, 500_000, "mod", (24, 42)),
    Case("full", 10, 10, 1_000_000, "mod", (22, 50), 3),
    Case("full", 16, 32, 100_000, "mod", (10, 18)),
    Case("full", 16, 32, 100_000, "well", (23, 40)),
    Case("full", 32, 32, 200_000, "mod", (6, 14), 3),
    Case("full", 32, 32, 200_000, "well", (25, 45)),
    Case("full", 64, 64, 50_000, "mod", (5, 9), 3),
    Case("full", 64, 64, 50_000, "well", (30, 50)),
    Case("full", 64, 64, 50_000, "all", (3.2, 5.5)),
    Case("full", 128, 64, 20_000, "mod", (4.6, 7), 3),
    Case("full", 128, 64, 20_000, "well", (25, 38)),
    Case("full", 256, 16, 20_000, "mod", (4.3, 6.5), 3),
    Case("full", 256, 16, 20_000, "well", (17, 26)),
    Case("diag", 10, 10, 1_000_000, "mod", (13, 26), 3),
    Case("diag", 64, 64, 200_000, "mod", (2.6, 9), 2.5),
    Case("diag", 256, 64, 100_000, "mod", (2, 3), 3),
    Case("tied", 10, 10, 500_000, "mod", (25, 45)),
    Case("tied", 64, 64, 50_000, "mod", (40, 80)),
    Case("spherical", 10, 10, 500_000, "mod", (18, 30)),
    Case("full", 10, 10, 1_000_000, "mod", None, 2.5, "float32"),
    Case("full", 64, 64, 50_000, "mod", None, 2.5, "float32"),
)
"""The targets of the project; rows enough that scikit-learn's temporaries leave the cache."""

QUICK_SHARE = 50
"""A quick run uses about one row in so many."""

TOLERANCE = {"float64": 1e-9, "float32": 1e-2}
"""Largest difference between two systems' parameters, relative to the largest of each array."""

MONITORED = (1, 10) if QUICK else (1, 10, 64)
"""Numbers of features that asv watches."""

SAMPLE_SECONDS = 0.1
"""Short iterations are repeated until a sample takes this long."""

SETTLE_SECONDS = 0.2
"""Pause before every sample, whoever's: the machine must be quiet when it begins.

The threads of OpenBLAS spin for 100 ms after the call they worked for. NumPy and SciPy
bring one pool each: after a pause of 20 ms both took 50 ms of the next system's 150 ms
from it, and emdash needed 34 ms at tied (64,64) with two threads where it needs 19.
"""


@dataclass(frozen=True)
class Timing:
    """Medians over the rounds, in seconds per iteration; CPU time is that of all threads."""

    wall: float
    cpu: float


def difference(answer: Answer, reference: Answer) -> float:
    """Return the largest difference of two answers, each array in units of its largest value."""
    return max(
        float(np.abs(mine - theirs).max() / np.abs(theirs).max())
        for mine, theirs in zip(answer, reference, strict=True)
    )


def agree(system: System, reference: Answer, dtype: str) -> None:
    """Run a system once and raise if its parameters are not those of the reference."""
    system.iterate()
    if not system.given_start:
        return
    found = difference(system.answer(), reference)
    if not found <= TOLERANCE[dtype]:
        raise Disagreement(f"differs by {found:.0e}")


class Disagreement(AssertionError):
    """Two systems made different parameters of the same start: their times mean nothing."""


def sample(system: System, at_least: float) -> Timing:
    """Time one iteration, repeated until `at_least` seconds have passed."""
    time.sleep(SETTLE_SECONDS)
    calls = wall = cpu = 0.0
    end = time.perf_counter() + at_least
    while not calls or time.perf_counter() < end:
        for run, sign in ((system.iterate, 1), (system.rest, -1)):
            begin, begin_cpu = time.perf_counter(), time.process_time()
            run()
            cpu += sign * (time.process_time() - begin_cpu)
            wall += sign * (time.perf_counter() - begin)
        calls += 1
    return Timing(wall / calls, cpu / calls)


def compare(
    case: Case,
    n_threads: int,
    kinds: Sequence[type[System]] = (),
    *,
    rounds: int = 5,
    quick: bool = QUICK,
) -> dict[str, Timing | str]:
    """Return the times of one iteration of every system, after checking that they agree.

    Parameters
    ----------
    case : Case
    n_threads : int
        For every system alike; OpenMP and BLAS pools are limited to it.
    kinds : sequence of System classes
        Rivals besides scikit-learn that can do the case.
    rounds : int
        How often each system is timed, in turn.
    quick : bool
        Whether to use few rows and short samples.

    Returns
    -------
    dict
        By name of the system; for a rival that fails or makes other parameters, what went wrong.

    Raises
    ------
    Disagreement
        If emdash and scikit-learn make different parameters.
    """
    from threadpoolctl import threadpool_limits

    truth = clusters(case.d, case.K, case.overlap, case.covariance_type)
    X = draw(truth, case.rows(quick), case.dtype)
    problem = Problem(X, truth.nearby(), case.covariance_type, n_threads)
    ours = Emdash(problem)
    able: list[System] = [ours]
    found: dict[str, Timing | str] = {}
    with threadpool_limits(n_threads):
        ours.iterate()
        for kind in (ScikitLearn, *kinds):
            try:
                system = kind(problem)
                agree(system, ours.answer(), case.dtype)
                able.append(system)
            except Exception as error:
                if kind is ScikitLearn:
                    raise
                found[kind.name] = str(error).partition("\n")[0]
        at_least = 0.0 if quick else SAMPLE_SECONDS
        samples = [[sample(system, at_least) for system in able] for _ in range(rounds)]
    for system, mine in zip(able, zip(*samples, strict=True), strict=True):
        found[system.name] = Timing(
            statistics.median(one.wall for one in mine), statistics.median(one.cpu for one in mine)
        )
    return found


class Iteration:
    """An iteration of emdash as a share of scikit-learn's, which cancels the speed of the machine.

    Catches a loss of speed in any part of an iteration, M-step and factorisations
    included, and an answer that is no longer scikit-learn's.
    """

    params = (
        [
            str(case)
            for case in CASES
            if case.overlap == "mod" and case.d in MONITORED and case.dtype == "float64"
        ],
        [1, 2],
    )
    param_names = ("case", "threads")
    timeout = 300

    def setup(self, name: str, n_threads: int) -> None:
        (self.case,) = (case for case in CASES if str(case) == name)

    def track_share(self, name: str, n_threads: int) -> float:
        """Return emdash's time divided by scikit-learn's."""
        times = compare(self.case, n_threads, rounds=2 if QUICK else 3)
        return times["emdash"].wall / times["scikit-learn"].wall

    track_share.unit = "of scikit-learn's time"  # type: ignore[attr-defined]


RIVALS = tuple(kind for kind in SYSTEMS if kind not in (Emdash, ScikitLearn))


def lines(
    cases: Iterable[Case],
    threads: Iterable[int],
    rivals: Sequence[type[System]],
    rounds: int,
    quick: bool,
) -> Iterator[str]:
    """Yield the lines of the table as they are measured, in Markdown."""
    head = ["case", "n", "threads", "scikit-learn s", "emdash s", "ratio", "target", "CPU ratio"]
    head += [column for rival in rivals for column in (f"{rival.name} s", "ratio")]
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for n_threads in threads:
        for case in cases:
            able = [k for k in rivals if not why_not(k, case.covariance_type, case.dtype)]
            times = compare(case, n_threads, able, rounds=rounds, quick=quick)
            yield "| " + " | ".join(cells(case, n_threads, case.rows(quick), times, rivals)) + " |"
    for rival in rivals:
        reason = why_not(rival, rival.covariance_types[0], rival.dtypes[0])
        if reason:
            yield f"{rival.name}: skipped, {reason}"


def cells(
    case: Case,
    n_threads: int,
    n: int,
    times: dict[str, Timing | str],
    rivals: Sequence[type[System]],
) -> Iterator[str]:
    """Yield the columns of one line."""
    ours, theirs = times["emdash"], times["scikit-learn"]
    assert isinstance(ours, Timing)
    assert isinstance(theirs, Timing)
    targets = dict(zip((1, 2), case.targets or (), strict=False))
    yield from (str(case), f"{n:.0e}", str(n_threads), f"{theirs.wall:.4g}", f"{ours.wall:.4g}")
    yield f"{theirs.wall / ours.wall:.1f}"
    yield f"{targets[n_threads]:g}" if n_threads in targets else ""
    yield f"{theirs.cpu / ours.cpu:.1f}"
    for kind in rivals:
        rival = times.get(kind.name, "")
        if isinstance(rival, str):
            yield from (rival, "")
            continue
        wanted = case.over_onedal if kind.name == "oneDAL" and n_threads == 2 else None
        yield f"{rival.wall:.4g}"
        yield f"{rival.wall / ours.wall:.1f}" + (f" (target {wanted:g})" if wanted else "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rows: shows that it runs")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--rounds", type=int, default=5, help="samples per system (default 5)")
    parser.add_argument(
        "--cases", nargs="+", default=[""], metavar="TEXT", help="only cases that contain a text"
    )
    names = [rival.name for rival in RIVALS]
    parser.add_argument(
        "--rivals", nargs="*", default=names, choices=names, help="besides scikit-learn"
    )
    given = parser.parse_args(arguments)
    cases = [case for case in CASES if any(text in str(case) for text in given.cases)]
    if not cases:
        parser.error(f"no case contains any of {given.cases}; there are {[*map(str, CASES)]}")
    rivals = [rival for rival in RIVALS if rival.name in given.rivals]
    for line in lines(cases, given.threads, rivals, given.rounds, given.quick):
        print(line, flush=True)


if __name__ == "__main__":
    main()
