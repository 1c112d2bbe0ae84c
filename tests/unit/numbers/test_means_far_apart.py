"""Means far apart or far from the rows: a step is that of long double arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from number_fits import GRID, fitted, matrices, settings

from emdash.chunk import Chunk
from emdash.estimators._rounded import exact
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.models.mixture import Mixture, MixtureParameters


def one_step(X, weights, means, precision, covariance_type):
    """Return an EM step in long double, sums about the new means: nothing cancels."""
    X, means = X.astype(np.longdouble), np.asarray(means, np.longdouble)
    x = X[:, None] - means
    log = np.log(weights) - 0.5 * np.einsum("nki,ij,nkj->nk", x, precision, x)
    r = np.exp(log - log.max(axis=1, keepdims=True))
    r /= r.sum(axis=1, keepdims=True)
    N = r.sum(axis=0)
    new = means + np.einsum("nk,nki->ki", r, x) / np.maximum(N, 1e-300)[:, None]
    x = X[:, None] - new
    scatter = np.einsum("nk,nki,nkj->kij", r, x, x)
    each = scatter / np.maximum(N, 1e-300)[:, None, None]
    d = X.shape[1]
    return (
        N / len(X),
        new,
        {
            "full": lambda: each,
            "tied": lambda: np.broadcast_to(scatter.sum(axis=0) / len(X), each.shape),
            "diag": lambda: each * np.eye(d),
            "spherical": lambda: np.trace(each, axis1=1, axis2=2)[:, None, None] / d * np.eye(d),
        }[covariance_type](),
    )


def given(covariance_type, weights, means, variance=1.0):
    K, d = np.shape(means)
    precision = {
        "full": np.stack([np.eye(d)] * K),
        "tied": np.eye(d),
        "diag": np.ones((K, d)),
        "spherical": np.ones(K),
    }[covariance_type]
    return {
        "n_components": K,
        "covariance_type": covariance_type,
        "weights_init": weights,
        "means_init": means,
        "precisions_init": precision / variance,
        "reg_covar": 0,
    }


@pytest.mark.parametrize("apart", [1e2, 1e3, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_components_far_apart(apart, dtype, covariance_type):
    """Two overlapping clusters, and a third many standard deviations away from both."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 3)) @ [[1, 0.5, 0], [0, 1, 0.3], [0, 0, 1]]
    X[300:600, 1] += 3
    X[600:] = np.round((X[600:] + apart * np.array([1, -2, 0.5])) / GRID) * GRID
    X = X.astype(dtype)
    if dtype == "float32" and apart > 1e6:
        X[600:] += 100 * rng.normal(size=(300, 3)).astype(dtype)  # else they are all the same
    means = np.array([[0.0, 0, 0], [0, 3, 0], apart * np.array([1, -2, 0.5])])
    weights = np.array([0.3, 0.3, 0.4])
    found = fitted(X, max_iter=1, **given(covariance_type, weights, means))
    N, new, covariances = one_step(X, weights, means, np.eye(3), covariance_type)
    sigma = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    np.testing.assert_allclose(exact(found, "weights_"), N.astype(float), rtol=1e-12)
    slack = 1e-13 + 2e-16 * apart  # digits that the means themselves have
    assert (abs(exact(found, "means_") - new) <= slack * 10 * sigma).all()
    off = abs(matrices(found) - covariances) / (sigma[:, :, None] * sigma[:, None])
    assert off.max() < 2e-9


def test_ordinary_tied_fits_sum_one_scatter(rows):
    """The way out for components far apart is not taken, nor are passes repeated."""
    fit = fitted(rows, **settings("tied"))
    assert np.isfinite(fit._parameters().components.center).all()
    assert all(each.n_bytes == rows.nbytes for each in fit.history_)
    fit.means_ = fit.means_ * 1e5
    assert np.isnan(fit._parameters().components.center).all()


@pytest.mark.parametrize("unit", [1.0, 2.0**-30])
def test_starts_of_components_far_apart(unit):
    """1e7 standard deviations: k-means' clusters, and rows as means."""
    rng = np.random.default_rng(0)
    X = np.round((rng.normal(size=(300, 2)) + 1e7 * np.repeat([0, 1, 4], 100)[:, None]) / GRID)
    X *= GRID * unit
    start = fitted(X, **settings("tied", "kmeans", reg_covar=0, max_iter=0))
    within = np.mean([np.cov(part.T, bias=True) for part in np.split(X, 3)], axis=0)
    np.testing.assert_allclose(start.covariances_ / unit**2, within / unit**2, rtol=1e-9, atol=1e-9)
    for init in ("k-means++", "random_from_data"):
        start = fitted(X, **settings("tied", init, reg_covar=1e-3 * unit**2, max_iter=0))
        np.testing.assert_array_equal(start.covariances_, 1e-3 * unit**2 * np.eye(2))


def test_components_far_apart_with_missing_cells():
    """A tied covariance is the mean of the full ones, with the same densities."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3)) @ [[1, 0.5, 0], [0, 1, 0.3], [0, 0, 1]]
    X[250:] += 1e6
    X[rng.random(X.shape) < 0.2] = np.nan
    X = X[~np.isnan(X).all(axis=1)]
    weights, means = np.array([0.5, 0.5]), np.array([[0.0, 0, 0], [1e6, 1e6, 1e6]])
    steps = {}
    for name, factors in (("tied", np.eye(3)), ("full", np.stack([np.eye(3)] * 2))):
        model = Mixture(Gaussian(SHAPES[name]))
        start = MixtureParameters(weights, model.family.from_factors(weights, means, factors))
        sums = model.task(start)(Chunk(X, 0, 0), 1)
        steps[name] = model.maximize(sums, start)
        again = model.task_about(start, start)(Chunk(X, 0, 0), 1)
        np.testing.assert_allclose(again.S, sums.S, rtol=1e-9, atol=1e-9)
    pooled = np.tensordot(steps["full"].weights, steps["full"].components.covariances, 1)
    np.testing.assert_allclose(steps["tied"].components.covariances, pooled, rtol=1e-12)


@pytest.mark.parametrize("how", ["all", "one", "split"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_starting_means_far_from_the_rows(rows, how, dtype, covariance_type):
    """1e8 standard deviations away; the sums that cancel are taken again about nearer means."""
    X = rows.astype(dtype)
    means = {
        "all": np.array([[1e8, 0.0, 0], [3e8, 0, 0]]),  # the nearer one takes all rows
        "one": np.array([[0.0, 0, 0], [1e8, 1e8, 0]]),
        "split": np.array([[1e8, 0.0, 0], [-1e8, 0, 0]]),  # the first coordinate decides
    }[how]
    found = fitted(X, max_iter=1, **given(covariance_type, [0.5, 0.5], means) | {"reg_covar": 1e-9})
    N, new, covariances = one_step(X, [0.5, 0.5], means, np.eye(3), covariance_type)
    np.testing.assert_allclose(exact(found, "weights_"), N.astype(float), atol=1e-12)
    near = N > 0
    np.testing.assert_allclose(exact(found, "means_")[near], new[near].astype(float), atol=1e-7)
    covariances = covariances + 1e-9 * np.eye(3)
    np.testing.assert_allclose(matrices(found)[near], covariances[near].astype(float), atol=1e-10)
    assert np.isfinite(found.means_).all()
    assert np.isfinite(found.covariances_).all()
