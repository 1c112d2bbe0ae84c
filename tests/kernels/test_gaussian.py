"""The Gaussian kernels against their NumPy twins, for every instruction set.

Tolerances: sums within 30 units of rounding (of float64) of the yardstick the twin computes, the
sum of the absolute terms times 1 + q; observed: 6. Outputs per row within 300 units of 1 + |value|;
observed: 100, from sums of up to 100 squares.
"""

import numpy as np
import pytest
import twins
from kernel_calls import KERNELS, SHAPES, posterior, statistics
from scipy.stats import multivariate_normal

EPS = np.finfo(float).eps


def check_statistics(shape, parameters, X, weights=None, units=30):
    value, scale = twins.accumulate(shape, X, parameters, weights)
    out = statistics(KERNELS[shape](*parameters), X, weights)
    error = abs(out - value) / np.maximum(scale, np.finfo(float).tiny)
    assert error.max() < units * EPS, (error.argmax(), float(error.max() / EPS))


def check_posterior(shape, parameters, X, units=300):
    exact = twins.posterior(shape, X, parameters)
    values = posterior(KERNELS[shape](*parameters), X)
    for value, wanted, name in zip(
        values[:3], exact[:3], ("log_densities", "log_likelihood", "resp"), strict=True
    ):
        error = abs(value - wanted) / (1 + abs(wanted).max(axis=-1, keepdims=value.ndim == 2))
        assert error.max() < units * EPS, (name, float(error.max() / EPS))
    assert (values[3] == exact[3]).all()


@pytest.mark.parametrize("d", [*range(1, 21), 33, 64, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_and_posterior_equal_the_twin(shape, d, isa):
    rng = np.random.default_rng(d)
    for K, n in [(1, 1), (2, 2), (3, 25), (5, 127), (7, 129), (13, 250)][: 6 if d < 30 else 5]:
        parameters = twins.random_parameters(shape, K, d, rng)
        X = twins.random_rows(parameters, n, rng)
        check_posterior(shape, parameters, X)
        check_statistics(shape, parameters, X)
        check_statistics(shape, parameters, X, rng.integers(0, 3, size=n).astype(float))


@pytest.mark.parametrize("shape", SHAPES)
def test_many_tiles_and_blocks(shape, isa):
    rng = np.random.default_rng(0)
    for K, d, n in [(1, 1, 1000), (3, 2, 1000), (2, 3, 4085), (40, 4, 1000), (3, 17, 2500)]:
        parameters = twins.random_parameters(shape, K, d, rng)
        check_statistics(shape, parameters, twins.random_rows(parameters, n, rng))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("d", [2, 9, 20])
def test_data_far_from_the_origin_lose_nothing(shape, d, isa):
    rng = np.random.default_rng(1)
    parameters = twins.random_parameters(shape, 3, d, rng, location=1e8)
    X = twins.random_rows(parameters, 300, rng)
    check_statistics(shape, parameters, X)
    check_posterior(shape, parameters, X)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("d", [3, 21])
def test_separated_components_cut_nothing_that_counts(shape, d, isa):
    rng = np.random.default_rng(2)
    parameters = twins.random_parameters(shape, 6, d, rng, spread=30.0)
    X = twins.random_rows(parameters, 500, rng)
    # tied: distances are taken between whitened points, whose size is the separation
    check_statistics(shape, parameters, X, units=30 if shape != "tied" else 1000)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("d", [1, 4, 10, 24])
def test_log_densities_equal_scipy(shape, d, isa):
    rng = np.random.default_rng(3)
    log_offsets, means, factor, *center = twins.random_parameters(shape, 4, d, rng)
    precision = {
        "full": lambda k: factor[k] @ factor[k].T,
        "tied": lambda k: factor @ factor.T,
        "diag": lambda k: np.diag(factor[k] ** 2),
        "spherical": lambda k: np.eye(d) * factor[k] ** 2,
    }[shape]
    log_weights = np.log(rng.dirichlet(np.ones(4)))
    for k in range(4):
        log_offsets[k] = (
            log_weights[k] - d / 2 * np.log(2 * np.pi) + np.linalg.slogdet(precision(k))[1] / 2
        )
    X = twins.random_rows((log_offsets, means), 300, rng)
    values = posterior(KERNELS[shape](log_offsets, means, factor, *center), X)[0]
    for k in range(4):
        component = multivariate_normal(means[k], np.linalg.inv(precision(k)))
        wanted = log_weights[k] + component.logpdf(X)
        np.testing.assert_allclose(values[:, k], wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("d", [2, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_weight_zero_component_gets_exactly_nothing(shape, d, isa):
    rng = np.random.default_rng(4)
    parameters = twins.random_parameters(shape, 4, d, rng)
    parameters[0][1] = -np.inf
    X = twins.random_rows(parameters, 200, rng)
    kernel = KERNELS[shape](*parameters)
    log_densities, log_likelihood, responsibilities, labels = posterior(kernel, X)
    assert (log_densities[:, 1] == -np.inf).all()
    assert (responsibilities[:, 1] == 0).all()
    assert (labels != 1).all()
    assert np.isfinite(log_likelihood).all()
    out = statistics(kernel, X)
    assert out[2 + 1] == 0
    assert (out[2 + 4 + d : 2 + 4 + 2 * d] == 0).all()
    shared = {"tied": (2, 3)}.get(shape, ())  # arguments that are not per component
    without = [a if i in shared else np.delete(a, 1, axis=0) for i, a in enumerate(parameters)]
    assert statistics(KERNELS[shape](*without), X)[0] == pytest.approx(out[0], rel=1e-14)


@pytest.mark.parametrize("shape", ["diag", "spherical"])
def test_tiny_variances_give_no_nan(shape, isa):
    """Of 3e-301: the distance is a number, its quotient by the variance is none."""
    roots = np.full((2, 3) if shape == "diag" else 2, 1e150)
    kernel = KERNELS[shape](np.zeros(2), np.array([[0.0] * 3, [9.0] * 3]), roots)
    X = np.array([[1e4] * 3, [0.0] * 3, [1e-150] * 3])
    log_densities, log_likelihood, responsibilities, _ = posterior(kernel, X)
    assert np.isfinite(log_densities).all()
    assert np.isfinite(log_likelihood).all()
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(responsibilities[1:], [[1, 0]] * 2)
    np.testing.assert_allclose(log_densities[1:, 0], [0, -1.5], rtol=1e-14)


@pytest.mark.parametrize("d", [1, 2, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_huge_rows_give_no_nan(shape, d, isa):
    rng = np.random.default_rng(5)
    parameters = twins.random_parameters(shape, 3, d, rng)
    parameters[0][2] = -np.inf
    X = twins.random_rows(parameters, 60, rng)
    X[7] = 1e200
    X[8] = -1e200
    X[9, 0], X[9, -1] = 1e308, -1e308
    X[10] = 1e6
    with np.errstate(all="ignore"):
        log_densities, log_likelihood, responsibilities, labels = posterior(
            KERNELS[shape](*parameters), X
        )
    assert not np.isnan(log_densities).any()
    assert np.isfinite(log_likelihood).all()
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1, rtol=1e-14)
    assert (responsibilities[:, 2] == 0).all()
    assert (labels < 2).all()
    X[7:10] = 1e100  # squares still finite: the sums must be
    assert np.isfinite(statistics(KERNELS[shape](*parameters), X)).all()


def test_small_exponentials_are_right_down_to_the_normal_range(isa):
    """One component far away: r = exp(-D) for D up to 708 must be right, and 0 beyond."""
    distance = np.array([0.5, 5.0, 30.0, 200.0, 400.0, 650.0, 700.0, 707.0, 720.0, 1e4])
    kernel = KERNELS["spherical"](np.zeros(2), np.array([[0.0], [1.0]]), np.array([1.0, 1.0]))
    X = (distance + 0.5)[:, None]  # log density ratio: -(x^2 - (x - 1)^2) / 2 = 1/2 - x
    r = posterior(kernel, X)[2][:, 0]
    wanted = 1 / (1 + np.exp(np.minimum(distance, 709)))
    wanted[distance > 708] = 0
    np.testing.assert_allclose(r, wanted, rtol=1e-9)  # a rounding of x^2 = 5e5 is 1e-10
    assert (r[-2:] == 0).all()


@pytest.mark.parametrize("K", [1, 2, 40, 70])
def test_log_likelihood_of_equal_components(K, isa):
    """p(x) does not depend on K; the sums reach K in every row, and so their product."""
    X = np.random.default_rng(6).normal(size=(5000, 2))
    kernel = KERNELS["diag"](np.full(K, -np.log(K)), np.zeros((K, 2)), np.ones((K, 2)))
    wanted = -(X**2).sum() / 2
    assert statistics(kernel, X)[0] == pytest.approx(wanted, rel=1e-13)
    assert statistics(kernel, X, np.ones(5000))[0] == pytest.approx(wanted, rel=1e-13)


@pytest.mark.parametrize("d", [2, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_weights(shape, d, isa):
    rng = np.random.default_rng(7)
    parameters = twins.random_parameters(shape, 3, d, rng)
    X = twins.random_rows(parameters, 500, rng)
    kernel = KERNELS[shape](*parameters)
    counts = rng.integers(0, 4, size=500).astype(float)
    weighted = statistics(kernel, X, counts)
    limit = 60 * EPS * twins.accumulate(shape, X, parameters, counts)[1]
    repeated = statistics(kernel, np.repeat(X, counts.astype(int), axis=0))
    assert (abs(weighted - repeated) < limit).all()
    absent = statistics(kernel, X[counts > 0], counts[counts > 0])
    assert (abs(weighted - absent) < limit).all()
    # the scale of the weights is free: powers of two are exact
    tiny = statistics(kernel, X, counts * 2.0**-200)
    assert (tiny == weighted * 2.0**-200).all()
    limit = 60 * EPS * twins.accumulate(shape, X, parameters)[1]
    assert (abs(statistics(kernel, X, np.ones(500)) - statistics(kernel, X)) < limit).all()
    assert (statistics(kernel, X, np.zeros(500)) == 0).all()


def test_exponentials_to_the_last_bits(isa):
    """Components that differ by their offsets only: r is known; every entry of a table is met."""
    offsets = -np.linspace(0, 3, 400)
    kernel = KERNELS["diag"](offsets, np.zeros((400, 1)), np.ones((400, 1)))
    X = np.zeros((24, 1))
    wanted = np.exp(offsets) / np.exp(offsets).sum()
    np.testing.assert_allclose(posterior(kernel, X)[2][5], wanted, rtol=3e-15)
    np.testing.assert_allclose(statistics(kernel, X)[2:402] / 24, wanted, rtol=3e-15)


@pytest.mark.parametrize("d", [5, 20, 70])
@pytest.mark.parametrize("shape", SHAPES)
def test_small_responsibilities_count(shape, d, isa):
    """A component with r = 2^-43 in every row has sums like any other."""
    K = 3
    factors = {"full": np.stack([np.eye(d)] * K), "tied": np.eye(d), "diag": np.ones((K, d))}
    parameters = [np.array([0.0, -30, -1]), np.zeros((K, d)), factors.get(shape, np.ones(K))]
    if shape == "tied":
        parameters.append(np.zeros(d))
    check_statistics(shape, parameters, np.random.default_rng(8).normal(size=(300, d)))
