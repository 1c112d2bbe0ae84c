"""The private methods that other code calls, against scikit-learn's own on the same rows."""

from __future__ import annotations

import copy
import inspect

import dask.array as da
import numpy as np
import pytest
import sklearn.mixture

from emdash import GaussianMixture

ROWS = ("_estimate_log_prob", "_estimate_weighted_log_prob", "_estimate_log_prob_resp", "_e_step")
OTHERS = (
    *("_m_step", "_get_parameters", "_set_parameters", "_n_parameters"),
    *("_estimate_log_weights", "_initialize_parameters"),
)
K = 3


@pytest.fixture(scope="module")
def fits(iris):
    return {
        name: sklearn.mixture.GaussianMixture(K, covariance_type=name, random_state=0).fit(iris)
        for name in ("full", "tied", "diag", "spherical")
    }


@pytest.fixture
def theirs(fits, covariance_type):
    return copy.deepcopy(fits[covariance_type])


@pytest.fixture
def ours(theirs):
    return GaussianMixture.from_sklearn(theirs)


def assert_same(found, expected, rtol=1e-9):
    assert type(found) is type(expected)
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, rtol)
        return
    assert np.shape(found) == np.shape(expected)
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("name", ROWS + OTHERS)
def test_signatures(name):
    found, expected = (
        inspect.signature(getattr(cls, name)).parameters
        for cls in (GaussianMixture, sklearn.mixture.GaussianMixture)
    )
    assert [(p.name, p.default) for p in found.values()] == [
        (p.name, p.default) for p in expected.values()
    ]


def test_answers_about_rows(ours, theirs, iris):
    for name in ROWS:
        assert_same(getattr(ours, name)(iris), getattr(theirs, name)(iris))
        assert_same(getattr(ours, name)(iris[:1]), getattr(theirs, name)(iris[:1]))


def test_log_prob_is_without_weights(ours, theirs, iris):
    ours.weights_, theirs.weights_ = ([0.0, 0.3, 0.7], np.array([0.0, 0.3, 0.7]))
    assert_same(ours._estimate_log_prob(iris), theirs._estimate_log_prob(iris))
    with np.errstate(divide="ignore"):
        expected = theirs._estimate_weighted_log_prob(iris)
        assert_same(ours._estimate_log_weights(), theirs._estimate_log_weights())
    assert np.isneginf(expected[:, 0]).all()
    assert_same(ours._estimate_weighted_log_prob(iris), expected)


def test_m_step(ours, theirs, iris):
    r = np.random.default_rng(0).dirichlet([1, 2, 3], size=len(iris))
    r[5] = 0.25, 0, 0.75
    with np.errstate(divide="ignore"):
        log_resp = np.log(r)
    ours.means_ = ours.means_ + 100  # where the parameters were does not matter
    assert ours._m_step(iris, log_resp) is theirs._m_step(iris, log_resp) is None
    assert_same(ours._get_parameters(), theirs._get_parameters())
    assert_same(ours.precisions_, np.asarray(ours._shape.precisions(theirs.precisions_cholesky_)))


def test_m_step_far_from_the_origin(ours, iris):
    """Where scikit-learn loses all digits of tied, diag and spherical covariances."""
    log_resp = np.log(np.random.default_rng(0).dirichlet([1, 2, 3], size=len(iris)))
    ours._m_step(iris, log_resp)
    near = ours.covariances_
    ours._m_step(iris + 1e8, log_resp)
    np.testing.assert_allclose(ours.covariances_, near, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("log_resp", [np.zeros((10, K)), np.full((150, K), np.nan), np.zeros(150)])
def test_m_step_refuses_what_is_no_log_resp(iris, log_resp):
    ours = GaussianMixture(K)
    with pytest.raises(ValueError, match=r"log_resp should be .* 150 rows"):
        ours._m_step(iris, log_resp)


def test_em_step_by_step(iris, covariance_type):
    """The loop that programs write around the private methods is the loop of `fit`."""
    settings = {"covariance_type": covariance_type, "random_state": 0, "tol": 1e-6}
    whole = GaussianMixture(K, **settings, max_iter=500).fit(iris)
    steps = GaussianMixture(K, **settings)
    steps._initialize_parameters(iris, np.random.RandomState(0))
    bounds = []
    while len(bounds) < 2 or bounds[-1] - bounds[-2] >= 1e-6:
        bound, log_resp = steps._e_step(iris)
        steps._m_step(iris, log_resp)
        bounds.append(bound)
    np.testing.assert_allclose(bounds, whole.lower_bounds_, rtol=1e-10)
    np.testing.assert_allclose(steps.means_, whole.means_, rtol=1e-9)


@pytest.mark.parametrize("init_params", ["kmeans", "random"])
def test_initialize_parameters(iris, covariance_type, init_params):
    found = []
    for cls in (GaussianMixture, sklearn.mixture.GaussianMixture):
        estimator = cls(K, covariance_type=covariance_type, init_params=init_params)
        estimator._initialize_parameters(iris, np.random.RandomState(7))
        found.append(estimator._get_parameters())
    assert_same(*found, rtol=1e-8)


def test_initialize_parameters_takes_what_was_given(iris, ours):
    settings = {
        "weights_init": ours.weights_,
        "means_init": ours.means_,
        "precisions_init": ours.precisions_,
    }
    estimator = GaussianMixture(K, covariance_type=ours.covariance_type, **settings)
    estimator._initialize_parameters(iris, None)
    assert_same(estimator._get_parameters(), ours._get_parameters(), rtol=1e-7)


def test_get_and_set_parameters(ours, theirs, iris):
    assert_same(ours._get_parameters(), theirs._get_parameters())
    kept, expected = ours._get_parameters(), ours.score_samples(iris)
    ours.fit(iris[::2])
    assert not np.allclose(ours.score_samples(iris), expected, rtol=1e-6)
    assert ours._set_parameters(kept) is None
    np.testing.assert_array_equal(ours.score_samples(iris), expected)
    theirs._set_parameters(kept)
    assert_same(ours.precisions_, theirs.precisions_)


def test_number_of_parameters(ours, theirs):
    assert ours._n_parameters() == theirs._n_parameters()
    assert type(ours._n_parameters()) is int


def test_lazy_answers_about_dask_arrays(ours, iris):
    X = da.from_array(iris, chunks=(40, 4))
    for name in ("_estimate_log_prob", "_estimate_weighted_log_prob"):
        found = getattr(ours, name)(X)
        assert isinstance(found, da.Array)
        np.testing.assert_array_equal(found.compute(), getattr(ours, name)(iris))
    for found, expected in zip(ours._e_step(X), ours._e_step(iris), strict=True):
        assert isinstance(found, da.Array)
        np.testing.assert_allclose(found.compute(), expected, rtol=1e-12, atol=1e-12)


def test_adaptation_of_a_background_model(iris, covariance_type):
    """As speaker recognition does it: means and weights of a fit are moved to new rows."""
    scores = []
    for cls in (GaussianMixture, sklearn.mixture.GaussianMixture):
        model = cls(4, covariance_type=covariance_type, random_state=0).fit(iris)
        r = np.exp(model._estimate_log_prob_resp(iris[:40])[1])
        N = r.sum(axis=0)
        share = N / (N + 16)
        moved = r.T @ iris[:40] / (N[:, None] + 1e-10)
        model.means_ = share[:, None] * moved + (1 - share[:, None]) * model.means_
        weights = share * N / 40 + (1 - share) * model.weights_
        model.weights_ = weights / weights.sum()
        scores.append(model.score_samples(iris))
    np.testing.assert_allclose(*scores, rtol=1e-8)


def test_float32_rows_give_float32_answers(iris, covariance_type):
    X = iris.astype(np.float32)
    theirs = sklearn.mixture.GaussianMixture(K, covariance_type=covariance_type).fit(X)
    ours = GaussianMixture.from_sklearn(theirs)
    log_resp = theirs._e_step(X)[1]
    for estimator in (ours, theirs):
        estimator._m_step(X, log_resp)
    for found, expected in zip(ours._get_parameters(), theirs._get_parameters(), strict=True):
        assert found.dtype == expected.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2e-2, atol=1e-3)
    for name in ("_estimate_log_prob", "_estimate_weighted_log_prob"):
        found, expected = getattr(ours, name)(X), getattr(theirs, name)(X)
        assert found.dtype == expected.dtype == np.float32
