"""Sources of rows, and the registry that picks one for what the user gave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import numpy as np

from emdash.sources.base import Source, check_container, is_lazy

__all__ = ["KINDS", "open_source"]


def _is_path(X: Any) -> bool:
    return isinstance(X, str | os.PathLike)


def _is_memmap(X: Any) -> bool:
    # copies keep the type, but lie in memory and have no map
    return isinstance(X, np.memmap) and getattr(X, "_mmap", None) is not None


def _is_batches(X: Any) -> bool:
    """Tell batches of rows from the nested lists and frames that scikit-learn takes as arrays."""
    if isinstance(X, list | tuple):
        return any(is_lazy(x) or len(getattr(x, "shape", ())) == 2 for x in X)
    array_like = hasattr(X, "__array__") or hasattr(X, "__array_interface__")
    return isinstance(X, Iterable) and not array_like and not hasattr(X, "shape")


KINDS: tuple[tuple[Callable[[Any], bool], str, str], ...] = (
    (_is_path, "emdash.sources.npy", "NpySource"),
    (_is_memmap, "emdash.sources.array", "MemmapSource"),
    (is_lazy, "emdash.sources.dask", "DaskSource"),
    (_is_batches, "emdash.sources.batches", "BatchesSource"),
)
"""The registry, one line per kind of input: test, module, class; the first that fits is used."""


def open_source(X: Any) -> Source | None:
    """Return the source for `X`, or None if it is for scikit-learn to validate as an array.

    Parameters
    ----------
    X : object
        What the user gave to ``fit`` or ``predict``; a source of their own is used as it is.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If its kind is known but it cannot be used, saying why.
    """
    if isinstance(X, Source):
        return X
    for fits, module, name in KINDS:
        if fits(X):
            return getattr(import_module(module), name)(X)  # type: ignore[no-any-return]
    check_container(X, "X")
    return None
