"""Priors: what EM raises with them, their limits, their defaults, and that they cost no pass."""

from __future__ import annotations

import pickle
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from scipy.stats import dirichlet, invgamma, invwishart, multivariate_normal
from sklearn.base import clone

import emdash
from emdash import GaussianMixture, NormalInverseWishart

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization")


def nothing(covariance_type, d):
    """Return the prior of zero strength."""
    dof = -(d + 1.0) if covariance_type in ("full", "tied") else -2.0
    scale = {"full": np.zeros((d, d)), "diag": np.zeros(d), "spherical": 0.0}
    psi = scale["full" if covariance_type == "tied" else covariance_type]
    return NormalInverseWishart(np.zeros(d), 0.0, dof, psi)


# ------------------------------------------------------------ the objective


@pytest.mark.parametrize("name", ["iris", "wine", "faithful"])
@pytest.mark.parametrize("kappa", [0.01, 5.0])
def test_the_objective_never_falls(name, kappa, datasets, covariance_type):
    found = GaussianMixture(
        3,
        covariance_type=covariance_type,
        prior=NormalInverseWishart(mean_precision_prior=kappa),
        weight_concentration_prior=2.0,
        reg_covar=0.0,
        tol=1e-9,
        random_state=1,
        init_params="random",
    ).fit(datasets[name])
    objective = np.array([p.log_likelihood + p.log_prior for p in found.history_])
    assert list(objective) == found.lower_bounds_
    assert len(objective) > 10
    assert (np.diff(objective) >= -1e-11 * abs(objective[1:])).all()
    changes = [p.change for p in found.history_[1:]]
    np.testing.assert_array_equal(changes, np.diff(objective))


def test_log_prior_is_scipys_but_for_constants(covariance_type, iris):
    """Its differences between the passes of a fit."""
    K, d, a = 3, 4, 2.5
    psi = {"full": np.diag([1.0, 2, 3, 4]), "diag": np.arange(1.0, 5), "spherical": 2.0}
    psi = psi["full" if covariance_type == "tied" else covariance_type]
    m, kappa, nu = np.full(d, 3.0), 0.7, 9.0
    history, points = [], []
    settings = {
        "covariance_type": covariance_type,
        "prior": NormalInverseWishart(m, kappa, nu, psi),
        "weight_concentration_prior": a,
        "reg_covar": 0.0,
        "tol": 0.0,
        "random_state": 0,
    }
    for passes in (0, 1, 4):  # the parameters that enter pass 1, 2 and 5
        fit = GaussianMixture(K, max_iter=passes, **settings).fit(iris)
        points.append((fit.weights_, fit.means_, fit.covariances_))
    history = GaussianMixture(K, max_iter=5, **settings).fit(iris).history_

    def log_density(weights, means, covariances):
        found = dirichlet.logpdf(weights / weights.sum(), np.full(K, a))
        for k in range(K):
            c = covariances if covariance_type == "tied" else covariances[k]
            matrix = c if np.ndim(c) == 2 else np.diag(np.broadcast_to(c, d))
            found += multivariate_normal.logpdf(means[k], m, matrix / kappa)
            if covariance_type == "full" or (covariance_type == "tied" and k == 0):
                found += invwishart.logpdf(matrix, nu, psi)
            elif covariance_type != "tied":
                found += invgamma.logpdf(c, nu / 2, scale=np.asarray(psi) / 2).sum()
        return found

    expected = [log_density(*point) for point in points]
    seen = [len(iris) * history[i].log_prior for i in (0, 1, 4)]
    np.testing.assert_allclose(np.diff(seen), np.diff(expected), rtol=1e-9, atol=1e-8)
    assert abs(np.diff(seen)).min() > 1e-3


def test_log_likelihood_is_told_apart(iris):
    found = GaussianMixture(2, prior=NormalInverseWishart(), tol=1e-13, max_iter=999).fit(iris)
    last = found.history_[-1]
    assert last.log_likelihood == pytest.approx(found.score(iris), rel=1e-10)
    assert last.log_prior != 0
    assert "log-prior" in str(last)
    assert "log-prior" not in str(GaussianMixture(2).fit(iris).history_[-1])


# ------------------------------------------------------------ limits


def test_zero_strength_is_maximum_likelihood(covariance_type, iris, assert_same_fit):
    settings = {"covariance_type": covariance_type, "random_state": 0, "reg_covar": 1e-7}
    expected = GaussianMixture(3, **settings).fit(iris)
    found = GaussianMixture(
        3, prior=nothing(covariance_type, 4), weight_concentration_prior=1.0, **settings
    ).fit(iris)
    assert_same_fit(found, expected, 1e-11)
    assert {p.log_prior for p in found.history_} == {0.0}


def test_many_rows_forget_the_prior(covariance_type):
    """The difference to maximum likelihood goes like one over the rows."""
    rows = np.random.default_rng(0).normal(size=(50, 2)) @ [[2.0, 0.0], [1.0, 0.5]]

    def away(times):
        X = np.repeat(rows, times, axis=0)
        settings = {"covariance_type": covariance_type, "reg_covar": 0.0}
        prior = NormalInverseWishart(np.ones(2), 3.0, 8.0)
        one = GaussianMixture(1, prior=prior, **settings).fit(X)
        other = GaussianMixture(1, **settings).fit(X)
        return (
            abs(one.covariances_ - other.covariances_).max() + abs(one.means_ - other.means_).max()
        )

    assert away(1000) == pytest.approx(away(10) / 100, rel=0.05)


def test_one_component_is_the_closed_form(iris):
    """The mode of a normal-inverse-Wishart posterior [FraleyRaftery2007]_."""
    n, d = iris.shape
    m, kappa, nu, psi = np.arange(4.0), 2.0, 7.0, 3 * np.eye(4)
    prior = NormalInverseWishart(m, kappa, nu, psi)
    found = GaussianMixture(1, prior=prior, reg_covar=0.0, tol=0, max_iter=3).fit(iris)
    mean = iris.mean(axis=0)
    scatter = (iris - mean).T @ (iris - mean)
    away = np.outer(mean - m, mean - m)
    expected = (psi + scatter + kappa * n / (kappa + n) * away) / (nu + n + d + 2)
    np.testing.assert_allclose(found.covariances_[0], expected, rtol=1e-12)
    np.testing.assert_allclose(found.means_[0], (n * mean + kappa * m) / (n + kappa), rtol=1e-12)


def test_one_row_per_component_stays_finite(covariance_type):
    X = np.array([[0.0, 0.0], [1.0, 8.0], [9.0, 1.0], [20.0, 20.0]])
    found = GaussianMixture(
        4,
        covariance_type=covariance_type,
        prior=NormalInverseWishart(),
        weight_concentration_prior=2.0,
        reg_covar=0.0,
        random_state=0,
        on_collapse="raise",
    ).fit(X)
    assert np.linalg.matrix_rank(found.means_[:, :1] - found.means_[:, 0]) >= 1
    assert np.isfinite(found.score_samples(X)).all()
    variances = found.covariances_
    if covariance_type in ("full", "tied"):
        variances = np.linalg.eigvalsh(variances)
    assert variances.min() > 0.05


# ------------------------------------------------------------ defaults


def test_defaults_come_from_the_data(covariance_type, iris, assert_same_fit):
    K, d = 3, 4
    total = np.cov(iris, rowvar=False, bias=True)
    scale = {"diag": np.diag(total), "spherical": np.trace(total) / d}.get(covariance_type, total)
    written = NormalInverseWishart(iris.mean(axis=0), 0.01, d + 2, scale / K ** (2 / d))
    settings = {"covariance_type": covariance_type, "random_state": 0}
    expected = GaussianMixture(K, prior=written, **settings).fit(iris)
    found = GaussianMixture(K, prior=NormalInverseWishart(), **settings).fit(iris)
    assert_same_fit(found, expected, 1e-11)


def test_the_default_moves_with_the_data(covariance_type, iris):
    """Features in other units and from another zero: the same fit in these."""
    scale = np.array([1e-3, 1.0, 1e2, 1e5]) if covariance_type != "spherical" else np.full(4, 1e3)
    shift = np.array([0.0, 1e3, -1e4, 1e7])
    settings = {"covariance_type": covariance_type, "prior": NormalInverseWishart(), "tol": 1e-6}
    labels = np.repeat(np.arange(3), 50)
    means = np.array([iris[labels == k].mean(axis=0) for k in range(3)])

    def fit(X, means):
        d = X.shape[1]
        unit = X.var(axis=0)
        precisions = {
            "full": np.array([np.diag(1 / unit)] * 3),
            "tied": np.diag(1 / unit),
            "diag": np.array([1 / unit] * 3),
            "spherical": np.full(3, d / unit.sum()),
        }[covariance_type]
        return GaussianMixture(
            3,
            weights_init=np.full(3, 1 / 3),
            means_init=means,
            precisions_init=precisions,
            reg_covar=0.0,
            **settings,
        ).fit(X)

    plain, moved = fit(iris, means), fit(iris * scale + shift, means * scale + shift)
    np.testing.assert_allclose((moved.means_ - shift) / scale, plain.means_, rtol=1e-5)
    np.testing.assert_allclose(moved.weights_, plain.weights_, rtol=1e-5)


def test_priors_cost_no_pass(iris):
    seen = []
    prior = NormalInverseWishart()

    def batches():
        seen.append(1)
        yield iris[:70]
        yield iris[70:]

    class Table:
        def __iter__(self):
            return batches()

    def passes(**settings):
        seen.clear()
        GaussianMixture(2, random_state=0, max_iter=4, tol=0.0, **settings).fit(Table())
        return len(seen)

    assert passes(prior=prior, weight_concentration_prior=3.0) == passes()


def test_all_sources_agree(iris, tmp_path, assert_same_fit):
    np.save(tmp_path / "X.npy", iris)
    settings = {"prior": NormalInverseWishart(), "random_state": 0, "tol": 1e-6}
    expected = GaussianMixture(3, **settings).fit(iris)
    inputs = [str(tmp_path / "X.npy"), [iris[:1], iris[1:]], da.from_array(iris, (40, 4))]
    for X in inputs:
        assert_same_fit(GaussianMixture(3, **settings).fit(X), expected, 1e-9)


# ------------------------------------------------------------ what carries settings around


def test_clone_save_load_pickle(iris, tmp_path):
    prior = NormalInverseWishart([1, 2, 3, 4], 0.5, None, np.eye(4).tolist())
    settings = {"weight_concentration_prior": 2.0, "on_collapse": "drop", "random_state": 0}
    model = GaussianMixture(2, prior=prior, **settings)
    copy = clone(model)
    assert copy.prior.plain() == prior.plain()
    assert copy.get_params()["on_collapse"] == "drop"
    expected = model.fit(iris)
    emdash.save(expected, tmp_path / "m.npz")
    for again in (
        emdash.load(tmp_path / "m.npz"),
        pickle.loads(pickle.dumps(expected)),
        copy.fit(iris),
    ):
        assert again.prior.plain() == prior.plain()
        assert again.weight_concentration_prior == 2.0
        assert again.means_.tobytes() == expected.means_.tobytes()
        assert again.fit(iris).means_.tobytes() == expected.means_.tobytes()


def test_dask_tells_priors_apart(iris):
    from dask.base import tokenize

    def token(**settings):
        return tokenize(GaussianMixture(2, **settings))

    one = token(prior=NormalInverseWishart(mean_prior=np.zeros(4)))
    assert one == token(prior=NormalInverseWishart(mean_prior=np.zeros(4)))
    others = [
        token(),
        token(prior=NormalInverseWishart()),
        token(prior=NormalInverseWishart(mean_prior=np.ones(4))),
        token(weight_concentration_prior=2.0),
        token(on_collapse="drop"),
    ]
    assert len({one, *others}) == 6


class EnoughError(Exception):
    pass


def test_resumed_ends_bitwise_where_it_would_have_ended(iris, tmp_path):
    """The defaults of the first pass are kept, whichever process made it."""
    settings = {"n_components": 3, "n_init": 2, "random_state": 0, "init_params": "random"}
    settings |= {"prior": NormalInverseWishart(), "weight_concentration_prior": 1.5, "max_iter": 7}
    settings |= {"tol": 0.0}
    expected = GaussianMixture(**settings).fit(iris)
    count = 0

    def enough(record):
        nonlocal count
        count += 1
        if count % 3 == 0:
            raise EnoughError

    while True:
        try:
            model = GaussianMixture(checkpoint=tmp_path / "c.npz", callback=enough, **settings)
            found = model.fit(iris)
            break
        except EnoughError:
            continue
    assert found.means_.tobytes() == expected.means_.tobytes()
    clocks = {"seconds": 0.0, "imbalance": 1.0}
    assert [replace(p, **clocks) for p in found.history_] == [
        replace(p, **clocks) for p in expected.history_
    ]
    other = {**settings, "prior": NormalInverseWishart(mean_precision_prior=1.0)}
    with pytest.raises(ValueError, match="another model: prior"):
        GaussianMixture(checkpoint=tmp_path / "c.npz", **other).fit(iris)
    with pytest.raises(ValueError, match="another model: on_collapse"):
        GaussianMixture(checkpoint=tmp_path / "c.npz", on_collapse="drop", **settings).fit(iris)


# ------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"mean_precision_prior": -1.0}, "mean_precision_prior of the prior .* at least 0: -1.0"),
        ({"mean_precision_prior": np.nan}, "mean_precision_prior of the prior"),
        ({"degrees_of_freedom_prior": -6.0}, "degrees_of_freedom_prior .* at least -5: -6.0"),
        (
            {"mean_prior": [1.0, 2.0]},
            r"mean_prior of the prior .* shape \(4,\) .* got shape \(2,\)",
        ),
        ({"mean_prior": [1.0, 2.0, 3.0, np.inf]}, "mean_prior of the prior should be finite"),
        ({"covariance_prior": 1.0}, r"covariance_prior of the prior .* shape \(4, 4\)"),
        ({"covariance_prior": -np.eye(4)}, "its smallest is -1"),
        ({"covariance_prior": np.triu(np.ones((4, 4)))}, "should be symmetric"),
    ],
)
def test_priors_that_cannot_be(prior, message, iris):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, prior=NormalInverseWishart(**prior)).fit(iris)


@pytest.mark.parametrize("settings", [{"prior": 3}, {"weight_concentration_prior": 0.5}])
def test_parameters_that_cannot_be(settings, iris):
    with pytest.raises(ValueError, match=next(iter(settings))):
        GaussianMixture(2, **settings).fit(iris)


def test_a_prior_beyond_float64_is_refused():
    X = np.random.default_rng(0).normal(size=(20, 1))
    model = GaussianMixture(2, weight_concentration_prior=1e300, random_state=0)
    with pytest.raises(ValueError, match="scale sample_weight up, or weaken the prior"):
        model.fit(X, sample_weight=np.full(20, 1e-30))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_the_objective_never_falls_with_missing_cells(covariance_type):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3)) + 2 * rng.integers(0, 2, size=(80, 1))
    X[rng.random(X.shape) < 0.25] = np.nan
    model = GaussianMixture(
        3,
        covariance_type=covariance_type,
        prior=NormalInverseWishart(),
        weight_concentration_prior=2.0,
        reg_covar=0,
        tol=1e-9,
        max_iter=400,
        random_state=0,
    ).fit(X)
    assert model.n_iter_ > 5
    assert np.diff(model.lower_bounds_).min() > -1e-12
