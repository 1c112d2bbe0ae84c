"""What a pass costs on a Dask cluster, beside one task per chunk (`naive.py`).

    python benchmarks/cluster.py            16 to 5000 chunks, side by side
    python benchmarks/cluster.py --quick    a few, to see that it works

A ``LocalCluster`` of two worker processes with one thread each. Chunks are tiny
where overhead is measured, so that nothing but overhead is left. The same fit by
other systems is in `scale.py`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data import QUICK, clusters, draw
from benchmarks.iteration import Iteration

__all__ = ["Iterations", "Overhead", "Tasks"]

ROOT = str(Path(__file__).resolve().parents[1])
ENGINES = ("emdash", "naive")
FEW, MANY = (4, 12) if QUICK else (16, 512)
REPEATS = 2 if QUICK else 7


@lru_cache(maxsize=1)
def client() -> Any:
    """Return a client of the cluster, which is started when it is first asked for."""
    import distributed

    # asv imports this package through a hook of its own; worker processes inherit the path only
    if ROOT not in sys.path:
        sys.path.append(ROOT)
    return distributed.Client(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    )


def close() -> None:
    """Stop the cluster; a process that exits with one running hangs."""
    client().close()
    client().cluster.close()
    client.cache_clear()


class _OnCluster:
    def teardown(self, *_: object) -> None:
        close()


def iteration(engine: str, n_chunks: int, rows_per_chunk: int, persist: bool = True) -> Iteration:
    """Return an EM iteration over a Dask array of 10 features, warmed up."""
    import dask
    import dask.array

    from benchmarks.naive import NaiveEngine

    client()
    truth = clusters(10, 10)
    chunks = [dask.delayed(draw)(truth, rows_per_chunk, seed=i) for i in range(n_chunks)]
    array = dask.array.concatenate(
        [dask.array.from_delayed(chunk, (rows_per_chunk, 10), dtype=float) for chunk in chunks]
    )
    if persist:
        array = array.persist()
    found = Iteration(array, truth.nearby(), engine=NaiveEngine() if engine == "naive" else None)
    found()
    return found


def seconds(run: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """Return the median wall time of a few runs, and the shortest."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times), min(times)


class Overhead(_OnCluster):
    """Fixed cost of a pass, and what each further chunk adds, with persisted chunks of 100 rows.

    Catches tasks per chunk instead of per part (the slope rises from some 0.03 ms to about
    1 ms), plans rebuilt every pass, and round trips added to the driver.
    """

    params = (ENGINES,)
    param_names = ("engine",)
    timeout = 300

    def setup(self, engine: str) -> None:
        self.few, self.many = (seconds(iteration(engine, n, 100))[0] for n in (FEW, MANY))
        self.slope = (self.many - self.few) / (MANY - FEW)

    def track_fixed(self, engine: str) -> float:
        """Return the cost of a pass without chunks."""
        return 1e3 * (self.few - FEW * self.slope)

    def track_per_chunk(self, engine: str) -> float:
        """Return what a chunk adds."""
        return 1e3 * self.slope

    track_fixed.unit = "ms"  # type: ignore[attr-defined]
    track_per_chunk.unit = "ms"  # type: ignore[attr-defined]


class Iterations(_OnCluster):
    """An iteration over 64 chunks of 20 000 rows, held by the cluster or made anew in each pass.

    Catches data moved between workers, chunks computed twice, and parts that leave a worker idle.
    """

    params = (ENGINES, ("persisted", "streamed"))
    param_names = ("engine", "data")
    timeout = 300

    def setup(self, engine: str, data: str) -> None:
        rows = 100 if QUICK else 20_000
        self.run = iteration(engine, 4 if QUICK else 64, rows, persist=data == "persisted")

    def time_iteration(self, engine: str, data: str) -> None:
        """Pass, M-step and factorisations."""
        self.run()


class Tasks(_OnCluster):
    """How many tasks of a pass the workers run.

    Catches a plan that lets tasks grow with chunks: emdash's number must stay the same from
    some number of chunks on, where the naive one follows it.
    """

    params = (ENGINES, (FEW, MANY))
    param_names = ("engine", "chunks")

    def setup(self, engine: str, n_chunks: int) -> None:
        self.run = iteration(engine, n_chunks, 100)

    def track_tasks(self, engine: str, n_chunks: int) -> int:
        """Run one iteration and return the number of tasks."""
        counter = count_tasks()
        scheduler = client().cluster.scheduler
        scheduler.add_plugin(counter, name="count")
        try:
            self.run()
        finally:
            scheduler.remove_plugin("count")
        return int(counter.finished)

    track_tasks.unit = "tasks"  # type: ignore[attr-defined]


def count_tasks() -> Any:
    """Return a scheduler plugin that counts the tasks that workers finish."""
    from distributed.diagnostics.plugin import SchedulerPlugin

    class Counter(SchedulerPlugin):
        finished = 0

        def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
            self.finished += (start, finish) == ("processing", "memory")

    return Counter()


def cpu_seconds() -> float:
    """Return the CPU time that client, scheduler and workers have taken so far."""
    return time.process_time() + sum(client().run(time.process_time).values())


def side_by_side(counts: list[int]) -> list[str]:
    """Return the lines of a table: a pass over persisted and streamed chunks of 100 rows."""
    kinds = [(engine, data) for engine in ENGINES for data in ("persisted", "streamed")]
    names = [f"{engine}, {data}" for engine, data in kinds]
    lines = [f"| chunks | {' | '.join(names)} |", "|" + "---|" * (1 + len(names))]
    found: dict[int, list[tuple[float, float, float]]] = {}
    for n in counts:
        found[n] = []
        for engine, data in kinds:
            run = iteration(engine, n, 100, persist=data == "persisted")
            repeats = 3 if engine == "naive" else 3 * REPEATS  # the former take seconds
            begin = cpu_seconds()
            median, best = seconds(run, repeats)
            found[n].append((median, best, (cpu_seconds() - begin) / repeats))
        cells = [f"{1e3 * m:.0f} ({1e3 * b:.0f}), {1e3 * c:.0f}" for m, b, c in found[n]]
        lines.append(f"| {n} | {' | '.join(cells)} |")
    first, last = counts[0], counts[-1]
    slopes = [
        [1e6 * (b - a) / (last - first) for a, b in zip(few, many, strict=True)]
        for few, many in zip(found[first], found[last], strict=True)
    ]
    cells = [f"{m:.0f} ({b:.0f}), {c:.0f}" for m, b, c in slopes]
    lines.append(f"| µs per further chunk | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    counts = [4, 12] if parser.parse_args().quick else [16, 100, 1000, 5000]
    print("ms per pass, median (best), CPU of client, scheduler and workers")
    try:
        print("\n".join(side_by_side(counts)))
    finally:
        close()


if __name__ == "__main__":
    main()
