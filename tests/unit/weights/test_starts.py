"""Starts know the weights: rows are drawn, clustered and sampled by them."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from weighted_tables import K, assert_same

import emdash
from emdash import GaussianMixture, start
from emdash.engines.local import LocalEngine
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.models.mixture import Mixture
from emdash.sources.weighted import WeightedSource


@pytest.mark.parametrize("method", ["k-means++", "random_from_data"])
def test_rows_are_drawn_by_weight(method):
    """A first seed is a row with the probability of its share of the weight."""
    rows, weights = np.arange(4.0)[:, None], np.array([1.0, 0.0, 2.0, 5.0])
    random_state = np.random.RandomState(0)
    model = Mixture(Gaussian(SHAPES["full"], reg_covar=1e-3))
    n = 400
    drawn = [
        start.start_from(rows, model, 1, method, random_state, 1, weights).components.means[0, 0]
        for _ in range(n)
    ]
    counts = np.bincount(np.array(drawn, int), minlength=4)
    expected = n * weights / weights.sum()
    assert counts[1] == 0
    assert np.all(np.abs(counts - expected) <= 5 * np.sqrt(expected))


def test_k_means_weighs(X, w):
    """Labels and sums are those of scikit-learn's k-means with these weights."""
    some = w > 0
    theirs = sklearn.cluster.KMeans(K, n_init=1, random_state=np.random.RandomState(3))
    theirs.fit(X[some], sample_weight=w[some])
    model = Mixture(Gaussian(SHAPES["full"], reg_covar=1e-3))
    found = start.start_from(X, model, K, "kmeans", np.random.RandomState(3), 1, w)
    np.testing.assert_allclose(found.components.means, theirs.cluster_centers_, rtol=1e-12)
    shares = np.bincount(theirs.labels_, weights=w[some]) / w.sum()
    np.testing.assert_allclose(found.weights, shares, rtol=1e-12)


def test_random_responsibilities_weigh(X, w):
    some = w > 0
    r = np.random.RandomState(3).uniform(size=(np.count_nonzero(some), K))
    r *= (w[some] / r.sum(axis=1))[:, None]
    model = Mixture(Gaussian(SHAPES["full"], reg_covar=1e-3))
    found = start.start_from(X, model, K, "random", np.random.RandomState(3), 1, w)
    np.testing.assert_allclose(found.weights, r.sum(axis=0) / r.sum(), rtol=1e-12)
    means = r.T @ X[some] / r.sum(axis=0)[:, None]
    np.testing.assert_allclose(found.components.means, means, rtol=1e-11)


@pytest.mark.parametrize("in_memory", [True, False])
def test_start_among_few_rows_with_weight(in_memory, monkeypatch):
    """A sample of all rows would hold hardly one of them; two more passes find them all."""
    monkeypatch.setattr(start, "SAMPLE_ROWS", 400)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9_000, 2))
    w = np.zeros(len(X))
    used = rng.choice(len(X), 30, replace=False)
    w[used] = rng.uniform(1, 2, size=30)
    X[used[:15]] += 20
    if in_memory:
        fit = GaussianMixture(K, random_state=0, memory_limit=10_000_000).fit(X, sample_weight=w)
    else:
        fit = GaussianMixture(K, random_state=0).fit(np.array_split(X, 7), sample_weight=w)
    few = GaussianMixture(K, random_state=0).fit(X[np.sort(used)], sample_weight=w[np.sort(used)])
    assert_same(fit, few)


def test_sample_carries_the_weights(monkeypatch):
    monkeypatch.setattr(start, "SAMPLE_ROWS", 300)
    numbers = np.arange(5_000.0)
    source = emdash.open_table([numbers[:2_000, None], numbers[2_000:, None]])
    source = WeightedSource(start.count_rows(source, LocalEngine(1)), 2 * numbers + 1)
    sample = start.starting_rows(source, LocalEngine(1), 2, np.random.RandomState(0))
    assert len(sample) == 300
    np.testing.assert_array_equal(sample.weights, 2 * sample.rows[:, 0] + 1)
