"""This machine: a team of threads, each loading and computing its own parts.

No Dask: its threaded scheduler costs 0.1-0.3 ms per chunk where a pool of
threads costs none (`docs/architecture.md`, "Execution").
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache
from typing import Any

from emdash.chunk import Chunk
from emdash.engines.base import (
    Engine,
    RowTask,
    Task,
    empty_rows,
    fold,
    part_length,
    run_part,
)
from emdash.engines.memory import MemoryLimit
from emdash.sources.base import Part, Source

__all__ = ["LocalEngine", "inside_a_task", "usable_cores"]

PARTS_PER_THREAD = 32
"""More parts than threads, so that the last ones leave no thread idle for long.

A part costs the opening of a file, tens of microseconds. With 4, whose length is
rounded up to a power of two, two threads could be left with 3 parts and 2.
"""

GROWTH_BYTES = 1 << 20
"""Least that an answer of unknown length grows by, so that it does not for every small batch."""


def inside_a_task() -> bool:
    """Tell whether this is a task of a Dask worker."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True


def usable_cores() -> int:
    """Return the number of cores this process may use.

    The affinity mask and the container's quota count; environment variables of
    OpenMP do not, because a Dask ``LocalCluster`` leaves ``OMP_NUM_THREADS=1``
    behind in the process that started it. A task of a Dask worker has one: the
    worker runs as many tasks as it has threads.
    """
    if inside_a_task():
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    return _cores(os.cpu_count() if affinity is None else len(affinity(0)))


@lru_cache(maxsize=8)
def _cores(in_mask: int | None) -> int:
    """Return the number of usable cores; looked up again when the affinity mask changes."""
    from joblib import cpu_count  # joblib comes with scikit-learn

    return max(1, int(cpu_count()))


class LocalEngine(Engine):
    """Run tasks with the threads of this process.

    Chunks are shared out among threads when there are enough of them;
    otherwise the threads work together inside each chunk. Either way the bits
    of the answer are the same, and so is the error if there are several.

    Parameters
    ----------
    n_threads : int or None
        Largest number of threads; None means all usable cores.
    memory : MemoryLimit or None
        What a call may take; None means the default.
    """

    def __init__(self, n_threads: int | None = None, memory: MemoryLimit | None = None) -> None:
        self.n_threads = usable_cores() if n_threads is None else n_threads
        self.memory = MemoryLimit(None) if memory is None else memory

    def total(self, task: Task, source: Source) -> Any:
        """Run `task` on every chunk and add the answers."""
        self.imbalance = 1.0
        team = self.memory.threads(source, task, self.n_threads)
        if source.n_chunks is None or source.n_chunks < 2 or self.n_threads == 1:
            return run_part(task, source.chunks, self.n_threads, self.on_rows)

        def run(part: Part, threads: int) -> Any:
            return run_part(task, part, threads, self.on_rows)

        with closing(self._map(run, source, team)) as sums:
            return fold(sums)  # closed at once when the addition is interrupted

    def each(self, task: RowTask, source: Source) -> Any:
        """Return the answers of `task` as one NumPy array."""
        if source.n_rows is None or source.n_chunks is None:
            return self._each_uncounted(task, source)
        self.memory.check_answer(source.n_rows * empty_rows(task, 1).nbytes)
        answers = empty_rows(task, source.n_rows)

        def fill(part: Part, threads: int) -> None:
            for chunk in part():
                assert chunk.start is not None  # known lengths mean known starts
                task(chunk, threads, out=answers[chunk.start : chunk.start + len(chunk)])
                del chunk  # before the next one is loaded

        for _ in self._map(fill, source, self.memory.threads(source, task, self.n_threads)):
            pass
        return answers

    def _each_uncounted(self, task: RowTask, source: Source) -> Any:
        """Let the answer grow in place: to join pieces would take twice its memory."""
        answers = empty_rows(task, 0)
        step = max(1, GROWTH_BYTES // max(1, empty_rows(task, 1).nbytes))
        end = 0
        for chunk in source.chunks():
            start, end = end, end + len(chunk)
            self.memory.check_answer(end * empty_rows(task, 1).nbytes)
            if end > len(answers):
                answers.resize((max(end, len(answers) + step), *task.row_shape), refcheck=False)
            task(chunk, self.n_threads, out=answers[start:end])
            del chunk  # before the next one is loaded
        answers.resize((end, *task.row_shape), refcheck=False)
        return answers

    def _map(
        self, function: Callable[[Part, int], Any], source: Source, team: int
    ) -> Generator[Any, None, None]:
        """Yield ``function(part, threads)`` for every part, in order.

        When one fails, later ones stop after the chunk they are at; earlier
        ones go on, so that the first error is raised whichever is met first.
        """
        assert source.n_chunks is not None
        parts = source.parts(part_length(source.n_chunks, PARTS_PER_THREAD * self.n_threads))
        team = min(team, len(parts))
        if team < 2:
            yield from (function(part, self.n_threads) for part in parts)
            return
        failed: list[int] = []
        busy: dict[threading.Thread, float] = {}

        def run(index: int) -> Any:
            thread, began = threading.current_thread(), time.perf_counter()
            busy.setdefault(thread, 0.0)
            try:
                return function(lambda: _until_failure(parts[index], index, failed), threads)
            except BaseException:
                failed.append(index)
                raise
            finally:
                busy[thread] += time.perf_counter() - began

        threads = max(1, self.n_threads // team)
        pool = ThreadPoolExecutor(team, thread_name_prefix="emdash")
        try:
            yield from _in_order(pool, run, len(parts), 2 * team)
            self.imbalance = max(busy.values()) * team / sum(busy.values())
        finally:
            failed.append(-1)  # nobody waits for the rest
            pool.shutdown(cancel_futures=True)
            for thread in list(busy):  # an interrupt while one starts hides it from the pool
                thread.join()


def _in_order(
    pool: ThreadPoolExecutor, run: Callable[[int], Any], count: int, window: int
) -> Iterator[Any]:
    """Yield ``run(0), run(1), ...``, of which at most `window` exist at a time.

    Answers would pile up behind a slow one, and those of large models are large.
    """
    waiting: deque[Future[Any]] = deque()
    for index in range(count):
        if len(waiting) == window:
            yield waiting.popleft().result()
        waiting.append(pool.submit(run, index))
    while waiting:
        yield waiting.popleft().result()


class _Stopped(Exception):
    """Ends a part that nobody waits for."""


def _until_failure(part: Part, index: int, failed: list[int]) -> Iterator[Chunk]:
    """Load the chunks of part number `index` until an earlier part has failed."""
    for chunk in part():
        yield chunk
        del chunk
        if any(other < index for other in failed):
            raise _Stopped
