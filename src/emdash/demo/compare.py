"""How far two fits of the same model are apart."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["differences"]


def differences(a: Any, b: Any) -> dict[str, float]:
    """Return the largest relative difference of each kind of fitted number.

    Weights and log-likelihoods are compared with themselves, means with the
    standard deviation of their component and column, covariances with the two
    standard deviations they belong to.

    Parameters
    ----------
    a, b : GaussianMixture
        Fitted, with full covariances.

    Returns
    -------
    dict of str to float
        By name: weights, means, covariances, log-likelihood.
    """
    sigma = np.sqrt(np.diagonal(a.covariances_, axis1=1, axis2=2))
    scale = sigma[:, :, None] * sigma[:, None, :]
    trace = np.array(a.lower_bounds_), np.array(b.lower_bounds_)
    return {
        "weights": _largest((a.weights_ - b.weights_) / a.weights_),
        "means": _largest((a.means_ - b.means_) / sigma),
        "covariances": _largest((a.covariances_ - b.covariances_) / scale),
        "log-likelihood": _largest((trace[0] - trace[1]) / trace[0]),
    }


def _largest(values: Any) -> float:
    return float(np.abs(values).max())
