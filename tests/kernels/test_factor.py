"""Covariances and their factors in extended precision, at both sides of every block size."""

import numpy as np
import pytest

from emdash._kernels.factor import covariances, factor

EXACT = np.longdouble
SIZES = [*range(1, 36), 47, 48, 49, 71]


def positive_definite(K, d, seed=0):
    """Return (K, d, d) with condition numbers below 100."""
    rng = np.random.default_rng([seed, K, d])
    q, _ = np.linalg.qr(rng.normal(size=(K, d, d)))
    matrices = (q * rng.uniform(0.1, 5, size=(K, 1, d))) @ q.transpose(0, 2, 1)
    return (matrices + matrices.transpose(0, 2, 1)) / 2


def factors_of(matrices, n_threads=1):
    out = np.full(matrices.shape, np.nan)
    assert factor(matrices, out, n_threads) == -1
    return out


@pytest.mark.parametrize("d", SIZES)
def test_the_factor_whitens(d, isa):
    """``U' A U = 1`` in extended precision, U upper triangular with a positive diagonal."""
    matrices = positive_definite(3, d)
    for matrix, upper in zip(matrices, factors_of(matrices), strict=True):
        np.testing.assert_array_equal(np.tril(upper, -1), 0)
        assert (np.diag(upper) > 0).all()
        U = upper.astype(EXACT)
        error = abs(U.T @ matrix.astype(EXACT) @ U - np.eye(d)).max()
        assert error < 2e-14 * d, f"{error:.1e}"


@pytest.mark.parametrize("d", SIZES)
def test_covariances_are_the_definition(d, isa):
    rng = np.random.default_rng(d)
    N, shift = rng.uniform(1, 9, size=3), rng.normal(size=(3, d))
    S = rng.normal(size=(3, d * (d + 1) // 2))
    found = np.full((3, d, d), np.nan)
    covariances(N, S, shift, found)
    for k in range(3):
        wanted = np.zeros((d, d), dtype=EXACT)
        wanted[np.tril_indices(d)] = S[k].astype(EXACT) / N[k]
        wanted = wanted + np.tril(wanted, -1).T
        wanted -= np.outer(shift[k].astype(EXACT), shift[k])
        np.testing.assert_array_equal(found[k], found[k].T)
        assert (
            abs(found[k] - wanted) <= 1e-15 * (1 + abs(wanted) + abs(shift[k]).max() ** 2)
        ).all()


def test_threads_change_no_bit(isa):
    """Enough work for a team: ten matrices of 90."""
    matrices = positive_definite(10, 90)
    wanted = factors_of(matrices)
    for n_threads in (2, 3, 8):
        np.testing.assert_array_equal(factors_of(matrices, n_threads), wanted)


@pytest.mark.parametrize("value", [-1.0, 0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (4, 4), (18, 18), (0, 18), (9, 17)])
def test_the_first_bad_component_is_reported(value, place, isa):
    i, j = place
    matrices = positive_definite(6, 19)
    for k in (2, 4):
        matrices[k, i, j] = matrices[k, j, i] = value if i == j or not np.isfinite(value) else 50.0
    assert factor(matrices, np.empty_like(matrices)) == 2


def test_only_the_upper_triangle_is_read(isa):
    matrices = positive_definite(2, 21)
    wanted = factors_of(matrices)
    matrices[:, *np.tril_indices(21, -1)] = np.nan
    np.testing.assert_array_equal(factors_of(matrices), wanted)


def test_wrong_arrays_are_refused():
    matrices = positive_definite(2, 3)
    with pytest.raises(ValueError, match="out must be C-ordered with 9 numbers for each of 2"):
        factor(matrices, np.empty((2, 3, 4)))
    with pytest.raises(TypeError, match="covariances must be float64"):
        factor(matrices.astype(np.float32), np.empty_like(matrices))
    with pytest.raises(ValueError, match="S must be C-ordered with 6 numbers"):
        covariances(np.ones(2), np.ones((2, 5)), np.ones((2, 3)), matrices)
    read_only = np.zeros((2, 3, 3))
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        factor(matrices, read_only)


@pytest.mark.parametrize("shape", [(), (3,), (3, 3, 3, 3)])
def test_other_dimensions_are_refused(shape):
    """Without a bounds check a shape has no end."""
    array = np.ones(shape)
    with pytest.raises(ValueError, match="to unpack"):
        factor(array, array)
    with pytest.raises(ValueError, match="to unpack"):
        covariances(np.ones(3), array, array, array)
