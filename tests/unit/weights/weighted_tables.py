"""Tables that hold their weights, arrays of Dask, and what makes two fits the same."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd

K = 2
ATTRIBUTES = ("weights_", "means_", "covariances_")
TABLE = ("a", "b", "c")


def assert_same(fit, other, rtol=1e-10):
    assert fit.n_iter_ == other.n_iter_
    for name in ATTRIBUTES:
        expected = getattr(other, name)
        error = np.abs(getattr(fit, name) - expected).max() / np.abs(expected).max()
        assert error <= rtol, name
    np.testing.assert_allclose(fit.lower_bounds_, other.lower_bounds_, rtol=rtol)


def frame(X, w):
    table = pd.DataFrame(X, columns=TABLE)
    table.insert(1, "w", w)
    return table


def in_file(X, w, path):
    table = frame(X, w)
    if path.suffix == ".csv":
        table.to_csv(path, index=False, float_format="%.17g")
    elif path.suffix == ".parquet":
        table.to_parquet(path, row_group_size=40)
    else:
        table.to_feather(path)
    return path


def lazy(array, rows=40):
    return da.from_array(array, chunks=(rows, *array.shape[1:]))


def unknown(array):
    """A Dask array whose chunks have lengths that nobody knows before."""
    return lazy(array)[da.ones(len(array), chunks=40) > 0]
