"""Values that are infinite or overflow are named with their place; good ones may have any form."""

import numpy as np
import pytest
from bad_inputs import D, K, N, refused, start

from emdash import GaussianMixture
from emdash.estimators._rounded import exact

pytestmark = pytest.mark.filterwarnings("ignore:the columns of the Dask array X:UserWarning")


# ------------------------------------------------------------------ values that are infinite


@pytest.mark.parametrize(
    ("row", "column", "value"), [(0, 0, np.inf), (257, 3, np.inf), (N - 1, 1, -np.inf)]
)
def test_infinity(X, source, row, column, value):
    bad = X.copy()
    bad[row] = np.nan  # which is no error and does not hide one
    bad[row, column] = value
    for settings in (start(), {"init_params": "random"}):
        model = GaussianMixture(K, **settings)
        with refused(model, X, ValueError, f"X contains infinity in row {row}, column {column}\\b"):
            model.fit(source(bad))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_the_first_of_several_bad_rows_is_named(X, source, n_threads):
    bad = X.copy()
    bad[[311, 130, 399, 131], 2] = np.inf
    for settings in (start(), {"random_state": 0}):
        model = GaussianMixture(K, n_threads=n_threads, **settings)
        with refused(model, X, ValueError, r"X contains infinity in row 130, column 2\b"):
            model.fit(source(bad))


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "score_samples", "score", "aic", "bic"]
)
def test_infinity_in_an_answer(X, source, method):
    bad = X.copy()
    bad[333, 1] = np.inf
    model = GaussianMixture(K, **start()).fit(X)
    with refused(model, X, ValueError, r"X contains infinity in row 333, column 1\b"):
        answer = getattr(model, method)(source(bad))
        if hasattr(answer, "compute"):
            answer.compute()


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("settings", [start(), {"random_state": 0}])
def test_a_value_that_overflows_when_squared(X, settings):
    bad = X.copy()
    bad[7, 0] = 1e200
    model = GaussianMixture(K, **settings)
    with refused(model, X, ValueError, "component \\d", "values of X overflow when squared"):
        model.fit(bad)


def test_longdouble_beyond_float64(X, large_source):
    bad = X.astype(np.longdouble)
    bad[7, 0] *= np.longdouble(10) ** 400
    if np.isinf(bad[7, 0]):
        pytest.skip("longdouble is float64 here")
    model = GaussianMixture(K, **start())
    with refused(model, X, ValueError, r"X contains infinity in row 7, column 0\b"):
        model.fit(large_source(bad))


# ------------------------------------------------------------------ unusual input that is good


def unusual(X):
    """The same values in forms that are easily got wrong."""
    raw = np.empty(X.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(X.dtype).reshape(X.shape)
    misaligned[...] = X
    wide = np.full((3 * N, 2 * D), np.nan)
    wide[::3, ::2] = X
    return {
        "read-only": X,
        "fortran": np.asfortranarray(X),
        "misaligned": misaligned,
        "strided": wide[::3, ::2],
        "backwards": X[::-1, ::-1].copy()[::-1, ::-1],
        "big-endian": X.astype(">f8"),
        "long double": X.astype(np.longdouble),
        "int64": X.astype(np.int64),
        "uint8": X.astype(np.uint8),
        "big-endian int": X.astype(">i4"),
        "bool": X > 0,
        "float16": X.astype(np.float16),
        "float32": X.astype(np.float32),
        "big-endian float32": X.astype(">f4"),
    }


FORMS = list(unusual(np.zeros((N, D))))


@pytest.mark.parametrize("form", FORMS)
def test_unusual_but_good(form, source):
    rng = np.random.default_rng(1)
    whole = np.abs(np.round(rng.normal(size=(N, D)) * 3 + 20 * rng.integers(0, 2, size=(N, 1))))
    whole.setflags(write=False)
    bad = unusual(whole)[form]
    before = np.array(bad)
    settings = {"reg_covar": 1e-2, "tol": 1e-6, **start()}
    expected = GaussianMixture(K, **settings).fit(np.array(bad, dtype=np.float64, order="C"))
    model = GaussianMixture(K, **settings).fit(source(bad))
    assert model.n_iter_ == expected.n_iter_
    found = exact(model, "covariances_")  # of float32: before they were rounded
    np.testing.assert_allclose(found, expected.covariances_, rtol=1e-10, atol=1e-12)
    labels = np.asarray(model.predict(source(bad)))
    np.testing.assert_array_equal(labels, expected.predict(np.array(bad, dtype=np.float64)))
    np.testing.assert_array_equal(bad, before)  # never modified
