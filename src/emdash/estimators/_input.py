"""Input that is refused: what the error says, and that it leaves no trace on the estimator.

Must never know: models, sources of other kinds than arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils import validation

from emdash.sources.base import check_dtype, refuse_conversion

__all__ = ["unchanged_if_it_fails", "validate_data"]


@contextmanager
def unchanged_if_it_fails(estimator: Any) -> Iterator[None]:
    """Give an estimator its attributes back if an error leaves the block.

    scikit-learn sets the number and names of the columns before a fit can fail; without this
    they would no longer be those of the parameters. An interrupt is no error: what it leaves
    is wanted.
    """
    before = vars(estimator).copy()
    try:
        yield
    except Exception:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


FLOATS = np.dtype(np.float64), np.dtype(np.float32)


def validate_data(estimator: Any, X: Any, *, reset: bool, **settings: Any) -> Any:
    """Return `X` as an array, checked by scikit-learn's ``validate_data``.

    That asks in many ways whether it is a data frame, which takes longer than to predict a
    hundred rows; of a plain array of floats it changes nothing, so that is not asked.

    Raises
    ------
    ValueError, TypeError
        In scikit-learn's words, but with those of NumPy about a conversion explained.
    """
    named = not reset and hasattr(estimator, "feature_names_in_")
    if type(X) is np.ndarray and X.ndim == 2 and X.size > 0 and X.dtype in FLOATS and not named:
        if reset:
            estimator.n_features_in_ = X.shape[1]
            vars(estimator).pop("feature_names_in_", None)
        return X
    if getattr(getattr(X, "dtype", None), "kind", "f") in ("m", "M"):  # become numbers silently
        check_dtype(X.dtype, "X")
    try:
        return validation.validate_data(estimator, X, reset=reset, **settings)
    except (TypeError, ValueError, OverflowError) as error:
        _explain(X, error)
        raise


def _explain(X: Any, error: Exception) -> None:
    """Raise a better error if the reason is that `X` does not hold real numbers."""
    try:
        array = np.asarray(X)
    except (TypeError, ValueError) as reason:
        refuse_conversion(X, reason)
    if array.dtype.kind == "c":
        check_dtype(array.dtype, "X")
    try:
        np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as reason:
        refuse_conversion(X, reason)
