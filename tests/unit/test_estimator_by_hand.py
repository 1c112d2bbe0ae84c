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


# --- covariances and factors: one of them, both, both in disagreement --------------------------


def without_warnings(call, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call(*arguments)


@pytest.fixture
def wide(covariance_type):
    """Return a model of features whose units differ by 12 orders of magnitude."""
    rng = np.random.default_rng(2)
    units = np.array([1e-6, 1.0, 1e6])
    A = rng.normal(size=(2, 3, 6)) * units[:, None]
    matrices = A @ np.swapaxes(A, 1, 2)
    covariances = {
        "full": matrices,
        "tied": matrices[0],
        "diag": np.diagonal(matrices, axis1=1, axis2=2),
        "spherical": np.array([1e-12, 1e12]),
    }[covariance_type]
    return GaussianMixture.from_parameters(
        [0.4, 0.6],
        rng.normal(size=(2, 3)) * units,
        covariances=covariances,
        covariance_type=covariance_type,
        random_state=0,
    )


def test_covariances_alone_are_enough(wide):
    X = wide.sample(20)[0]
    expected = wide.score_samples(X), wide.sample(5)[0]
    del wide.precisions_cholesky_, wide.precisions_
    wide.means_, wide.weights_ = wide.means_.tolist(), wide.weights_.tolist()
    wide.covariances_ = wide.covariances_.tolist()
    np.testing.assert_array_equal(without_warnings(wide.score_samples, X), expected[0])
    np.testing.assert_array_equal(wide.sample(5)[0], expected[1])


def test_factors_alone_are_enough(wide):
    X = wide.sample(20)[0]
    expected = wide.score_samples(X), wide.covariances_
    del wide.covariances_, wide.precisions_
    wide.precisions_cholesky_ = -wide.precisions_cholesky_  # the sign is lost in the precision
    np.testing.assert_allclose(without_warnings(wide.score_samples, X), expected[0], rtol=1e-9)
    np.testing.assert_allclose(wide._get_parameters()[2], expected[1], rtol=1e-8)
    assert wide.sample(5)[0].shape == (5, 3)


def test_orientations_and_float32_make_no_difference(wide):
    """Upper or lower, of the precision or transposed: the covariances tell what is meant."""
    X = wide.sample(20)[0]
    expected, upper = wide.score_samples(X), wide.precisions_cholesky_
    precision = wide.precisions_
    found = [upper.astype(np.float32)]
    if upper.ndim > 2 or wide.covariance_type == "tied":
        lower = np.linalg.cholesky(precision)
        found += [lower, np.swapaxes(lower, -1, -2), np.swapaxes(upper, -1, -2)]
    for factor in found:
        wide.precisions_cholesky_ = factor
        np.testing.assert_allclose(without_warnings(wide.score_samples, X), expected, rtol=1e-5)
    wide.precisions_cholesky_ = upper
    wide.covariances_ = wide.covariances_.astype(np.float32)
    np.testing.assert_allclose(without_warnings(wide.score_samples, X), expected, rtol=1e-5)


def test_a_factor_that_disagrees_is_told_and_the_covariance_used(wide):
    X = wide.sample(20)[0]
    expected = wide.score_samples(X)
    factor = wide.precisions_cholesky_.copy()
    last = "all components" if wide.covariance_type == "tied" else "component 1"
    factor[-1] *= 1.002
    wide.precisions_cholesky_ = factor
    with pytest.warns(UserWarning, match=f"precisions_cholesky_ of {last} disagree; the cov"):
        np.testing.assert_allclose(wide.score_samples(X), expected, rtol=1e-12)
    wide.precisions_cholesky_ = np.linalg.inv(np.eye(3)) if factor.shape == (3, 3) else factor * 9
    with pytest.warns(UserWarning, match="disagree"):
        np.testing.assert_allclose(wide.score_samples(X), expected, rtol=1e-12)


def test_covariances_edited_in_place_after_a_fit(iris, covariance_type):
    fit = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(iris)
    fit.covariances_ *= 4
    again = GaussianMixture.from_parameters(
        fit.weights_, fit.means_, covariances=fit.covariances_, covariance_type=covariance_type
    )
    with pytest.warns(UserWarning, match="disagree"):
        np.testing.assert_array_equal(fit.score_samples(iris), again.score_samples(iris))


def test_fits_of_ill_conditioned_data_are_not_accused(covariance_type):
    """Correlations up to 1 - 1e-12: rounding alone moves the factor by more than a thousandth."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 1))
    X = np.hstack([x, x + 1e-6 * rng.normal(size=(500, 1)), x * 1e8])
    X[:, 2] += rng.normal(size=500) * 10
    fit = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, random_state=0, tol=1)
    without_warnings(fit.fit(X).predict, X)


def test_rounding_is_judged_by_the_type_that_was_given():
    """What float32 leaves of an ill-conditioned covariance is no disagreement; in float64 it is."""
    covariance = np.array([[1.0, 0.999998], [0.999998, 1.0]])
    model = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], covariances=[covariance])
    single = model.covariances_.astype(np.float32)
    model.covariances_ = single
    without_warnings(model.predict, [[0.0, 1.0]])
    model.covariances_ = single.astype(np.float64)
    with pytest.warns(UserWarning, match="component 0 disagree"):
        model.predict([[0.0, 1.0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights_": [0.5, 0.6]}, r"weights_ should sum to 1, .* is 1\.1: divide"),
        ({"weights_": [1.5, -0.5]}, r"weights_ of component 1 is -0\.5"),
        ({"weights_": [1.0, np.nan]}, r"weights_\[1\] is nan"),
        ({"weights_": [1.0]}, r"weights_ should have the shape \(2,\), but got \(1,\)"),
        ({"means_": [[0.0, 0.0], [np.inf, 1.0]]}, r"means_\[1, 0\] is inf"),
        ({"means_": [0.0, 1.0]}, r"means_ should have the shape \(n_components, n_features\)"),
        ({"means_": [["a", "b"], ["c", "d"]]}, "means_ should be an array of real numbers"),
        ({"covariances_": [1.0, 2.0]}, r"covariances_ should have the shape \(2, 2, 2\)"),
        ({"covariances_": [np.eye(2), -np.eye(2)]}, "covariances_ of component 1 is not positive"),
        ({"covariances_": [np.eye(2), [[1, 2], [0, 9]]]}, "component 1 is not symmetric"),
        ({"covariances_": [np.eye(2), np.full((2, 2), np.nan)]}, r"covariances_\[1, 0, 0\] is nan"),
        ({"precisions_cholesky_": [np.eye(2)]}, r"precisions_cholesky_ should have the shape"),
        (
            {"precisions_cholesky_": np.array([np.eye(2), np.zeros((2, 2))]), "covariances_": None},
            "precisions_cholesky_ of component 1 is singular",
        ),
        (
            {"precisions_cholesky_": None, "covariances_": None},
            "covariances_ or precisions_cholesky_ besides",
        ),
        ({"weights_": None}, "needs weights_"),
        ({"means_": None}, "needs means_"),
    ],
)
def test_attributes_that_make_no_mixture(changes, message):
    model = GaussianMixture.from_parameters(
        [0.5, 0.5], [[0.0, 0.0], [5.0, 5.0]], covariances=[np.eye(2), np.eye(2)]
    )
    del model.n_features_in_
    for name, value in changes.items():
        setattr(model, name, value)
    for ask in (lambda: model.predict([[1.0, 2.0]]), model.sample):
        with pytest.raises(ValueError, match=message):
            ask()


def test_number_of_columns_without_n_features_in(theirs, iris):
    ours = by_hand(theirs, NAMES)
    del ours.n_features_in_
    for X in (iris[:, :3], [iris[:, :3]]):
        with pytest.raises(ValueError, match=r"X has 3 features, .* is expecting 4"):
            ours.predict(X)
    np.testing.assert_array_equal(ours.predict([iris[:9], iris[9:]]), theirs.predict(iris))


def test_float32_weights_can_be_drawn_from(wide):
    weights = np.array([1 / 3, 2 / 3], dtype=np.float32)
    wide.weights_ = weights
    assert weights.astype(float).sum() != 1
    assert wide.sample(1000)[0].shape == (1000, 3)
