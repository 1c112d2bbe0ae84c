"""GMMImputer is GaussianMixture.impute in the place where scikit-learn's users look for it."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from emdash import GaussianMixture, GMMImputer

NAMES = ["sl", "sw", "pl", "pw"]


@pytest.fixture
def X(iris):
    """Iris with a fifth of the cells hidden."""
    return np.where(np.random.default_rng(0).random(iris.shape) < 0.2, np.nan, iris)


@parametrize_with_checks([GMMImputer(), GMMImputer(2, covariance_type="diag")])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_it_is_the_mixture(X):
    frame = pd.DataFrame(X, columns=NAMES, index=2 * np.arange(len(X)))
    imputer = GMMImputer(3, random_state=0)
    filled = imputer.fit_transform(X)
    model = GaussianMixture(3, random_state=0).fit(X)
    np.testing.assert_array_equal(filled, model.impute(X))
    assert imputer.n_iter_ == model.n_iter_
    assert not hasattr(imputer, "feature_names_in_")
    assert type(imputer.fit(frame).transform(frame)) is np.ndarray
    assert list(imputer.get_feature_names_out()) == NAMES
    lazy = imputer.fit(X).transform(da.from_array(X, chunks=(50, 4)))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy, filled)
    imputer.set_output(transform="pandas")
    pd.testing.assert_frame_equal(
        imputer.fit(frame).transform(frame), pd.DataFrame(filled, frame.index, NAMES)
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"n_components": 2, "covariance_type": "tied", "tol": 1e-5, "reg_covar": 1e-2},
        {"n_init": 3, "init_params": "random_from_data", "max_iter": 70, "random_state": 5},
        {"n_threads": 1, "memory_limit": "1GB"},
    ],
)
def test_settings_reach_the_mixture(X, settings):
    found = GMMImputer(**settings).fit(X).mixture_.get_params()
    assert settings.items() <= found.items()


def test_in_a_pipeline(X, iris):
    y = iris @ [1.0, -2.0, 0.5, 1.0]
    pipeline = make_pipeline(GMMImputer(3, random_state=0), StandardScaler(), LinearRegression())
    with_zeros = LinearRegression().fit(np.nan_to_num(X), y).score(np.nan_to_num(X), y)
    assert pipeline.fit(X, y).score(X, y) > with_zeros


def test_scikit_learn_is_told():
    assert GMMImputer().__sklearn_tags__().input_tags.allow_nan


def test_weights_are_the_mixtures(X):
    w = np.arange(len(X)) % 3.0
    imputer = GMMImputer(2, random_state=0).fit(X, sample_weight=w)
    model = GaussianMixture(2, random_state=0).fit(X, sample_weight=w)
    np.testing.assert_array_equal(imputer.transform(X), model.impute(X))
    assert (imputer.transform(X) != GMMImputer(2, random_state=0).fit_transform(X)).any()
