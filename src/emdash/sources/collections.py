"""Which Dask collections hold a table of numbers, and the Dask array in each.

Looks at types and metadata only: nothing is computed here.

Must never know: chunks, parts, who computes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import numpy as np
from dask.array import Array
from dask.utils import format_bytes
from numpy.typing import NDArray

from emdash.sources.base import check_dtype, is_lazy
from emdash.sources.weighted import as_weights

__all__ = ["as_array", "is_frame", "join_columns", "refuse_transfers", "weights_like"]


def is_frame(collection: Any) -> bool:
    """Tell whether a collection is a Dask data frame with columns."""
    return hasattr(type(collection), "to_dask_array") and getattr(collection, "ndim", 0) == 2


def as_array(collection: Any) -> Any:
    """Return the Dask array that a collection is or holds.

    Raises
    ------
    TypeError
        For other collections, with the call that makes an array of them.
    ValueError
        For a frame with a column that does not hold real numbers, by name.
    """
    kind = type(collection)  # a Delayed object itself has every attribute
    if hasattr(kind, "numblocks"):
        return collection
    if hasattr(kind, "data") and hasattr(type(collection.data), "numblocks"):  # xarray
        return collection.data
    if is_frame(collection):
        return _frame_as_array(collection)
    if hasattr(kind, "to_dask_array"):  # a series
        advice = "X.to_frame()"
    elif hasattr(kind, "to_dataarray"):
        advice = 'X.to_dataarray("column").transpose(..., "column")'
    else:
        advice = "dask.array.from_delayed or dask.array.concatenate"
    raise TypeError(f"X is a lazy Dask {kind.__name__}, not a Dask array: make one with {advice}")


def _frame_as_array(frame: Any) -> Any:
    """Return the columns as one array: float32 if all of them are, else float64, NA as NaN."""
    narrow = True
    for name, dtype in frame.dtypes.items():
        where = f"column {name!r} of the data frame X"
        kind = getattr(dtype, "kind", "O")
        if kind not in "fiubc":
            raise ValueError(
                f"{where} has dtype {dtype}, which does not hold real numbers: leave it out, "
                f"X.drop(columns=[{name!r}]), or convert it, X.assign(...)"
            )
        if kind == "c":
            check_dtype(dtype, where)
        narrow &= kind == "f" and dtype.itemsize == 4
    dtype = "float32" if narrow and len(frame.columns) else "float64"
    return frame.astype(dtype).to_dask_array()


def join_columns(array: Any) -> Any:
    """Return the array with all columns of a row in one chunk."""
    joined = array.rechunk({1: -1}, method="tasks")
    rows = max(joined.chunks[0])
    size = "" if rows != rows else f" of {format_bytes(rows * array.shape[1] * array.itemsize)}"
    warnings.warn(
        f"the columns of the Dask array X are in {array.numblocks[1]} chunks: each pass joins them "
        f"to chunks of whole rows{size}. To say that this is meant, give X.rechunk({{1: -1}}); if "
        "X is stored like this, store it in chunks of whole rows instead",
        stacklevel=2,
    )
    return joined


def weights_like(weights: Any, array: Any) -> Any:
    """Return the weights of the rows of an array, as a Dask array with its chunks.

    Parameters
    ----------
    weights : array-like, Dask array, Dask series or xarray.DataArray of shape (n,)
    array : dask.array.Array of shape (n, d)

    Raises
    ------
    ValueError
        If they cannot be brought together, saying how they can.
    """
    chunks = array.chunks[0]
    known = not any(map(math.isnan, chunks))
    if not is_lazy(weights):
        if not known:
            raise ValueError(
                "sample_weight is an array in memory, but the Dask array X does not know where "
                "its chunks begin: call X.compute_chunk_sizes() first, or give a Dask array with "
                "a chunk for each chunk of X"
            )
        return _in_chunks(as_weights(weights, sum(chunks)), chunks)
    if hasattr(type(weights), "to_dask_array"):
        weights = weights.to_dask_array()
    elif not hasattr(type(weights), "numblocks"):
        weights = getattr(weights, "data", weights)  # xarray
    check_dtype(weights.dtype, "sample_weight")
    if weights.ndim != 1:
        raise ValueError(
            f"sample_weight has shape {weights.shape}, expected one weight per row: one dimension"
        )
    mine = weights.chunks[0]
    if known and not any(map(math.isnan, mine)):
        if sum(mine) != sum(chunks):
            raise ValueError(
                f"sample_weight has {sum(mine)} elements, but X {sum(chunks)} rows: expected one "
                "weight per row"
            )
        return weights if mine == chunks else weights.rechunk((chunks,), method="tasks")
    if len(mine) != len(chunks):
        raise ValueError(
            f"sample_weight has {len(mine)} chunks, X {len(chunks)}, and not all of their lengths "
            "are known: give both the same chunks, or call compute_chunk_sizes() on both"
        )
    return weights


def refuse_transfers(graph: Mapping[Any, Any]) -> None:
    """Refuse graphs that move data between workers by themselves (Dask's P2P shuffles).

    Raises
    ------
    ValueError
        Saying what to do instead.
    """
    for node in graph.values():
        function = getattr(node, "func", None)
        if getattr(function, "__module__", "").startswith("distributed.shuffle"):
            raise ValueError(
                "the Dask array X is rechunked or shuffled between workers (P2P), which takes "
                "the whole cluster and cannot be done for one chunk: call X.persist() first, or "
                "make X under dask.config.set({'array.rechunk.method': 'tasks'})"
            )


def _in_chunks(weights: NDArray[np.float64], chunks: tuple[int, ...]) -> Array:
    """Return weights in memory as a Dask array: views of them, no copy."""
    name = f"sample-weight-{uuid4().hex}"
    parts = np.split(weights, np.cumsum(chunks[:-1]))
    return Array({(name, i): part for i, part in enumerate(parts)}, name, (chunks,), weights.dtype)
