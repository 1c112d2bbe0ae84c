"""Arrays of this process: NumPy arrays in memory, and memory maps.

Neither is ever copied whole: kernels take any strides, and a memory map is
walked in slices so that its pages can leave memory again.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk, Rows
from emdash.sources.base import FileStamp, Source, as_rows
from emdash.sources.sliced import Read, SlicedSource

__all__ = ["ArraySource", "MemmapSource"]


class ArraySource(Source):
    """A NumPy array in memory: one chunk, shared by the threads of the kernel.

    Parameters
    ----------
    array : ndarray of shape (n, d), float32 or float64
        Any strides, possibly read-only. Not copied unless its byte order is
        foreign; never modified.
    feature_names : sequence of str or None
        Names of the columns.
    """

    in_memory = True
    n_rows: int
    n_chunks: int

    def __init__(self, array: Rows, feature_names: Sequence[str] | None = None) -> None:
        self.feature_names = feature_names
        self.array = as_rows(array, array.shape[1], "X")
        self.n_rows, self.n_features = array.shape
        self.dtype = self.array.dtype
        self.n_chunks = 1

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Yield the array itself."""
        if first == 0 and last != 0:
            yield Chunk(self.array, index=0, start=0)


class MemmapSource(SlicedSource):
    """A :class:`numpy.memmap`: slices of rows, read by the operating system when touched.

    Parameters
    ----------
    array : numpy.memmap of shape (n, d)
        Of any real type, C or Fortran order.

    Raises
    ------
    ValueError
        If it is not a table of real numbers; when it is made and in every pass, if the file is
        shorter than the map, where to read would end the process; in a pass, if the file of a map
        that cannot write to it (modes 'r' and 'c') was written to or replaced. A map that can
        write is its owner's: the time of its file changes whenever the system gets to writing.
    """

    name = "the memory map"
    copies = 0.0

    def __init__(self, array: NDArray[Any]) -> None:
        if array.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {array.ndim}D array instead: the memory map has "
                f"shape {array.shape}. Reshape your data either using array.reshape(-1, 1) "
                "if it has one feature or array.reshape(1, -1) if it is one row"
            )
        self.array = array
        self._check_length()
        self.stamp = _stamp(array)
        self._set_table(array.shape, array.dtype)

    def _check_length(self) -> None:
        """Refuse a map whose file was cut short: the system kills who touches what is missing."""
        array: Any = self.array
        needed, found = _first_byte(array) + len(array._mmap), array._mmap.size()
        if found < needed:
            raise ValueError(
                f"{array.filename or self.name} was cut short: {found} bytes, but it was mapped "
                f"with {needed}. Write it again, and fit when it is complete"
            )

    @contextmanager
    def opened(self) -> Iterator[Read]:
        """Return views, whose pages are let go when the next one is asked for."""
        # a file that lost its name is still there for the map, and nobody can open it to write
        if self.stamp is not None and self.stamp.path.exists():
            self.stamp.check()
        views: list[NDArray[Any]] = []

        def read(start: int, stop: int) -> NDArray[Any]:
            while views:
                _let_go(self.array, views.pop())
            self._check_length()
            views.append(np.asarray(self.array[start:stop]))
            return views[0]

        yield read
        while views:
            _let_go(self.array, views.pop())

    def __reduce__(self) -> tuple[Any, ...]:
        array: Any = self.array
        if array.mode == "c" or array.filename is None:
            raise TypeError(
                "the memory map is private to this process (mode 'c', or of an open file) and "
                "cannot be sent to another: map the file by its name with mode 'r'"
            )
        inside = array.ctypes.data - np.frombuffer(array._mmap, np.uint8).ctypes.data
        where = array.dtype, array.shape, array.strides, _first_byte(array) + inside
        return _map_again, (array.filename, *where, self.stamp)


def _stamp(array: Any) -> FileStamp | None:
    """Look at the file of a map that cannot write to it, if it has a name."""
    if array.mode not in ("r", "c") or array.filename is None or not Path(array.filename).exists():
        return None
    return FileStamp.of(Path(array.filename))


def _first_byte(array: Any) -> int:
    """Return where in the file its map begins; `offset` of a slice is that of the whole array."""
    return int(array.offset - array.offset % mmap.ALLOCATIONGRANULARITY)


def _map_again(
    filename: str,
    dtype: np.dtype[Any],
    shape: tuple[int, int],
    strides: Any,
    begin: int,
    stamp: FileStamp | None,
) -> MemmapSource:
    """Return the source of a map whose first number lies at byte `begin` of the file."""
    whole = np.memmap(filename, np.uint8, mode="r")
    array = np.ndarray.__new__(np.memmap, shape, dtype, whole, begin, strides)
    for name in ("_mmap", "filename", "mode"):
        setattr(array, name, getattr(whole, name))
    array.offset = 0
    source = MemmapSource(array)
    source.stamp = stamp
    return source


def _let_go(array: Any, rows: NDArray[Any]) -> None:
    """Take pages that were read out of this process; the system keeps them while it has room.

    Otherwise the whole file counts as memory of this process in the end. Pages
    of a copy-on-write map hold changes that are nowhere else: they stay.
    """
    if array.mode == "c" or not rows.flags.c_contiguous or not hasattr(mmap, "MADV_DONTNEED"):
        return
    pages = array._mmap
    begin = rows.ctypes.data - np.frombuffer(pages, np.uint8).ctypes.data
    first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
    length = begin + rows.nbytes - first
    if length > 0:
        pages.madvise(mmap.MADV_DONTNEED, first, length)
