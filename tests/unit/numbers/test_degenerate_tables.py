"""Degenerate tables give a finite model, or an error that says what to do."""

from __future__ import annotations

import re
import warnings
from itertools import product

import numpy as np
import pytest
from number_fits import ARRAYS, INITS, matrices, settings
from sklearn.exceptions import ConvergenceWarning

from emdash import GaussianMixture


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def of_objects(X):
    return X.astype(object)


TABLES = {
    "one feature": lambda: normal(40, 1),
    "more features than rows": lambda: normal(8, 20),
    "as many components as rows": lambda: normal(3, 2),
    "duplicated rows": lambda: np.repeat(normal(5, 2), 8, axis=0),
    "all rows the same": lambda: np.ones((20, 2)),
    "all zeros": lambda: np.zeros((20, 2)),
    "a constant column": lambda: np.column_stack([normal(40, 2), np.full(40, 1e8)]),
    "two identical columns": lambda: normal(40, 2)[:, [0, 1, 0]],
    "collinear columns": lambda: normal(40, 2) @ [[1.0, 0, 1e6], [0, 1, 1e-6]],
    "one row": lambda: normal(1, 2),
    "two rows": lambda: normal(2, 2),
    "integers": lambda: np.random.default_rng(0).integers(-5, 5, size=(40, 2)),
    "large integers": lambda: np.random.default_rng(0).integers(
        0, 2**63, size=(40, 2), dtype=np.uint64
    ),
    "booleans": lambda: normal(40, 3) > 0,
    "objects that are floats": lambda: of_objects(normal(40, 2)),
    "subnormal": lambda: normal(40, 2) * 1e-310,
    "tiny": lambda: normal(40, 2) * 1e-300,
    "small": lambda: normal(40, 2) * 1e-150,
    "large": lambda: normal(40, 2) * 1e150,
    "huge": lambda: normal(40, 2) * 1e300,
    "the largest": lambda: np.sign(normal(40, 2)) * np.finfo(float).max,
    "huge and tiny": lambda: normal(40, 2) * [1e300, 1e-300],
    "one huge outlier": lambda: np.vstack([normal(40, 2), [1e200, 0]]),
    "float32, subnormal": lambda: (normal(40, 2) * 1e-40).astype(np.float32),
    "float32, huge": lambda: (normal(40, 2) * 1e37).astype(np.float32),
}

TOLD = (
    "increase reg_covar|decrease n_components|scale the input|minimum of 2 is required|"
    "at least 2 samples|give more rows"
)


@pytest.mark.parametrize("reg_covar", [1e-6, 0.0])
@pytest.mark.parametrize("table", TABLES)
def test_a_finite_model_or_an_error_that_says_what_to_do(table, reg_covar, covariance_type):
    """Never NaN, and never a warning of NumPy; with every kind of start."""
    X = TABLES[table]()
    for init, K in product(INITS, (1, 3)):
        model = GaussianMixture(
            **settings(covariance_type, init, reg_covar=reg_covar, n_components=K)
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(X)
        except ValueError as error:
            assert re.search(TOLD, str(error)), str(error)  # noqa: PT017
            continue
        for name in (*ARRAYS, "precisions_", "lower_bound_", "lower_bounds_"):
            assert np.isfinite(getattr(model, name)).all(), (init, K, name)
        assert (np.diagonal(matrices(model), axis1=1, axis2=2) > 0).all()
        assert model.weights_.sum() == pytest.approx(1)
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
        assert np.isfinite(model.score_samples(X)).all()
        assert np.isfinite(model.score(X))
        assert np.isfinite(model.sample(5)[0]).all()
