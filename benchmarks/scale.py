"""The same fit by emdash on two worker processes and by what users would pick: time and memory.

    python benchmarks/scale.py                     1e7 x 10, K = 10, full covariances
    python benchmarks/scale.py --rows 100000       fewer rows
    python benchmarks/scale.py --systems Emdash DaskArray

Every system fits in a process of its own, twice: with one pass and with `--passes` more. The
difference is the time of a pass, without what is done once. Peak memory is the sum of the
resident memory of that process and all it started - workers, the JVM - sampled while it runs.
A system that is not installed is skipped with a word; one whose answer differs is not timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.data import Truth, clusters, draw
from benchmarks.scale_systems import SYSTEMS, Work

K, D = 10, 10
SAMPLE_SECONDS = 0.05
AGREEMENT = 1e-6
"""Largest relative difference of parameters; Spark's own arithmetic is good to about 1e-8."""


@dataclass(frozen=True)
class Measured:
    """What a system took.

    Attributes
    ----------
    seconds, cpu : float
        Wall and CPU time of all processes per pass. The latter is what others who use
        the machine change least.
    memory : int
        Peak, in bytes.
    """

    seconds: float
    cpu: float
    memory: int


def work_in(folder: Path, rows: int, chunks: int) -> Work:
    """Return the work whose rows are in a folder, and begin where a fit is in the middle."""
    return Work(folder / "rows.f8", (rows, D), -(-rows // chunks), clusters(D, K).nearby())


def write(work: Work) -> None:
    """Draw the rows and write them, some at a time."""
    truth: Truth = clusters(D, K)
    with work.path.open("wb") as file:
        for index in range(work.n_chunks()):
            rows = min(work.chunk_rows, work.shape[0] - index * work.chunk_rows)
            draw(truth, rows, seed=index).tofile(file)


def measure(name: str, work: Work, passes: int) -> dict[str, Any]:
    """Fit with one system in this process."""
    (kind,) = (kind for kind in SYSTEMS if kind.__name__ == name)
    system = kind(work)
    try:
        times = []
        for count in (1, 1, 1 + passes):  # the first loads code, and is not used
            begin = np.array([time.perf_counter(), cpu_seconds()])
            answer = system.fit(count)
            times.append(np.array([time.perf_counter(), cpu_seconds()]) - begin)
    finally:
        system.close()
    seconds, cpu = (times[2] - times[1]) / passes
    found = [np.asarray(part).tolist() for part in answer]
    return {"seconds": seconds, "cpu": cpu, "answer": found}


def cpu_seconds() -> float:
    """Return the CPU time of this process and all its descendants so far."""
    import psutil

    this = psutil.Process()
    times = [one.cpu_times() for one in [this, *this.children(recursive=True)]]
    return float(sum(time.user + time.system for time in times))


def memory_of(process: Any) -> int:
    """Return the resident memory of a process and all its descendants."""
    import psutil

    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def run_apart(name: str, arguments: list[str]) -> tuple[dict[str, Any] | str, int]:
    """Fit with one system in a process of its own; return what it says, and its peak memory."""
    import psutil

    command = [sys.executable, __file__, "--one", name, *arguments]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = psutil.Popen(command, stdout=out, stderr=err)
        peak = 0
        while child.poll() is None:
            try:
                peak = max(peak, memory_of(child))
            except psutil.NoSuchProcess:
                break
            time.sleep(SAMPLE_SECONDS)
        if child.wait():
            err.seek(0)
            lines = err.read().strip().splitlines() or ["no message"]
            return lines[-1], peak
        out.seek(0)
        answer: dict[str, Any] = json.loads(out.read().strip().splitlines()[-1])
        return answer, peak


def difference(answer: list[Any], reference: list[Any]) -> float:
    """Return the largest difference of parameters, relative to the largest of their kind."""
    pairs = zip(map(np.array, answer), map(np.array, reference), strict=True)
    return max(float(abs(a - b).max() / abs(b).max()) for a, b in pairs)


def compare(names: list[str], arguments: list[str]) -> Iterator[tuple[str, Measured | str]]:
    """Yield every system's name and what it took, or why it took part in nothing."""
    reference: list[Any] | None = None
    for kind in SYSTEMS:
        if names and kind.__name__ not in names:
            continue
        answer, peak = run_apart(kind.__name__, arguments)
        if isinstance(answer, str):
            yield kind.name, answer
            continue
        if kind.given_start:
            reference = reference or answer["answer"]
            gap = difference(answer["answer"], reference)
            if gap > AGREEMENT:
                yield kind.name, f"differs by {gap:.0e}"
                continue
        yield kind.name, Measured(answer["seconds"], answer["cpu"], peak)


def table(found: Iterable[tuple[str, Measured | str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown, each as soon as it is known."""
    head = ("system", "s per pass", "CPU s per pass", "times emdash, wall and CPU", "peak MB")
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    first: Measured | None = None
    for name, measured in found:
        if isinstance(measured, str):
            yield f"| {name} | {measured} | | | |"
            continue
        first = first or measured
        yield (
            f"| {name} | {measured.seconds:.3g} | {measured.cpu:.3g} | "
            f"{measured.seconds / first.seconds:.1f}, {measured.cpu / first.cpu:.1f} | "
            f"{measured.memory / 1e6:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=float, default=1e7)
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--systems", nargs="*", default=[], help="names of classes")
    parser.add_argument("--folder", type=Path, help="where the rows are, or are written")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        work = work_in(asked.folder, int(asked.rows), asked.chunks)
        print(json.dumps(measure(asked.one, work, asked.passes)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        work = work_in(folder, int(asked.rows), asked.chunks)
        if not work.path.exists() or work.path.stat().st_size != 8 * D * int(asked.rows):
            write(work)
        arguments = [f"--rows={asked.rows}", f"--chunks={asked.chunks}"]
        arguments += [f"--passes={asked.passes}", f"--folder={folder}"]
        for line in table(compare(asked.systems, arguments)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
