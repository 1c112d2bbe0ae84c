"""What is left out of a pass, by a bound or for being small, is below 1e-13 of every sum.

The compiled pass against sums that leave out nothing: responsibilities from the dense kernel's own
log-densities (those are never left out when they are asked for), summed in extended precision.
"""

import numpy as np
import pytest
import twins
from kernel_calls import KERNELS, SHAPES, posterior

from emdash._kernels import expect

PROMISED = 1e-13


def dense_sums(shape, kernel, parameters, X, w):
    """Fields of the statistics as (K, ...) with the sums of the absolute values of their terms."""
    log_densities = posterior(kernel, X)[0].astype(twins.EXACT)
    largest = log_densities.max(axis=1, keepdims=True)
    exponentials = np.exp(log_densities - largest)
    total = exponentials.sum(axis=1, keepdims=True)
    log_likelihood = (largest + np.log(total))[:, 0]
    r = w[:, None] * exponentials / total
    K, d = parameters[1].shape
    fields = [((w @ log_likelihood)[None], (w @ abs(log_likelihood))[None]), (r.sum(0), r.sum(0))]
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
        S.append(tuple(((w[:, None] * y).T @ y)[lower] for y in (x, abs(x))))
    if shape == "spherical":
        S = [(value.sum()[None], scale.sum()[None]) for value, scale in S]
    return [*fields, *(tuple(map(np.stack, zip(*field, strict=True))) for field in (F, S))]


def check(shape, parameters, X, w=None):
    """Hold the pass against the dense sums; return the fraction of pairs it left out."""
    kernel, left_out = KERNELS[shape](*parameters), np.zeros(1)
    out = np.empty(kernel.statistics_size)
    assert expect.accumulate(kernel, X, w, out, 1, left_out=left_out) == -1
    w = np.ones(len(X)) if w is None else w
    fields = dense_sums(shape, kernel, parameters, X, w.astype(twins.EXACT))
    assert out[1] == w.sum()
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


@pytest.mark.parametrize(("log2_weight", "d"), [(-54, 20), (-58, 14), (-64, 40)])
@pytest.mark.parametrize("shape", SHAPES)
def test_many_small_responsibilities_of_a_rare_component_add_up(shape, d, log2_weight, isa):
    """It holds one row; 500 others weigh a million each and belong to it by less than 2^-54."""
    rng = np.random.default_rng(d)
    K = 12
    means = np.zeros((K, d))
    means[1:, 0], means[1:, 1] = 3, 40 * np.arange(K - 1)
    one = {"full": np.stack([np.eye(d)] * K), "tied": np.eye(d), "diag": np.ones((K, d))}
    offsets = np.r_[log2_weight * np.log(2), np.full(K - 1, -np.log(K))] - d / 2 * np.log(2 * np.pi)
    parameters = (offsets, means, one.get(shape, np.ones(K)))
    parameters += (means.mean(axis=0),) if shape == "tied" else ()
    X = means[1 + rng.integers(K - 1, size=500)] + rng.normal(size=(500, d))
    X[0] = 0
    X[0, 0] = -20
    share = check(shape, parameters, X, np.r_[1.0, np.full(499, 2.0**20)])
    assert share > 0.3 or shape != "full"
