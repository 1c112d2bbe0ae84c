"""From the same start, the same steps to the same answer as scikit-learn's GaussianMixture."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.mixture
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from emdash import GaussianMixture
from emdash.estimators._rounded import exact as before_rounding

SAME = 1e-8  # what the project promises
DATA = ("faithful", "iris", "wine", "digits")


@pytest.fixture(params=DATA)
def X(request, datasets):
    return datasets[request.param]


@pytest.fixture
def assert_same(assert_same_fit, relative_error):
    """Return a check of everything that scikit-learn reports about a fit."""

    def check(found, expected, X):
        assert_same_fit(found, expected, SAME)
        assert relative_error(found.precisions_, expected.precisions_) < SAME
        assert found.lower_bound_ == pytest.approx(expected.lower_bound_, rel=SAME)
        for method in ("score", "aic", "bic"):
            assert getattr(found, method)(X) == pytest.approx(
                getattr(expected, method)(X), rel=SAME
            )
        np.testing.assert_allclose(found.score_samples(X), expected.score_samples(X), rtol=1e-7)
        np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-7)
        np.testing.assert_array_equal(found.predict(X), expected.predict(X))

    return check


def both(X, **arguments):
    """Fit both estimators with the same arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = GaussianMixture(**arguments).fit(X)
        with threadpool_limits(1):  # its small products only lose time to more threads
            return found, sklearn.mixture.GaussianMixture(**arguments).fit(X)


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_kmeans_start(X, covariance_type, n_components, assert_same):
    found, expected = both(
        X, n_components=n_components, covariance_type=covariance_type, random_state=0
    )
    assert_same(found, expected, X)


@pytest.mark.parametrize("n_components", [2, 4])
def test_given_start(X, covariance_type, n_components, assert_same):
    d = X.shape[1]
    chosen = X[:: len(X) // n_components][:n_components]
    precision = 1 / (X.var(axis=0) + 1)
    precisions = {
        "full": np.stack([np.diag(precision)] * n_components),
        "tied": np.diag(precision),
        "diag": np.stack([precision] * n_components),
        "spherical": np.full(n_components, precision.mean()),
    }
    found, expected = both(
        X,
        n_components=n_components,
        covariance_type=covariance_type,
        weights_init=np.arange(1, n_components + 1) / np.arange(1, n_components + 1).sum(),
        means_init=chosen + np.linspace(0, 0.1, d),
        precisions_init=precisions[covariance_type],
        tol=1e-5,
        max_iter=60 if d < 64 else 6,
        # the digits have columns without any variance: keep their scale within reason
        reg_covar=1e-2 if d == 64 else 1e-6,
    )
    assert expected.n_iter_ > 4
    assert_same(found, expected, X)


@pytest.mark.parametrize("given", ["weights_init", "means_init", "precisions_init"])
def test_partly_given_start(iris, covariance_type, given, assert_same):
    complete = sklearn.mixture.GaussianMixture(
        3, covariance_type=covariance_type, random_state=5, max_iter=3, tol=1
    ).fit(iris)
    value = getattr(complete, given.replace("init", ""))
    found, expected = both(
        iris,
        n_components=3,
        covariance_type=covariance_type,
        random_state=1,
        tol=1e-4,
        **{given: value},
    )
    assert_same(found, expected, iris)


def test_random_responsibilities(iris, covariance_type, assert_same):
    """The draws are the same; EM then leaves a nearly symmetric point, where rounding grows."""
    arguments = {
        "n_components": 3,
        "covariance_type": covariance_type,
        "init_params": "random",
        "random_state": 0,
    }
    for max_iter in (1, 5):
        found, expected = both(iris, max_iter=max_iter, tol=0, **arguments)
        assert_same(found, expected, iris)


@pytest.mark.parametrize("init_params", ["k-means++", "random_from_data"])
@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_rows_as_starting_means(iris, covariance_type, init_params, relative_error):
    """The same rows are drawn.

    scikit-learn's weights of this start do not sum to one (each is 1/n), which
    moves its first lower bound by log(n / K); ours do. For a tied covariance it
    divides the scatter of all rows by K; ours starts at ``reg_covar`` there as
    everywhere. The steps that follow are the same.
    """
    found, expected = both(
        iris,
        n_components=3,
        covariance_type=covariance_type,
        init_params=init_params,
        random_state=0,
        reg_covar=1e-2,
    )
    assert found.n_iter_ == expected.n_iter_
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        assert relative_error(getattr(found, name), getattr(expected, name)) < SAME
    assert relative_error(found.lower_bounds_[1:], expected.lower_bounds_[1:]) < SAME
    first = expected.lower_bounds_[0] + np.log(len(iris) / 3)
    assert found.lower_bounds_[0] == pytest.approx(first, rel=SAME)


def test_best_of_several_starts(iris, covariance_type, assert_same):
    arguments = {"n_components": 4, "covariance_type": covariance_type, "random_state": 2}
    found, expected = both(iris, n_init=5, **arguments)
    assert_same(found, expected, iris)
    alone = GaussianMixture(**arguments).fit(iris)
    assert found.lower_bound_ >= alone.lower_bound_


def test_a_generator_is_advanced_the_same_way(iris, assert_same):
    ours, theirs = np.random.RandomState(3), np.random.RandomState(3)
    for _ in range(2):
        found = GaussianMixture(2, n_init=2, random_state=ours).fit(iris)
        expected = sklearn.mixture.GaussianMixture(2, n_init=2, random_state=theirs).fit(iris)
        assert_same(found, expected, iris)
    assert ours.uniform() == theirs.uniform()


def test_warm_start(faithful, covariance_type, assert_same):
    arguments = {
        "n_components": 3,
        "covariance_type": covariance_type,
        "random_state": 0,
        "warm_start": True,
        "n_init": 3,  # of no account after the first call
        "tol": 1e-4,
    }
    ours = GaussianMixture(**arguments)
    theirs = sklearn.mixture.GaussianMixture(**arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for max_iter in (1, 2, 4, 100, 100):
            for estimator in (ours, theirs):
                estimator.set_params(max_iter=max_iter).fit(faithful)
            assert_same(ours, theirs, faithful)
    assert ours.n_iter_ == 1  # it had converged, and its first step compared with the last one
    more = np.vstack([faithful, faithful[:50] + 0.1])
    assert_same(ours.fit(more), theirs.fit(more), more)


def test_no_iterations(X, covariance_type, relative_error):
    arguments = {"n_components": 3, "covariance_type": covariance_type, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # asked for: nothing to warn about
        found = GaussianMixture(**arguments, max_iter=0).fit(X)
    expected = sklearn.mixture.GaussianMixture(**arguments, max_iter=0).fit(X)
    assert found.n_iter_ == expected.n_iter_ == 0
    assert found.converged_ is expected.converged_ is False
    assert found.lower_bound_ == expected.lower_bound_ == -np.inf
    assert found.lower_bounds_ == expected.lower_bounds_ == []
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        assert relative_error(getattr(found, name), getattr(expected, name)) < SAME
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


def test_empty_iterations_then_some(iris, assert_same):
    """Warm start from a start that was only looked at."""
    arguments = {"n_components": 3, "random_state": 0, "warm_start": True}
    ours = GaussianMixture(**arguments, max_iter=0).fit(iris)
    theirs = sklearn.mixture.GaussianMixture(**arguments, max_iter=0).fit(iris)
    for estimator in (ours, theirs):
        estimator.set_params(max_iter=100).fit(iris)
    assert_same(ours, theirs, iris)


def test_not_converged(iris, assert_same):
    arguments = {"n_components": 3, "random_state": 0, "max_iter": 2, "tol": 0.0}
    theirs = sklearn.mixture.GaussianMixture(**arguments)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        theirs.fit(iris)
    ours = GaussianMixture(**arguments)
    with pytest.warns(ConvergenceWarning, match=r"did not converge.*max_iter=2.*tol=0"):
        ours.fit(iris)
    assert not ours.converged_
    assert_same(ours, theirs, iris)


@pytest.mark.parametrize("n_samples", [1, 7, 500])
def test_samples_are_the_same_draws(iris, covariance_type, n_samples):
    """The same generator, called in the same order."""
    arguments = {"n_components": 3, "covariance_type": covariance_type, "random_state": 0}
    found, expected = both(iris, **arguments)
    (x, y), (x_expected, y_expected) = found.sample(n_samples), expected.sample(n_samples)
    np.testing.assert_array_equal(y, y_expected)
    np.testing.assert_allclose(x, x_expected, rtol=1e-6)


def test_float32_in_memory(iris, covariance_type, relative_error):
    """scikit-learn computes in float32 then; we in float64 and agree as far as it is precise."""
    X = iris.astype(np.float32)
    found, expected = both(X, n_components=3, covariance_type=covariance_type, random_state=0)
    exact = sklearn.mixture.GaussianMixture(
        3, covariance_type=covariance_type, random_state=0, max_iter=max(found.n_iter_, 1), tol=0
    )
    with pytest.warns(ConvergenceWarning):
        exact.fit(X.astype(np.float64))
    assert relative_error(before_rounding(found, "means_"), exact.means_) < SAME
    assert relative_error(before_rounding(found, "covariances_"), exact.covariances_) < SAME
    assert relative_error(found.means_, expected.means_) < 1e-2


def test_same_arguments_attributes_and_methods(iris):
    """Everything public in scikit-learn is here, with the same defaults."""
    ours, theirs = GaussianMixture().get_params(), sklearn.mixture.GaussianMixture().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    found, expected = both(iris, n_components=2, random_state=0)
    public = {name for name in dir(expected) if not name.startswith("_")}
    assert public - set(dir(found)) == set()
    for name in public:
        attribute = getattr(expected, name)
        if name.endswith("_"):
            assert np.shape(getattr(found, name)) == np.shape(attribute), name
            kinds = float if isinstance(attribute, float) else type(attribute)
            assert isinstance(getattr(found, name), kinds), name
