"""Drawing rows, and getting the parameters back from them."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.mixture

from emdash import GaussianMixture

N = 20_000


@pytest.fixture
def truth(covariance_type):
    """Return a mixture with known parameters of three overlapping components."""
    rng = np.random.default_rng(5)
    A = rng.normal(size=(3, 2, 2)) + np.eye(2)
    matrices = A @ np.swapaxes(A, 1, 2) / 2
    precisions = {
        "full": np.linalg.inv(matrices),
        "tied": np.linalg.inv(matrices[0]),
        "diag": 1 / np.diagonal(matrices, axis1=1, axis2=2),
        "spherical": 1 / matrices[:, 0, 0],
    }[covariance_type]
    if covariance_type in ("full", "tied"):
        precisions = (precisions + np.swapaxes(precisions, -1, -2)) / 2
    return GaussianMixture(
        3,
        covariance_type=covariance_type,
        weights_init=[0.5, 0.3, 0.2],
        means_init=[[0.0, 0.0], [2.5, 3.0], [-3.5, 3.0]],
        precisions_init=precisions,
        max_iter=0,
        random_state=11,
    ).fit(rng.normal(size=(3, 2)))


def test_shapes_and_types(truth):
    X, y = truth.sample(7)
    assert (X.shape, X.dtype) == ((7, 2), np.float64)
    assert (y.shape, y.dtype) == ((7,), np.intp)
    assert np.all(np.diff(y) >= 0)
    assert truth.sample()[0].shape == (1, 2)
    assert truth.sample(1)[1].shape == (1,)


def test_features_of_very_different_scale():
    """Rounding relative to the largest variance would drown the smallest."""
    scale = np.array([1e-12, 1.0, 1e12])
    correlation = np.array([[1, 0.9, 0.5], [0.9, 1, 0.3], [0.5, 0.3, 1]])
    precision = np.linalg.inv(correlation) / scale / scale[:, None]
    model = GaussianMixture(
        1,
        weights_init=[1.0],
        means_init=np.zeros((1, 3)),
        precisions_init=[(precision + precision.T) / 2],
        max_iter=0,
        random_state=3,
    ).fit(np.diag(scale))
    X, _ = model.sample(N)
    np.testing.assert_allclose(np.corrcoef(X / scale, rowvar=False), correlation, atol=0.02)
    np.testing.assert_allclose((X / scale).std(axis=0), 1, rtol=0.02)


@pytest.mark.parametrize("n_samples", [0, -3, 1.5, None, "word", np.nan])
def test_at_least_one(truth, n_samples):
    with pytest.raises(ValueError, match=f"n_samples.*{n_samples}"):
        truth.sample(n_samples)


def test_same_seed_same_rows(truth):
    first, second = truth.sample(50), truth.sample(50)
    np.testing.assert_array_equal(first[0], second[0])
    truth.set_params(random_state=12)
    assert not np.array_equal(truth.sample(50)[0], first[0])
    truth.set_params(random_state=np.random.RandomState(11))
    np.testing.assert_array_equal(truth.sample(50)[0], first[0])
    assert not np.array_equal(truth.sample(50)[0], first[0])  # a generator moves on


def as_matrices(fit):
    d = fit.means_.shape[1]
    covariances = fit.covariances_
    if fit.covariance_type == "spherical":
        return covariances[:, None, None] * np.eye(d)
    if fit.covariance_type == "diag":
        return covariances[:, None, :] * np.eye(d)
    return np.broadcast_to(covariances, (3, d, d))


def standard_errors(truth, counts):
    """Return those of weights, means and covariances, were every row's component known."""
    matrices, weights = as_matrices(truth), truth.weights_
    variances = np.diagonal(matrices, axis1=1, axis2=2)
    products = variances[:, :, None] * variances[:, None, :]
    return (
        np.sqrt(weights * (1 - weights) / N),
        np.sqrt(variances / counts[:, None]),
        np.sqrt((products + matrices**2) / counts[:, None, None]),
    )


def test_sample_has_the_moments_of_the_model(truth):
    X, y = truth.sample(N)
    counts = np.bincount(y, minlength=3)
    weights, means, matrices = standard_errors(truth, counts)
    assert np.all(np.abs(counts / N - truth.weights_) < 5 * weights)
    for k, matrix in enumerate(as_matrices(truth)):
        rows = X[y == k]
        assert np.all(np.abs(rows.mean(axis=0) - truth.means_[k]) < 5 * means[k])
        assert np.all(np.abs(np.cov(rows.T) - matrix) < 5 * matrices[k])


def test_refitting_a_sample_recovers_the_parameters(truth):
    """And the start is not already there. Overlap makes errors some times larger."""
    X, y = truth.sample(N)
    errors = standard_errors(truth, np.bincount(y, minlength=3))

    def distance(fit):
        order = [int(np.argmin(((fit.means_ - mean) ** 2).sum(axis=1))) for mean in truth.means_]
        assert sorted(order) == [0, 1, 2]
        found = fit.weights_[order], fit.means_[order], as_matrices(fit)[order]
        expected = truth.weights_, truth.means_, as_matrices(truth)
        return max(
            np.max(np.abs(a - b) / error)
            for a, b, error in zip(found, expected, errors, strict=True)
        )

    arguments = {"covariance_type": truth.covariance_type, "random_state": 0}
    begun = GaussianMixture(3, **arguments, max_iter=0).fit(X)
    ended = GaussianMixture(3, **arguments, tol=1e-7, max_iter=2000).fit(X)
    assert distance(ended) < 4 < 8 < distance(begun)
    # the maximum is at least as likely as the truth
    assert ended.score(X) >= truth.score(X) > begun.score(X)


@pytest.mark.parametrize("seed", [3, None])
def test_rows_are_scikit_learns_call_after_call(iris, covariance_type, seed):
    """An int gives the same rows each time, a RandomState the next ones: as scikit-learn does."""
    drawn = []
    for mixture in (GaussianMixture, sklearn.mixture.GaussianMixture):
        random_state = np.random.RandomState(8) if seed is None else seed
        fit = mixture(3, covariance_type=covariance_type, random_state=random_state).fit(iris)
        drawn.append([fit.sample(20) for _ in range(3)])
        if seed is None:  # the one that was given, not a copy
            drawn[-1].append((random_state.uniform(size=3), np.zeros(3)))
    for (X, y), (their_X, their_y) in zip(*drawn, strict=True):
        np.testing.assert_allclose(X, their_X, rtol=1e-6)
        np.testing.assert_array_equal(y, their_y)
    first, second = drawn[0][:2]
    assert np.array_equal(first[0], second[0]) == (seed is not None)
