"""Too many dimensions or too few, no rows, no columns, other columns: refused with the shape."""

import dask.array as da
import numpy as np
import pytest
from bad_inputs import SOURCES, D, K, N, mapped, refused, saved, start

from emdash import GaussianMixture

pytestmark = pytest.mark.filterwarnings("ignore:the columns of the Dask array X:UserWarning")


def test_one_dimension(X, source, tmp_path):
    for name, present in SOURCES.items():
        if name in ("frame", "dask, columns in chunks", "list of arrays", "iterable"):
            continue
        data = da.from_array(X[:, 0]) if name == "dask" else present(X[:, 0], tmp_path)
        model = GaussianMixture(K)
        with refused(model, X, ValueError, "2D|two dim", r"reshape\(-1, 1\)"):
            model.fit(data)


def test_three_dimensions(X, tmp_path):
    cube = X.reshape(-1, 2, 4)
    for data in (cube, saved(cube, tmp_path), mapped(cube, tmp_path), da.from_array(cube)):
        model = GaussianMixture(K)
        with refused(model, X, ValueError, "dim|3D", ""):
            model.fit(data)


def test_no_columns(X, tmp_path):
    none = np.empty((N, 0))
    for data in (none, saved(none, tmp_path), [none, none], da.from_array(none, chunks=(50, 0))):
        model = GaussianMixture(K)
        with refused(model, X, ValueError, r"0 feature\(s\)"):
            model.fit(data)


def test_no_rows(X, tmp_path):
    none = np.empty((0, D))
    x = da.from_array(X, chunks=(60, D))
    for data in (
        none,
        saved(none, tmp_path),
        [none, none],
        da.from_array(none),
        x[x[:, 0] > 1e9],
        x[:0],
    ):
        for settings in (start(), {"random_state": 0}):
            model = GaussianMixture(K, **settings)
            with refused(model, X, ValueError, r"0 sample\(s\)|n_samples = 0"):
                model.fit(data)


@pytest.mark.parametrize("method", ["score", "aic", "bic"])
def test_the_score_of_no_rows(X, tmp_path, method):
    model = GaussianMixture(K, **start()).fit(X)
    x = da.from_array(X, chunks=(60, D))
    for data in (X[:0], saved(X[:0], tmp_path), [X[:0], X[:0]], x[:0], x[x[:, 0] > 1e9]):
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            getattr(model, method)(data)


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_rows_than_components(X, source, n):
    for settings in (start(), {"random_state": 0}):
        model = GaussianMixture(K, **settings)
        with refused(model, X, ValueError, f"n_samples = {n}|{n} sample"):
            model.fit(source(X[:n]))


def test_fewer_rows_than_components_when_nobody_counted_them(X):
    x = da.from_array(X, chunks=(60, D))
    x = x[x[:, 0] >= np.sort(X[:, 0])[-2]]
    for settings in (start(), {"random_state": 0}):
        model = GaussianMixture(K, **settings)
        with refused(model, X, ValueError, "n_components = 3, n_samples = 2"):
            model.fit(x)


def test_another_number_of_columns(X, source):
    model = GaussianMixture(K, **start()).fit(X)
    for d in (3, 5):
        data = source(np.ones((N, d)))
        for method in ("predict", "predict_proba", "score_samples", "score", "aic", "bic"):
            with pytest.raises(ValueError, match=rf"X has {d} features.* expecting 4 features"):
                getattr(model, method)(data)
    model.predict(source(X))
