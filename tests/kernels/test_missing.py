"""The kernels for rows with missing cells against their NumPy twin, for every instruction set.

Tolerances: 1e-12 of the sum of absolute terms (sums) or of 1 + |value| (per row); observed 2e-14.
"""

import functools
import pickle
import tracemalloc

import numpy as np
import pytest
import twins_missing as twins
from kernel_calls import KERNELS, SHAPES, missing_kernels, posterior, statistics

from emdash._kernels import expect
from emdash._kernels.patterns import sort_by_pattern

MISSING = missing_kernels()


def bound(shape, parameters):
    return MISSING[shape](*parameters)


def complete_kernel(shape, parameters):
    """The kernel for complete rows with the same parameters; its sums are about its means."""
    log_weights, means, _, factors, _, center = parameters
    d = means.shape[1]
    if shape in ("full", "tied"):
        diagonal = np.diagonal(factors, axis1=-2, axis2=-1)
        log_root = np.log(diagonal).sum(axis=-1)
    else:
        log_root = np.log(factors).sum(axis=-1) if shape == "diag" else d * np.log(factors)
    offsets = log_weights - d / 2 * np.log(2 * np.pi) + log_root
    return KERNELS[shape](offsets, means, factors, *([center] if shape == "tied" else []))


def about_means(parameters):
    return (*parameters[:4], parameters[1], parameters[5])


def filled_in(kernel, X, noise=None):
    out = np.full(X.shape, np.nan)
    assert expect.posterior(kernel, X, 1, filled=out, noise=noise) == -1
    return out


@functools.cache
def example(shape, d, K, n):
    """Parameters, rows and weights, and what the twin makes of them; for all instruction sets."""
    rng = np.random.default_rng(d)
    parameters = twins.random_parameters(shape, K, d, rng)
    X = twins.random_rows(parameters, n, rng)
    weights = rng.integers(0, 3, size=n).astype(float)
    sums = [twins.accumulate(shape, X, parameters, w) for w in (None, weights)]
    return parameters, X, weights, sums, twins.expectations(shape, X, parameters)


def check_statistics(shape, parameters, X, weights=None):
    value, scale = twins.accumulate(shape, X, parameters, weights)
    out = statistics(bound(shape, parameters), X, weights)
    assert (abs(out - value) <= 1e-12 * scale).all(), (abs(out - value) / scale).max()


@pytest.mark.parametrize("d", [1, 2, 5, 10, 16, 17, 26])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_and_answers_equal_the_twin(shape, d, isa):
    for K, n in [(1, 30), (3, 50), (9, 26)]:
        parameters, X, weights, sums, (exact, rows, _) = example(shape, d, K, n)
        for w, (value, scale) in zip((None, weights), sums, strict=True):
            out = statistics(bound(shape, parameters), X, w)
            assert (abs(out - value) <= 1e-12 * scale).all(), (abs(out - value) / scale).max()
        log_likelihood, r = twins.posterior(exact)
        values = posterior(bound(shape, parameters), X)
        for value, wanted in zip(values[:3], (exact, log_likelihood, r), strict=True):
            assert (abs(value - wanted) <= 1e-12 * (1 + abs(wanted))).all()
        assert (values[3] == exact.argmax(axis=1)).all()
        means = np.where(np.isnan(X), np.einsum("ik,ikd->id", r, rows), X)
        filled = filled_in(bound(shape, parameters), X)
        assert (abs(filled - means) <= 1e-12 * (1 + abs(means))).all()
        assert (filled[~np.isnan(X)] == X[~np.isnan(X)]).all()


@pytest.mark.parametrize("d", [3, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_with_nothing_hidden_get_the_complete_answer(shape, d, isa):
    rng = np.random.default_rng(1)
    parameters = about_means(twins.random_parameters(shape, 4, d, rng))
    X = twins.random_rows(parameters, 300, rng, hidden=0.0)
    scale = twins.accumulate(shape, X, parameters)[1]
    complete, ours = complete_kernel(shape, parameters), bound(shape, parameters)
    assert (abs(statistics(ours, X) - statistics(complete, X)) <= 1e-13 * scale).all()
    for value, wanted in zip(posterior(ours, X)[:3], posterior(complete, X)[:3], strict=True):
        assert (abs(value - wanted) <= 1e-13 * (1 + abs(wanted))).all()


def test_rows_with_nothing_observed_have_the_weights(isa):
    rng = np.random.default_rng(2)
    for shape in SHAPES:
        parameters = twins.random_parameters(shape, 3, 4, rng)
        values = posterior(bound(shape, parameters), np.full((2, 4), np.nan))
        np.testing.assert_allclose(values[0], np.tile(parameters[0], (2, 1)), rtol=1e-14)
        np.testing.assert_allclose(values[2][1], np.exp(parameters[0]), rtol=1e-14)
        assert abs(values[1]).max() < 1e-15


@pytest.mark.parametrize("shape", SHAPES)
def test_permuting_columns_permutes_the_answer(shape, isa):
    rng = np.random.default_rng(3)
    d = 7
    parameters = twins.random_parameters(shape, 3, d, rng)
    X = twins.random_rows(parameters, 100, rng)
    order = rng.permutation(d)
    log_weights, means, covariances, _, about, center = parameters
    if shape in ("full", "tied"):
        covariances = covariances[..., order[:, None], order]
        root = np.linalg.cholesky(covariances)
        factors = np.swapaxes(np.linalg.inv(root), -1, -2)
    else:
        covariances = covariances[:, order] if shape == "diag" else covariances
        factors = covariances**-0.5
    permuted = (log_weights, means[:, order], covariances, factors, about[:, order], center[order])
    here, there = bound(shape, parameters), bound(shape, permuted)
    np.testing.assert_allclose(posterior(here, X)[0], posterior(there, X[:, order])[0], rtol=1e-11)
    np.testing.assert_allclose(
        filled_in(here, X)[:, order], filled_in(there, X[:, order]), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("d", [4, 20])
def test_order_of_the_rows_is_free(shape, d, isa):
    """Sorting by pattern is for speed: per-row answers keep every bit, sums their digits."""
    rng = np.random.default_rng(4)
    parameters = twins.random_parameters(shape, 3, d, rng)
    X = twins.random_rows(parameters, 700, rng, hidden=0.1)
    kernel = bound(shape, parameters)
    order = np.arange(700)
    rows = np.empty_like(X)
    assert sort_by_pattern(X, order, rows) == 0
    for value, sorted_value in zip(posterior(kernel, X), posterior(kernel, rows), strict=True):
        assert (value[order] == sorted_value).all()
    assert (filled_in(kernel, X)[order] == filled_in(kernel, rows)).all()
    scale = abs(X[~np.isnan(X)]).max() ** 2 * 700
    assert abs(statistics(kernel, X) - statistics(kernel, rows)).max() < 1e-13 * scale


@pytest.mark.parametrize("shape", SHAPES)
def test_weights(shape, isa):
    rng = np.random.default_rng(5)
    parameters = twins.random_parameters(shape, 3, 6, rng)
    X = twins.random_rows(parameters, 300, rng)
    kernel = bound(shape, parameters)
    counts = rng.integers(0, 3, size=300).astype(float)
    weighted = statistics(kernel, X, counts)
    limit = 1e-13 * twins.accumulate(shape, X, parameters, counts)[1]
    repeated = statistics(kernel, np.repeat(X, counts.astype(int), axis=0))
    assert (abs(weighted - repeated) <= limit).all()
    absent = statistics(kernel, X[counts > 0], counts[counts > 0])
    assert (abs(weighted - absent) <= limit).all()
    assert (statistics(kernel, X, np.zeros(300)) == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_threads_change_no_bit(shape, isa):
    rng = np.random.default_rng(6)
    parameters = twins.random_parameters(shape, 4, 10, rng)
    X = twins.random_rows(parameters, 20_000, rng, hidden=0.05)
    kernel = bound(shape, parameters)
    wanted = statistics(kernel, X)
    for n_threads in (2, 3, 7):
        assert (statistics(kernel, X, n_threads=n_threads) == wanted).all()


def test_a_pattern_per_row_stays_correct_and_bounded():
    """So many patterns in a tile that not all that is left over can be kept; and no growth."""
    rng = np.random.default_rng(7)
    parameters = twins.random_parameters("full", 9, 34, rng)
    X = twins.random_rows(parameters, 60, rng, hidden=0.5)
    assert len(np.unique(np.isnan(X), axis=0)) == 60
    check_statistics("full", parameters, X)
    noise = np.column_stack([rng.random(60), np.zeros((60, 34))])
    assert np.isfinite(filled_in(bound("full", parameters), X, noise)).all()

    parameters = twins.random_parameters("tied", 2, 16, rng)
    kernel = bound("tied", parameters)
    out = np.empty(kernel.statistics_size)
    peaks = []
    for n in (2_000, 8_000):
        X = twins.random_rows(parameters, n, rng, hidden=0.5)
        tracemalloc.start()
        expect.accumulate(kernel, X, None, out, 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_data_far_from_the_origin_lose_nothing(shape, isa):
    rng = np.random.default_rng(8)
    parameters = twins.random_parameters(shape, 3, 5, rng, location=2.0**27)
    X = twins.random_rows(parameters, 60, rng)
    near = [*parameters]
    for i in (1, 4, 5):
        near[i] = parameters[i] - 2.0**27  # exact
    here, there = bound(shape, parameters), bound(shape, near)
    moved = X - 2.0**27
    assert (statistics(here, X) == statistics(there, moved)).all()
    assert (posterior(here, X)[0] == posterior(there, moved)[0]).all()


def test_two_nearly_equal_features_that_are_both_missing(isa):
    """What is left is well conditioned, so nothing may be lost: regressions come from Sigma.

    From the precision, whose entries are 1e13 times larger, they would lose most digits.
    """
    d = 4
    covariance = np.eye(d) + 0.5
    covariance[2, 3] = covariance[3, 2] = 1.5 - 1e-13
    upper = np.linalg.inv(np.linalg.cholesky(covariance)).T
    parameters = (
        np.zeros(1), np.zeros((1, d)), covariance[None], upper[None], np.zeros((1, d)), np.zeros(d)
    )  # fmt: skip
    X = np.array([[1.0, -2.0, np.nan, np.nan], [0.3, 0.1, np.nan, np.nan]])
    value, filled, _ = twins.conditional(X[0], np.zeros(d), covariance)
    kernel = bound("full", parameters)
    np.testing.assert_allclose(posterior(kernel, X)[1][0], value, rtol=1e-12)
    np.testing.assert_allclose(filled_in(kernel, X)[0], filled, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_component_of_weight_zero_gets_nothing(shape, isa):
    rng = np.random.default_rng(9)
    parameters = twins.random_parameters(shape, 3, 4, rng)
    parameters[0][1] = -np.inf
    X = twins.random_rows(parameters, 60, rng)
    values = posterior(bound(shape, parameters), X)
    assert (values[0][:, 1] == -np.inf).all()
    assert (values[2][:, 1] == 0).all()
    assert np.isfinite(values[1]).all()
    assert statistics(bound(shape, parameters), X)[2 + 1] == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_draws(shape, isa):
    """Normal numbers of zero give the component's mean; of many rows, its covariance."""
    rng = np.random.default_rng(10)
    K, d, n = 3, 4, 40_000
    parameters = twins.random_parameters(shape, K, d, rng)
    kernel = bound(shape, parameters)
    row = parameters[1][1] + np.array([0.3, np.nan, -0.2, np.nan])
    log_densities, filled, left_over = twins.expectations(shape, row[None], parameters)
    r = twins.posterior(log_densities)[1][0]
    u = (np.cumsum(r) - r / 2)[:, None]  # one in the share of each component
    zeros = filled_in(kernel, np.tile(row, (K, 1)), np.hstack([u, np.zeros((K, d))]))
    np.testing.assert_allclose(zeros, filled[0], rtol=1e-12)
    noise = np.hstack([rng.random((n, 1)), rng.normal(size=(n, d))])
    draws = filled_in(kernel, np.tile(row, (n, 1)), noise)
    assert (draws[:, [0, 2]] == row[[0, 2]]).all()
    mean = r @ filled[0]
    spread = filled[0] - mean
    covariance = np.tensordot(r, left_over[0] + spread[:, :, None] * spread[:, None, :], 1)
    error = np.sqrt(np.diag(covariance) / n)
    assert (abs(draws.mean(axis=0) - mean) <= 5 * error + 1e-12).all()
    size = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert (abs(np.cov(draws.T) - covariance) <= 5 * np.sqrt(2 / n) * size + 1e-12).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("d", [3, 20])
def test_a_pass_sets_incomplete_rows_aside(shape, d, isa):
    rng = np.random.default_rng(11)
    parameters = twins.random_parameters(shape, 3, d, rng)
    X = twins.random_rows(parameters, 3_000, rng, hidden=0.02)
    X[500:1_100, 0] = np.nan  # tiles with nothing left
    holes = np.isnan(X).any(axis=1)
    kernel = complete_kernel(shape, parameters)
    for weights in (None, rng.random(3_000)):
        out, marks = np.empty(kernel.statistics_size), np.zeros(3_000, np.uint8)
        for n_threads in (1, 2):
            assert expect.accumulate(kernel, X, weights, out, n_threads, incomplete=marks) == -2
            assert (marks == holes).all()
            wanted = statistics(kernel, X[~holes], None if weights is None else weights[~holes])
            np.testing.assert_allclose(out, wanted, rtol=1e-11, atol=1e-9)
    whole = X[~holes]
    out, marks = np.empty(kernel.statistics_size), np.zeros(len(whole), np.uint8)
    assert expect.accumulate(kernel, whole, None, out, 1, incomplete=marks) == -1
    assert (out == statistics(kernel, whole)).all()
    assert not marks.any()


def test_infinity_is_an_error_even_beside_missing_cells():
    rng = np.random.default_rng(12)
    parameters = twins.random_parameters("full", 2, 3, rng)
    X = twins.random_rows(parameters, 900, rng)
    X[700] = np.nan, 1.0, -np.inf
    X[800, 1] = np.inf
    kernel = complete_kernel("full", parameters)
    out, marks = np.empty(kernel.statistics_size), np.zeros(900, np.uint8)
    assert expect.accumulate(kernel, X, None, out, 2, incomplete=marks) == 700


@pytest.mark.parametrize("d", [1, 8, 9, 70])
def test_sorting_by_pattern(d):
    rng = np.random.default_rng(d)
    X = rng.normal(size=(500, d))
    X[rng.random(X.shape) < 0.3] = np.nan
    X[[3, 77]] = np.nan
    numbers = np.flatnonzero(np.isnan(X).any(axis=1))
    keys = [tuple(row) for row in np.isnan(X)]
    wanted = sorted(numbers, key=lambda i: keys[i])  # stable
    empty = np.isnan(X).all(axis=1).sum()
    for layout in (X, np.asfortranarray(X), X.astype(np.float32), np.repeat(X, 2, axis=1)[:, ::2]):
        order, rows = numbers.copy(), np.empty((len(numbers), d))
        assert sort_by_pattern(layout, order, rows) == empty
        assert (order == wanted).all()
        np.testing.assert_array_equal(rows, layout[order])
    two = np.asfortranarray(X[:2], dtype=np.float32)  # features eight bytes apart, like float64
    rows = np.empty((2, d))
    sort_by_pattern(two, np.arange(2), rows)
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(two, axis=0))
    assert sort_by_pattern(X, np.empty(0, np.intp), np.empty((0, d))) == 0
    with pytest.raises(IndexError, match="row 500 of 500"):
        sort_by_pattern(X, np.array([500]), np.empty((1, d)))
    with pytest.raises(ValueError, match="shape"):
        sort_by_pattern(X, np.array([0]), np.empty((2, d)))


def test_bad_arguments():
    rng = np.random.default_rng(13)
    parameters = twins.random_parameters("full", 2, 3, rng)
    X = twins.random_rows(parameters, 10, rng)
    complete, ours = complete_kernel("full", parameters), bound("full", parameters)
    with pytest.raises(TypeError, match="fills no missing cells"):
        expect.posterior(complete, X, 1, filled=np.empty((10, 3)))
    with pytest.raises(ValueError, match="noise must be contiguous"):
        expect.posterior(ours, X, 1, filled=np.empty((10, 3)), noise=np.empty((10, 3)))
    with pytest.raises(ValueError, match="incomplete must be contiguous with 10"):
        expect.accumulate(
            complete, X, None, np.empty(complete.statistics_size), 1, incomplete=np.zeros(9, "u1")
        )
    with pytest.raises(ValueError, match=r"argument 2 must have shape \(2, 3, 3\)"):
        MISSING["full"](*parameters[:2], np.eye(3), *parameters[3:])


@pytest.mark.parametrize("shape", SHAPES)
def test_pickled_kernels_answer_alike(shape):
    rng = np.random.default_rng(14)
    parameters = twins.random_parameters(shape, 2, 3, rng)
    X = twins.random_rows(parameters, 50, rng)
    kernel = bound(shape, parameters)
    assert (statistics(pickle.loads(pickle.dumps(kernel)), X) == statistics(kernel, X)).all()
