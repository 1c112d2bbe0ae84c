"""Objects that hold a table, but are none: refused with the call that makes one of them.

Must never know: how any format stores rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

__all__ = ["is_refused", "refuse"]

ADVICE = {
    ("polars", "LazyFrame"): "collect it, X.collect(), or give the path of its file",
    ("pyarrow", "RecordBatch"): "make a table of it, pyarrow.Table.from_batches([X])",
    ("pyarrow", "RecordBatchReader"): "it can be read only once: make a table of it, X.read_all()",
    ("pyarrow", "Scanner"): "give the dataset it was made of, or make a table of it, X.to_table()",
    ("pyarrow", "ParquetFile"): "give the path of the file, or make a table of it, X.read()",
    ("h5py", "Group"): "give one of its datasets, X[{names}]",
}
"""Library and class, and what to do."""

LISTED = 5
"""Names that an error lists."""


def _found(X: Any) -> tuple[str, str] | None:
    kinds = ((kind.__module__.partition(".")[0], kind.__name__) for kind in type(X).__mro__)
    return next((kind for kind in kinds if kind in ADVICE), None)


def is_refused(X: Any) -> bool:
    """Tell whether there is advice about `X`."""
    return _found(X) is not None


def refuse(X: Any, columns: Sequence[str] | None = None) -> NoReturn:
    """Raise the error about something that is no table.

    Raises
    ------
    TypeError
        With what to do.
    """
    kind = _found(X)
    assert kind is not None
    advice = ADVICE[kind]
    if kind[0] == "h5py":
        names: list[str] = []
        X.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        advice = advice.format(names="] or X[".join(map(repr, names[:LISTED])) or "...")
    raise TypeError(f"X, a {type(X).__name__} of {kind[0]}, is no table: {advice}")
