"""Arrays of this process: NumPy arrays in memory, and memory maps.

Neither is ever copied whole: kernels take any strides, and a memory map is
walked in slices so that its pages can leave memory again.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk, Rows
from emdash.sources.base import Source, as_rows, check_dtype, rows_per_chunk

__all__ = ["ArraySource", "MemmapSource"]


class ArraySource(Source):
    """A NumPy array in memory: one chunk, shared by the threads of the kernel.

    Parameters
    ----------
    array : ndarray of shape (n, d), float32 or float64
        Any strides, possibly read-only. Not copied unless its byte order is
        foreign; never modified.
    """

    in_memory = True
    n_rows: int
    n_chunks: int

    def __init__(self, array: Rows) -> None:
        self.array = as_rows(array, array.shape[1], "X")
        self.n_rows, self.n_features = array.shape
        self.n_chunks = 1

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Yield the array itself."""
        if first == 0 and last != 0:
            yield Chunk(self.array, index=0, start=0)


class MemmapSource(Source):
    """A :class:`numpy.memmap`: slices of rows, read by the operating system when touched.

    Parameters
    ----------
    array : numpy.memmap of shape (n, d)
        Of any real type, C or Fortran order.
    """

    n_rows: int
    n_chunks: int

    def __init__(self, array: NDArray[Any]) -> None:
        if array.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {array.ndim}D array instead: the memory map has "
                f"shape {array.shape}. Reshape your data either using array.reshape(-1, 1) "
                "if it has one feature or array.reshape(1, -1) if it is one row"
            )
        check_dtype(array.dtype, "the memory map")
        self.array = array
        self.n_rows, self.n_features = array.shape
        self.rows_per_chunk = rows_per_chunk(self.n_features, array.dtype)
        self.n_chunks = -(-self.n_rows // self.rows_per_chunk)

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Yield views of successive slices."""
        for index in range(first, self.n_chunks if last is None else last):
            start = index * self.rows_per_chunk
            rows = np.asarray(self.array[start : start + self.rows_per_chunk])
            yield Chunk(as_rows(rows, self.n_features, f"chunk {index}"), index, start)
            _let_go(self.array, rows)


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
