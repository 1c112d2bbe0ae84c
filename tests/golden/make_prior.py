"""Write prior.json: modes of posterior densities found by SciPy, without EM.

    pip install scipy scikit-learn && python make_prior.py

Likelihood and priors are SciPy's own densities (multivariate_normal, invwishart, invgamma,
dirichlet), added as they are and handed to BFGS in free parameters: weights by their logarithms
relative to the last, covariances by Cholesky factors with the logarithm of the diagonal. The mode
is that of the density of weights, means and covariances; free parameters are for the search only.

The default prior is computed here from its definition (Fraley and Raftery 2007, Journal of
Classification 24, 155-181; scale with divisor n, per feature for diagonal covariances). Data: Old
Faithful (faithful.csv) and Fisher's iris.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import dirichlet, invgamma, invwishart, multivariate_normal
from sklearn.datasets import load_iris

HERE = Path(__file__).parent
TYPES = ("full", "tied", "diag", "spherical")
CASES = [
    *(("faithful", kind, 3, "default", 1.0) for kind in TYPES),
    *(("faithful", kind, 2, "strong", 4.0) for kind in TYPES),
    ("iris", "full", 3, "default", 1.0),
    ("iris", "tied", 3, "strong", 2.5),
]


def tables():
    return {
        "faithful": np.loadtxt(HERE / "faithful.csv", delimiter=",", skiprows=1),
        "iris": load_iris().data,
    }


def prior_of(X, kind, K, how):
    """Return mean, precision, degrees of freedom and scale."""
    d = X.shape[1]
    total = np.cov(X, rowvar=False, bias=True).reshape(d, d)
    if how == "default":
        scale = {"diag": np.diag(total), "spherical": np.trace(total) / d}.get(kind, total)
        return X.mean(axis=0), 0.01, d + 2.0, scale / K ** (2 / d)
    scale = 20 * np.diag(np.arange(1.0, d + 1))
    scale = {"diag": np.diag(scale), "spherical": 20.0}.get(kind, scale)
    return X.mean(axis=0) + 1, 7.5, d + 11.0, scale


def covariances_of(kind, theta, K, d):
    """Return the covariances, (K, d, d)."""
    if kind in ("diag", "spherical"):
        return [np.diag(np.exp(np.broadcast_to(t, d))) for t in theta.reshape(K, -1)]
    found = []
    for t in theta.reshape(-1, d * (d + 1) // 2):
        L = np.zeros((d, d))
        L[np.tril_indices(d)] = t
        L[np.diag_indices(d)] = np.exp(np.diag(L))
        found.append(L @ L.T)
    return found if kind == "full" else found * K


def read(kind, theta, K, d):
    logits = np.append(theta[: K - 1], 0)
    weights = np.exp(logits - logsumexp(logits))
    means = theta[K - 1 : K - 1 + K * d].reshape(K, d)
    return weights, means, covariances_of(kind, theta[K - 1 + K * d :], K, d)


def log_posterior(X, kind, K, prior, concentration, theta):
    m, kappa, nu, scale = prior
    weights, means, covariances = read(kind, theta, K, X.shape[1])
    parts = [
        np.log(w) + multivariate_normal.logpdf(X, mu, S)
        for w, mu, S in zip(weights, means, covariances, strict=True)
    ]
    found = logsumexp(parts, axis=0).sum()
    found += dirichlet.logpdf(weights / weights.sum(), np.full(K, concentration))
    for k, (mu, S) in enumerate(zip(means, covariances, strict=True)):
        found += multivariate_normal.logpdf(mu, m, S / kappa)
        if kind in ("full", "tied"):
            found += invwishart.logpdf(S, nu, scale) if kind == "full" or k == 0 else 0
        elif kind == "diag":
            found += invgamma.logpdf(np.diag(S), nu / 2, scale=np.asarray(scale) / 2).sum()
        else:
            found += invgamma.logpdf(S[0, 0], nu / 2, scale=scale / 2)
    return found


def start_of(X, kind, K):
    """Return a start: as many groups of rows, by their place along the first column."""
    d = X.shape[1]
    groups = np.array_split(X[np.argsort(X[:, 0], kind="stable")], K)
    means = np.array([group.mean(axis=0) for group in groups])
    variances = X.var(axis=0) / 4
    if kind == "spherical":
        theta = np.full(K, np.log(variances.mean()))
    elif kind == "diag":
        theta = np.tile(np.log(variances), K)
    else:
        L = np.diag(0.5 * np.log(variances))[np.tril_indices(d)]
        theta = np.tile(L, K if kind == "full" else 1)
    return np.concatenate([np.zeros(K - 1), means.ravel(), theta])


def maximum(X, kind, K, prior, concentration):
    def loss(theta):
        with np.errstate(all="ignore"):
            try:
                value = -log_posterior(X, kind, K, prior, concentration, theta)
            except (ValueError, np.linalg.LinAlgError):
                return np.inf
        return value if np.isfinite(value) else np.inf

    start = theta = start_of(X, kind, K)
    for _ in range(4):
        theta = minimize(loss, theta, method="BFGS", jac="3-point", options={"gtol": 1e-7}).x
    return start, theta, -loss(start), -loss(theta)


def main():
    data, answers = tables(), []
    for name, kind, K, how, concentration in CASES:
        X = data[name]
        prior = prior_of(X, kind, K, how)
        start, theta, low, high = maximum(X, kind, K, prior, concentration)
        plain = [np.asarray(value).tolist() for value in prior]
        answer = {
            "data": name,
            "covariance_type": kind,
            "n_components": K,
            "prior": how,
            "values": plain,
            "concentration": concentration,
            "gain": high - low,
        }
        for what, point in (("start", start), ("mode", theta)):
            names = ("weights", "means", "covariances")
            found = read(kind, point, K, X.shape[1])
            answer[what] = {n: np.asarray(v).tolist() for n, v in zip(names, found, strict=True)}
        answers.append(answer)
        print(name, kind, K, how, low, high, flush=True)
    (HERE / "prior.json").write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
