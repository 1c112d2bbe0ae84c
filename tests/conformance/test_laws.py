"""What must hold for any data: shift, scale, order, closed forms, a likelihood that rises."""

from __future__ import annotations

import math
import warnings
from itertools import product

import dask.array as da
import numpy as np
import pytest
import sklearn.mixture
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning

from emdash import GaussianMixture

FAR = 1e8
EPS = np.finfo(float).eps


@pytest.fixture
def start(given_start, covariance_type):
    """Return a complete start for the rows of the suite."""
    return given_start(covariance_type)


def moved(start, offset):
    return {**start, "means_init": start["means_init"] + offset}


def as_inputs(rows):
    return {
        "ndarray": rows,
        "list": np.array_split(rows, 5),
        "dask": da.from_array(rows, chunks=(17, -1)),
    }


# --- shift and scale ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["ndarray", "list", "dask"])
@pytest.mark.parametrize("given", [True, False], ids=["given-start", "kmeans"])
def test_shift_leaves_covariances(rows, start, how, given, relative_error):
    assert np.array_equal(rows + FAR - FAR, rows)  # the shifted data hold the same numbers
    near, far = start, moved(start, FAR)
    if not given:
        near = far = {
            "n_components": 3,
            "covariance_type": start["covariance_type"],
            "random_state": 0,
        }
    expected = GaussianMixture(**near).fit(rows)
    found = GaussianMixture(**far).fit(as_inputs(rows + FAR)[how])
    assert found.n_iter_ == expected.n_iter_
    assert relative_error(found.covariances_, expected.covariances_) < 1e-6
    assert relative_error(found.weights_, expected.weights_) < 1e-6
    assert np.max(np.abs(found.means_ - FAR - expected.means_)) < 1e-6


def test_scikit_learn_fails_where_we_do_not(rows, start, relative_error):
    """The motive for summing about the means, and a check that the test above can fail."""
    expected = sklearn.mixture.GaussianMixture(**start).fit(rows).covariances_
    far = sklearn.mixture.GaussianMixture(**moved(start, FAR))
    if start["covariance_type"] == "full":  # the only type it does not take from raw moments
        assert relative_error(far.fit(rows + FAR).covariances_, expected) < 1e-6
        return
    try:
        found = far.fit(rows + FAR).covariances_
    except ValueError as error:
        assert "ill-defined empirical covariance" in str(error)  # noqa: PT017
    else:
        assert relative_error(found, expected) > 1e-2


def test_start_far_from_the_data(rows, start, relative_error):
    """Means given at the origin of data far from it: one component must still reach them."""
    d = rows.shape[1]
    shape = {"full": (1, d, d), "tied": (d, d), "diag": (1, d), "spherical": (1,)}
    matrix = np.eye(d) if start["covariance_type"] in ("full", "tied") else 1.0
    fit = GaussianMixture(
        covariance_type=start["covariance_type"],
        weights_init=[1.0],
        means_init=np.zeros((1, d)),
        precisions_init=np.broadcast_to(matrix, shape[start["covariance_type"]]),
    ).fit(rows + FAR)
    expected = GaussianMixture(covariance_type=start["covariance_type"]).fit(rows)
    assert relative_error(fit.covariances_, expected.covariances_) < 1e-6


def test_component_that_gets_no_rows_harms_no_other(rows, start, relative_error):
    """A component far from all rows ends with weight zero; the rest fit as if alone."""
    alone = GaussianMixture(covariance_type=start["covariance_type"]).fit(rows)
    far = {
        **start,
        "n_components": 2,
        "weights_init": [0.5, 0.5],
        "means_init": np.vstack([rows.mean(axis=0), np.full(3, 1e7)]),
        "precisions_init": start["precisions_init"][:2]
        if start["covariance_type"] != "tied"
        else start["precisions_init"],
    }
    with pytest.warns(
        ConvergenceWarning, match=r"component 1 kept \(lighter than a row, its weight 0 rows\)"
    ):
        found = GaussianMixture(**far).fit(rows)
    np.testing.assert_allclose(found.weights_, [1, 0], atol=1e-14)
    first = found.covariances_ if start["covariance_type"] == "tied" else found.covariances_[:1]
    assert relative_error(first, alone.covariances_) < 1e-9
    assert np.isfinite(found.means_).all()
    assert np.isfinite(found.precisions_cholesky_).all()


def test_scale_moves_the_answer_accordingly(rows, start):
    """Powers of two are exact in floating point, so the answer scales to the last bits."""
    scale = 2.0**12
    scaled = {
        **start,
        "means_init": start["means_init"] * scale,
        "precisions_init": start["precisions_init"] / scale**2,
        "reg_covar": 1e-6 * scale**2,
    }
    expected = GaussianMixture(**start).fit(rows)
    found = GaussianMixture(**scaled).fit(rows * scale)
    assert found.n_iter_ == expected.n_iter_
    np.testing.assert_allclose(found.weights_, expected.weights_, rtol=1e-12)
    np.testing.assert_allclose(found.means_, expected.means_ * scale, rtol=1e-12)
    np.testing.assert_allclose(
        found.covariances_, expected.covariances_ * scale**2, rtol=1e-11, atol=1e-12 * scale**2
    )
    jacobian = rows.shape[1] * math.log(scale)
    assert found.lower_bound_ == pytest.approx(expected.lower_bound_ - jacobian, rel=1e-12)


# --- order ----------------------------------------------------------------------------------


def test_order_of_rows_does_not_matter(rows, start, assert_same_fit):
    shuffled = np.random.default_rng(0).permutation(rows)
    expected = GaussianMixture(**start).fit(rows)
    assert_same_fit(GaussianMixture(**start).fit(shuffled), expected, 1e-10)


def test_order_of_components_only_renames_them(rows, start):
    order = np.array([2, 0, 1])
    tied = start["covariance_type"] == "tied"
    names = ("weights_init", "means_init", *(() if tied else ("precisions_init",)))
    expected = GaussianMixture(**start).fit(rows)
    found = GaussianMixture(**{**start, **{n: start[n][order] for n in names}}).fit(rows)
    assert found.n_iter_ == expected.n_iter_
    np.testing.assert_allclose(found.weights_, expected.weights_[order], rtol=1e-10)
    np.testing.assert_allclose(found.means_, expected.means_[order], rtol=1e-10)
    renamed = expected.covariances_ if tied else expected.covariances_[order]
    np.testing.assert_allclose(found.covariances_, renamed, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(order[found.predict(rows)], expected.predict(rows))


def test_order_of_columns_only_renames_them(rows, start):
    order = np.array([1, 2, 0])
    renamed = {**start, "means_init": start["means_init"][:, order]}
    if start["covariance_type"] == "diag":
        renamed["precisions_init"] = start["precisions_init"][:, order]
    expected = GaussianMixture(**start).fit(rows)
    found = GaussianMixture(**renamed).fit(rows[:, order])
    assert found.n_iter_ == expected.n_iter_
    np.testing.assert_allclose(found.means_, expected.means_[:, order], rtol=1e-10)
    np.testing.assert_allclose(found.lower_bounds_, expected.lower_bounds_, rtol=1e-12)


def test_equal_components_stay_equal(rows, start):
    """A symmetric start is a saddle point: EM cannot tell the components apart, exactly."""
    twins = {**start, "weights_init": np.full(3, 1 / 3), "means_init": np.ones((3, 3))}
    fit = GaussianMixture(**twins).fit(rows)
    np.testing.assert_array_equal(fit.means_, np.broadcast_to(fit.means_[0], (3, 3)))
    np.testing.assert_array_equal(fit.weights_, np.full(3, fit.weights_[0]))


# --- values that are known ------------------------------------------------------------------


# one row per component has no covariance: such starts need some of their own
WHOLE, ROWS = ("kmeans", "random"), ("k-means++", "random_from_data")


@pytest.mark.parametrize(
    ("reg_covar", "init_params"),
    [*product([0.0, 1e-6, 0.5], WHOLE), *product([1e-6, 0.5], ROWS)],
)
def test_one_component_is_the_closed_form(rows, covariance_type, reg_covar, init_params):
    fit = GaussianMixture(
        covariance_type=covariance_type,
        reg_covar=reg_covar,
        init_params=init_params,
        random_state=0,
    ).fit(rows)
    covariance = np.cov(rows.T, bias=True)
    variances = rows.var(axis=0)
    expected = {
        "full": covariance[None] + reg_covar * np.eye(3),
        "tied": covariance + reg_covar * np.eye(3),
        "diag": variances[None] + reg_covar,
        "spherical": np.array([variances.mean() + reg_covar]),
    }[covariance_type]
    assert fit.weights_ == 1
    np.testing.assert_allclose(fit.means_[0], rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(fit.covariances_, expected, rtol=1e-12, atol=1e-14)
    full = covariance_type in ("full", "tied")
    matrix = expected.reshape(3, 3) if full else expected.ravel() * np.eye(3)
    law = multivariate_normal(rows.mean(axis=0), matrix)
    np.testing.assert_allclose(fit.score_samples(rows), law.logpdf(rows), rtol=1e-12)


@pytest.mark.parametrize(("K", "d"), [(1, 1), (3, 1), (2, 2), (4, 7), (3, 20), (2, 40)])
def test_log_densities_equal_scipys(covariance_type, K, d):
    rng = np.random.default_rng(K * d)
    A = rng.normal(size=(K, d, 2 * d))
    matrices = A @ np.swapaxes(A, 1, 2) / (2 * d)
    precisions = np.linalg.inv(matrices)
    if covariance_type == "tied":
        matrices, precisions = np.stack([matrices[0]] * K), precisions[0]
    elif covariance_type != "full":
        variances = rng.uniform(0.2, 3, size=(K, d if covariance_type == "diag" else 1))
        matrices, precisions = variances[:, :, None] * np.eye(d), 1 / variances
        precisions = precisions if covariance_type == "diag" else precisions[:, 0]
    weights = rng.dirichlet(np.ones(K))
    means = 2 * rng.normal(size=(K, d))
    X = 3 * rng.normal(size=(200, d))
    X[:20] *= 100  # rows that every component finds impossible
    fit = GaussianMixture(
        K,
        covariance_type=covariance_type,
        weights_init=weights,
        means_init=means,
        precisions_init=(precisions + np.swapaxes(precisions, -1, -2)) / 2
        if covariance_type in ("full", "tied")
        else precisions,
        max_iter=0,
    ).fit(X)
    laws = [multivariate_normal(m, c) for m, c in zip(means, matrices, strict=True)]
    joint = np.stack([np.reshape(law.logpdf(X), -1) for law in laws], axis=1) + np.log(weights)
    expected = logsumexp(joint, axis=1)
    # SciPy factors the covariance, we the given precision: rounding grows with its condition
    tolerance = 100 * EPS * np.max(np.linalg.cond(matrices))
    np.testing.assert_allclose(fit.score_samples(X), expected, rtol=tolerance)
    # differences of log-densities of a thousand or more lose as many digits
    probabilities = np.exp(joint - expected[:, None])
    scale = np.abs(joint).max(axis=1, keepdims=True)
    error = np.abs(fit.predict_proba(X) - probabilities) / scale
    assert error.max() < tolerance
    certain = np.partition(joint, -2, axis=1)[:, -2:] if K > 1 else None
    clear = slice(None) if certain is None else np.diff(certain)[:, 0] > 1e-6
    np.testing.assert_array_equal(fit.predict(X)[clear], joint.argmax(axis=1)[clear])
    assert fit.score(X) == pytest.approx(expected.mean(), rel=tolerance)


# --- EM ---------------------------------------------------------------------------------------


def largest_fall(fit, reg_covar, d):
    """Return how far the log-likelihood per row may fall in the M-step that led to `fit`.

    Adding ``reg`` to the eigenvalue ``l`` of a covariance that maximises the
    expected log-likelihood lowers the latter by ``(log(1 + reg / l) - reg /
    (l + reg)) / 2`` per unit of responsibility; the log-likelihood falls by no
    more than that, because EM would otherwise not have lowered it at all.
    """
    covariances = fit.covariances_
    if fit.covariance_type == "spherical":
        eigenvalues = np.repeat(covariances[:, None], d, axis=1)
    elif fit.covariance_type == "diag":
        eigenvalues = covariances
    else:
        eigenvalues = np.linalg.eigvalsh(np.atleast_3d(covariances.T).T)
    before = np.maximum(eigenvalues - reg_covar, 1e-300)
    loss = (np.log(eigenvalues / before) - reg_covar / eigenvalues).sum(axis=1) / 2
    return float(loss[0] if len(loss) == 1 else fit.weights_ @ loss)


@pytest.mark.parametrize("reg_covar", [0.0, 1e-6, 0.03])
@pytest.mark.parametrize("name", ["rows", "iris", "faithful"])
def test_likelihood_never_falls(rows, datasets, covariance_type, reg_covar, name):
    X = {**datasets, "rows": rows}[name]
    d = X.shape[1]
    fit = GaussianMixture(
        3,
        covariance_type=covariance_type,
        reg_covar=reg_covar,
        init_params="kmeans",
        random_state=1,
        warm_start=True,
        max_iter=1,
        tol=0,
    )
    allowed = 0.0
    previous = -math.inf
    falls = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(120):
            fit.fit(X)
            # a mean of n terms of a few units each: rounding stays below some tens of eps
            rounding = 64 * EPS * max(1.0, abs(fit.lower_bound_))
            assert fit.lower_bound_ >= previous - allowed - rounding
            falls.append(previous - fit.lower_bound_)
            allowed, previous = largest_fall(fit, reg_covar, d), fit.lower_bound_
    assert min(falls[1:]) < -1e-5  # it rose, too
    if reg_covar == 0.0:
        assert allowed == 0.0


def objective(parameters, X, covariance_type):
    """Return the mean log-likelihood of unconstrained parameters, by SciPy alone."""
    K, d = 3, X.shape[1]
    logits, means, rest = np.split(parameters, [K, K + K * d])
    log_weights = logits - logsumexp(logits)
    means = means.reshape(K, d)
    if covariance_type == "spherical":
        matrices = np.exp(rest)[:, None, None] * np.eye(d)
    elif covariance_type == "diag":
        matrices = np.exp(rest).reshape(K, d, 1) * np.eye(d)
    else:
        L = np.zeros((K if covariance_type == "full" else 1, d, d))
        L[:, *np.tril_indices(d)] = rest.reshape(len(L), -1)
        L[:, *np.diag_indices(d)] = np.exp(L[:, *np.diag_indices(d)])
        matrices = np.broadcast_to(L @ np.swapaxes(L, 1, 2), (K, d, d))
    joint = [
        w + multivariate_normal(m, c).logpdf(X)
        for w, m, c in zip(log_weights, means, matrices, strict=True)
    ]
    return logsumexp(joint, axis=0).mean()


def unconstrained(fit):
    covariances = fit.covariances_
    if covariances.ndim < 2 or fit.covariance_type == "diag":
        rest = np.log(covariances).ravel()
    else:
        d = covariances.shape[-1]
        L = np.linalg.cholesky(covariances.reshape(-1, d, d))
        L[:, *np.diag_indices(d)] = np.log(L[:, *np.diag_indices(d)])
        rest = L[:, *np.tril_indices(d)].ravel()
    return np.concatenate([np.log(fit.weights_), fit.means_.ravel(), rest])


def gradient(fit, X):
    at, step = unconstrained(fit), 1e-5
    return np.array(
        [
            objective(at + e, X, fit.covariance_type) - objective(at - e, X, fit.covariance_type)
            for e in step * np.eye(len(at))
        ]
    ) / (2 * step)


def test_gradient_is_zero_at_convergence(rows, start):
    """Central differences are good to about 1e-10 here: step squared, and eps over step."""
    begun = GaussianMixture(**start, max_iter=0).fit(rows)
    assert np.abs(gradient(begun, rows)).max() > 1e-2
    ended = GaussianMixture(**start, reg_covar=0, tol=1e-15, max_iter=20_000).fit(rows)
    assert ended.converged_
    assert np.abs(gradient(ended, rows)).max() < 1e-7


def test_converged_fit_is_a_fixed_point(rows, start, relative_error):
    fit = GaussianMixture(**start, tol=1e-15, max_iter=20_000).fit(rows)
    means, covariances = fit.means_.copy(), fit.covariances_.copy()
    fit.set_params(warm_start=True, max_iter=1, tol=1.0)
    fit.fit(rows)
    assert fit.n_iter_ == 1
    assert relative_error(fit.means_, means) < 1e-7
    assert relative_error(fit.covariances_, covariances) < 1e-7


def test_repeating_all_rows_changes_nothing(rows, start, assert_same_fit):
    twice = np.repeat(rows, 2, axis=0)
    expected = GaussianMixture(**start).fit(rows)
    assert_same_fit(GaussianMixture(**start).fit(twice), expected, 1e-10)
