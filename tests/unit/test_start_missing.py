"""Starting rows and clusters when cells are missing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from emdash.start_missing import observed_start


def clusters(n=300, K=3, d=4, hidden=0.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(K, size=n)
    X = 8 * rng.normal(size=(K, d))[labels] + rng.normal(size=(n, d))
    X[rng.random(X.shape) < hidden] = np.nan
    return X, labels


def cost(X, start, weights):
    """Sum over rows of the scaled squared distance to their centre."""
    x = X[start.numbers]
    squares = np.nansum((x - start.centers[start.labels]) ** 2, axis=1)
    return weights[start.numbers] @ (squares * X.shape[1] / (~np.isnan(x)).sum(axis=1))


def test_clusters_are_found_though_no_row_is_complete():
    X, labels = clusters(hidden=0)
    X[np.arange(len(X)), np.arange(len(X)) % 4] = np.nan
    assert np.isnan(X).any(axis=1).all()
    start = observed_start(X, 3, np.random.RandomState(0))
    assert adjusted_rand_score(labels[start.numbers], start.labels) > 0.9
    assert np.isfinite(start.rows).all()


def test_without_holes_it_is_k_means():
    X, _ = clusters(hidden=0)
    start = observed_start(X, 3, np.random.RandomState(0))
    usual = KMeans(3, n_init=1, random_state=0, tol=0).fit(X)
    assert adjusted_rand_score(usual.labels_, start.labels) == 1
    assert cost(X, start, np.ones(len(X))) == pytest.approx(usual.inertia_, rel=1e-10)
    assert (start.rows == X).all()


def test_centres_minimise_the_cost_given_the_labels():
    X, _ = clusters(seed=1)
    weights = np.random.default_rng(1).random(len(X))
    start = observed_start(X, 3, np.random.RandomState(1), weights)
    best = cost(X, start, weights)
    rng = np.random.default_rng(2)
    for _ in range(20):
        step = 0.05 * rng.normal(size=start.centers.shape)
        start.centers[...] += step
        assert cost(X, start, weights) > best
        start.centers[...] -= step


def test_weights_of_zero_and_repeated_rows():
    X, _ = clusters(n=120, seed=2)
    counts = np.random.default_rng(3).integers(0, 3, size=120)
    weighted = observed_start(X, 3, np.random.RandomState(0), counts.astype(float))
    repeated = observed_start(np.repeat(X, counts, axis=0), 3, np.random.RandomState(0))
    order = [np.argsort(start.centers[:, 0]) for start in (weighted, repeated)]
    np.testing.assert_allclose(
        weighted.centers[order[0]], repeated.centers[order[1]], rtol=1e-8, atol=1e-8
    )


def test_filled_cells_come_from_the_cluster():
    X, _ = clusters(seed=3)
    X[7] = np.nan
    start = observed_start(X, 3, np.random.RandomState(0))
    assert 7 not in start.numbers
    x = X[start.numbers]
    seen = ~np.isnan(x)
    assert (start.rows[seen] == x[seen]).all()
    for i, j in np.argwhere(~seen):
        mine = start.labels == start.labels[i]
        assert start.rows[i, j] in x[mine, j]
    for k in range(3):
        mine = start.labels == k
        np.testing.assert_allclose(
            start.rows[mine].std(axis=0), np.nanstd(x[mine], axis=0), rtol=0.25
        )


def test_a_cluster_that_shows_nothing_of_a_column():
    X = np.array([[0.0, 1.0], [0.1, 2.0], [9.0, np.nan], [9.1, np.nan]])
    start = observed_start(X, 2, np.random.RandomState(0))
    assert start.labels[2] == start.labels[3] != start.labels[0]
    assert set(start.rows[2:, 1]) <= {1.0, 2.0}


def test_far_from_the_origin():
    X, labels = clusters(seed=4)
    start = observed_start(X + 1e8, 3, np.random.RandomState(0))
    assert adjusted_rand_score(labels[start.numbers], start.labels) > 0.9


def test_fewer_distinct_rows_than_clusters():
    X = np.repeat([[1.0, np.nan], [2.0, 3.0]], 5, axis=0)
    start = observed_start(X, 3, np.random.RandomState(0))
    assert np.isfinite(start.centers).all()
    assert np.isfinite(start.rows).all()


def test_what_cannot_be_started_from():
    few = np.full((10, 2), np.nan)
    few[:2] = 1.0
    with pytest.raises(ValueError, match=r"at least n_components = 3 rows .* there are 2"):
        observed_start(few, 3, np.random.RandomState(0))
