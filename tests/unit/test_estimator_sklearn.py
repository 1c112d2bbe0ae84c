"""GaussianMixture among scikit-learn's tools: its checks, pipelines, searches, frames, errors."""

from __future__ import annotations

import copy
import pickle
import warnings

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.estimator_checks import parametrize_with_checks

from emdash import GaussianMixture

ATTRIBUTES = (
    "weights_",
    "means_",
    "covariances_",
    "precisions_",
    "precisions_cholesky_",
    "lower_bounds_",
)


def arrays(fit):
    return {name: np.asarray(getattr(fit, name)).tobytes() for name in ATTRIBUTES}


def expected_failures(estimator):
    """None for one component. The check compares fits of other rows in another order."""
    if estimator.n_components == 1:
        return {}
    reason = "starts are drawn by row number; from a given start: tests/unit/weights"
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks(
    [
        GaussianMixture(),
        GaussianMixture(2, covariance_type="tied", n_threads=2),
        GaussianMixture(2, covariance_type="diag", init_params="random_from_data"),
        GaussianMixture(covariance_type="spherical"),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learns_checks(estimator, check):
    """scikit-learn itself skips what needs other array libraries."""
    check(estimator)


def test_pipeline(iris):
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(3, random_state=0)).fit(iris)
    by_hand = GaussianMixture(3, random_state=0)
    labels = by_hand.fit_predict(StandardScaler().fit_transform(iris))
    np.testing.assert_array_equal(pipeline.predict(iris), labels)
    assert pipeline.score(iris) == by_hand.score(StandardScaler().fit_transform(iris))
    assert pipeline.predict_proba(iris).shape == (150, 3)


def test_grid_search_by_bic_picks_what_scikit_learns_would(faithful):
    grid = {"n_components": [1, 2, 3, 4], "covariance_type": ["full", "tied", "diag", "spherical"]}

    def minus_bic(estimator, X, y=None):
        return -estimator.bic(X)

    searches = [
        GridSearchCV(mixture(random_state=0), grid, scoring=minus_bic, cv=3).fit(faithful)
        for mixture in (GaussianMixture, sklearn.mixture.GaussianMixture)
    ]
    ours, theirs = searches
    assert ours.best_params_ == theirs.best_params_
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-8
    )
    assert isinstance(ours.best_estimator_, GaussianMixture)


def test_cross_validation_scores_by_mean_log_likelihood(iris):
    rows = np.random.default_rng(0).permutation(iris)
    ours, theirs = (
        cross_val_score(mixture(2, random_state=0), rows, cv=4)
        for mixture in (GaussianMixture, sklearn.mixture.GaussianMixture)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)


# --- frames and names -------------------------------------------------------------------------


@pytest.fixture
def frame(iris):
    return pd.DataFrame(iris, columns=["sl", "sw", "pl", "pw"])


def test_frame_gives_names(frame, iris):
    fit = GaussianMixture(2, random_state=0).fit(frame)
    np.testing.assert_array_equal(fit.feature_names_in_, np.array(frame.columns, dtype=object))
    assert fit.n_features_in_ == 4
    np.testing.assert_array_equal(fit.predict(frame), fit.fit(iris).predict(iris))
    assert not hasattr(fit, "feature_names_in_")  # the second fit saw none


def test_wrong_names_are_refused(frame, iris):
    fit = GaussianMixture(2, random_state=0).fit(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        fit.predict(frame[["sw", "sl", "pl", "pw"]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        fit.predict(iris)
    with pytest.warns(UserWarning, match="X has feature names, but GaussianMixture was fitted"):
        GaussianMixture(2, random_state=0).fit(iris).score_samples(frame)


def test_names_are_forgotten_when_other_input_has_none(frame, iris):
    fit = GaussianMixture(2, random_state=0).fit(frame)
    fit.fit(np.array_split(iris, 3))
    assert not hasattr(fit, "feature_names_in_")


# --- copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("library", [pickle, cloudpickle, copy])
@pytest.mark.parametrize("fitted", [True, False])
def test_copies_predict_the_same(iris, covariance_type, library, fitted):
    original = GaussianMixture(3, covariance_type=covariance_type, random_state=0, n_threads=2)
    if fitted:
        original.fit(iris)
    twin = copy.deepcopy(original) if library is copy else library.loads(library.dumps(original))
    assert twin is not original
    assert twin.get_params() == original.get_params()
    if not fitted:
        assert not hasattr(twin, "means_")
        original.fit(iris)
        twin.fit(iris)
    assert arrays(twin) == arrays(original)
    np.testing.assert_array_equal(twin.predict_proba(iris), original.predict_proba(iris))
    np.testing.assert_array_equal(twin.sample(5)[0], original.sample(5)[0])


def test_clone_and_parameters(iris):
    original = GaussianMixture(3, means_init=iris[:3], random_state=0).fit(iris)
    twin = clone(original)
    assert not hasattr(twin, "means_")
    np.testing.assert_array_equal(twin.means_init, iris[:3])
    assert arrays(twin.fit(iris)) == arrays(original)
    twin.set_params(n_components=2, means_init=None, tol=1e-5)
    assert twin.fit(iris).means_.shape == (2, 4)


def test_fitting_twice_is_fitting_once(iris, covariance_type):
    estimator = GaussianMixture(3, covariance_type=covariance_type, random_state=0, n_init=2)
    first = arrays(estimator.fit(iris))
    assert arrays(estimator.fit(iris)) == first
    estimator.fit(iris[:80, :2])  # whatever came in between
    assert arrays(estimator.fit(iris)) == first


def test_refitting_does_not_write_into_what_was_handed_out(iris):
    estimator = GaussianMixture(2, random_state=0).fit(iris)
    means = estimator.means_
    before = means.copy()
    estimator.set_params(random_state=1, n_components=3).fit(iris)
    np.testing.assert_array_equal(means, before)


def test_repr_names_what_was_changed():
    assert repr(GaussianMixture(3, covariance_type="diag")) == (
        "GaussianMixture(covariance_type='diag', n_components=3)"
    )
    assert "GaussianMixture" in GaussianMixture()._repr_html_()


# --- errors and warnings are scikit-learn's own -----------------------------------------------


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "score_samples", "score", "aic", "bic", "sample"]
)
def test_not_fitted(iris, method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(GaussianMixture(), method)(*([] if method == "sample" else [iris]))


@pytest.mark.parametrize(
    "argument",
    [
        {"n_components": 0},
        {"n_components": 2.0},
        {"covariance_type": "round"},
        {"tol": -1},
        {"reg_covar": -1e-3},
        {"max_iter": -1},
        {"n_init": 0},
        {"init_params": "guess"},
        {"random_state": "seed"},
        {"warm_start": "yes"},
        {"verbose": -1},
        {"verbose_interval": 0},
        {"n_threads": 0},
        {"callback": "print"},
        {"weights_init": 3},
    ],
    ids=lambda argument: next(iter(argument)),
)
def test_invalid_parameters(iris, argument):
    (name,) = argument
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of GaussianMixture"):
        GaussianMixture(**argument).fit(iris)


def test_convergence_warning_points_at_the_callers_line(iris):
    for method in ("fit", "fit_predict"):
        estimator = GaussianMixture(3, max_iter=2, random_state=0)
        with pytest.warns(ConvergenceWarning, match="did not converge") as caught:
            getattr(estimator, method)(iris)
        assert [record.filename for record in caught] == [__file__]
        assert not estimator.converged_


def test_convergence_is_silent(iris):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert GaussianMixture(3, random_state=0).fit(iris).converged_
