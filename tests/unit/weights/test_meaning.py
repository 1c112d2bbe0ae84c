"""Row weights: a weight of two is the row twice, of zero the row left out, and scale is nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from weighted_tables import ATTRIBUTES, K, assert_same

from emdash import GaussianMixture, start
from emdash.chunk import Chunk
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.models.mixture import Mixture, MixtureParameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def given_start(X, covariance_type):
    precisions = {
        "full": np.stack([np.eye(3)] * K),
        "tied": np.eye(3),
        "diag": np.ones((K, 3)),
        "spherical": np.ones(K),
    }
    return {
        "weights_init": [0.5, 0.5],
        "means_init": X[:K] + 0.5,
        "precisions_init": precisions[covariance_type],
        "covariance_type": covariance_type,
        "tol": 0.0,
        "max_iter": 12,
    }


def repeated(X, w):
    return np.repeat(X, w.astype(int), axis=0)


# --- what weights mean ------------------------------------------------------------------------


def test_whole_weights_are_repeated_rows(X, w, covariance_type):
    settings = given_start(X, covariance_type)
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=w)
    other = GaussianMixture(K, **settings).fit(repeated(X, w))
    assert_same(fit, other)
    plain = GaussianMixture(K, **settings).fit(X)
    assert np.abs(fit.means_ - plain.means_).max() > 0.01  # weights did matter
    for question in ("score", "aic", "bic"):
        found = getattr(fit, question)(X, sample_weight=w)
        assert found == pytest.approx(getattr(other, question)(repeated(X, w)), rel=1e-12)
        assert found != pytest.approx(getattr(fit, question)(X), rel=1e-6)


def test_far_starts_take_sums_again_with_weights(X, w, covariance_type):
    """The pass about nearer means is one of its own, in plain NumPy."""
    settings = {**given_start(X, covariance_type), "means_init": X[:K] + 1e7, "max_iter": 2}
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=w)
    assert_same(fit, GaussianMixture(K, **settings).fit(repeated(X, w)), rtol=1e-9)


@pytest.mark.parametrize("method", sorted(start.METHODS))
def test_weights_of_zero_are_removed_rows(X, w, method):
    """The start included: the draws are those that are made without these rows."""
    settings = {"init_params": method, "random_state": 0, "n_init": 2}
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=w)
    assert_same(fit, GaussianMixture(K, **settings).fit(X[w > 0], sample_weight=w[w > 0]))
    mask = (w > 0).astype(float)
    fit.fit(X, sample_weight=mask)
    assert_same(fit, GaussianMixture(K, **settings).fit(X[w > 0]))
    assert fit.score(X, sample_weight=mask) == pytest.approx(fit.score(X[w > 0]), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-60, 3.0])
def test_scale_changes_no_parameter(X, w, covariance_type, scale):
    settings = {"random_state": 0, "tol": 1e-4, "covariance_type": covariance_type}
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=scale * w)
    assert_same(fit, GaussianMixture(K, **settings).fit(X, sample_weight=w))
    assert fit.converged_  # tol is per unit of weight, and so is the objective
    assert fit.score(X, sample_weight=scale * w) == pytest.approx(fit.lower_bound_, abs=1e-3)


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_weights_that_float32_cannot_hold(X, w, scale):
    settings = {**given_start(X, "full"), "arithmetic": "float32"}
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=scale * w)
    assert_same(fit, GaussianMixture(K, **settings).fit(X, sample_weight=w), rtol=1e-5)


def test_powers_of_two_change_no_bit(X, w, covariance_type):
    fits = [
        GaussianMixture(K, covariance_type=covariance_type, random_state=0).fit(
            X, sample_weight=scale * w
        )
        for scale in (1.0, 2.0**-80)
    ]
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(fits[0], name), getattr(fits[1], name))


def test_weights_of_one_change_no_bit(X):
    fit, other = (GaussianMixture(K, random_state=0) for _ in range(2))
    fit.fit(X, sample_weight=np.ones(len(X)))
    other.fit(X)
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(fit, name), getattr(other, name))


def test_nearly_empty_components_do_not_notice_the_scale(X, w):
    """Some rules begin at the weight of one row: that row's own, not 1."""
    settings = {**given_start(X, "full"), "weights_init": [1e-9, 1 - 1e-9]}
    settings["means_init"] = [X[0] + 40, X[1]]
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=1e-12 * w)
    assert_same(fit, GaussianMixture(K, **settings).fit(X, sample_weight=w))


def test_score_is_the_weighted_mean(X, w):
    fit = GaussianMixture(K, random_state=0).fit(X)
    expected = (w * fit.score_samples(X)).sum() / w.sum()
    assert fit.score(X, sample_weight=w) == pytest.approx(expected, rel=1e-13)
    p = fit._n_parameters()
    assert fit.bic(X, sample_weight=w) == pytest.approx(
        -2 * w.sum() * expected + p * np.log(w.sum()), rel=1e-13
    )


def test_fit_predict_labels_every_row(X, w):
    fit = GaussianMixture(K, random_state=0)
    labels = fit.fit_predict(X, sample_weight=w)
    np.testing.assert_array_equal(labels, fit.predict(X))
    assert_same(fit, GaussianMixture(K, random_state=0).fit(X, sample_weight=w))


def test_warm_start_goes_on_with_weights(X, w):
    settings = {"random_state": 0, "tol": 0.0}
    warm = GaussianMixture(K, warm_start=True, max_iter=4, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warm.fit(X, sample_weight=w).fit(X, sample_weight=w)
    straight = GaussianMixture(K, max_iter=8, **settings).fit(X, sample_weight=w)
    np.testing.assert_allclose(warm.means_, straight.means_, rtol=1e-12)


def test_metadata_routing(X, w):
    with sklearn.config_context(enable_metadata_routing=True):
        mixture = GaussianMixture(K, random_state=0).set_fit_request(sample_weight=True)
        mixture.set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, mixture).fit(X, sample_weight=w)
        found = pipeline.score(X, sample_weight=w)
    scaled = StandardScaler().fit_transform(X)
    by_hand = GaussianMixture(K, random_state=0).fit(scaled, sample_weight=w)
    assert_same(pipeline[-1], by_hand)
    assert found == by_hand.score(scaled, sample_weight=w)


# --- with missing values ----------------------------------------------------------------------


@pytest.mark.parametrize("far", [0.0, 1e7])
def test_weights_times_missing(X, w, covariance_type, far):
    """Every sum of a pass, of the pass about other means, and of a score."""
    rng = np.random.default_rng(2)
    rows = X.copy()
    rows[rng.random(rows.shape) < 0.2] = np.nan
    rows[rng.choice(len(rows), 20)] = np.nan  # with weight and without
    shape = SHAPES[covariance_type]
    model = Mixture(Gaussian(shape, reg_covar=1e-6))
    factors = shape.unit_factors(K, 3)
    components = model.family.from_factors(np.ones(K), X[:K] + far, factors)
    parameters = MixtureParameters(np.array([0.4, 0.6]), components)
    tasks = (
        model.task(parameters),
        model.task_about(parameters, model.reference(X[2 : 2 + K])),
        model.score(parameters),
    )
    observed = ~np.isnan(rows).all(axis=1)
    for task in tasks:
        weighted = task(Chunk(rows, 0, 0, w), 1)
        for scale in (1.0, 1e-20):
            scaled = task(Chunk(rows, 0, 0, scale * w), 1)
            np.testing.assert_allclose(scaled.sums, scale * weighted.sums, rtol=1e-10)
        several = task(Chunk(repeated(rows, w), 0, 0), 1)
        removed = task(Chunk(rows[w > 0], 0, 0, w[w > 0]), 1)
        size = np.abs(several.sums).max()
        np.testing.assert_allclose(weighted.sums, several.sums, rtol=1e-10, atol=1e-14 * size)
        np.testing.assert_allclose(weighted.sums, removed.sums, rtol=1e-10, atol=1e-14 * size)
        assert weighted.weight == several.weight == w[observed].sum()
        assert weighted.n_used == removed.n_used == np.count_nonzero(w[observed])
        assert (weighted.n_rows, several.n_used) == (len(rows), w[observed].sum())
