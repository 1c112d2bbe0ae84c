"""Row weights and missing cells at the same time: repeated and removed rows, to 1e-10."""

from __future__ import annotations

import numpy as np
import pytest

from emdash import GaussianMixture
from emdash.families.covariance import SHAPES

D, K = 3, 3


@pytest.fixture(scope="module")
def X():
    """Rows of three groups with a fifth of the cells missing; row 7 has nothing observed."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, D)).cumsum(axis=1) + 5 * rng.integers(0, K, size=(400, 1))
    X[rng.random(X.shape) < 0.2] = np.nan
    X[7] = np.nan
    return X


@pytest.fixture(scope="module")
def w():
    return np.random.default_rng(1).integers(0, 4, size=400).astype(float)


def assert_same(one, other):
    assert one.n_iter_ == other.n_iter_
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("covariance_type", SHAPES)
def test_integer_weights_are_repeated_rows(X, w, covariance_type):
    shape = SHAPES[covariance_type]
    start = {
        "weights_init": [0.3, 0.3, 0.4],
        "means_init": np.outer([0, 5, 10], np.ones(D)),
        "precisions_init": shape.precisions(shape.unit_factors(K, D)),
    }
    model = GaussianMixture(K, covariance_type=covariance_type, **start)
    repeated = np.repeat(X, w.astype(int), axis=0)
    weighted = model.fit(X, sample_weight=w)
    score, bic = weighted.score(X, sample_weight=w), weighted.bic(X, sample_weight=w)
    assert_same(weighted, GaussianMixture(**model.get_params()).fit(repeated))
    assert score == pytest.approx(weighted.score(repeated), rel=1e-12)
    assert bic == pytest.approx(weighted.bic(repeated), rel=1e-12)
    scaled = GaussianMixture(**model.get_params()).fit(X, sample_weight=1e5 * w)
    assert_same(weighted, scaled)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_weights_of_zero_are_removed_rows(X, w, init_params):
    model = GaussianMixture(K, init_params=init_params, random_state=0, max_iter=500)
    weighted = model.fit(X, sample_weight=(w > 0).astype(float))
    assert_same(weighted, GaussianMixture(**model.get_params()).fit(X[w > 0]))


def test_a_column_that_only_rows_without_weight_show(X, w):
    bad = X.copy()
    bad[w > 0, 1] = np.nan
    assert not np.isnan(bad[:, 1]).all()
    with pytest.raises(ValueError, match="no observed value in column 1"):
        GaussianMixture(1).fit(bad, sample_weight=w)
