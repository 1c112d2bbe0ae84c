"""Files in NumPy's .npy format, read chunk by chunk into buffers of our own.

Plain reads instead of a memory map: a map makes the file count as resident
memory, and a file that is cut short while it is mapped kills the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from emdash.sources.base import FileStamp
from emdash.sources.sliced import Read, SlicedSource

__all__ = ["NpySource"]


class NpySource(SlicedSource):
    """A table in a ``.npy`` file; travels as its path.

    Parameters
    ----------
    path : str or path-like
        The file. Two-dimensional, any real type, C or Fortran order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not an array, is cut short, or is not a table of real numbers.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = str(self.path)
        with self.path.open("rb") as file:
            self.stamp = FileStamp.of(self.path)
            shape, self.fortran_order, dtype = self._read_header(file)
            self.offset = file.tell()
        self._set_table(shape, dtype)
        self._check_size()

    def _read_header(self, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        try:
            version = npy_format.read_magic(file)
            read = (
                npy_format.read_array_header_1_0
                if version == (1, 0)
                else npy_format.read_array_header_2_0
            )
            return read(file)
        except ValueError as error:
            file.seek(0)
            advice = "write one with numpy.save"
            if self.path.suffix.lower() == ".zip":
                advice = "of a Zarr array give zarr.open_array(zarr.storage.ZipStore(path))"
            elif file.read(2) == b"PK":  # a .npz archive
                advice = "take one array out of the archive with numpy.save"
            elif self.path.suffix.lower() != ".npy":
                advice += ", or let the name end in .csv, .tsv, .parquet, ... if it is such a file"
            raise ValueError(f"{self.path} is not a .npy file ({error}); {advice}") from None

    def _check_size(self) -> None:
        expected = self.offset + self.n_rows * self.n_features * self.dtype.itemsize
        found = self.stamp.size
        if found < expected:
            raise ValueError(
                f"{self.path} is truncated: {found} bytes, but an array of shape "
                f"({self.n_rows}, {self.n_features}) and dtype {self.dtype} needs {expected}; "
                "write it again"
            )

    @contextmanager
    def opened(self) -> Iterator[Read]:
        """Open the file."""
        self.stamp.check()
        with self.path.open("rb") as file:
            yield partial(self._read, file)

    def _read(self, file: BinaryIO, start: int, stop: int) -> NDArray[Any]:
        """Read rows ``start, ..., stop - 1``; one run of bytes, or one per column."""
        if not self.fortran_order:
            rows = np.empty((stop - start, self.n_features), self.dtype)
            self._read_into(file, rows, start * self.n_features)
            return rows
        columns = np.empty((self.n_features, stop - start), self.dtype)
        for j, column in enumerate(columns):
            self._read_into(file, column, j * self.n_rows + start)
        return columns.T

    def _read_into(self, file: BinaryIO, buffer: NDArray[Any], first_item: int) -> None:
        file.seek(self.offset + first_item * self.dtype.itemsize)
        # as bytes: not every type, of swapped byte order for one, can show its memory itself
        if file.readinto(buffer.view(np.uint8).data) < buffer.nbytes:  # type: ignore[attr-defined]
            row = first_item % self.n_rows if self.fortran_order else first_item // self.n_features
            raise ValueError(
                f"{self.path} was cut short while it was being read, after row {row}: "
                "write it again, and fit when it is complete"
            )
