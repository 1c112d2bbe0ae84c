"""What an engine does, and the one order in which partial results are added.

Must never know: models, families. A task is any picklable callable
``task(chunk, n_threads) -> something that can be added``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from emdash.chunk import Chunk
from emdash.sources.base import Part, Source

__all__ = ["Engine", "RowTask", "Task", "empty_rows", "fold", "part_length", "run_part"]

T = TypeVar("T")
Task = Callable[[Chunk, int], Any]


class RowTask(Protocol):
    """A task with one answer per row.

    Attributes
    ----------
    dtype : numpy dtype
        Of the answers.
    row_shape : tuple of int
        Shape of the answer of one row: ``()`` for labels, ``(K,)`` for probabilities.
    """

    @property
    def dtype(self) -> DTypeLike: ...

    @property
    def row_shape(self) -> tuple[int, ...]: ...

    def __call__(self, chunk: Chunk, n_threads: int, out: NDArray[Any] | None = None) -> Any:
        """Return the answers for a chunk, written to `out` when given."""
        ...


class Engine(ABC):
    """Runs tasks over the chunks of a source. Implement the two methods.

    Attributes
    ----------
    on_rows : callable or None
        Called during :meth:`total` with the number of rows of what is done, from any thread, by
        engines that can tell: each chunk, on a cluster each part.
    imbalance : float
        How unevenly the last :meth:`total` was shared: the longest time over the mean, of whatever
        waited for each other. 1 where the engine does not measure it.
    """

    on_rows: Callable[[int], object] | None = None
    imbalance: float = 1.0

    @abstractmethod
    def total(self, task: Task, source: Source) -> Any:
        """Run `task` on every chunk and add the answers in the order of :func:`fold`."""

    @abstractmethod
    def each(self, task: RowTask, source: Source) -> Any:
        """Return the answers of `task` for every row, in the order of the rows."""

    def report(self, event: dict[str, Any]) -> None:  # noqa: B027 - nothing is a good default
        """Tell those who watch the machine that a pass has ended, once for each pass.

        Parameters
        ----------
        event : dict
            The attributes of its :class:`emdash.Pass`, `collapses` in words.
        """


def fold(values: Iterable[T]) -> T:
    """Add values along the complete binary tree over their positions.

    Position ``2 i`` is added to ``2 i + 1``, the pairs likewise, and so on;
    missing leaves at the end are skipped. Any aligned run of ``2**k`` values is
    a subtree, so folding such runs first - on other threads or machines - and
    then folding their results gives the same bits: the answer depends on the
    chunks, never on how they were shared out. At most ``log2`` partial sums
    are alive at any time.

    Parameters
    ----------
    values : iterable
        At least one; anything with ``+``.

    Examples
    --------
    >>> from emdash.engines.base import fold
    >>> fold("abcde")
    'abcde'
    """
    pending: list[tuple[int, T]] = []  # (height, sum of 2**height neighbours), heights falling
    for value in values:
        height = 0
        while pending and pending[-1][0] == height:
            value = pending.pop()[1] + value  # type: ignore[operator]
            height += 1
        pending.append((height, value))
    if not pending:
        raise ValueError("nothing to add: the source has no chunks")
    _, total = pending.pop()
    while pending:
        total = pending.pop()[1] + total  # type: ignore[operator]
    return total


def part_length(n_chunks: int, most_parts: int) -> int:
    """Return the smallest power of two that cuts `n_chunks` into at most `most_parts` parts."""
    length = 1
    while -(-n_chunks // length) > max(1, most_parts):
        length *= 2
    return length


def run_part(
    task: Task, part: Part, n_threads: int, on_rows: Callable[[int], object] | None = None
) -> Any:
    """Fold `task` over the chunks of one part, with one chunk in memory at a time."""

    def answers() -> Iterator[Any]:
        for chunk in part():
            answer = task(chunk, n_threads)
            if on_rows is not None:
                on_rows(len(chunk))
            del chunk  # before the next one is loaded
            yield answer

    return fold(answers())


def empty_rows(task: RowTask, n_rows: int) -> NDArray[Any]:
    """Return an uninitialised array for the answers of `n_rows` rows."""
    return np.empty((n_rows, *task.row_shape), task.dtype)
