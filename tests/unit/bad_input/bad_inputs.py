"""Every kind of input, a start that reads none of it, and what each refusal has to look like."""

import re
from contextlib import contextmanager

import dask.array as da
import numpy as np
import pandas as pd
import pytest

N, D, K = 400, 4, 3


def start(K=K, d=D):
    """A whole start for full covariances: the fit reads nothing before its first pass."""
    return {
        "weights_init": np.full(K, 1 / K),
        "means_init": np.arange(K)[:, None] * np.ones(d),
        "precisions_init": np.broadcast_to(np.eye(d), (K, d, d)).copy(),
    }


class Batches:
    """A re-iterable of arrays."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def saved(X, folder):
    np.save(folder / "X.npy", X)
    return folder / "X.npy"


def mapped(X, folder, mode="r"):
    return np.load(saved(X, folder), mmap_mode=mode)


SOURCES = {
    "array": lambda X, folder: X,
    "fortran": lambda X, folder: np.asfortranarray(X),
    "frame": lambda X, folder: pd.DataFrame(X),
    "nested lists": lambda X, folder: X.tolist(),
    "file": saved,
    "file in Fortran order": lambda X, folder: saved(np.asfortranarray(X), folder),
    "path as str": lambda X, folder: str(saved(X, folder)),
    "memory map": mapped,
    "list of arrays": lambda X, folder: np.array_split(X, 7),
    "iterable": lambda X, folder: Batches(*np.array_split(X, 7)),
    "dask": lambda X, folder: da.from_array(X, chunks=(60, X.shape[1])),
    "dask, columns in chunks": lambda X, folder: da.from_array(X, chunks=(60, 1)),
}
LARGE = [name for name in SOURCES if name not in ("array", "fortran", "frame", "nested lists")]


@contextmanager
def refused(model, good, error, *parts):
    """Expect an error with all these parts in its message; afterwards the model can be fitted."""
    before = dict(vars(model))
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    for part in parts:
        assert re.search(part, message), f"{part!r} is not in {message!r}"
    fitted = {name for name in vars(model) if name.endswith("_") and name not in before}
    assert fitted <= {"n_features_in_", "feature_names_in_"}
    for name in ("means_", "weights_", "covariances_", "lower_bound_"):
        assert getattr(model, name, None) is before.get(name)
    model.set_params(n_components=K, covariance_type="full", tol=1e-3, callback=None, **start())
    assert np.isfinite(model.fit(good).means_).all()
