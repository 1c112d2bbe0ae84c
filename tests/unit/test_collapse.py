"""Components that collapse: what each policy does, and that no fit dies of it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import emdash
from emdash import GaussianMixture
from emdash.collapse import POLICIES, MStep, Worst
from emdash.families.covariance import SHAPES
from emdash.families.singular import FLOOR

GOING_ON = sorted(set(POLICIES) - {"raise"})


def repeated(n=120):
    """Return rows of which a third are one and the same."""
    rng = np.random.default_rng(0)
    return np.r_[rng.normal(size=(n - n // 3, 2)), np.full((n // 3, 2), 3.0)]


def outlying():
    """Return two clouds, rows repeated at one of them, and a start with a component on these."""
    rng = np.random.default_rng(3)
    X = np.r_[rng.normal(size=(60, 2)), rng.normal((30, 0), size=(60, 2)), np.zeros((10, 2))]
    means = np.array([[0.5, 0.5], [0.0, 0.0]])
    start = {"means_init": means, "weights_init": [0.5, 0.5]}
    start["precisions_init"] = np.array([np.eye(2) / 400, np.eye(2) * 1e12])
    return X, start


CASES = {
    "repeated row": (repeated(), 3),
    "constant column": (np.c_[repeated(), np.full(120, 1e6)], 2),
    "twin columns": (repeated()[:, [0, 1, 1]], 2),
    "few distinct rows": (np.repeat(repeated()[:3], 4, axis=0), 5),
    "one distinct row": (np.full((9, 2), -2.0), 3),
    "more features than rows": (np.random.default_rng(1).normal(size=(6, 9)), 2),
    "as many components as rows": (np.random.default_rng(2).normal(size=(7, 2)), 7),
}


def fit(X, K, **settings):
    """Return a fit from a k-means start without `reg_covar`, and what it warned of."""
    settings = {"reg_covar": 0.0, "random_state": 0, **settings}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = GaussianMixture(K, **settings).fit(X)
    told = [str(w.message) for w in caught if "ollapsed" in str(w.message)]
    return found, told


def events(found):
    return [(p.number, c) for p in found.history_ for c in p.collapses]


def ended_by(found, done):
    return [c.component for _, c in events(found) if c.done == done]


# ------------------------------------------------------------ nothing kills a fit


@pytest.mark.parametrize("policy", GOING_ON)
@pytest.mark.parametrize("case", sorted(CASES))
def test_no_fit_dies(case, policy, covariance_type):
    X, K = CASES[case]
    found, told = fit(X, K, on_collapse=policy, covariance_type=covariance_type)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert np.isfinite(getattr(found, name)).all(), name
    assert np.isfinite(found.score_samples(X)).all()
    assert found.weights_.sum() == pytest.approx(1)
    K_left = K - len(ended_by(found, "dropped"))
    assert found.means_.shape == (K_left, X.shape[1])
    assert found.predict_proba(X).shape == (len(X), K_left)
    acted = [c for _, c in events(found) if c.done != "kept"]
    assert len(told) == bool(acted or found.history_[-1].collapses)  # one warning, or none


FULL_OR_DIAG = ("full", "diag")
SINGULAR = [
    # the covariance of all components outlives a repeated row, a mean variance a constant column
    *(("repeated row", kind) for kind in (*FULL_OR_DIAG, "spherical")),
    *(("constant column", kind) for kind in (*FULL_OR_DIAG, "tied")),
    *(("few distinct rows", kind) for kind in (*FULL_OR_DIAG, "tied", "spherical")),
]


@pytest.mark.parametrize(("case", "covariance_type"), SINGULAR)
def test_raise_says_which_and_what_to_try(case, covariance_type):
    X, K = CASES[case]
    with pytest.raises(ValueError, match="ill-defined empirical covariance") as caught:
        fit(X, K, on_collapse="raise", covariance_type=covariance_type)
    text = str(caught.value)
    assert "smallest eigenvalue is" in text
    assert "on_collapse=" in text
    assert "increase reg_covar" in text
    if covariance_type != "tied":
        assert "component " in text
        assert " rows)" in text
    assert caught.value.smallest  # the same as values


def test_raise_counts_the_weight_in_rows():
    X, K = CASES["repeated row"]
    with pytest.raises(ValueError, match=r"component \d .* its weight 40 rows"):
        fit(X, K, on_collapse="raise")


def test_values_that_overflow_are_no_collapse():
    X = np.array([[0.0], [1e200], [3e200], [2.0]])
    with pytest.raises(ValueError, match="overflow when squared"):
        fit(X, 1)


@pytest.mark.parametrize("policy", POLICIES)
def test_ordinary_fits_do_not_know_the_policy(policy, iris, covariance_type):
    settings = {"covariance_type": covariance_type, "random_state": 0}
    expected = GaussianMixture(3, **settings).fit(iris)
    found = GaussianMixture(3, **settings, on_collapse=policy).fit(iris)
    assert found.means_.tobytes() == expected.means_.tobytes()
    assert found.covariances_.tobytes() == expected.covariances_.tobytes()
    assert found.lower_bounds_ == expected.lower_bounds_
    assert not events(found)


def test_reg_covar_keeps_its_meaning():
    """With it nothing collapses here, and every variance is that much larger."""
    X, K = CASES["repeated row"]
    found, told = fit(X, K, reg_covar=1e-3, on_collapse="raise")
    assert not told
    k = int(np.argmin(np.linalg.det(found.covariances_)))
    np.testing.assert_allclose(found.covariances_[k], 1e-3 * np.eye(2), rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------ regularize


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_the_floor_is_relative_to_the_variance_of_the_data(covariance_type):
    X, start = outlying()
    if covariance_type != "full":
        diagonals = np.array([[1 / 400, 1 / 400], [1e12, 1e12]])
        start["precisions_init"] = diagonals if covariance_type == "diag" else diagonals[:, 0]
    plain, _ = fit(X, 2, covariance_type=covariance_type, **start)
    (k,) = set(ended_by(plain, "regularized"))
    floor = FLOOR * np.var(X, axis=0)
    floor = {"full": np.diag(floor), "diag": floor, "spherical": floor.mean()}[covariance_type]
    np.testing.assert_allclose(plain.covariances_[k], floor, rtol=1e-9, atol=1e-12)
    scale = np.array([1e-6, 1e5]) if covariance_type != "spherical" else np.array([1e5, 1e5])
    start["means_init"] = start["means_init"] * scale
    unit = {"full": scale * scale[:, None], "diag": scale**2, "spherical": scale[0] ** 2}
    start["precisions_init"] = start["precisions_init"] / unit[covariance_type]
    scaled, _ = fit(X * scale, 2, covariance_type=covariance_type, **start)
    np.testing.assert_allclose(scaled.means_, plain.means_ * scale, rtol=1e-8, atol=1e-14)
    expected = plain.lower_bound_ - np.log(scale).sum()
    np.testing.assert_allclose(scaled.lower_bound_, expected, rtol=1e-8)


@pytest.mark.parametrize("case", ["repeated row", "more features than rows", "twin columns"])
def test_only_the_event_lets_the_objective_fall(case):
    """What was raised once stays above the floor: likelihood under a constraint."""
    X, K = CASES[case]
    found, _ = fit(X, K, tol=1e-10, max_iter=300)
    assert events(found)
    for before, after in pairwise(found.history_):
        if not before.collapses:
            slack = 1e-9 * abs(before.log_likelihood)
            assert after.log_likelihood >= before.log_likelihood - slack
    assert found.converged_


# ------------------------------------------------------------ reseed


def test_reseeded_at_the_rows_that_fit_worst():
    X, start = outlying()
    found, _ = fit(X, 2, on_collapse="reseed", **start)
    (_, event), *_ = events(found)
    assert (event.component, event.done) == (1, "re-seeded")
    assert event.weight == pytest.approx(10, abs=0.1)
    means = found.means_[np.argsort(found.means_[:, 0])]
    assert abs(means - [[0, 0], [30, 0]]).max() < 0.5  # both clouds have their component
    regularized, _ = fit(X, 2, on_collapse="regularize", **start)
    assert found.lower_bound_ > regularized.lower_bound_ - 5  # it is finite all the same


def test_a_pass_that_reseeds_reads_the_rows_twice():
    X, start = outlying()
    found, _ = fit(X, 2, on_collapse="reseed", **start)
    twice = [p.number for p in found.history_ if p.n_bytes == 2 * X.nbytes]
    assert twice == [number for number, c in events(found) if c.done == "re-seeded"]
    assert all(p.n_bytes == X.nbytes for p in found.history_ if p.number not in twice)


def test_a_component_is_reseeded_once():
    X, K = CASES["repeated row"]
    found, _ = fit(X, K, on_collapse="reseed")
    again = ended_by(found, "re-seeded")
    assert len(set(again)) == len(again)
    assert ended_by(found, "regularized")  # in the end somebody has to hold the repeated rows


@pytest.mark.parametrize("policy", ["reseed", "drop"])
def test_neither_the_jump_nor_the_step_after_it_ends_the_loop(policy):
    """However large the tolerance."""
    X, start = outlying()
    found, _ = fit(X, 2, on_collapse=policy, tol=1e6, **start)
    (number, _), *_ = events(found)
    assert found.n_iter_ == number + 2
    assert found.converged_


# ------------------------------------------------------------ drop


def test_dropping_leaves_fewer_components():
    X, start = outlying()
    found, (told,) = fit(X, 2, on_collapse="drop", **start)
    assert found.means_.shape == (1, 2)
    assert found.n_components == 2
    assert found.get_params()["n_components"] == 2
    np.testing.assert_allclose(found.means_[0], X.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.covariances_[0], np.cov(X.T, bias=True), rtol=1e-9)
    assert "1 of 2 components are left" in told
    assert set(found.predict(X)) == {0}
    assert found.sample(4)[0].shape == (4, 2)
    assert found._n_parameters() == 5


def test_dropped_saved_loaded_and_fitted_on(tmp_path):
    X, start = outlying()
    found, _ = fit(X, 2, on_collapse="drop", **start, warm_start=True)
    emdash.save(found, tmp_path / "model.npz")
    again = emdash.load(tmp_path / "model.npz")
    assert again.history_ == found.history_
    np.testing.assert_array_equal(again.predict_proba(X), found.predict_proba(X))
    assert again.fit(X).means_.shape == (1, 2)


# ------------------------------------------------------------ light components


def light_start():
    """Return a start whose second component lies between rows and has next to no weight."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(50, 2))
    start = {"means_init": np.array([[0.0, 0.0], [9.0, 9.0]]), "weights_init": [0.999, 0.001]}
    start["precisions_init"] = np.array([np.eye(2), np.eye(2)])
    return X, start


def test_a_component_lighter_than_a_row_is_noted():
    X, start = light_start()
    found, told = fit(X, 2, reg_covar=1e-6, max_iter=1, **start)
    ((number, event),) = events(found)
    assert (number, event.component, event.done, event.smallest) == (1, 1, "kept", None)
    r = 1e-3 * np.exp(-0.5 * ((X - 9) ** 2).sum(axis=1) + 0.5 * (X**2).sum(axis=1)) / 0.999
    assert event.weight == pytest.approx((r / (1 + r)).sum(), rel=1e-9)
    assert "component 1 kept (lighter" in told[0]


@pytest.mark.parametrize("policy", ["reseed", "drop"])
def test_a_component_lighter_than_a_row_is_replaced(policy):
    X, start = light_start()
    found, _ = fit(X, 2, reg_covar=1e-6, on_collapse=policy, **start)
    assert found.history_[0].collapses[0].done == {"reseed": "re-seeded", "drop": "dropped"}[policy]
    assert len(found.means_) == {"reseed": 2, "drop": 1}[policy]


# ------------------------------------------------------------ everywhere the same


@pytest.mark.parametrize("policy", GOING_ON)
def test_array_file_batches_and_dask_agree(policy, tmp_path, assert_same_fit):
    X, start = outlying()
    settings = {"on_collapse": policy, "reg_covar": 0.0, **start}
    expected, _ = fit(X, 2, **settings)
    np.save(tmp_path / "X.npy", X)
    others = [str(tmp_path / "X.npy"), [X[:50], X[50:51], X[51:]], da.from_array(X, (40, 2))]
    for other in others:
        found, told = fit(other, 2, **settings)
        assert_same_fit(found, expected, 1e-10)
        assert len(told) == 1
        seen = [(n, c.component, c.done) for n, c in events(found)]
        assert seen == [(n, c.component, c.done) for n, c in events(expected)]


class EnoughError(Exception):
    pass


@pytest.mark.parametrize("policy", GOING_ON)
def test_resumed_ends_bitwise_where_it_would_have_ended(policy, tmp_path):
    X, K = CASES["repeated row"]
    settings = {"on_collapse": policy, "n_init": 2}
    expected, told = fit(X, K, **settings)
    assert events(expected)
    count = 0

    def enough(record):
        nonlocal count
        count += 1
        if count % 2 == 0:
            raise EnoughError

    while True:
        try:
            found, again = fit(X, K, checkpoint=tmp_path / "c.npz", callback=enough, **settings)
            break
        except EnoughError:
            continue
    for name in ("weights_", "means_", "covariances_"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name
    clocks = {"seconds": 0.0, "imbalance": 1.0}
    assert [replace(p, **clocks) for p in found.history_] == [
        replace(p, **clocks) for p in expected.history_
    ]
    assert again == told
    assert found.converged_ == expected.converged_


def test_missing_values():
    """They go through the same M-step."""
    from emdash.engines.local import LocalEngine
    from emdash.families.gaussian import Gaussian
    from emdash.models.mixture import Mixture, MixtureParameters
    from emdash.sources.array import ArraySource

    X, start = outlying()
    X[:5, 0] = np.nan
    model = Mixture(Gaussian(SHAPES["full"]))
    factors = SHAPES["full"].factor_precisions(start["precisions_init"])
    components = model.family.from_factors(np.array([0.5, 0.5]), start["means_init"], factors)
    parameters = MixtureParameters(np.array([0.5, 0.5]), components)
    engine, source = LocalEngine(1), ArraySource(X)
    past = []
    for _ in range(20):
        statistics = engine.total(model.task(parameters), source)

        def worst(m, bound=parameters):
            return engine.total(Worst(model.rows(bound, "log_likelihood"), m), source).rows()

        step = MStep(model, statistics, parameters, 1.0, past, worst)
        parameters, collapses = POLICIES["reseed"](step)
        past.append(collapses)
    assert [c.done for each in past for c in each] == ["re-seeded"]
    means = parameters.components.means
    assert abs(means[np.argsort(means[:, 0])] - [[0, 0], [30, 0]]).max() < 0.5


def test_the_warning_is_one_and_a_convergence_warning():
    X, K = CASES["repeated row"]
    with pytest.warns(ConvergenceWarning, match="Components collapsed") as caught:
        GaussianMixture(K, reg_covar=0, random_state=0).fit(X)
    (told,) = [w for w in caught if "Components collapsed" in str(w.message)]
    assert told.filename == __file__  # the line that called fit
