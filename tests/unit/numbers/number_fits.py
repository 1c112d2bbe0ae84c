"""Fits, whether they converged or not, and how far apart two of them are."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from emdash import GaussianMixture
from emdash.estimators._rounded import exact

INITS = ("kmeans", "k-means++", "random", "random_from_data")
ARRAYS = ("weights_", "means_", "covariances_", "precisions_cholesky_")
OFFSET = 1e8
GRID = 2.0**-20
"""Rows are multiples of it, so that moving them by `OFFSET` changes no digit of them."""


def settings(covariance_type, init="kmeans", **more):
    return {
        "n_components": 3,
        "covariance_type": covariance_type,
        "init_params": init,
        "random_state": 1,
        **more,
    }


def fitted(X, maker=GaussianMixture, **arguments):
    """Return the fit, converged or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return maker(**arguments).fit(X)


def matrices(fit, name="covariances_"):
    """Return the covariances as (K, d, d), whatever their type."""
    values, (K, d) = exact(fit, name), fit.means_.shape
    return {
        "full": lambda: values,
        "tied": lambda: np.broadcast_to(values, (K, d, d)),
        "diag": lambda: values[:, :, None] * np.eye(d),
        "spherical": lambda: values[:, None, None] * np.eye(d),
    }[fit.covariance_type]()


def differences(found, expected, move=0.0, scale=1.0):
    """Return how far weights, means and covariances are from the expected ones, moved and scaled.

    The last two in standard deviations and variances of the expected components.
    """
    A = np.eye(found.means_.shape[1]) * scale if np.ndim(scale) < 2 else np.asarray(scale)
    covariances = A @ matrices(expected) @ A.T
    whiten = np.linalg.inv(np.linalg.cholesky(covariances))
    means = exact(found, "means_") - move - exact(expected, "means_") @ A.T
    off = whiten @ (matrices(found) - covariances) @ whiten.transpose(0, 2, 1)
    return (
        abs(exact(found, "weights_") - exact(expected, "weights_")).max(),
        abs(np.einsum("kij,kj->ki", whiten, means)).max(),
        abs(off).max(),
    )
