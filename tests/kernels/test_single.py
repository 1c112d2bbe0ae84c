"""Passes in float32 arithmetic against the NumPy twins, for every instruction set.

Tolerances are a forward error analysis of float32, `limits`: nothing in it is fitted.
"""

import pickle

import numpy as np
import pytest
import twins
from kernel_calls import posterior, statistics

from emdash._kernels import expect
from emdash._kernels.gaussian import FullKernel
from emdash._kernels.single import SingleKernel

U = 2.0**-24  # of one rounding to float32
FAR = 1000.0  # bits: a reach that no ordinary row exceeds


def single(parameters, unit=1.0, reach=FAR):
    means = parameters[1]
    return SingleKernel(
        *parameters, means.mean(axis=0), np.broadcast_to(unit, means.shape[1:]), reach
    )


def limits(parameters, X, weights=None):
    """Largest errors of the flat statistics when densities, products and sums are float32.

    To first order in U. A coordinate of x - c and of mu - c is rounded once, their difference
    once; a whitened coordinate is a sum of at most d products with rounded factors;
    responsibilities go through an exponential that is good to two roundings; a sum has at most as
    many additions as a lane has terms, fewer than `chain`.
    """
    log_offsets, means, factors = parameters
    d = means.shape[1]
    center = means.mean(axis=0)
    w = np.ones(len(X)) if weights is None else weights
    _, _, r, _ = twins.posterior("full", X, parameters)
    r = np.asarray(r, dtype=float)
    shape = (*r.shape, d)
    dx, rounded, log_error = np.empty(shape), np.empty(shape), np.empty(r.shape)
    for k in range(len(means)):
        dx[:, k] = abs(X - means[k])
        rounded[:, k] = U * (abs(X - center) + abs(means[k] - center) + dx[:, k])
        y = abs((X - means[k]) @ factors[k])
        y_error = (rounded[:, k] + (d + 1) * U * dx[:, k]) @ abs(factors[k])
        q_error = (2 * y * y_error + y_error**2).sum(axis=1) + (d + 2) * U * (y * y).sum(axis=1)
        size = (y * y).sum(axis=1) / 2 + 2 * abs(log_offsets).max()
        log_error[:, k] = q_error / 2 + 2 * U * size
    mean_error = (r * log_error).sum(axis=1)
    r_error = log_error + mean_error[:, None] + (len(means) + 8) * U
    wr = r * w[:, None] * (1 + r_error)
    chain = U * (min(len(X), 2048) / 4 + 8)
    total = wr * (r_error + chain)
    F = wr[..., None] * (dx * (r_error + chain)[..., None] + rounded)
    S = np.zeros((len(means), d, d))
    for k in range(len(means)):
        both = (total[:, k, None] * (dx[:, k] + rounded[:, k])).T @ (dx[:, k] + rounded[:, k])
        cross = (wr[:, k, None] * rounded[:, k]).T @ (dx[:, k] + rounded[:, k])
        S[k] = both + cross + cross.T
    lower = np.tril_indices(d)
    likelihood = (w * (mean_error + len(means) * 4 * U)).sum()
    return np.concatenate(
        [
            [likelihood, 0.0],
            total.sum(axis=0),
            F.sum(axis=0).ravel(),
            S[:, lower[0], lower[1]].ravel(),
        ]
    )


def check(parameters, X, weights=None, unit=1.0):
    wanted, _ = twins.accumulate("full", X, parameters, weights)
    out = statistics(single(parameters, unit), X, weights)
    error = np.asarray(abs(out - wanted), dtype=float)
    allowed = limits(parameters, X, weights) + 1e-13 * abs(wanted).astype(float) + 1e-22 * len(X)
    assert (error <= allowed).all(), (error / allowed).max()
    return out


@pytest.mark.parametrize("d", range(1, 17))
def test_statistics_equal_the_twin(d, isa):
    rng = np.random.default_rng(d)
    for K, n in [(1, 1), (2, 17), (9, 250), (3, 500 if d % 5 else 5000)]:
        parameters = twins.random_parameters("full", K, d, rng)
        X = twins.random_rows(parameters, n, rng)
        check(parameters, X)
        check(parameters, X, rng.integers(0, 3, size=n).astype(float))
        exact = statistics(FullKernel(*parameters), X)
        assert (statistics(single(parameters), X) != exact)[2 + K :].any()  # it was float32


def test_many_components_in_short_tiles(isa):
    parameters = twins.random_parameters("full", 120, 9, np.random.default_rng(20))
    check(parameters, twins.random_rows(parameters, 250, np.random.default_rng(21)))


def test_a_pickled_kernel_is_the_same(isa):
    parameters = twins.random_parameters("full", 3, 4, np.random.default_rng(22))
    X = twins.random_rows(parameters, 700, np.random.default_rng(23))
    kernel = single(parameters)
    before = statistics(kernel, X)
    copy = pickle.loads(pickle.dumps(kernel))
    for array in parameters:
        array[...] = 0  # the kernel has copies
    assert copy.arithmetic == "float32"
    for same in (kernel, copy, pickle.loads(pickle.dumps(kernel))):
        assert (statistics(same, X) == before).all()


def test_data_far_from_the_origin_lose_nothing(isa):
    rng = np.random.default_rng(0)
    parameters = twins.random_parameters("full", 3, 5, rng, location=1e6)
    check(parameters, twins.random_rows(parameters, 700, rng))


def test_the_unit_of_the_data_is_free(isa):
    """Powers of two are exact, far beyond what float32 could square."""
    rng = np.random.default_rng(1)
    K, d = 3, 4
    log_offsets, means, factors = twins.random_parameters("full", K, d, rng)
    X = twins.random_rows((log_offsets, means), 3000, rng)
    unit = 2.0 ** np.array([90, -90, 0, 7])
    plain = statistics(single((log_offsets, means, factors)), X)
    scaled = statistics(
        single((log_offsets, means * unit, factors / unit[:, None]), 1 / unit), X * unit
    )
    begin, end = 2 + K, 2 + K + K * d
    assert (scaled[:begin] == plain[:begin]).all()
    assert (scaled[begin:end].reshape(K, d) == plain[begin:end].reshape(K, d) * unit).all()
    pairs = np.outer(unit, unit)[np.tril_indices(d)]
    assert (scaled[end:].reshape(K, -1) == plain[end:].reshape(K, -1) * pairs).all()


def test_errors_do_not_grow_with_the_rows(isa):
    """Equal rows round in the same direction every time; sums of 2048 rows are float64."""
    kernel = SingleKernel([0.0], [[0.0]], [[[1.0]]], [0.0], [1.0], FAR)
    errors = []
    for n in (1_000_000, 4_000_000):
        exact = n * np.float64(np.float32(1.3)) ** np.array([1, 2])
        errors.append(statistics(kernel, np.full((n, 1), 1.3))[3:] / exact - 1)
    assert abs(errors[1] - errors[0]).max() < U / 10
    assert abs(errors[1]).max() > U  # there are errors


def test_rounded_means_move_no_sum(isa):
    """Far from the centre a mean moves by 2^-24 of the distance; N times that is not in F."""
    rng = np.random.default_rng(2)
    means = np.array([[-1001.0, 3.3], [1000.7, 0.1]])
    parameters = (np.log([0.5, 0.5]), means, np.stack([np.eye(2)] * 2))
    X = means[rng.integers(2, size=20_000)] + rng.normal(size=(20_000, 2))
    wanted, _ = twins.accumulate("full", X, parameters)
    moved = abs(statistics(single(parameters), X) - wanted)[4:8] / 10_000
    about = means - means.mean(axis=0)
    assert abs(about.astype(np.float32) - about).max() > 2e-5
    # rounding of single rows averages out: 2^-24 * 1000 / sqrt(3 * 10 000) = 3e-7
    assert (moved < 2e-6).all()


@pytest.mark.parametrize("weights", [None, "given"])
def test_rows_far_from_every_component_are_float64(weights, isa):
    """Their densities are large numbers with small differences, which float32 does not see."""
    slanted = np.array([[[0.75**0.5, 0.5], [0, 1]], [[0.75**0.5, -0.5], [0, 1]]])
    parameters = (np.log([0.5, 0.5]), np.zeros((2, 2)), slanted)
    X = np.random.default_rng(3).normal(size=(960, 2))  # two tiles
    X[100] = 1e-4, 1e4  # squared distances of 1e8, of which the second is less by 2
    w = np.ones(960) if weights else None
    exact = statistics(FullKernel(*parameters), X[:480], None if w is None else w[:480])
    assert (statistics(single(parameters), X[:480], None if w is None else w[:480]) == exact).all()
    both = exact + statistics(single(parameters), X[480:])
    np.testing.assert_allclose(statistics(single(parameters), X, w), both, rtol=1e-12, atol=1e-12)
    careless = statistics(single(parameters, reach=1e12), X[:480])
    assert abs(careless / exact - 1)[-1] > 0.1


def test_huge_rows_give_no_nan(isa):
    rng = np.random.default_rng(4)
    parameters = twins.random_parameters("full", 3, 2, rng)
    parameters[0][2] = -np.inf
    X = twins.random_rows(parameters, 600, rng)
    for value in (1e15, 1e30, 1e100):
        X[7], X[555] = value, -value
        out, exact = statistics(single(parameters), X), statistics(FullKernel(*parameters), X)
        assert np.isfinite(out).all()
        np.testing.assert_allclose(out, exact, rtol=1e-5, atol=1e-4)
    X[7], X[555] = 1e200, -1e200
    assert np.isfinite(statistics(single(parameters), X)[:5]).all()


def test_weights_beyond_float32_are_float64(isa):
    rng = np.random.default_rng(5)
    parameters = twins.random_parameters("full", 3, 4, rng)
    X = twins.random_rows(parameters, 1000, rng)
    weights = rng.integers(0, 4, size=1000).astype(float)
    for scale in (2.0**-200, 2.0**200):
        out = statistics(single(parameters), X, weights * scale)
        assert (out == statistics(FullKernel(*parameters), X, weights * scale)).all()
    assert (statistics(single(parameters), X, np.zeros(1000)) == 0).all()


def test_weight_zero_component_gets_exactly_nothing(isa):
    rng = np.random.default_rng(6)
    parameters = twins.random_parameters("full", 4, 3, rng)
    parameters[0][1] = -np.inf
    out = statistics(single(parameters), twins.random_rows(parameters, 700, rng))
    assert out[3] == 0
    assert (out[6 + 3 : 6 + 6] == 0).all()


def test_any_thread_count_stride_and_type_of_the_same_rows(isa):
    rng = np.random.default_rng(7)
    parameters = twins.random_parameters("full", 5, 6, rng)
    X = twins.random_rows(parameters, 70_000, rng).astype(np.float32)
    kernel = single(parameters)
    once = statistics(kernel, X)
    for rows in (X.astype(np.float64), np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        assert (statistics(kernel, rows) == once).all()
    for n_threads in (2, 3, 5):
        assert (statistics(kernel, X, n_threads=n_threads) == once).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_first_bad_row_is_reported(bad, isa):
    kernel = single(twins.random_parameters("full", 3, 4, np.random.default_rng(8)))
    X = np.zeros((20_000, 4))
    X[[17_003, 19_999], 2] = bad
    assert expect.accumulate(kernel, X, None, np.empty(kernel.statistics_size), 2) == 17_003


@pytest.mark.parametrize("d", [3, 16])
def test_answers_per_row_are_float64(d, isa):
    parameters = twins.random_parameters("full", 4, d, np.random.default_rng(9), spread=9.0)
    X = twins.random_rows(parameters, 500, np.random.default_rng(10))
    answers = zip(
        posterior(single(parameters), X), posterior(FullKernel(*parameters), X), strict=True
    )
    assert all((mine == exact).all() for mine, exact in answers)


@pytest.mark.parametrize("spread", [30.0, 1.0])
def test_where_most_components_are_ruled_out_float64_is_faster(spread, isa):
    parameters = twins.random_parameters("full", 16, 14, np.random.default_rng(11), spread=spread)
    X = twins.random_rows(parameters, 5000, np.random.default_rng(12))
    kernel, left_out = single(parameters), np.zeros(1)
    out = np.empty(kernel.statistics_size)
    assert expect.accumulate(kernel, X, None, out, 1, left_out=left_out) == -1
    assert (left_out[0] > 0) == (spread == 30.0)
    assert (out == statistics(FullKernel(*parameters), X)).all() == (spread == 30.0)


def test_arithmetic_tells_what_a_pass_runs_in():
    parameters = twins.random_parameters("full", 2, 3, np.random.default_rng(13))
    assert FullKernel(*parameters).arithmetic == "float64"
    assert single(parameters).arithmetic == "float32"


def test_more_features_are_refused():
    parameters = twins.random_parameters("full", 2, 17, np.random.default_rng(14))
    with pytest.raises(ValueError, match="at most 16 features, not 17"):
        single(parameters)
