"""Where the rows are: sources made of chunks.

Must never know: models, families, parameters, threads, clusters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk, Rows

__all__ = [
    "CHUNK_BYTES",
    "FileStamp",
    "Part",
    "Source",
    "as_rows",
    "check_container",
    "check_dtype",
    "is_lazy",
    "library",
    "refuse_conversion",
    "refuse_memory",
    "rows_per_chunk",
]

CHUNK_BYTES = 4 << 20
"""Size of the chunks that emdash itself cuts: those of all threads stay in the cache between
reading and computing (`docs/architecture.md`, "Chunk size").
"""

Part = Callable[[], Iterator[Chunk]]
"""A run of neighbouring chunks that is scheduled together: call it to load them in turn."""


class Source(ABC):
    """A table of numbers cut into chunks of rows.

    Implement :meth:`chunks` and set the attributes; :meth:`parts` comes with it.
    A source that travels to other processes must be picklable by reference.

    Attributes
    ----------
    n_features : int
        Number of columns.
    n_rows : int or None
        Number of rows; None when nobody has counted them yet.
    n_chunks : int or None
        Number of chunks; None when only iterating tells.
    in_memory : bool
        Whether all rows lie in the memory of this process as one chunk.
    collection : bool
        Whether it is a Dask collection, which brings its own scheduler.
    feature_names : sequence of str or None
        Names of the columns; None where the source has none.
    dtype : dtype
        Type of the numbers as they are stored.
    chunk_memory : int
        Bytes that loading one chunk takes at most; 0 where the rows are in memory
        already, or where nobody can tell before they are loaded.
    """

    n_features: int
    n_rows: int | None
    n_chunks: int | None
    in_memory: bool = False
    collection: bool = False
    feature_names: Sequence[str] | None = None
    dtype: np.dtype[Any] = np.dtype(np.float64)
    chunk_memory: int = 0

    def limited(self, memory: int) -> Source:
        """Return this source in chunks that load within so much memory.

        The chunks depend on `memory` and never on the number of threads, so that
        neither do the bits of an answer.

        Parameters
        ----------
        memory : int
            Bytes that the whole call may take.

        Raises
        ------
        MemoryError
            If what is stored together is larger than that.
        """
        if self.chunk_memory > memory:
            refuse_memory("one chunk of X", self.chunk_memory, memory, "give X in smaller chunks")
        return self

    def counted(self, lengths: Sequence[int]) -> Source:
        """Return this source with the number of rows of every chunk known.

        Parameters
        ----------
        lengths : sequence of int
            Rows of each chunk. Only asked of sources whose ``n_rows`` is None.
        """
        return _Counted(self, lengths)

    @abstractmethod
    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Load the chunks ``first, ..., last - 1`` one after the other.

        Parameters
        ----------
        first : int
            First chunk.
        last : int or None
            One past the last chunk; None means to the end.
        """

    def parts(self, length: int) -> Sequence[Part]:
        """Cut the source into runs of `length` chunks; the last may be shorter.

        Parameters
        ----------
        length : int
            Chunks per part, a power of two so that every part is a whole
            subtree of the addition (see :func:`emdash.engines.base.fold`).
        """
        if self.n_chunks is None:
            return [self.chunks]
        return [
            partial(self.chunks, first, min(first + length, self.n_chunks))
            for first in range(0, self.n_chunks, length)
        ]


class _Counted(Source):
    """A source whose rows were counted after it was made."""

    def __init__(self, source: Source, lengths: Sequence[int]) -> None:
        self.source = source
        self.starts = [0, *accumulate(lengths)]
        self.n_features, self.n_chunks = source.n_features, source.n_chunks
        self.feature_names, self.chunk_memory = source.feature_names, source.chunk_memory
        self.dtype = source.dtype
        self.n_rows = self.starts[-1]

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Yield the chunks of the source, which now know where they start."""
        for chunk in self.source.chunks(first, last):
            yield replace(chunk, start=self.starts[chunk.index])


@dataclass(frozen=True)
class FileStamp:
    """A file as it was when its source was opened.

    Attributes
    ----------
    path : Path
        The file.
    size, modified : int
        Bytes, and nanoseconds since the epoch.
    """

    path: Path
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """Look at a file."""
        found = path.stat()
        return cls(path, found.st_size, found.st_mtime_ns)

    def check(self) -> None:
        """Refuse the file if it is another one by now.

        Raises
        ------
        ValueError
            Called at the start of every pass: EM needs the same rows every time.
        """
        if FileStamp.of(self.path) != self:
            raise ValueError(
                f"X changed between passes: {self.path} was replaced or written to after it was "
                "opened. Fit again when it is complete, or fit to a copy"
            )


def library(name: str, purpose: str) -> Any:
    """Import an optional library when it is needed.

    Raises
    ------
    ImportError
        Naming the extra that installs it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {name.partition('.')[0]} ({error}): pip install 'emdash[io]'"
        ) from None


def refuse_conversion(X: Any, reason: Exception) -> NoReturn:
    """Raise the error about something that NumPy cannot make a table of numbers of.

    Raises
    ------
    TypeError, ValueError
        With NumPy's reason, and what a table is.
    """
    kind = TypeError if isinstance(reason, TypeError) else ValueError
    raise kind(
        f"X, a {type(X).__name__}, is no table of real numbers ({reason}): every row needs the "
        "same number of columns and every cell a number; see emdash.open_table for what can be "
        "given"
    ) from None


def refuse_memory(what: str, needed: int, limit: int, advice: str) -> NoReturn:
    """Raise the error about something that does not fit in the memory that may be used.

    Raises
    ------
    MemoryError
        Naming both sizes and what to do.
    """
    raise MemoryError(
        f"{what} takes {needed / 1e6:.4g} MB, but memory_limit allows {limit / 1e6:.4g} MB: "
        f"{advice}, or raise memory_limit"
    )


def rows_per_chunk(n_features: int, dtype: np.dtype[Any], memory: int | None = None) -> int:
    """Return how many rows make a chunk of about :data:`CHUNK_BYTES` once it is loaded.

    Only float32 stays as narrow as it is stored (:func:`as_rows`).

    Parameters
    ----------
    n_features : int
        Number of columns.
    dtype : dtype
        As stored.
    memory : int or None
        Bytes that the whole call may take. Chunks are smaller only when an eighth
        of it is less than they would have otherwise.
    """
    item_bytes = 4 if dtype == np.float32 else max(8, dtype.itemsize)
    chunk_bytes = CHUNK_BYTES if memory is None else min(CHUNK_BYTES, memory // 8)
    return max(1, chunk_bytes // max(1, n_features * item_bytes))


def as_rows(array: Any, n_features: int, where: str) -> Rows:
    """Return a loaded chunk as a 2-D floating-point array, copying only when it must.

    Parameters
    ----------
    array : array-like
        What a source delivered.
    n_features : int
        Number of columns it must have.
    where : str
        How to name it in an error, such as ``"chunk 3"``.

    Returns
    -------
    ndarray of shape (n, n_features), float32 or float64
        float32 and float64 in native byte order are passed through; integers
        and booleans become float64.

    Raises
    ------
    ValueError
        For another number of columns or dimensions, for types that are not real
        numbers, and for masked values.
    TypeError
        For sparse and lazy tables.
    """
    check_container(array, where)
    rows: NDArray[Any] = np.asarray(array)
    if rows.ndim != 2 or rows.shape[1] != n_features:
        raise ValueError(
            f"{where} has shape {rows.shape}, expected (rows, {n_features}): "
            "every chunk must be two-dimensional with the same columns"
        )
    check_dtype(rows.dtype, where)
    if rows.dtype in (np.float64, np.float32):  # also false for swapped byte order
        # zarr spells the native byte order out, which the buffer protocol takes for another one
        return rows if rows.dtype.byteorder == "=" else rows.view(rows.dtype.type)
    with np.errstate(over="ignore"):  # what is beyond float64 is refused as infinity, with its row
        return rows.astype(np.float64)


def is_lazy(X: Any) -> bool:
    """Tell whether `X` is a Dask collection, without importing Dask for those who do not use it.

    An xarray object in memory has the method, but no graph.
    """
    return hasattr(type(X), "__dask_graph__") and X.__dask_graph__() is not None


def check_container(array: Any, where: str) -> None:
    """Refuse containers that NumPy would convert with a loss, or silently load whole.

    Raises
    ------
    TypeError, ValueError
        Naming the call that converts it.
    """
    if is_lazy(array):
        raise TypeError(
            f"{where} is a lazy Dask collection: give one Dask array, "
            "X = dask.array.concatenate([...])"
        )
    if hasattr(array, "toarray") or hasattr(array, "todense"):
        raise TypeError(
            f"{where} is sparse ({type(array).__name__}), but dense rows are needed: "
            "convert it with .toarray() or .todense()"
        )
    records = getattr(getattr(array, "dtype", None), "names", None)  # NumPy cannot tell for them
    if not records and np.ma.is_masked(array):
        raise ValueError(
            f"{where} has masked values, which would be used as if they were data: "
            "drop these rows (numpy.ma.compress_rows) or fill them in (.filled(value))"
        )


def check_dtype(dtype: np.dtype[Any], where: str) -> None:
    """Refuse types that do not hold real numbers, before any pass.

    Raises
    ------
    ValueError
        Naming the type and the call that converts it.
    """
    if dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: {where} has dtype {dtype}; "
            "fit the real and imaginary parts as two columns"
        )
    if dtype.kind not in "fiub":
        raise ValueError(
            f"{where} has dtype {dtype}, which does not hold real numbers; "
            "convert it first, for example with .astype('float64')"
        )
