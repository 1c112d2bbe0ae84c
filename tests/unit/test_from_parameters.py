"""Mixtures made of given parameters, and exchanged with scikit-learn."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import InvalidParameterError

import emdash
from emdash import GaussianMixture

WEIGHTS = [0.2, 0.5, 0.3]
MEANS = [[0.0, 1.0], [5.0, -2.0], [-4.0, 3.0]]
COVARIANCES = {
    "full": [[[2.0, 0.5], [0.5, 1.0]], [[1.0, -0.3], [-0.3, 0.5]], [[0.1, 0.0], [0.0, 4.0]]],
    "tied": [[2.0, 0.5], [0.5, 1.0]],
    "diag": [[2.0, 1.0], [1.0, 0.5], [0.1, 4.0]],
    "spherical": [2.0, 0.5, 4.0],
}
K, d = 3, 2


def as_matrices(covariance_type):
    covariances = np.array(COVARIANCES[covariance_type])
    if covariance_type == "spherical":
        return covariances[:, None, None] * np.eye(d)
    if covariance_type == "diag":
        return covariances[:, None, :] * np.eye(d)
    return np.broadcast_to(covariances, (K, d, d))


def inverses(covariance_type):
    covariances = np.array(COVARIANCES[covariance_type])
    return np.linalg.inv(covariances) if covariance_type in ("full", "tied") else 1 / covariances


@pytest.fixture
def made(covariance_type):
    """Return the mixture above; three components and two features leave no doubt of the type."""
    return GaussianMixture.from_parameters(
        WEIGHTS, MEANS, covariances=COVARIANCES[covariance_type], random_state=3
    )


@pytest.fixture
def X(made):
    return made.sample(200)[0]


def test_densities_are_those_of_the_parameters(made, X, covariance_type):
    densities = [
        weight * multivariate_normal(mean, matrix).pdf(X)
        for weight, mean, matrix in zip(WEIGHTS, MEANS, as_matrices(covariance_type), strict=True)
    ]
    total = np.sum(densities, axis=0)
    assert made.covariance_type == covariance_type
    np.testing.assert_allclose(made.score_samples(X), np.log(total), rtol=1e-10)
    np.testing.assert_allclose(made.predict_proba(X), (densities / total).T, atol=1e-12)
    np.testing.assert_array_equal(made.predict(X), np.argmax(densities, axis=0))
    assert made.score(X) == pytest.approx(np.log(total).mean(), rel=1e-12)
    n_parameters = {"full": 17, "tied": 11, "diag": 14, "spherical": 11}[covariance_type]
    twice = -2 * np.log(total).sum()
    assert made.aic(X) == pytest.approx(twice + 2 * n_parameters, rel=1e-12)
    assert made.bic(X) == pytest.approx(twice + np.log(200) * n_parameters, rel=1e-12)


def test_precisions_are_covariances_inverted(made, X, covariance_type):
    other = GaussianMixture.from_parameters(
        WEIGHTS, MEANS, precisions=inverses(covariance_type).tolist(), random_state=3
    )
    assert other.covariance_type == covariance_type
    np.testing.assert_allclose(other.covariances_, COVARIANCES[covariance_type], rtol=1e-12)
    np.testing.assert_allclose(other.score_samples(X), made.score_samples(X), rtol=1e-12)


def test_it_is_what_a_fit_without_iterations_leaves(made, X, covariance_type):
    fit = GaussianMixture(
        K,
        covariance_type=covariance_type,
        weights_init=WEIGHTS,
        means_init=MEANS,
        precisions_init=made.precisions_,
        max_iter=0,
    ).fit(X)
    assert vars(fit).keys() == vars(made).keys()
    for name, value in vars(fit).items():
        if name.endswith("_") and isinstance(value, np.ndarray):
            np.testing.assert_allclose(getattr(made, name), value, rtol=1e-12)
        elif name.endswith("_"):
            assert getattr(made, name) == value


def test_warm_start_goes_on_from_it(made, X, covariance_type):
    settings = {"covariance_type": covariance_type, "tol": 1e-8, "max_iter": 500}
    start = {"weights_init": WEIGHTS, "means_init": MEANS, "precisions_init": made.precisions_}
    expected = GaussianMixture(K, **settings, **start).fit(X)
    made.set_params(warm_start=True, tol=1e-8, max_iter=500).fit(X)
    assert made.n_iter_ == expected.n_iter_ > 2
    np.testing.assert_allclose(made.lower_bounds_, expected.lower_bounds_, rtol=1e-12)
    np.testing.assert_allclose(made.covariances_, expected.covariances_, rtol=1e-9)


def test_save_and_load(made, X, tmp_path):
    emdash.save(made, tmp_path / "model.npz")
    again = emdash.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.score_samples(X), made.score_samples(X))
    np.testing.assert_array_equal(again.sample(5)[0], made.sample(5)[0])
    assert again.lower_bound_ == -np.inf
    assert again.history_ == []


def test_arrays_are_its_own():
    weights, means = np.array(WEIGHTS), np.array(MEANS)
    covariances = np.array(COVARIANCES["full"])
    made = GaussianMixture.from_parameters(weights, means, covariances=covariances)
    for given in (weights, means, covariances):
        given[...] = 7
    np.testing.assert_array_equal(made.weights_, WEIGHTS)
    np.testing.assert_array_equal(made.means_, MEANS)
    np.testing.assert_array_equal(made.covariances_, COVARIANCES["full"])


def test_types_of_numbers():
    made = GaussianMixture.from_parameters(
        np.float32([1 / 3, 2 / 3]), pd.DataFrame([[0, 0], [5, 5]]), covariances=(1, 4)
    )
    assert made.weights_.sum() == 1
    assert {made.weights_.dtype, made.means_.dtype, made.covariances_.dtype} == {np.dtype(float)}
    assert np.isfinite(made.score_samples([[1, 2]])).all()


def test_settings_and_names():
    made = GaussianMixture.from_parameters(
        WEIGHTS,
        MEANS,
        covariances=COVARIANCES["diag"],
        feature_names=["a", "b"],
        n_components=3,
        tol=1e-5,
        random_state=4,
    )
    assert (made.n_components, made.tol, made.random_state) == (3, 1e-5, 4)
    assert clone(made).get_params() == made.get_params()
    np.testing.assert_array_equal(made.feature_names_in_, ["a", "b"])
    made.predict(pd.DataFrame(MEANS, columns=["a", "b"]))
    with pytest.raises(ValueError, match="feature names should match"):
        made.predict(pd.DataFrame(MEANS, columns=["b", "a"]))


def test_as_many_components_as_features_leave_a_doubt():
    square = [[2.0, 0.5], [0.5, 1.0]]
    with pytest.raises(ValueError, match=r"shape \(2, 2\) may be tied or diag .* covariance_type"):
        GaussianMixture.from_parameters([0.5, 0.5], MEANS[:2], covariances=square)
    for name in ("tied", "diag"):
        made = GaussianMixture.from_parameters(
            [0.5, 0.5], MEANS[:2], covariances=square, covariance_type=name
        )
        np.testing.assert_array_equal(made.covariances_, square)
        assert made._n_parameters() == {"tied": 8, "diag": 9}[name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"covariances": None}, "either covariances or precisions, but got neither"),
        ({"precisions": COVARIANCES["full"]}, "either covariances or precisions, but got both"),
        ({"weights": [0.2, 0.5, 0.2]}, r"weights should sum to 1, .*1e-06, .* 0\.9: divide"),
        ({"weights": [0.2, 0.8]}, r"weights should have the shape \(3,\), but got \(2,\)"),
        ({"weights": [-0.2, 0.9, 0.3]}, "weights of component 0 is -0.2: weights are 0 or more"),
        ({"weights": [0.2, 0.5, 0.3j]}, "weights should be an array of real numbers"),
        ({"means": [0.0, 1.0, 2.0]}, r"means should have the shape \(n_components, n_features\)"),
        ({"means": [[0.0], [1.0, 2.0], [1.0]]}, "means should be an array of real numbers"),
        ({"means": [*MEANS[:2], [np.nan, 0]]}, r"means\[2, 0\] is nan"),
        ({"means": np.empty((0, 2)), "weights": []}, r"but got \(0, 2\)"),
        ({"covariances": np.ones((3, 3))}, r"\(3, 2, 2\) if full, .* \(3,\) if spherical, but got"),
        ({"covariances": [1.0, -1.0, 0.0]}, "covariances of component 1 .*smallest entry is -1"),
        ({"covariances": [1.0, np.inf, 1.0]}, r"covariances\[1\] is inf"),
        (
            {"covariances": [np.eye(2), np.eye(2), np.ones((2, 2)) - 0.25 * np.eye(2)]},
            "covariances of component 2 is not positive definite .* eigenvalue is -0.25",
        ),
        (
            {"covariances": [np.eye(2), [[1, 0.5], [0.4, 1]], np.eye(2)]},
            r"covariances of component 1 is not symmetric: \[0, 1\] is 0\.5 and \[1, 0\] is 0\.4",
        ),
        (
            {"covariances": None, "precisions": -np.eye(2)},
            "precisions of all components is not positive definite",
        ),
        ({"covariances": [1.0, 1.0, 1e-320]}, "inverse of covariances overflows: scale"),
        ({"covariances": None, "precisions": [1, 1, 1e-320]}, "inverse of precisions overflows"),
        ({"covariance_type": "diag"}, r"covariances should have the shape \(3, 2\), but got \(3,"),
        ({"n_components": 4}, "n_components is 4, but means has 3 row"),
        ({"feature_names": ["a"]}, r"feature_names should be 2 string\(s\)"),
        ({"feature_names": [1, 2]}, r"feature_names should be 2 string\(s\)"),
    ],
)
def test_what_makes_no_mixture_is_refused(changes, message):
    given = {"weights": WEIGHTS, "means": MEANS, "covariances": COVARIANCES["full"], **changes}
    with pytest.raises(ValueError, match=message):
        GaussianMixture.from_parameters(**given)


def test_bad_settings_are_refused():
    given = {"covariances": COVARIANCES["full"]}
    with pytest.raises(InvalidParameterError, match="'tol' parameter of GaussianMixture"):
        GaussianMixture.from_parameters(WEIGHTS, MEANS, tol=-1, **given)
    with pytest.raises(InvalidParameterError, match="'covariance_type' parameter"):
        GaussianMixture.from_parameters(WEIGHTS, MEANS, covariance_type="round", **given)
    with pytest.raises(TypeError, match="colour"):
        GaussianMixture.from_parameters(WEIGHTS, MEANS, colour=1, **given)


# --- scikit-learn -----------------------------------------------------------------------------

COMMON = (
    *("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"),
    *("converged_", "n_iter_", "lower_bound_", "lower_bounds_"),
    *("n_features_in_", "feature_names_in_"),
)


def assert_same_attributes(found, expected, rtol=1e-12):
    for name in COMMON:
        assert hasattr(found, name) == hasattr(expected, name), name
        if name == "feature_names_in_":
            np.testing.assert_array_equal(found.feature_names_in_, expected.feature_names_in_)
        else:
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol)


def settings_for(covariance_type):
    return {
        "n_components": 3,
        "covariance_type": covariance_type,
        "tol": 1e-5,
        "reg_covar": 1e-7,
        "max_iter": 150,
        "n_init": 2,
        "init_params": "k-means++",
        "weights_init": [0.3, 0.3, 0.4],
        "random_state": 5,
        "verbose_interval": 3,
    }


@pytest.fixture
def frame(iris):
    return pd.DataFrame(iris, columns=["sl", "sw", "pl", "pw"])


def test_to_scikit_learn_and_back(frame, covariance_type):
    ours = GaussianMixture(**settings_for(covariance_type), n_threads=1).fit(frame)
    theirs = ours.to_sklearn()
    assert type(theirs) is sklearn.mixture.GaussianMixture
    assert ours.get_params().items() >= theirs.get_params().items()
    assert_same_attributes(theirs, ours, rtol=0)
    np.testing.assert_allclose(theirs.score_samples(frame), ours.score_samples(frame), rtol=1e-9)
    np.testing.assert_allclose(theirs.predict_proba(frame), ours.predict_proba(frame), atol=1e-9)
    np.testing.assert_array_equal(theirs.predict(frame), ours.predict(frame))
    np.testing.assert_array_equal(theirs.sample(7)[0], ours.sample(7)[0])
    back = GaussianMixture.from_sklearn(theirs)
    assert back.get_params() == {**ours.get_params(), "n_threads": None}
    assert_same_attributes(back, ours, rtol=0)
    np.testing.assert_array_equal(back.score_samples(frame), ours.score_samples(frame))


def test_from_scikit_learn_and_back(frame, covariance_type, tmp_path):
    theirs = sklearn.mixture.GaussianMixture(**settings_for(covariance_type))
    theirs.set_params(weights_init=None).fit(frame)
    ours = GaussianMixture.from_sklearn(theirs)
    assert ours.get_params().items() >= theirs.get_params().items()
    assert_same_attributes(ours, theirs)
    np.testing.assert_allclose(ours.score_samples(frame), theirs.score_samples(frame), rtol=1e-9)
    np.testing.assert_array_equal(ours.predict(frame), theirs.predict(frame))
    assert_same_attributes(ours.to_sklearn(), theirs)
    emdash.save(ours, tmp_path / "model.npz")
    again = emdash.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.predict_proba(frame), ours.predict_proba(frame))
    assert not hasattr(again, "history_")


def test_nothing_is_shared(iris):
    state = np.random.RandomState(0)
    ours = GaussianMixture(2, means_init=iris[[0, 100]].copy(), random_state=state).fit(iris)
    theirs = ours.to_sklearn()
    for one, other in ((ours, theirs), (theirs, GaussianMixture.from_sklearn(theirs))):
        for name in ("means_init", *COMMON[:5]):
            assert not np.shares_memory(getattr(other, name), getattr(one, name)), name
        assert other.lower_bounds_ is not one.lower_bounds_
        before = copy.deepcopy(one.random_state).uniform()
        other.sample(9)
        assert copy.deepcopy(one.random_state).uniform() == before


def test_both_go_on_alike(iris, covariance_type):
    settings = {"covariance_type": covariance_type, "tol": 1e-6, "random_state": 0}
    ours = GaussianMixture(3, **settings, max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours.fit(iris)
    theirs = ours.to_sklearn()
    back = GaussianMixture.from_sklearn(theirs)
    for fit in (ours, theirs, back):
        fit.set_params(warm_start=True, max_iter=300).fit(iris)
    assert ours.n_iter_ == theirs.n_iter_ == back.n_iter_ > 2
    np.testing.assert_allclose(theirs.lower_bounds_, ours.lower_bounds_, rtol=1e-10)
    np.testing.assert_array_equal(back.lower_bounds_, ours.lower_bounds_)


def test_not_fitted_stays_not_fitted():
    theirs = GaussianMixture(4, tol=1e-7).to_sklearn()
    assert (theirs.n_components, theirs.tol) == (4, 1e-7)
    back = GaussianMixture.from_sklearn(theirs)
    assert back.get_params() == GaussianMixture(4, tol=1e-7).get_params()
    assert not hasattr(back, "means_")


def test_attributes_set_by_hand_become_complete(iris, covariance_type):
    fit = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(iris)
    by_hand = GaussianMixture(3, covariance_type=covariance_type)
    by_hand.weights_, by_hand.means_ = fit.weights_.tolist(), fit.means_.tolist()
    by_hand.covariances_ = fit.covariances_.tolist()
    theirs = by_hand.to_sklearn()
    np.testing.assert_allclose(theirs.score_samples(iris), fit.score_samples(iris), rtol=1e-9)
    assert not hasattr(by_hand, "precisions_cholesky_")  # it was only read


def test_subclasses_and_their_parameters(iris):
    class Theirs(sklearn.mixture.GaussianMixture):
        def __init__(self, n_components=1, *, colour="red", random_state=None):
            super().__init__(n_components, random_state=random_state)
            self.colour = colour

    theirs = Theirs(2, random_state=0).fit(iris)
    ours = GaussianMixture.from_sklearn(theirs)
    assert "colour" not in ours.get_params()
    np.testing.assert_array_equal(ours.predict(iris), theirs.predict(iris))


@pytest.mark.parametrize(
    "other", [sklearn.mixture.BayesianGaussianMixture(), GaussianMixture(2), None]
)
def test_other_things_are_refused(other):
    with pytest.raises(TypeError, match=f"but got .*{type(other).__name__}; .*from_parameters"):
        GaussianMixture.from_sklearn(other)
