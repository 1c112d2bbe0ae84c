"""The plain NumPy twin of the kernels for rows with missing cells: row by row, as the formulas say.

Parameters are (log_weights (K,), means (K, d), covariances, precisions_cholesky, about (K, d),
center (d,)), the kernels' arguments.
"""

import numpy as np

LOG_2PI = np.log(2 * np.pi)


def random_parameters(shape, K, d, rng, *, spread=1.5, location=0.0):
    """Moderate overlap, condition numbers below 100; the sums about points off the means."""
    log_weights = np.log(rng.dirichlet(np.full(K, 5.0)))
    means = location + spread * rng.normal(size=(K, d))
    if shape in ("full", "tied"):
        size = (K, d, d) if shape == "full" else (d, d)
        root = np.tril(rng.normal(size=size)) * 0.5 / np.sqrt(d) + np.eye(d)
        covariances = root @ np.swapaxes(root, -1, -2)
        factors = np.swapaxes(np.linalg.inv(root), -1, -2)
    else:
        factors = rng.uniform(0.5, 2.0, size=(K, d) if shape == "diag" else K)
        covariances = factors**-2.0
    about = means + 0.1 * rng.normal(size=(K, d))
    return log_weights, means, covariances, factors, about, means.mean(axis=0)


def random_rows(parameters, n, rng, hidden=0.3, empty=False):
    """Rows with cells hidden at random; the first row is complete, none is empty unless asked."""
    means = parameters[1]
    d = means.shape[1]
    X = means[rng.integers(len(means), size=n)] + rng.normal(size=(n, d))
    hide = rng.random((n, d)) < hidden
    if not empty:
        full = hide.all(axis=1)
        hide[full, rng.integers(d, size=full.sum())] = False
    hide[0] = False
    X[hide] = np.nan
    return X


def matrices(shape, covariances, K, d):
    """The covariances as (K, d, d)."""
    return {
        "full": lambda: covariances,
        "tied": lambda: np.broadcast_to(covariances, (K, d, d)),
        "diag": lambda: np.stack([np.diag(c) for c in covariances]),
        "spherical": lambda: np.stack([c * np.eye(d) for c in covariances]),
    }[shape]()


def conditional(x, mean, covariance):
    """Log-density of the observed cells, the row filled in, and its conditional covariance."""
    d = len(x)
    o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
    filled, left_over = mean.copy(), np.zeros((d, d))
    filled[o] = x[o]
    S_oo, S_mo = covariance[np.ix_(o, o)], covariance[np.ix_(m, o)]
    B = np.linalg.solve(S_oo, S_mo.T).T
    filled[m] += B @ (x[o] - mean[o])
    left_over[np.ix_(m, m)] = covariance[np.ix_(m, m)] - B @ S_mo.T
    dx = x[o] - mean[o]
    log_determinant = np.linalg.slogdet(S_oo)[1] if len(o) else 0.0
    q = dx @ np.linalg.solve(S_oo, dx)
    return -0.5 * (len(o) * LOG_2PI + log_determinant + q), filled, left_over


def expectations(shape, X, parameters):
    """log pi_k p_k(x) (n, K), rows filled in (n, K, d), what is left over (n, K, d, d)."""
    log_weights, means, covariances = parameters[:3]
    K, d = means.shape
    sigma = matrices(shape, covariances, K, d)
    log_densities = np.empty((len(X), K))
    filled, left_over = np.empty((len(X), K, d)), np.empty((len(X), K, d, d))
    for i, x in enumerate(np.asarray(X, dtype=np.float64)):
        for k in range(K):
            value, filled[i, k], left_over[i, k] = conditional(x, means[k], sigma[k])
            log_densities[i, k] = log_weights[k] + value
    return log_densities, filled, left_over


def posterior(log_densities):
    """log p(x) (n,), responsibilities (n, K)."""
    largest = log_densities.max(axis=1, keepdims=True)
    exponentials = np.exp(log_densities - largest)
    total = exponentials.sum(axis=1, keepdims=True)
    return (largest + np.log(total))[:, 0], exponentials / total


def accumulate(shape, X, parameters, weights=None):
    """The flat statistics in the kernels' layout, and the sums of absolute terms.

    These carry, as in ``twins.py``, what an error of the exponent makes of a responsibility, and
    one unit of weight where it is below 2^-54, since such rows may be cut.
    """
    _, means, _, _, about, center = parameters
    K, d = means.shape
    w = np.ones(len(X)) if weights is None else weights
    log_densities, filled, left_over = expectations(shape, X, parameters)
    log_likelihood, r = posterior(log_densities)
    uncertain = r * (1 + abs(log_densities)) * w[:, None] + w[:, None] * (r < 2.0**-53)
    r = r * w[:, None]
    lower = np.tril_indices(d)
    F, S = [], []
    for k in range(K):
        dx = filled[:, k] - about[k]
        F.append((r[:, k] @ dx, uncertain[:, k] @ abs(dx)))
        dx = filled[:, k] - (center if shape == "tied" else about[k])
        second = dx[:, :, None] * dx[:, None, :]
        S.append(
            (
                np.tensordot(r[:, k], second + left_over[:, k], 1),
                np.tensordot(uncertain[:, k], abs(second) + abs(left_over[:, k]), 1),
            )
        )
    pack = {
        "full": lambda S: [s[lower] for s in S],
        "tied": lambda S: [sum(S)[lower]],
        "diag": lambda S: [np.diag(s) for s in S],
        "spherical": lambda S: [[np.trace(s)] for s in S],
    }[shape]
    values = [[w @ log_likelihood], [w.sum()], r.sum(axis=0)]
    scales = [[w @ (1 + abs(log_likelihood))], [w.sum()], uncertain.sum(axis=0)]
    values += [f for f, _ in F] + pack([s for s, _ in S])
    scales += [f for _, f in F] + pack([s for _, s in S])
    return np.concatenate([*map(np.ravel, values)]), np.concatenate([*map(np.ravel, scales)])
