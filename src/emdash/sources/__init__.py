"""Sources of rows, and the registry that picks one for what the user gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from emdash.sources.base import Source, check_container, is_lazy, refuse_conversion
from emdash.sources.columns import check_frame, choose, frame_as_array, is_frame
from emdash.sources.paths import is_path
from emdash.sources.refused import is_refused
from emdash.sources.xarray import is_on_disk

__all__ = ["KINDS", "open_source", "open_table"]


def _is_memmap(X: Any) -> bool:
    # copies keep the type, but lie in memory and have no map
    return isinstance(X, np.memmap) and getattr(X, "_mmap", None) is not None


def _is_of(library: str, *names: str) -> Callable[[Any], bool]:
    """Return a test for classes of a library that need not be installed."""

    def test(X: Any) -> bool:
        return any(
            kind.__name__ in names and kind.__module__.partition(".")[0] == library
            for kind in type(X).__mro__
        )

    return test


def _is_batches(X: Any) -> bool:
    """Tell batches of rows from the nested lists and frames that scikit-learn takes as arrays."""
    if isinstance(X, list | tuple):
        return any(is_lazy(x) or len(getattr(x, "shape", ())) == 2 for x in X)
    array_like = hasattr(X, "__array__") or hasattr(X, "__array_interface__")
    return isinstance(X, Iterable | Callable) and not array_like and not hasattr(X, "shape")


def _are_paths(X: Any) -> bool:
    return isinstance(X, list | tuple) and len(X) > 0 and all(map(is_path, X))


KINDS: tuple[tuple[Callable[[Any], bool], str, str, bool], ...] = (
    (is_path, "emdash.sources.paths", "open_path", True),
    (_are_paths, "emdash.sources.paths", "open_paths", True),
    (_is_memmap, "emdash.sources.array", "MemmapSource", False),
    (is_lazy, "emdash.sources.dask", "DaskSource", False),
    (_is_of("zarr", "Array"), "emdash.sources.zarr", "ZarrSource", False),
    (is_on_disk, "emdash.sources.xarray", "XarraySource", False),
    (_is_of("h5py", "Dataset"), "emdash.sources.hdf5", "Hdf5Source", False),
    (_is_of("pyarrow", "Table"), "emdash.sources.arrow", "TableSource", True),
    (_is_of("pyarrow", "Dataset"), "emdash.sources.dataset", "DatasetSource", True),
    (is_refused, "emdash.sources.refused", "refuse", True),
    (_is_batches, "emdash.sources.batches", "BatchesSource", False),
)
"""The registry, one line per kind of input; the first that fits is used.

Test, module, class, and whether it takes `columns` because columns have names.
"""


def open_source(X: Any, columns: Sequence[str] | None = None) -> Source | None:
    """Return the source for `X`, or None if it is for scikit-learn to validate as an array.

    Parameters
    ----------
    X : object
        What the user gave to ``fit`` or ``predict``; a source of their own is used as it is.
    columns : sequence of str or None
        Names of the columns to use; None means all.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If its kind is known but it cannot be used, saying why.
    """
    if isinstance(X, Source) and columns is None:
        return X
    for fits, module, name, named in KINDS:
        if fits(X):
            kind = getattr(import_module(module), name)
            if named:
                return kind(X, columns)  # type: ignore[no-any-return]
            _refuse_choice(X, columns)
            return kind(X)  # type: ignore[no-any-return]
    check_container(X, "X")
    if is_frame(X):
        check_frame(X, "X")
    return None


def _refuse_choice(X: Any, columns: Sequence[str] | None) -> None:
    if columns is not None:
        raise ValueError(
            f"columns={list(columns)}, but the columns of X, a {type(X).__name__}, have no names: "
            "select them before, X[:, [0, 1]]"
        )


def open_table(X: Any, columns: Sequence[str] | None = None) -> Source:
    """Return a source of rows that ``fit`` and ``predict`` take, of chosen columns.

    Parameters
    ----------
    X : path, list of paths, or table
        Whatever ``fit`` takes.
    columns : list of str or None
        Names of the columns to use, in this order; None means all. For what has names:
        Parquet, Arrow and CSV files, Arrow tables and datasets, pandas and polars frames,
        and Dask dataframes.

    Returns
    -------
    source : Source
        Nothing but the description of the data has been read. An estimator that is
        fitted to it has the names as ``feature_names_in_``.

    Raises
    ------
    ValueError
        If a column does not exist or does not hold real numbers, naming it.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import pandas as pd
    >>> import emdash
    >>> frame = pd.DataFrame({"city": ["A", "B", "C"], "x": [1.0, 2, 9], "y": [1.5, 1, 8]})
    >>> table = emdash.open_table(frame, columns=["y", "x"])
    >>> model = emdash.GaussianMixture(1).fit(table)
    >>> model.feature_names_in_
    array(['y', 'x'], dtype=object)
    >>> model.means_
    array([[3.5, 4. ]])
    """
    from emdash.sources.array import ArraySource

    if columns is not None and not isinstance(columns, Iterable):
        raise ValueError(f"columns={columns!r} is no list of names: give one, columns=['x', 'y']")
    if columns is not None and hasattr(X, "columns") and hasattr(X, "dtypes"):
        X, columns = X[choose(list(X.columns), columns, "X")], None  # a frame, or one of Dask
    source = open_source(X, columns)
    if source is not None:
        return source
    if is_frame(X):
        return ArraySource(*frame_as_array(X))
    _refuse_choice(X, columns)
    try:
        array = np.asarray(X)
    except (TypeError, ValueError) as reason:
        refuse_conversion(X, reason)
    if array.ndim != 2:
        raise ValueError(f"X has shape {array.shape}, expected two dimensions (rows, features)")
    return ArraySource(array)
