"""Datasets in HDF5 files, read in whole stored chunks into buffers of our own.

The library has one lock: threads wait for each other while they read, and
compute meanwhile.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.sources.base import FileStamp, library
from emdash.sources.sliced import Read, SlicedSource

__all__ = ["Hdf5Source"]

LISTED = 5
"""Datasets of a file that an error lists."""


class Hdf5Source(SlicedSource):
    """A two-dimensional HDF5 dataset; travels as the names of file and dataset.

    Parameters
    ----------
    dataset : str, path-like or h5py.Dataset
        ``file.h5::name/of/dataset``, or the dataset of a file that stays open.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If there is no such dataset, or it is no table of real numbers.
    """

    copies = 2.0
    advice = "write the dataset with smaller chunks, chunks=(rows, features)"

    def __init__(self, dataset: Any) -> None:
        self._open_dataset = None if isinstance(dataset, str | os.PathLike) else dataset
        if self._open_dataset is None:
            file, _, self.inside = os.fspath(dataset).partition("::")
        else:
            file, self.inside = dataset.file.filename, dataset.name
        self.path = Path(file)
        self.name = f"{self.path}::{self.inside}"
        self.stamp = None if self._open_dataset is not None else FileStamp.of(self.path)
        self._sums: dict[tuple[int, int], tuple[Any, int]] = {}
        with self._dataset() as found:
            self.stored = self.finest = found.chunks[0] if found.chunks else 1
            self._seen = found.shape, found.dtype
            self._set_table(found.shape or (), found.dtype)

    @contextmanager
    def _dataset(self) -> Iterator[Any]:
        if self._open_dataset is not None:
            yield self._open_dataset
            return
        h5py = library("h5py", f"reading {self.path}")
        try:
            file = h5py.File(self.path, "r", rdcc_nbytes=0)
        except OSError as error:
            raise ValueError(
                f"{self.path} is not an HDF5 file, or another program is writing it ({error})"
            ) from None
        with file:
            dataset = file.get(self.inside) if self.inside else None
            if not isinstance(dataset, h5py.Dataset):
                found = ", ".join(f"{self.path}::{name}" for name in _datasets(file, h5py))
                given = self.name if self.inside else self.path
                raise ValueError(f"{given} names no dataset; the file has {found or 'none'}")
            yield dataset

    @contextmanager
    def opened(self) -> Iterator[Read]:
        """Open the file, unless its dataset was given open."""
        if self.stamp is not None:
            self.stamp.check()
        with self._dataset() as dataset:
            if (dataset.shape, dataset.dtype) != self._seen:
                raise ValueError(
                    f"X changed between passes: {self.name} had shape {self._seen[0]} and dtype "
                    f"{self._seen[1]}, now {dataset.shape} and {dataset.dtype}"
                )

            written = None if self._open_dataset is None else _last_write(dataset.file)

            def read(start: int, stop: int) -> NDArray[Any]:
                rows = np.empty((stop - start, self.n_features), self.dtype)
                if rows.size:
                    dataset.read_direct(rows, np.s_[start:stop])
                    if written is not None:
                        self._check_sum(written, start, stop, rows)
                return rows

            yield read

    def _check_sum(self, written: Any, start: int, stop: int, rows: NDArray[Any]) -> None:
        """Refuse rows that are others than when they were first read.

        Whoever gives an open dataset may write to its file, and to other datasets of it with
        good reason: so a file that was written to makes rows suspect, and a checksum decides. It
        takes 0.25 ns per byte, in the first pass only as long as nobody writes.
        """
        before, first = self._sums.get((start, stop), (None, None))
        if before == written:
            return
        found = zlib.crc32(rows.data)
        if first not in (None, found):
            raise ValueError(
                f"X changed between passes: rows {start} to {stop - 1} of {self.name} were written "
                "after they were first read. Fit again when it is complete, or fit to a copy"
            )
        self._sums[start, stop] = written, found

    def __getstate__(self) -> dict[str, Any]:
        if self._open_dataset is not None and self._open_dataset.file.driver == "core":
            raise TypeError(
                f"{self.name} lies in the memory of this process: write the file to disk and give "
                "'file.h5::dataset'"
            )
        return {**self.__dict__, "_open_dataset": None, "_sums": {}}


def _last_write(file: Any) -> tuple[int, int] | None:
    """Return what changes when an open file is written to; None if it is read-only or no file.

    What the library holds back is written first; if that is nothing, it takes 2 microseconds.
    """
    if file.mode == "r" or file.driver != "sec2":
        return None
    file.flush()
    found = os.fstat(file.id.get_vfd_handle())
    return found.st_mtime_ns, found.st_size


def _datasets(file: Any, h5py: Any) -> list[str]:
    """Return the names of the first datasets with two dimensions."""
    names: list[str] = []

    def visit(name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset) and item.ndim == 2:
            names.append(name)
        return True if len(names) >= LISTED else None

    file.visititems(visit)
    return names
