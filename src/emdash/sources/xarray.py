"""Arrays of xarray that lie on disk and were opened without Dask, read in slices.

Must never know: which file format; xarray does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.sources.base import FileStamp
from emdash.sources.sliced import Read, SlicedSource

__all__ = ["XarraySource", "is_on_disk"]


def is_on_disk(X: Any) -> bool:
    """Tell whether `X` is an ``xarray.DataArray`` whose values have not been loaded.

    xarray has no public question for this; without the answer it is taken to be in memory,
    where it is loaded whole.
    """
    kind = type(X)
    named = kind.__name__ == "DataArray" and kind.__module__.partition(".")[0] == "xarray"
    return named and X.chunks is None and not getattr(X.variable, "_in_memory", True)


class XarraySource(SlicedSource):
    """A two-dimensional ``DataArray`` in a file; travels as xarray sends it, by the file's name.

    Parameters
    ----------
    array : xarray.DataArray
        As ``xarray.open_dataarray`` and ``xarray.open_dataset`` return it. It stays as it is:
        no values are kept in it.

    Raises
    ------
    ValueError
        If it is no table of real numbers.
    """

    copies = 3.0
    advice = "write X in smaller chunks, encoding={name: {'chunksizes': (rows, features)}}"

    def __init__(self, array: Any) -> None:
        self.array = array
        self.name = f"the DataArray {array.name or 'X'}"
        file = Path(array.encoding.get("source", ""))
        self.stamp = FileStamp.of(file) if file.is_file() else None
        pieces = array.encoding.get("preferred_chunks", {})
        self.stored = self.finest = pieces.get(array.dims[0], 1) if array.dims else 1
        self._set_table(array.shape, np.dtype(array.dtype))

    @contextmanager
    def opened(self) -> Iterator[Read]:
        """Return what reads rows; xarray holds the file open."""
        if self.stamp is not None:
            self.stamp.check()
        yield partial(_read, self.array)


def _read(array: Any, start: int, stop: int) -> NDArray[Any]:
    """Read rows by way of a slice of their own, in which xarray may keep them."""
    return np.asarray(array[start:stop].values)
