"""Parameters set or edited by hand, as scripts written for scikit-learn do."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.mixture
from sklearn.exceptions import ConvergenceWarning

from emdash import GaussianMixture

NAMES = ("weights_", "means_", "covariances_", "precisions_cholesky_")


@pytest.fixture
def theirs(iris, covariance_type):
    return sklearn.mixture.GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(
        iris
    )


def by_hand(model, names):
    estimator = GaussianMixture(3, covariance_type=model.covariance_type, random_state=0)
    for name in names:
        setattr(estimator, name, getattr(model, name))
    estimator.n_features_in_ = 4
    return estimator


def test_attributes_set_without_a_fit(theirs, iris):
    ours = by_hand(theirs, NAMES)
    np.testing.assert_allclose(ours.score_samples(iris), theirs.score_samples(iris), rtol=1e-10)
    np.testing.assert_allclose(ours.predict_proba(iris), theirs.predict_proba(iris), atol=1e-10)
    np.testing.assert_array_equal(ours.predict(iris), theirs.predict(iris))
    np.testing.assert_allclose(ours.sample(9)[0], theirs.sample(9)[0], rtol=1e-10)
    assert ours.bic(iris) == pytest.approx(theirs.bic(iris), rel=1e-12)


def test_factors_alone_are_enough_for_densities(theirs, iris):
    """scikit-learn reads ``covariances_`` in ``sample`` only, and scripts leave it out."""
    ours = by_hand(theirs, ("weights_", "means_", "precisions_cholesky_"))
    np.testing.assert_allclose(ours.score_samples(iris), theirs.score_samples(iris), rtol=1e-10)


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_factor_in_either_orientation(theirs, iris):
    """``cholesky(inv(covariance))`` is the lower factor of the same precision."""
    expected = theirs.score_samples(iris)
    theirs.precisions_cholesky_ = np.linalg.cholesky(theirs.precisions_)
    np.testing.assert_allclose(theirs.score_samples(iris), expected, rtol=1e-9)
    ours = by_hand(theirs, NAMES)
    np.testing.assert_allclose(ours.score_samples(iris), expected, rtol=1e-9)


def test_components_reordered_after_a_fit(iris, covariance_type):
    fit = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(iris)
    expected = fit.predict_proba(iris)
    order = np.argsort(fit.means_[:, 0])
    for name in NAMES[: 2 if covariance_type == "tied" else 4]:
        setattr(fit, name, getattr(fit, name)[order])
    np.testing.assert_allclose(fit.predict_proba(iris), expected[:, order], rtol=1e-9, atol=1e-15)


def test_warm_start_takes_the_same_path(iris, covariance_type):
    """A fit that is interrupted after every step goes where the whole one goes."""
    arguments = {"covariance_type": covariance_type, "random_state": 0, "tol": 1e-9}
    whole = GaussianMixture(3, **arguments, max_iter=500).fit(iris)
    parts = GaussianMixture(3, **arguments, max_iter=1, warm_start=True)
    bounds = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(whole.n_iter_):
            bounds += parts.fit(iris).lower_bounds_
    assert parts.converged_
    np.testing.assert_array_equal(bounds, whole.lower_bounds_)
    np.testing.assert_array_equal(parts.covariances_, whole.covariances_)


def test_warm_start_goes_on_from_edited_parameters(theirs, iris):
    edited = by_hand(theirs, NAMES)
    for estimator in (edited, theirs):
        estimator.converged_, estimator.lower_bound_ = False, -np.inf
        estimator.means_ = estimator.means_ + 0.1
        estimator.set_params(warm_start=True, tol=1e-6).fit(iris)
    assert edited.n_iter_ == theirs.n_iter_ > 2
    np.testing.assert_allclose(edited.means_, theirs.means_, rtol=1e-8)
    np.testing.assert_allclose(edited.lower_bounds_, theirs.lower_bounds_, rtol=1e-8)
