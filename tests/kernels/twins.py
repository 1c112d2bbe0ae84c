"""Plain NumPy twins of the compiled kernels: the definition, as plainly as it can be written.

Everything is computed in extended precision (np.longdouble) where the platform has it, so that a
difference is the kernel's error and not the twin's.
"""

import numpy as np

EXACT = np.longdouble


def quadratic_forms(shape, X, parameters):
    """|U' (x - mu_k)|^2, (n, K)."""
    means, factor = parameters[1].astype(EXACT), parameters[2].astype(EXACT)
    result = np.empty((len(X), len(means)), dtype=EXACT)
    for k in range(len(means)):
        centered = X - means[k]
        if shape == "full":
            y = centered @ factor[k]
        elif shape == "tied":
            y = centered @ factor
        else:  # (d,) or a number
            y = centered * factor[k]
        result[:, k] = (y * y).sum(axis=1)
    return result


def posterior(shape, X, parameters):
    """log pi_k p_k(x) (n, K), log p(x) (n,), responsibilities (n, K), labels (n,)."""
    X = np.asarray(X).astype(EXACT)
    log_densities = parameters[0].astype(EXACT) - quadratic_forms(shape, X, parameters) / 2
    largest = log_densities.max(axis=1, keepdims=True)
    exponentials = np.exp(log_densities - largest)
    total = exponentials.sum(axis=1, keepdims=True)
    return (
        log_densities,
        (largest + np.log(total))[:, 0],
        exponentials / total,
        log_densities.argmax(axis=1),
    )


def accumulate(shape, X, parameters, weights=None, labels=None):
    """The flat statistics in the kernels' layout, and the sums of absolute values of their terms.

    Rows with a label have responsibility 1 there, whatever their densities are.

    The second array is the natural yardstick of a sum's rounding error:
    |error| <= c eps sum |terms|.
    """
    X = np.asarray(X).astype(EXACT)
    n, d = X.shape
    w = np.ones(n, dtype=EXACT) if weights is None else np.asarray(weights).astype(EXACT)
    _, log_likelihood, responsibilities, _ = posterior(shape, X, parameters)
    if labels is not None:
        responsibilities = np.eye(len(parameters[1]), dtype=EXACT)[labels]
        log_likelihood = np.zeros(n, dtype=EXACT)
    r = responsibilities * w[:, None]
    values = [[(w * log_likelihood).sum()], [w.sum()], r.sum(axis=0)]
    scales = [[(w * (1 + abs(log_likelihood))).sum()], [w.sum()], r.sum(axis=0)]
    means = parameters[1].astype(EXACT)
    # A coordinate of a row enters the kernels as x - mu, exact to eps |x - mu|, and r through
    # exp(q): a relative error of eps |q|. The yardstick therefore carries 1 + q. Responsibilities
    # below 2^-54 may be cut: for them it carries one unit of weight.
    q = quadratic_forms(shape, X, parameters)
    rq = r * (1 + q) + w[:, None] * (responsibilities < 2.0**-53)
    first, first_scale, second, second_scale = [], [], [], []
    lower = np.tril_indices(d)
    for k in range(len(means)):
        centered = X - means[k]
        size = abs(centered)
        first.append(r[:, k] @ centered)
        first_scale.append(rq[:, k] @ size)
        if shape == "full":
            second.append(((r[:, k, None] * centered).T @ centered)[lower])
            second_scale.append(((rq[:, k, None] * size).T @ size)[lower])
        elif shape == "diag":
            second.append(r[:, k] @ centered**2)
            second_scale.append(rq[:, k] @ size**2)
        elif shape == "spherical":
            second.append([r[:, k] @ (centered**2).sum(axis=1)])
            second_scale.append([rq[:, k] @ (size**2).sum(axis=1)])
    if shape == "tied":
        centered = X - parameters[3].astype(EXACT)
        size = abs(centered)
        second.append(((w[:, None] * centered).T @ centered)[lower])
        second_scale.append(((w[:, None] * size).T @ size)[lower])
    scales[2] = rq.sum(axis=0)
    return (
        np.concatenate([np.ravel(v) for v in [*values, *first, *second]]),
        np.concatenate([np.ravel(v) for v in [*scales, *first_scale, *second_scale]]),
    )


def random_parameters(shape, K, d, rng, *, spread=1.5, location=0.0):
    """Arguments of the kernel of this shape: moderate overlap, condition numbers below 100."""
    log_offsets = np.log(rng.dirichlet(np.full(K, 5.0))) - d / 2
    means = location + spread * rng.normal(size=(K, d))
    if shape in ("full", "tied"):
        size = (K, d, d) if shape == "full" else (d, d)
        factor = np.triu(rng.normal(size=size)) * 0.5 / np.sqrt(d) + np.eye(d)
    else:
        factor = rng.uniform(0.5, 2.0, size=(K, d) if shape == "diag" else K)
    return (log_offsets, means, factor, *([means.mean(axis=0)] if shape == "tied" else []))


def random_rows(parameters, n, rng):
    means = parameters[1]
    return means[rng.integers(len(means), size=n)] + rng.normal(size=(n, means.shape[1]))
