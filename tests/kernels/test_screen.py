"""Components ruled out by a bound (full covariance, d >= 12): the same answers, with less work.

What is left out is below 2^-60 of a row's total. A kernel of one component is never screened, and
log-densities that are asked for are never left out: these are what to compare with.
"""

import numpy as np
import pytest
import twins
from kernel_calls import KERNELS, posterior, statistics

from emdash._kernels import expect

EPS = np.finfo(float).eps


def clusters(d, K, separation, seed=0, n=700):
    """Parameters and rows; neighbours about `separation` standard deviations apart."""
    rng = np.random.default_rng([seed, d, K])
    parameters = twins.random_parameters("full", K, d, rng, spread=separation)
    return parameters, twins.random_rows(parameters, n, rng)


def left_out(parameters, X, weights=None, n_threads=1):
    kernel, count = KERNELS["full"](*parameters), np.full(1, np.nan)
    out = np.empty(kernel.statistics_size)
    assert expect.accumulate(kernel, X, weights, out, n_threads, left_out=count) == -1
    assert (out == statistics(kernel, X, weights)).all()
    return count[0] / (len(X) * kernel.n_components), out


def dense_log_densities(parameters, X):
    """One component at a time: nothing to rule out."""
    alone = [[a[k : k + 1] for a in parameters] for k in range(len(parameters[0]))]
    return np.concatenate([posterior(KERNELS["full"](*p), X)[0] for p in alone], axis=1)


def alone(kernel, X, name):
    """One output, asked for by itself."""
    n, K = len(X), kernel.n_components
    shape = (n, K) if name == "responsibilities" else n
    out = np.full(shape, -7, dtype=np.intp if name == "labels" else np.float64)
    assert expect.posterior(kernel, X, 1, **{name: out}) == -1
    return out


@pytest.mark.parametrize("K", [2, 9, 30])
@pytest.mark.parametrize("d", [12, 16, 17, 33, 70])
@pytest.mark.parametrize("separation", [2.0, 5.0, 30.0])
def test_statistics_equal_the_twin(separation, d, K, isa):
    parameters, X = clusters(d, K, separation, n=500 if d < 64 else 100)
    for weights in (None, np.random.default_rng(1).integers(0, 3, len(X)).astype(float)):
        share, out = left_out(parameters, X, weights)
        value, scale = twins.accumulate("full", X, parameters, weights)
        assert (abs(out - value) <= 30 * EPS * np.maximum(scale, np.finfo(float).tiny)).all()
        if separation == 30 and K > 2:  # with two the bounds cost as much as they save
            assert share > 0.99 * (1 - 1 / K)
        assert share <= 1 - 1 / K


@pytest.mark.parametrize("d", [13, 17, 40])
@pytest.mark.parametrize("separation", [1.0, 3.0, 30.0])
def test_outputs_equal_the_dense_ones(separation, d, isa):
    parameters, X = clusters(d, 12, separation, n=1500)
    kernel = KERNELS["full"](*parameters)
    wanted = dense_log_densities(parameters, X)
    assert (posterior(kernel, X)[0] == wanted).all()
    assert (alone(kernel, X, "labels") == wanted.argmax(axis=1)).all()
    largest = wanted.max(axis=1)
    exponentials = np.exp(wanted - largest[:, None])
    total = exponentials.sum(axis=1)
    log_likelihood = largest + np.log(total)
    np.testing.assert_allclose(alone(kernel, X, "log_likelihood"), log_likelihood, rtol=4e-16)
    r = alone(kernel, X, "responsibilities")
    assert (r == posterior(kernel, X)[2]).all()  # bits: there nothing is left out
    seen = exponentials > 1e-307
    np.testing.assert_allclose(r[seen], (exponentials / total[:, None])[seen], rtol=1e-9)


@pytest.mark.parametrize("d", [16, 20])
def test_every_block_decides_for_itself(d, isa):
    """24 components that overlap and 3 far from all: rows of the 24 need nearly all of them."""
    near, X_near = clusters(d, 24, 0.05, n=8640)
    far, X_far = clusters(d, 3, 40.0, n=8640)
    both = tuple(np.concatenate(pair) for pair in zip(far, near, strict=True))
    assert left_out(near, X_near)[0] == 0
    dense, sparse = left_out(both, X_near)[0], left_out(both, X_far)[0]
    assert dense == pytest.approx(3 / 27 if d == 20 else 0)
    assert sparse == pytest.approx(26 / 27, abs=0.01)
    X = np.concatenate([X_far, X_near])
    share, out = left_out(both, X)
    assert share == pytest.approx((dense + sparse) / 2)
    value, scale = twins.accumulate("full", X, both)
    assert (abs(out - value) <= 30 * EPS * np.maximum(scale, np.finfo(float).tiny)).all()


@pytest.mark.parametrize("n_threads", [2, 5])
@pytest.mark.parametrize("d", [12, 20])
def test_threads_change_no_bit(d, n_threads, isa):
    for separation in (2.0, 6.0, 30.0):
        parameters, X = clusters(d, 10, separation, n=9000)
        one, several = left_out(parameters, X), left_out(parameters, X, n_threads=n_threads)
        assert several[0] == one[0]
        assert (several[1] == one[1]).all()


def mixed(parameters, X, A):
    """The same problem in the coordinates x A."""
    log_offsets, means, factor = parameters
    inverse = np.linalg.inv(A)
    precisions = inverse @ factor @ factor.transpose(0, 2, 1) @ inverse.T
    flipped = np.linalg.cholesky(precisions[:, ::-1, ::-1])[:, ::-1, ::-1]  # upper triangular root
    return (log_offsets, means @ A, flipped), X @ A


@pytest.mark.parametrize("kind", ["units", "correlated"])
def test_the_screen_is_blind_to_units_and_correlation(kind, isa):
    rng = np.random.default_rng(5)
    d, K = 24, 10
    parameters, X = clusters(d, K, 8.0, n=600)
    before = left_out(parameters, X)[0]
    A = np.diag(10.0 ** rng.uniform(-4, 4, d))
    if kind == "correlated":
        A = np.eye(d) + 30 * np.outer(rng.normal(size=d), rng.normal(size=d))
    after, out = left_out(*mixed(parameters, X, A))
    assert before > 0.85
    assert after > before - 0.05
    assert out[0] == pytest.approx(left_out(parameters, X)[1][0], rel=1e-6)  # offsets are kept


@pytest.mark.parametrize("case", ["flat", "far", "narrow", "equal", "absent", "far rows"])
def test_bounds_that_rounding_could_break(case, isa):
    """Nothing that counts is ruled out: the sums stay those of the definition."""
    parameters, X = clusters(20, 6, 6.0, n=300)
    log_offsets, means, factor = parameters
    units = 30
    if case == "flat":  # condition number 1e20
        factor *= 10.0 ** np.linspace(-5, 5, 20)[:, None]
        units = 1e4  # the definition itself is that uncertain here
    elif case == "far":
        means += 1e8
        X += 1e8
    elif case == "narrow":  # beside the others, 1e-9 wide
        factor[2] *= 1e9
        X[:50] = means[2] + (X[:50] - X[:50].mean(axis=0)) * 1e-9
        units = 1e6
    elif case == "equal":
        means[1:] = means[0]
        factor[1:] = factor[0]
    elif case == "absent":
        log_offsets[[0, 3]] = -np.inf
    elif case == "far rows":
        X[::7] *= 1e6
    share, out = left_out(parameters, X)
    value, scale = twins.accumulate("full", X, parameters)
    assert (abs(out - value) <= units * EPS * np.maximum(scale, np.finfo(float).tiny)).all()
    if case == "equal":
        assert share == 0


def test_rows_beyond_every_component_share_as_without_the_screen(isa):
    parameters, X = clusters(20, 4, 20.0, n=100)
    X[3] = 1e200
    kernel = KERNELS["full"](*parameters)
    with np.errstate(all="ignore"):
        r = alone(kernel, X, "responsibilities")
        wanted = np.exp(dense_log_densities(parameters, X[3:4]))
    assert np.isfinite(wanted).all()
    assert (r[3] == 0.25).all()
    assert alone(kernel, X, "labels")[3] == 0


def on_a_line(bits):
    """Two unit spheres of equal weight and one row for each entry of `bits`: that much less likely
    under the second. The rows lie on the line through the means, where the bound is sharp."""
    distance = 60.0
    means = np.zeros((2, 20))
    means[1, 0] = distance
    X = np.zeros((len(bits), 20))
    X[:, 0] = distance / 2 - np.asarray(bits) * np.log(2) / distance
    return (np.zeros(2), means, np.stack([np.eye(20)] * 2)), X


def test_nothing_above_the_cut_is_left_out(isa):
    bits = np.concatenate([np.arange(0, 59), np.arange(61, 1300, 7)]).astype(float)
    parameters, X = on_a_line(bits)
    for row, below in zip(X, bits, strict=True):
        share, out = left_out(parameters, row[None])
        assert share == (0.5 if below > 60 else 0)
        if below < 53.5:
            assert out[3] == pytest.approx(1 / (1 + 2.0**below), rel=1e-11)
    kernel = KERNELS["full"](*parameters)
    r = np.concatenate([alone(kernel, row[None], "responsibilities")[:, 1] for row in X])
    seen = bits < 1020
    np.testing.assert_allclose(r[seen], 1 / (1 + 2.0 ** bits[seen]), rtol=1e-9)
