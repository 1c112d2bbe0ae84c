"""Numbers that hold: float32, offsets, scales, means far apart or away, degenerate tables."""

from __future__ import annotations

import pickle
import re
import warnings
from itertools import product

import numpy as np
import pytest
import sklearn.mixture
from sklearn.exceptions import ConvergenceWarning

import emdash
from emdash import GaussianMixture
from emdash.chunk import Chunk
from emdash.estimators._rounded import exact
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.models.mixture import Mixture, MixtureParameters

INITS = ("kmeans", "k-means++", "random", "random_from_data")
ARRAYS = ("weights_", "means_", "covariances_", "precisions_cholesky_")
OFFSET = 1e8
GRID = 2.0**-20
"""Rows are multiples of it, so that moving them by `OFFSET` changes no digit of them."""


@pytest.fixture(scope="module")
def rows():
    """Return 600 rows of three clusters that overlap a little."""
    rng = np.random.default_rng(3)
    means = np.array([[0.0, 0.0, 0.0], [6.0, 5.0, -5.0], [-6.0, 6.0, 5.0]])
    mixing = np.eye(3) + 0.3 * rng.normal(size=(3, 3, 3))
    labels = rng.permutation(np.repeat([0, 1, 2], [300, 180, 120]))
    x = means[labels] + np.einsum("nij,nj->ni", mixing[labels], rng.normal(size=(600, 3)))
    return np.round(x / GRID) * GRID


def settings(covariance_type, init="kmeans", **more):
    return {
        "n_components": 3,
        "covariance_type": covariance_type,
        "init_params": init,
        "random_state": 1,
        **more,
    }


def fitted(X, maker=GaussianMixture, **arguments):
    """Return the fit, converged or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return maker(**arguments).fit(X)


def matrices(fit, name="covariances_"):
    """Return the covariances as (K, d, d), whatever their type."""
    values, (K, d) = exact(fit, name), fit.means_.shape
    return {
        "full": lambda: values,
        "tied": lambda: np.broadcast_to(values, (K, d, d)),
        "diag": lambda: values[:, :, None] * np.eye(d),
        "spherical": lambda: values[:, None, None] * np.eye(d),
    }[fit.covariance_type]()


def differences(found, expected, move=0.0, scale=1.0):
    """Return how far weights, means and covariances are from the expected ones, moved and scaled.

    The last two in standard deviations and variances of the expected components.
    """
    A = np.eye(found.means_.shape[1]) * scale if np.ndim(scale) < 2 else np.asarray(scale)
    covariances = A @ matrices(expected) @ A.T
    whiten = np.linalg.inv(np.linalg.cholesky(covariances))
    means = exact(found, "means_") - move - exact(expected, "means_") @ A.T
    off = whiten @ (matrices(found) - covariances) @ whiten.transpose(0, 2, 1)
    return (
        abs(exact(found, "weights_") - exact(expected, "weights_")).max(),
        abs(np.einsum("kij,kj->ki", whiten, means)).max(),
        abs(off).max(),
    )


# --- float32 ------------------------------------------------------------------------------------


def types_of(fit, *queries):
    arrays = [getattr(fit, name) for name in (*ARRAYS, "precisions_")]
    answers = [f(X) for X in queries for f in (fit.predict, fit.predict_proba, fit.score_samples)]
    return [array.dtype for array in (*arrays, *answers, *fit.sample(2))]


@pytest.mark.filterwarnings("ignore:covariance is not symmetric:RuntimeWarning")  # theirs
@pytest.mark.parametrize(
    ("dtype", "init"),
    [*(("float32", init) for init in INITS), *((t, "kmeans") for t in ("f8", "f2", "i4"))],
)
def test_result_types_are_those_of_scikit_learn(rows, dtype, init, covariance_type):
    X = rows[:60].astype(dtype)
    arguments = settings(covariance_type, init, max_iter=2, tol=1.0)
    makers = GaussianMixture, sklearn.mixture.GaussianMixture
    fits = [fitted(X, maker, **arguments) for maker in makers]
    queries = X, rows.astype("float64"), rows.astype("float32")
    found, expected = (types_of(fit, *queries) for fit in fits)
    assert found == expected
    assert (np.dtype("float32") in found) == (dtype == "float32")


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_float32_rows_give_the_fit_of_the_same_numbers(rows, offset, init, covariance_type):
    single = (rows + offset).astype(np.float32)  # 1e6: in steps of a sixteenth
    arguments = settings(
        covariance_type, init, reg_covar=0 if init in ("kmeans", "random") else 1e-6
    )
    found, expected = (fitted(X, **arguments) for X in (single, single.astype(np.float64)))
    assert found.n_iter_ == expected.n_iter_
    assert max(differences(found, expected)) < 1e-5
    assert found.history_[0].n_bytes == single.nbytes  # read as they are
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), exact(found, name).astype(np.float32))
    np.testing.assert_allclose(found.predict_proba(rows), expected.predict_proba(rows), atol=1e-9)
    likelihoods = found.score_samples(single)
    np.testing.assert_allclose(likelihoods, expected.score_samples(single), rtol=1e-6)
    wanted = expected.predict_proba(single).astype(np.float32)
    np.testing.assert_allclose(found.predict_proba(single), wanted, atol=1e-7)


def test_rounded_attributes_lose_nothing_on_the_way(rows, tmp_path, covariance_type):
    """Far from the origin float32 means are wrong by thirty standard deviations."""
    single = (1e-3 * rows + 2.0**19).astype(np.float32)
    single[:, 0] = rows[:, 0]
    arguments = settings(covariance_type, tol=1e-12, reg_covar=1e-3)
    whole = fitted(single, max_iter=8, **arguments)
    path = tmp_path / "fit.npz"

    first = fitted(single, max_iter=3, warm_start=True, **arguments)
    emdash.save(first, path)
    for again in (first, emdash.load(path), pickle.loads(pickle.dumps(first))):
        assert again.means_.dtype == np.float32
        np.testing.assert_array_equal(again.predict_proba(rows), first.predict_proba(rows))
        again.set_params(max_iter=5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            again.fit(single)
        if again is first:
            expected = {name: exact(again, name).copy() for name in ARRAYS}
            first = fitted(single, max_iter=3, **arguments)
        for name in ARRAYS:
            np.testing.assert_array_equal(exact(again, name), expected[name])
            np.testing.assert_allclose(
                exact(again, name), exact(whole, name), rtol=1e-9, atol=1e-12
            )

    fitted(single, max_iter=3, checkpoint=str(path) + ".ckpt", **arguments)
    resumed = fitted(single, max_iter=8, checkpoint=str(path) + ".ckpt", **arguments)
    for name in ARRAYS:
        np.testing.assert_array_equal(exact(resumed, name), exact(whole, name))


def test_attributes_changed_by_hand_count(rows):
    fit = GaussianMixture(3, random_state=0).fit(rows.astype(np.float32))
    before = fit.predict(rows)
    fit.means_ = fit.means_[::-1].copy()
    assert (fit.predict(rows) != before).any()
    fit.means_ = fit.means_[::-1].tolist()
    fit.weights_[:] = 0, 0.5, 0.5  # in place
    assert not (fit.predict(rows) == 0).any()


def test_parameters_beyond_the_range_of_float32_stay_float64(rows):
    single = (rows * 1e25).astype(np.float32)
    fit = GaussianMixture(3, random_state=0, reg_covar=0).fit(single)
    assert {fit.means_.dtype, fit.covariances_.dtype} == {np.dtype(np.float64)}
    assert (
        max(differences(fit, fitted(rows, n_components=3, reg_covar=0, random_state=0), scale=1e25))
        < 1e-5
    )
    assert fit.predict_proba(single).dtype == np.float64


def test_log_densities_beyond_the_range_of_float32_are_minus_infinity(rows):
    fit = GaussianMixture(3, random_state=0).fit(rows.astype(np.float32))
    assert fit.score_samples(np.full((1, 3), 1e25, np.float32)) == [-np.inf]
    assert fit.score_samples(np.full((1, 3), 1e25)) < -1e45


# --- offsets and scales -------------------------------------------------------------------------


@pytest.mark.parametrize("init", INITS)
def test_moving_the_rows_moves_the_means_and_nothing_else(rows, init, covariance_type):
    assert (rows + OFFSET - OFFSET == rows).all()
    arguments = settings(covariance_type, init)
    expected, found = (fitted(X, **arguments) for X in (rows, rows + OFFSET))
    assert found.n_iter_ == expected.n_iter_
    assert max(differences(found, expected, move=OFFSET)) < 1e-7  # 1e8 is known to 1.5e-8


@pytest.mark.parametrize("power", [-27, 27])
@pytest.mark.parametrize("init", INITS)
def test_a_common_unit_changes_no_digit(rows, init, power, covariance_type):
    scale = 2.0**power
    expected = fitted(rows, **settings(covariance_type, init))
    found = fitted(rows * scale, **settings(covariance_type, init, reg_covar=1e-6 * scale**2))
    assert found.n_iter_ == expected.n_iter_
    assert max(differences(found, expected, scale=scale)) < 1e-11


SCALES = np.array([2.0**-27, 1.0, 2.0**27])  # 7.5e-9 to 1.3e8


@pytest.mark.parametrize("init", [*INITS, "given"])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_units_of_features_are_free(rows, init, covariance_type):
    """In the same table, and with an offset of 1e8 in each unit.

    Distances see the third feature only, but it tells the clusters apart: from other starts
    the fits end the same. Where rows are the means, `reg_covar` is their first covariance.
    """
    reg_covar = 1e-25 if init in ("k-means++", "random_from_data") else 0
    arguments = settings(covariance_type, "random" if init == "given" else init)
    arguments |= {"reg_covar": reg_covar, "tol": 1e-13, "max_iter": 5000}
    scaled = dict(arguments)
    if init == "given":
        means = np.array([[1.0, 0, 0], [5, 5, -4], [-6, 5, 5]])
        arguments["means_init"], scaled["means_init"] = means, (means + OFFSET) * SCALES
        eye = np.eye(3)
        unit = {"full": np.stack([eye] * 3), "tied": eye, "diag": np.ones((3, 3))}[covariance_type]
        by = SCALES**-2.0 if covariance_type == "diag" else np.outer(1 / SCALES, 1 / SCALES)
        arguments["precisions_init"], scaled["precisions_init"] = unit, unit * by
    expected, found = fitted(rows, **arguments), fitted((rows + OFFSET) * SCALES, **scaled)
    order = [np.argsort(fit.weights_) for fit in (expected, found)]
    for fit, where in zip((expected, found), order, strict=True):
        for name in ARRAYS:
            value = getattr(fit, name)
            if covariance_type != "tied" or name in ("weights_", "means_"):
                setattr(fit, name, value[where])
    if init in ("random", "given"):  # the start is the same: so is every step
        assert found.n_iter_ == pytest.approx(expected.n_iter_, abs=2)
        np.testing.assert_allclose(
            np.array(found.lower_bounds_[:9]) + np.log(SCALES).sum(),
            expected.lower_bounds_[:9],
            rtol=1e-7,
        )
    assert max(differences(found, expected, move=OFFSET * SCALES, scale=np.diag(SCALES))) < 1e-5


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_any_axes_will_do(rows, covariance_type):
    """Affine equivariance, of features that are mixed and have units from 1e-8 to 1e8."""
    A = np.diag([1e-8, 1.0, 1e8]) @ np.array([[1.0, 0.5, -0.3], [0.2, 1.0, 0.4], [-0.6, 0.1, 1.0]])
    arguments = settings(covariance_type, "random", reg_covar=0, tol=1e-13, max_iter=5000)
    expected, found = (fitted(X, **arguments) for X in (rows, rows @ A.T))
    assert max(differences(found, expected, scale=A)) < 1e-5
    jacobian = np.linalg.slogdet(A)[1]
    assert found.lower_bound_ + jacobian == pytest.approx(expected.lower_bound_, abs=1e-9)


@pytest.mark.parametrize("init", ["k-means++", "random_from_data"])
def test_starts_that_are_rows_need_reg_covar(rows, init, covariance_type):
    """Their first covariances are `reg_covar`, as in scikit-learn: there is no free scale."""
    with pytest.raises(ValueError, match="increase reg_covar"):
        GaussianMixture(**settings(covariance_type, init, reg_covar=0), on_collapse="raise").fit(
            rows
        )


# --- means far apart and far away ---------------------------------------------------------------


def one_step(X, weights, means, precision, covariance_type):
    """Return an EM step in long double, sums about the new means: nothing cancels."""
    X, means = X.astype(np.longdouble), np.asarray(means, np.longdouble)
    x = X[:, None] - means
    log = np.log(weights) - 0.5 * np.einsum("nki,ij,nkj->nk", x, precision, x)
    r = np.exp(log - log.max(axis=1, keepdims=True))
    r /= r.sum(axis=1, keepdims=True)
    N = r.sum(axis=0)
    new = means + np.einsum("nk,nki->ki", r, x) / np.maximum(N, 1e-300)[:, None]
    x = X[:, None] - new
    scatter = np.einsum("nk,nki,nkj->kij", r, x, x)
    each = scatter / np.maximum(N, 1e-300)[:, None, None]
    d = X.shape[1]
    return (
        N / len(X),
        new,
        {
            "full": lambda: each,
            "tied": lambda: np.broadcast_to(scatter.sum(axis=0) / len(X), each.shape),
            "diag": lambda: each * np.eye(d),
            "spherical": lambda: np.trace(each, axis1=1, axis2=2)[:, None, None] / d * np.eye(d),
        }[covariance_type](),
    )


def given(covariance_type, weights, means, variance=1.0):
    K, d = np.shape(means)
    precision = {
        "full": np.stack([np.eye(d)] * K),
        "tied": np.eye(d),
        "diag": np.ones((K, d)),
        "spherical": np.ones(K),
    }[covariance_type]
    return {
        "n_components": K,
        "covariance_type": covariance_type,
        "weights_init": weights,
        "means_init": means,
        "precisions_init": precision / variance,
        "reg_covar": 0,
    }


@pytest.mark.parametrize("apart", [1e2, 1e3, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_components_far_apart(apart, dtype, covariance_type):
    """Two overlapping clusters, and a third many standard deviations away from both."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 3)) @ [[1, 0.5, 0], [0, 1, 0.3], [0, 0, 1]]
    X[300:600, 1] += 3
    X[600:] = np.round((X[600:] + apart * np.array([1, -2, 0.5])) / GRID) * GRID
    X = X.astype(dtype)
    if dtype == "float32" and apart > 1e6:
        X[600:] += 100 * rng.normal(size=(300, 3)).astype(dtype)  # else they are all the same
    means = np.array([[0.0, 0, 0], [0, 3, 0], apart * np.array([1, -2, 0.5])])
    weights = np.array([0.3, 0.3, 0.4])
    found = fitted(X, max_iter=1, **given(covariance_type, weights, means))
    N, new, covariances = one_step(X, weights, means, np.eye(3), covariance_type)
    sigma = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    np.testing.assert_allclose(exact(found, "weights_"), N.astype(float), rtol=1e-12)
    slack = 1e-13 + 2e-16 * apart  # digits that the means themselves have
    assert (abs(exact(found, "means_") - new) <= slack * 10 * sigma).all()
    off = abs(matrices(found) - covariances) / (sigma[:, :, None] * sigma[:, None])
    assert off.max() < 2e-9


def test_ordinary_tied_fits_sum_one_scatter(rows):
    """The way out for components far apart is not taken, nor are passes repeated."""
    fit = fitted(rows, **settings("tied"))
    assert np.isfinite(fit._parameters().components.center).all()
    assert all(each.n_bytes == rows.nbytes for each in fit.history_)
    fit.means_ = fit.means_ * 1e5
    assert np.isnan(fit._parameters().components.center).all()


@pytest.mark.parametrize("unit", [1.0, 2.0**-30])
def test_starts_of_components_far_apart(unit):
    """1e7 standard deviations: k-means' clusters, and rows as means."""
    rng = np.random.default_rng(0)
    X = np.round((rng.normal(size=(300, 2)) + 1e7 * np.repeat([0, 1, 4], 100)[:, None]) / GRID)
    X *= GRID * unit
    start = fitted(X, **settings("tied", "kmeans", reg_covar=0, max_iter=0))
    within = np.mean([np.cov(part.T, bias=True) for part in np.split(X, 3)], axis=0)
    np.testing.assert_allclose(start.covariances_ / unit**2, within / unit**2, rtol=1e-9, atol=1e-9)
    for init in ("k-means++", "random_from_data"):
        start = fitted(X, **settings("tied", init, reg_covar=1e-3 * unit**2, max_iter=0))
        np.testing.assert_array_equal(start.covariances_, 1e-3 * unit**2 * np.eye(2))


def test_components_far_apart_with_missing_cells():
    """A tied covariance is the mean of the full ones, with the same densities."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3)) @ [[1, 0.5, 0], [0, 1, 0.3], [0, 0, 1]]
    X[250:] += 1e6
    X[rng.random(X.shape) < 0.2] = np.nan
    X = X[~np.isnan(X).all(axis=1)]
    weights, means = np.array([0.5, 0.5]), np.array([[0.0, 0, 0], [1e6, 1e6, 1e6]])
    steps = {}
    for name, factors in (("tied", np.eye(3)), ("full", np.stack([np.eye(3)] * 2))):
        model = Mixture(Gaussian(SHAPES[name]))
        start = MixtureParameters(weights, model.family.from_factors(weights, means, factors))
        sums = model.task(start)(Chunk(X, 0, 0), 1)
        steps[name] = model.maximize(sums, start)
        again = model.task_about(start, start)(Chunk(X, 0, 0), 1)
        np.testing.assert_allclose(again.S, sums.S, rtol=1e-9, atol=1e-9)
    pooled = np.tensordot(steps["full"].weights, steps["full"].components.covariances, 1)
    np.testing.assert_allclose(steps["tied"].components.covariances, pooled, rtol=1e-12)


def test_drawn_rows_have_the_scales_of_every_feature(rows):
    for covariance_type in ("full", "tied"):
        arguments = settings(covariance_type, "random", reg_covar=0)
        draws, expected = (fitted(X, **arguments).sample(2000)[0] for X in (rows * SCALES, rows))
        np.testing.assert_allclose(draws.std(axis=0), expected.std(axis=0) * SCALES, rtol=0.1)


@pytest.mark.parametrize("how", ["all", "one", "split"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_starting_means_far_from_the_rows(rows, how, dtype, covariance_type):
    """1e8 standard deviations away; the sums that cancel are taken again about nearer means."""
    X = rows.astype(dtype)
    means = {
        "all": np.array([[1e8, 0.0, 0], [3e8, 0, 0]]),  # the nearer one takes all rows
        "one": np.array([[0.0, 0, 0], [1e8, 1e8, 0]]),
        "split": np.array([[1e8, 0.0, 0], [-1e8, 0, 0]]),  # the first coordinate decides
    }[how]
    found = fitted(X, max_iter=1, **given(covariance_type, [0.5, 0.5], means) | {"reg_covar": 1e-9})
    N, new, covariances = one_step(X, [0.5, 0.5], means, np.eye(3), covariance_type)
    np.testing.assert_allclose(exact(found, "weights_"), N.astype(float), atol=1e-12)
    near = N > 0
    np.testing.assert_allclose(exact(found, "means_")[near], new[near].astype(float), atol=1e-7)
    covariances = covariances + 1e-9 * np.eye(3)
    np.testing.assert_allclose(matrices(found)[near], covariances[near].astype(float), atol=1e-10)
    assert np.isfinite(found.means_).all()
    assert np.isfinite(found.covariances_).all()


# --- degenerate tables --------------------------------------------------------------------------


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def of_objects(X):
    return X.astype(object)


TABLES = {
    "one feature": lambda: normal(40, 1),
    "more features than rows": lambda: normal(8, 20),
    "as many components as rows": lambda: normal(3, 2),
    "duplicated rows": lambda: np.repeat(normal(5, 2), 8, axis=0),
    "all rows the same": lambda: np.ones((20, 2)),
    "all zeros": lambda: np.zeros((20, 2)),
    "a constant column": lambda: np.column_stack([normal(40, 2), np.full(40, 1e8)]),
    "two identical columns": lambda: normal(40, 2)[:, [0, 1, 0]],
    "collinear columns": lambda: normal(40, 2) @ [[1.0, 0, 1e6], [0, 1, 1e-6]],
    "one row": lambda: normal(1, 2),
    "two rows": lambda: normal(2, 2),
    "integers": lambda: np.random.default_rng(0).integers(-5, 5, size=(40, 2)),
    "large integers": lambda: np.random.default_rng(0).integers(
        0, 2**63, size=(40, 2), dtype=np.uint64
    ),
    "booleans": lambda: normal(40, 3) > 0,
    "objects that are floats": lambda: of_objects(normal(40, 2)),
    "subnormal": lambda: normal(40, 2) * 1e-310,
    "tiny": lambda: normal(40, 2) * 1e-300,
    "small": lambda: normal(40, 2) * 1e-150,
    "large": lambda: normal(40, 2) * 1e150,
    "huge": lambda: normal(40, 2) * 1e300,
    "the largest": lambda: np.sign(normal(40, 2)) * np.finfo(float).max,
    "huge and tiny": lambda: normal(40, 2) * [1e300, 1e-300],
    "one huge outlier": lambda: np.vstack([normal(40, 2), [1e200, 0]]),
    "float32, subnormal": lambda: (normal(40, 2) * 1e-40).astype(np.float32),
    "float32, huge": lambda: (normal(40, 2) * 1e37).astype(np.float32),
}

TOLD = (
    "increase reg_covar|decrease n_components|scale the input|minimum of 2 is required|"
    "at least 2 samples|give more rows"
)


@pytest.mark.parametrize("reg_covar", [1e-6, 0.0])
@pytest.mark.parametrize("table", TABLES)
def test_a_finite_model_or_an_error_that_says_what_to_do(table, reg_covar, covariance_type):
    """Never NaN, and never a warning of NumPy; with every kind of start."""
    X = TABLES[table]()
    for init, K in product(INITS, (1, 3)):
        model = GaussianMixture(
            **settings(covariance_type, init, reg_covar=reg_covar, n_components=K)
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(X)
        except ValueError as error:
            assert re.search(TOLD, str(error)), str(error)  # noqa: PT017
            continue
        for name in (*ARRAYS, "precisions_", "lower_bound_", "lower_bounds_"):
            assert np.isfinite(getattr(model, name)).all(), (init, K, name)
        assert (np.diagonal(matrices(model), axis1=1, axis2=2) > 0).all()
        assert model.weights_.sum() == pytest.approx(1)
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
        assert np.isfinite(model.score_samples(X)).all()
        assert np.isfinite(model.score(X))
        assert np.isfinite(model.sample(5)[0]).all()
