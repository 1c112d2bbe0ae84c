"""The Gaussian family and its covariance shapes: round trips, determinants, M-step, errors."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdash.chunk import Chunk
from emdash.families.covariance import SHAPES
from emdash.families.factors import (
    factor_matrices,
    factor_positive_precisions,
    factor_precision_matrix,
    factor_variances,
    pack,
    unpack,
)
from emdash.families.gaussian import Gaussian
from emdash.families.moments import center_of
from emdash.models.mixture import Mixture, MixtureParameters

K, d = 3, 4


@pytest.fixture
def rng():
    return np.random.default_rng(42)


@pytest.fixture
def shape(covariance_type):
    return SHAPES[covariance_type]


@pytest.fixture
def covariances(shape, rng):
    """Return well-conditioned covariances in the array of the shape."""
    if shape.name in ("diag", "spherical"):
        return rng.uniform(0.5, 2, size=shape.array_shape(K, d))
    A = rng.normal(size=(*shape.array_shape(K, d)[:-1], 2 * d))
    return A @ np.swapaxes(A, -1, -2) / (2 * d)


def as_matrices(shape, values):
    """Return (K, d, d) matrices whatever the shape."""
    if shape.name == "spherical":
        return values[:, None, None] * np.eye(d)
    if shape.name == "diag":
        return values[:, None, :] * np.eye(d)
    return np.broadcast_to(values, (K, d, d))


def test_registry_knows_shapes_by_their_names():
    assert {name: shape.name for name, shape in SHAPES.items()} == {
        name: name for name in ("full", "tied", "diag", "spherical")
    }


def test_factor_and_back(shape, covariances):
    factors = shape.factor(covariances)
    assert factors.shape == covariances.shape == shape.array_shape(K, d)
    np.testing.assert_allclose(shape.covariances_of(factors), covariances, rtol=1e-12, atol=1e-14)
    precisions = shape.precisions(factors)
    inverse = np.linalg.inv(as_matrices(shape, covariances))
    np.testing.assert_allclose(as_matrices(shape, precisions), inverse, rtol=1e-11, atol=1e-13)
    again = shape.factor_precisions(precisions)
    np.testing.assert_allclose(again, factors, rtol=1e-11, atol=1e-13)


def test_factors_are_upper_triangular_with_positive_diagonal(shape, covariances):
    for factor in as_matrices(shape, shape.factor(covariances)):
        np.testing.assert_array_equal(np.tril(factor, -1), 0)
        assert np.all(np.diag(factor) > 0)


def test_log_determinants(shape, covariances):
    found = shape.log_determinants(shape.factor(covariances), K, d)
    expected = -0.5 * np.linalg.slogdet(as_matrices(shape, covariances))[1]
    assert found.shape == (K,)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_unit_factors_are_those_of_unit_covariances(shape):
    factors = shape.unit_factors(K, d)
    np.testing.assert_array_equal(as_matrices(shape, factors), [np.eye(d)] * K)
    np.testing.assert_array_equal(
        as_matrices(shape, shape.covariances_of(factors)), [np.eye(d)] * K
    )


def test_regularize_adds_to_diagonals_only(shape, covariances):
    before = covariances.copy()
    found = shape.regularize(covariances, 0.25)
    assert found is covariances  # K d^2 numbers: not copied
    np.testing.assert_allclose(
        as_matrices(shape, found) - as_matrices(shape, before), [0.25 * np.eye(d)] * K, atol=1e-15
    )


def test_number_of_parameters():
    expected = {"full": 3 * 10, "tied": 10, "diag": 12, "spherical": 3}
    for name, shape in SHAPES.items():
        assert shape.count_parameters(K, d) == expected[name]
        model = Mixture(Gaussian(shape))
        assert model.count_parameters(K, d) == 2 + 12 + expected[name]


def test_m_step_is_weighted_maximum_likelihood(shape, rng):
    """Against the textbook: covariances about the new means, whatever the sums were taken about."""
    X = rng.normal(size=(50, d)) @ rng.normal(size=(d, d)) + 10
    r = rng.dirichlet(np.ones(K), size=50)
    model = Mixture(Gaussian(shape))
    about = model.reference(X[:K] + rng.normal(size=(K, d)))
    fitted = model.maximize(model.statistics(X, r, about), about)
    N = r.sum(axis=0)
    means = r.T @ X / N[:, None]
    scatter = np.einsum("nk,nki,nkj->kij", r, X[:, None] - means, X[:, None] - means)
    expected = {
        "full": scatter / N[:, None, None],
        "tied": scatter.sum(axis=0) / 50,
        "diag": np.diagonal(scatter, axis1=1, axis2=2) / N[:, None],
        "spherical": np.trace(scatter, axis1=1, axis2=2) / (N * d),
    }[shape.name]
    np.testing.assert_allclose(fitted.weights, N / 50, rtol=1e-14)
    np.testing.assert_allclose(fitted.components.means, means, rtol=1e-13)
    np.testing.assert_allclose(fitted.components.covariances, expected, rtol=1e-11, atol=1e-12)


def test_variances_are_the_diagonals_of_the_covariances(shape, rng):
    X, r = rng.normal(size=(50, d)) + 10, rng.dirichlet(np.ones(K), size=50)
    about = Gaussian(shape).reference(X[:K])
    sums = Gaussian(shape).statistics(X, r, about)
    arguments = sums["N"], sums["F"], sums["S"], about.means, about.center
    wanted = as_matrices(shape, shape.covariances(*arguments))
    np.testing.assert_allclose(
        shape.variances(*arguments), np.diagonal(wanted, axis1=1, axis2=2), rtol=1e-10
    )


def test_statistics_of_two_chunks_are_those_of_both(shape, covariances, rng):
    """The kernel's sums add, and equal the plain NumPy ones with the kernel's responsibilities."""
    X = rng.normal(size=(61, d)) + rng.integers(0, 3, size=(61, 1))
    family = Gaussian(shape)
    weights, means = np.array([0.5, 0.3, 0.2]), rng.normal(size=(K, d))
    parameters = MixtureParameters(weights, family.parameters(weights, means, covariances))
    model = Mixture(family)
    task = model.task(parameters, pass_id="7")
    whole = task(Chunk(X, 0, 0), 1)
    parts = task(Chunk(X[:20], 0, 0), 1) + task(Chunk(X[20:20], 1, 20), 1)
    parts = parts + task(Chunk(X[20:], 2, 20), 1)
    scale = np.abs(whole.sums).max()
    np.testing.assert_allclose(parts.sums, whole.sums, rtol=1e-12, atol=1e-13 * scale)
    assert parts.counts == whole.counts
    assert (whole.pass_id, whole.weight) == ("7", 61.0)

    r = model.rows(parameters, "responsibilities")(Chunk(X, 0, 0), 1)
    plain = model.statistics(X, r, parameters)
    for name in ("N", "F", "S"):
        np.testing.assert_allclose(
            getattr(whole, name), getattr(plain, name), rtol=1e-10, atol=1e-12 * scale
        )
    assert model.objective(whole, parameters) == whole.log_likelihood / 61


def test_row_weights_multiply_rows(shape, covariances, rng):
    X = rng.normal(size=(30, d))
    repeats = rng.integers(0, 4, size=30)
    family = Gaussian(shape)
    weights, means = np.full(K, 1 / K), rng.normal(size=(K, d))
    model = Mixture(family)
    task = model.task(MixtureParameters(weights, family.parameters(weights, means, covariances)))
    weighted = task(Chunk(X, 0, 0, weights=repeats.astype(float)), 1)
    repeated = task(Chunk(np.repeat(X, repeats, axis=0), 0, 0), 1)
    np.testing.assert_allclose(weighted.sums, repeated.sums, rtol=1e-12, atol=1e-12)
    assert weighted.weight == repeats.sum()


def test_tasks_and_parameters_are_picklable(shape, covariances, rng):
    family = Gaussian(shape, 1e-3)
    weights, means = np.full(K, 1 / K), rng.normal(size=(K, d))
    parameters = MixtureParameters(weights, family.parameters(weights, means, covariances))
    model, chunk = Mixture(family), Chunk(rng.normal(size=(9, d)), 0, 0)
    for task in (
        model.task(parameters, "1"),
        model.rows(parameters, "labels"),
        model.rows(parameters, "log_densities"),
        model.score(parameters),
    ):
        found, expected = pickle.loads(pickle.dumps(task))(chunk, 1), task(chunk, 1)
        np.testing.assert_array_equal(
            getattr(found, "buffer", found), getattr(expected, "buffer", expected)
        )
    twin = pickle.loads(pickle.dumps(parameters))
    np.testing.assert_array_equal(twin.components.means, means)


def test_component_without_rows_keeps_its_mean_and_never_becomes_nan(shape, rng):
    X = rng.normal(size=(40, d))
    r = np.zeros((40, K))
    r[:, 0] = 1
    model = Mixture(Gaussian(shape, reg_covar=1e-6))
    about = model.reference(rng.normal(size=(K, d)))
    fitted = model.maximize(model.statistics(X, r, about), about)
    np.testing.assert_array_equal(fitted.weights, [1, 0, 0])
    np.testing.assert_array_equal(fitted.components.means[1:], about.components.means[1:])
    for name in ("means", "covariances", "precisions_cholesky"):
        assert np.isfinite(getattr(fitted.components, name)).all()
    expected = np.cov(X.T, bias=True) + 1e-6 * np.eye(d)
    if shape.name in ("full", "tied"):
        found = as_matrices(shape, fitted.components.covariances)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_center_is_the_mean_of_the_means():
    np.testing.assert_allclose(
        center_of(np.array([0.25, 0.75]), np.array([[0.0, 4], [4, 0]])), [3, 1]
    )


def test_sample_stacks_components_in_order(shape, covariances):
    family = Gaussian(shape)
    means = 1000.0 * np.arange(K)[:, None] + np.zeros(d)
    parameters = family.parameters(np.ones(K), means, covariances)
    rows = family.sample(parameters, [2, 0, 3], np.random.RandomState(0))
    assert rows.shape == (5, d)
    np.testing.assert_array_equal(np.round(rows[:, 0] / 1000), [0, 0, 2, 2, 2])


# --- triangles --------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_pack_and_unpack(size, seed):
    A = np.random.default_rng(seed).normal(size=(size, size))
    A = A + A.T
    packed = pack(A)
    assert packed.shape == (size * (size + 1) // 2,)
    for i in range(min(size, 5)):
        assert packed[i * (i + 1) // 2] == A[i, 0]
    np.testing.assert_array_equal(unpack(packed, size), A)
    np.testing.assert_array_equal(unpack(np.stack([packed, 2 * packed]), size), [A, 2 * A])


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_factors_of_random_matrices(size, seed):
    A = np.random.default_rng(seed).normal(size=(size, 2 * size))
    covariance = A @ A.T
    (U,) = factor_matrices(covariance[None])
    np.testing.assert_allclose(U.T @ covariance @ U, np.eye(size), atol=1e-9)
    precision = U @ U.T
    np.testing.assert_allclose(
        factor_precision_matrix((precision + precision.T) / 2, 0), U, rtol=1e-6, atol=1e-9
    )


# --- errors -----------------------------------------------------------------------------------


BAD = np.diag([1.0, -0.5])


def among(matrix, k):
    """Return three unit matrices, with this one in place of number `k`."""
    matrices = np.stack([np.eye(2)] * 3)
    matrices[k] = matrix
    return matrices


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: factor_matrices(among(BAD, 2)), r"component 2 .*smallest eigenvalue is -0\.5"),
        (lambda: factor_matrices(BAD), "covariance of all components"),
        (lambda: factor_matrices(among(0 * BAD, 1)), "component 1 .*eigenvalue is 0"),
        (lambda: factor_matrices(among(np.nan * BAD, 1)), "component 1 .*infinity or NaN"),
        (lambda: factor_matrices(np.diag([1, np.inf])[None]), "component 0 .*infinity or NaN"),
        (lambda: factor_variances(np.array([[1.0, 1], [1, 0]])), "component 1 .*variance is 0"),
        (lambda: factor_variances(np.array([1.0, 2, -3])), "component 2 .*variance is -3"),
        (lambda: factor_variances(np.array([1.0, np.nan])), "component 1 .*nan"),
        (lambda: factor_precision_matrix(BAD, 3), r"precisions_init of component 3 .*-0\.5"),
        (lambda: factor_precision_matrix(np.array([[1.0, 2], [0, 1]]), 0), "symmetric"),
        (lambda: factor_positive_precisions(np.array([1.0, -2])), "component 1 .*positive.*-2"),
        (lambda: factor_positive_precisions(np.array([[1.0, np.nan]])), "component 0 .*positive"),
    ],
)
def test_errors_name_the_component_and_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("broken", range(K))
def test_collapse_names_the_component(shape, covariances, broken):
    values = covariances.copy()
    where = "component " + str(broken)
    if shape.name == "tied":
        values[...], where = 0.0, "all components"
    else:
        values[broken] = 0.0
    with pytest.raises(ValueError, match=f"{where} .*Try to decrease n_components"):
        Gaussian(shape).parameters(np.ones(K), np.zeros((K, d)), values)
