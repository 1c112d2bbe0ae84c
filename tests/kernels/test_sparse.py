"""What is left out of a pass - components by a bound, small responsibilities - is below 1e-13.

The compiled pass against sums that leave out nothing: responsibilities from the dense kernel's own
log-densities (those are never left out when they are asked for), summed in extended precision.
"""

import numpy as np
import pytest
import twins
from kernel_calls import KERNELS, SHAPES, posterior

from emdash._kernels import expect

PROMISED = 1e-13


def dense_sums(shape, kernel, parameters, X):
    """Fields of the statistics as (K, ...) with the sums of the absolute values of their terms."""
    log_densities = posterior(kernel, X)[0].astype(twins.EXACT)
    largest = log_densities.max(axis=1, keepdims=True)
    exponentials = np.exp(log_densities - largest)
    total = exponentials.sum(axis=1, keepdims=True)
    log_likelihood = (largest + np.log(total))[:, 0]
    r = exponentials / total
    K, d = parameters[1].shape
    fields = [(log_likelihood.sum()[None], abs(log_likelihood).sum()[None]), (r.sum(0), r.sum(0))]
    lower = np.tril_indices(d)
    F, S = [], []
    for k in range(K):
        x = X.astype(twins.EXACT) - parameters[1][k]
        F.append((r[:, k] @ x, r[:, k] @ abs(x)))
        if shape == "full":
            S.append(tuple(((r[:, k, None] * y).T @ y)[lower] for y in (x, abs(x))))
        elif shape != "tied":
            S.append((r[:, k] @ (x**2),) * 2)
    if shape == "tied":
        x = X.astype(twins.EXACT) - parameters[3]
        S.append(tuple((y.T @ y)[lower] for y in (x, abs(x))))
    if shape == "spherical":
        S = [(value.sum()[None], scale.sum()[None]) for value, scale in S]
    return [*fields, *(tuple(map(np.stack, zip(*field, strict=True))) for field in (F, S))]


def check(shape, parameters, X):
    """Hold the pass against the dense sums; return the fraction of pairs it left out."""
    kernel, left_out = KERNELS[shape](*parameters), np.zeros(1)
    out = np.empty(kernel.statistics_size)
    assert expect.accumulate(kernel, X, None, out, 1, left_out=left_out) == -1
    fields = dense_sums(shape, kernel, parameters, X)
    assert out[1] == len(X)
    pieces = np.split(np.delete(out, 1), np.cumsum([value.size for value, _ in fields])[:-1])
    N = fields[1][0]
    for found, (value, scale) in zip(pieces, fields, strict=True):
        assert scale.max() > 0
        if len(scale) == len(N):  # of a component that holds less than a row: beside the others
            held = (N >= 1).reshape(-1, *[1] * (scale.ndim - 1))
            scale = np.where(held, scale, scale.max())
        assert (abs(found - value.ravel()) <= PROMISED * scale.ravel()).all()
    return left_out[0] / (len(X) * kernel.n_components)


@pytest.mark.parametrize("separation", [0.3, 3.0, 12.0, 25.0])
@pytest.mark.parametrize(("d", "K"), [(2, 8), (10, 10), (12, 16), (16, 32), (33, 9), (64, 12)])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_left_out_changes_no_statistic(shape, d, K, separation, isa):
    rng = np.random.default_rng([d, K])
    parameters = twins.random_parameters(shape, K, d, rng, spread=separation / np.sqrt(2 * d))
    X = twins.random_rows(parameters, 300, rng)
    means = parameters[1]
    between = rng.uniform(0.3, 0.5, size=(150, 1))  # rows of the second half: all responsibilities
    X[150:] += between * (means[rng.integers(K, size=150)] - X[150:])
    share = check(shape, parameters, X)
    if separation == 25 and shape == "full" and d >= 12:
        assert share > 0.3
    else:
        assert share == 0 or (shape == "full" and d >= 12 and separation > 1)
