"""What runs inside the tasks of a Dask cluster: parts, sums, and answers per row.

Pure functions of their arguments, so that a lost task can be run again anywhere.

Must never know: clients, schedulers, what else is submitted.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from emdash.chunk import Chunk
from emdash.engines.base import RowTask, Task, fold, run_part
from emdash.sources.base import Part, as_rows
from emdash.sources.dask import DaskPart

__all__ = [
    "BlockTask",
    "Timed",
    "add",
    "apply_to_block",
    "apply_to_partition",
    "hold",
    "identity",
    "run",
    "unpickle",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Timed:
    """A partial sum, and how long its parts took.

    Attributes
    ----------
    value : object
        What the tasks answered.
    longest, seconds : float
        Wall time of the slowest part and of all parts.
    n_parts : int
        How many they were.
    """

    value: Any
    longest: float
    seconds: float
    n_parts: int

    def __add__(self, other: Timed) -> Timed:
        return Timed(
            self.value + other.value,
            max(self.longest, other.longest),
            self.seconds + other.seconds,
            self.n_parts + other.n_parts,
        )


def identity(value: T) -> T:
    """Return the argument: how parts travel as tasks that can be run again."""
    return value


def unpickle(pieces: Sequence[bytes]) -> Any:
    """Return the object whose pickle was cut into pieces."""
    return pickle.loads(b"".join(pieces))


def hold(part: DaskPart, persisted: list[Any]) -> DaskPart:
    """Return the part, with the persisted results it needs if it may keep them."""
    return part.attach(persisted) if persisted else part


def run(task: Task, part: DaskPart, persisted: list[Any]) -> Timed:
    """Fold the task over one part with one thread; the worker's threads are the parallelism."""
    begin = time.perf_counter()
    attached = part.attach(persisted) if persisted else part
    value = run_part(task, lambda: _until_cancelled(attached), n_threads=1)
    seconds = time.perf_counter() - begin
    return Timed(value, seconds, seconds, 1)


def add(partial_sums: Sequence[T]) -> T:
    """Add neighbouring partial sums."""
    return fold(partial_sums)


class _CancelledError(Exception):
    """Ends a task that nobody waits for."""


def _until_cancelled(part: Part) -> Iterator[Chunk]:
    """Load the chunks of a part until its task is cancelled.

    Dask forgets a task that runs, but does not stop it: a part of a large table
    would keep its worker busy long after the user has interrupted the fit.
    """
    from distributed.worker import get_worker, thread_state

    mine = get_worker().state.tasks, thread_state.key
    for chunk in part():
        yield chunk
        del chunk
        state = mine[0].get(mine[1])
        if state is None or state.state == "cancelled":
            raise _CancelledError


@dataclass(frozen=True)
class BlockTask:
    """A question with one answer per row, and where in the rows the blocks start."""

    task: RowTask
    starts: list[int | None]

    def __call__(self, block: Any, index: int) -> Any:
        """Return the answers for block number `index`."""
        rows = as_rows(block, block.shape[1], f"chunk {index} of X")
        return self.task(Chunk(rows, index, self.starts[index]), 1)


def apply_to_block(block: Any, question: BlockTask, block_id: tuple[int, ...] = ()) -> Any:
    """Return the answers for one block of a Dask array."""
    return question(block, block_id[0])


def apply_to_partition(
    partition: Any, question: BlockTask, empty: Any, partition_info: Any = None
) -> Any:
    """Return the answers for one partition of a data frame, with its index.

    Parameters
    ----------
    partition : pandas.DataFrame
        Of floating-point numbers.
    question : BlockTask
    empty : pandas.Series or pandas.DataFrame
        The answers for no rows at all.
    partition_info : dict
        Dask puts the number of the partition here.
    """
    answers = question(partition.to_numpy(), partition_info["number"])
    names = {"name": empty.name} if answers.ndim == 1 else {"columns": empty.columns}
    return type(empty)(answers, index=partition.index, **names)
