"""Fitted attributes in float32 after a fit to float32 rows, and what they were rounded from.

scikit-learn's attributes have the type of the rows. Everything here is computed
in float64, so rounding would be felt by whatever goes on from the attributes:
answers, ``warm_start``, files. They go on from the numbers before rounding, as
long as nobody has changed the attribute.

Must never know: models, what the attributes mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["exact", "rounded", "set_attributes"]

Array = NDArray[np.float64]

EXACT = "_exact_attributes"
"""Where an estimator keeps what its attributes were rounded from; not there if none were."""


def set_attributes(estimator: Any, attributes: Mapping[str, Array], dtype: np.dtype[Any]) -> None:
    """Set fitted attributes in the type of the rows that they were fitted to.

    Parameters
    ----------
    estimator : object
    attributes : mapping of str to float64 arrays
    dtype : dtype
        Of the rows. float32 gives float32 attributes, unless one of the numbers is
        beyond the range of float32; anything else gives float64.
    """
    vars(estimator).pop(EXACT, None)
    if dtype == np.float32:
        with np.errstate(over="ignore", under="ignore"):
            single = {name: value.astype(np.float32) for name, value in attributes.items()}
        if all(np.isfinite(value).all() for value in single.values()):
            vars(estimator).update({**single, EXACT: dict(attributes)})
            return
    vars(estimator).update(attributes)


def rounded(estimator: Any) -> list[str]:
    """Return the names of the attributes that were rounded to float32."""
    before = vars(estimator).get(EXACT, {})
    return [name for name in before if np.asarray(getattr(estimator, name)).dtype == np.float32]


def exact(estimator: Any, name: str) -> Any:
    """Return what a fitted attribute was rounded from if it still is that, else what it is now."""
    value = getattr(estimator, name, None)
    before = vars(estimator).get(EXACT, {}).get(name)
    if before is not None and value is not None:
        with np.errstate(under="ignore"):
            if np.array_equal(before.astype(np.float32), value):
                return before
    return value
