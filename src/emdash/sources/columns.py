"""Columns that have names: choosing some, and refusing those that hold no numbers, by name.

Must never know: how any format stores them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emdash.sources.base import Source

__all__ = ["check_frame", "check_names", "choose", "frame_as_array", "is_frame", "refuse_columns"]

LISTED = 10
"""Names that an error lists."""


def choose(names: Sequence[str], columns: Sequence[str] | None, where: str) -> list[str]:
    """Return the names of the columns to read, in the order asked for.

    Parameters
    ----------
    names : sequence of str
        All there are.
    columns : sequence of str or None
        Those wanted; None means all.
    where : str
        What has these columns, for errors.

    Raises
    ------
    ValueError
        If there is none of a name, or a name occurs twice.
    """
    if columns is None:
        chosen = list(names)
    elif isinstance(columns, str):
        raise ValueError(f"columns={columns!r} is one string: give a list, columns=[{columns!r}]")
    else:
        chosen = list(columns)
    if not chosen:
        raise ValueError(f"columns=[] chooses nothing from {where}: name at least one column")
    for name in chosen:
        if name not in names:
            shown = ", ".join(map(str, names[:LISTED])) + (", ..." if len(names) > LISTED else "")
            raise ValueError(f"{where} has no column {name!r}; it has {shown}")
    repeated = [name for name in chosen if chosen.count(name) > 1 or list(names).count(name) > 1]
    if repeated:
        raise ValueError(
            f"{where} or columns= has the column {repeated[0]!r} twice: every column counts once"
        )
    return chosen


def refuse_columns(bad: Sequence[tuple[str, Any]], where: str) -> None:
    """Refuse columns that do not hold real numbers.

    Parameters
    ----------
    bad : sequence of (name, type)
        If empty, nothing happens.
    where : str
        What has these columns.

    Raises
    ------
    ValueError
        Naming them and what to do.
    """
    if bad:
        shown = ", ".join(f"{name!r} ({kind})" for name, kind in bad[:LISTED])
        raise ValueError(
            f"{where} has columns that do not hold real numbers: {shown}. Leave them out with "
            "emdash.open_table(X, columns=[...]) (--columns on the command line), or convert them "
            "first"
        )


def is_frame(X: Any) -> bool:
    """Tell whether `X` is a pandas or polars frame in memory, without importing either."""
    return hasattr(X, "columns") and hasattr(X, "dtypes") and hasattr(X, "to_numpy")


def check_frame(frame: Any, where: str) -> None:
    """Refuse a pandas or polars frame with columns that do not hold real numbers, or one twice.

    Raises
    ------
    ValueError
        Naming them, before anything is converted.
    """
    if len(set(frame.columns)) < len(frame.columns):
        choose(list(frame.columns), None, where)  # names one that occurs twice
    kinds = zip(frame.columns, frame.dtypes, strict=True)
    refuse_columns([(name, kind) for name, kind in kinds if not _is_real(kind)], where)


def _is_real(kind: Any) -> bool:
    """Tell whether a type of pandas or polars holds real numbers."""
    if hasattr(kind, "is_numeric"):  # polars
        return bool(kind.is_numeric()) or str(kind) == "Boolean"
    return getattr(kind, "kind", "O") in "fiub"


def frame_as_array(frame: Any) -> tuple[np.ndarray[Any, Any], list[str] | None]:
    """Return the numbers of a frame, missing values as NaN, and its names if all are strings."""
    names = list(frame.columns)
    single = all(str(kind).lower() == "float32" for kind in frame.dtypes)
    array = np.empty((len(frame), len(names)), np.float32 if single else np.float64, order="F")
    for j, name in enumerate(names):
        array[:, j] = _numbers(frame[[name]])[:, 0]
    return array, names if all(isinstance(name, str) for name in names) else None


def _numbers(frame: Any) -> Any:
    if hasattr(frame, "isna"):  # pandas; float64 has a place for what is missing
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return frame.to_numpy()


def check_names(source: Source, fitted: Any) -> None:
    """Refuse columns other than those that a model was fitted to, as far as both have names.

    Parameters
    ----------
    source : Source
        Its `feature_names` are compared.
    fitted : sequence of str or None
        Names of the columns that the model was fitted to.

    Raises
    ------
    ValueError
        Naming the first that differs.
    """
    if source.feature_names is None or fitted is None:
        return
    for j, (found, expected) in enumerate(zip(source.feature_names, fitted, strict=True)):
        if found != expected:
            raise ValueError(
                "The feature names should match those that were passed during fit: column "
                f"{j} of X is {found!r}, but was {expected!r}. Give the same columns in the same "
                "order, emdash.open_table(X, columns=model.feature_names_in_)"
            )
