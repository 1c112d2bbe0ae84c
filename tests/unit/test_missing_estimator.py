"""Missing cells through GaussianMixture.

The mathematics - maxima against direct maximisation, gradients, draws against the posterior, sums
over any chunks - is tested at the model: test_missing.py here and in golden/.
"""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning

import emdash
from emdash import GaussianMixture, NormalInverseWishart
from emdash.families.covariance import SHAPES

TYPES = tuple(SHAPES)
NAMES = list("abcd")


def clusters(n=400, d=4, hidden=0.2, seed=0, offset=0.0):
    """Rows of three groups of which cells are hidden; of rows 3 and n - 1 everything is."""
    rng = np.random.default_rng(seed)
    root = np.eye(d) + 0.4 * rng.normal(size=(d, d))
    X = 4.0 * rng.integers(0, 3, size=(n, 1)) * (1 + np.arange(d) % 2) + offset
    X = X + rng.normal(size=(n, d)) @ root
    X[rng.random(X.shape) < hidden] = np.nan
    X[[3, n - 1]] = np.nan
    return X


@pytest.fixture(scope="module")
def X():
    X = clusters()
    X.setflags(write=False)
    return X


@pytest.fixture(scope="module")
def gm(X):
    return GaussianMixture(3, random_state=0).fit(X)


@pytest.fixture(scope="module")
def frame(X):
    return pd.DataFrame(X, columns=NAMES, index=2 * np.arange(len(X)) + 7)


@pytest.fixture(scope="module")
def named(frame):
    return GaussianMixture(3, random_state=0).fit(frame)


def matrices(model):
    """Return the covariances as K matrices."""
    K, d = model.means_.shape
    c = model.covariances_
    return {
        "full": lambda: c,
        "tied": lambda: np.stack([c] * K),
        "diag": lambda: np.stack([np.diag(v) for v in c]),
        "spherical": lambda: c[:, None, None] * np.eye(d),
    }[model.covariance_type]()


# ------------------------------------------------------------------ fits and answers


@pytest.mark.parametrize("covariance_type", TYPES)
def test_densities_are_those_of_what_is_observed(X, covariance_type):
    model = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    joint = np.empty((len(X), 3))
    for i, row in enumerate(X):
        o = np.flatnonzero(~np.isnan(row))
        for k, matrix in enumerate(matrices(model)):
            joint[i, k] = model.weights_[k]
            if len(o):
                law = multivariate_normal(model.means_[k, o], matrix[np.ix_(o, o)])
                joint[i, k] *= law.pdf(row[o])
    density = joint.sum(axis=1)
    np.testing.assert_allclose(model.score_samples(X), np.log(density), rtol=1e-9, atol=1e-12)
    r = joint / density[:, None]
    np.testing.assert_allclose(model.predict_proba(X), r, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), r.argmax(axis=1))
    n = len(X) - 2  # two rows have nothing observed
    L, p = np.log(density).sum(), model._n_parameters()
    assert model.score(X) == pytest.approx(L / n, rel=1e-10)
    assert model.bic(X) == pytest.approx(p * np.log(n) - 2 * L, rel=1e-10)
    assert model.aic(X) == pytest.approx(2 * p - 2 * L, rel=1e-10)


def test_monotone_pattern_is_two_regressions():
    """K = 1, x always seen, y sometimes: the maximum has a closed form [Anderson1957]_."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=200)
    y = 1.0 + 0.8 * x + 0.5 * rng.normal(size=200)
    seen = rng.random(200) < 1 / (1 + np.exp(-x))  # depends on x: missing at random
    table = np.column_stack([x, np.where(seen, y, np.nan)])
    slope, level = np.polyfit(x[seen], y[seen], 1)
    left = np.mean((y[seen] - level - slope * x[seen]) ** 2)
    model = GaussianMixture(1, tol=1e-14, max_iter=2000, reg_covar=0).fit(table)
    expected = [x.mean(), level + slope * x.mean()]
    np.testing.assert_allclose(model.means_[0], expected, rtol=1e-6)
    covariance = x.var() * np.array([[1, slope], [slope, left / x.var() + slope**2]])
    np.testing.assert_allclose(model.covariances_[0], covariance, rtol=1e-6)
    filled = model.impute(table)[~seen, 1]
    np.testing.assert_allclose(filled, (level + slope * x)[~seen], rtol=1e-5)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_columns_and_rows_in_another_order(X, covariance_type):
    order = [2, 0, 3, 1]
    shape, means = SHAPES[covariance_type], np.outer([0, 4, 8], [1, 2, 1, 2.0])
    settings = {
        **{"covariance_type": covariance_type, "max_iter": 5, "tol": 0},
        "weights_init": [0.2, 0.5, 0.3],
        "precisions_init": shape.precisions(shape.unit_factors(3, 4)),
    }
    one = GaussianMixture(3, means_init=means, **settings)
    other = GaussianMixture(3, means_init=means[:, order], **settings)
    for model, rows in ((one, X), (other, X[::-1, order])):
        with pytest.warns(ConvergenceWarning):
            model.fit(rows)
    np.testing.assert_allclose(one.means_[:, order], other.means_, rtol=1e-10, atol=1e-10)
    permuted = matrices(one)[:, order][:, :, order]
    np.testing.assert_allclose(permuted, matrices(other), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_every_start_takes_holes(covariance_type, init_params):
    """No row is complete, so whoever looked for complete rows would have none."""
    X = clusters(offset=1e6)
    X[np.arange(len(X)), np.arange(len(X)) % 4] = np.nan
    assert np.isnan(X).any(axis=1).all()
    model = GaussianMixture(3, covariance_type=covariance_type, init_params=init_params)
    model.set_params(random_state=0, max_iter=1000).fit(X)
    assert model.converged_
    assert np.diff(model.lower_bounds_).min() > -1e-9
    again = GaussianMixture(**model.get_params()).fit(np.array_split(X, 7))
    np.testing.assert_allclose(again.means_, model.means_, rtol=1e-10)


def test_starts_with_holes_are_what_their_names_say(X):
    """`random` has all means in the middle; two methods begin at rows, as far as these are seen."""
    found = {
        init_params: GaussianMixture(3, init_params=init_params, random_state=0, max_iter=0).fit(X)
        for init_params in ("kmeans", "random", "k-means++", "random_from_data")
    }
    assert found["random"].means_.std(axis=0).max() < 1 < found["kmeans"].means_.std(axis=0).min()
    for init_params in ("k-means++", "random_from_data"):
        for mean in found[init_params].means_:
            assert ((mean == X) | np.isnan(X)).all(axis=1).sum() > 2  # two are empty
        np.testing.assert_allclose(found[init_params].covariances_, [1e-6 * np.eye(4)] * 3)


def test_a_start_from_a_sample_that_misses_a_column(monkeypatch):
    """A column that the sample does not show costs one more pass, which finds where it is shown."""
    monkeypatch.setattr("emdash.start.SAMPLE_ROWS", 50)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5_000, 3))
    X[:, 2] = np.nan
    X[[4_321, 4_400, 4_500], 2] = [5.0, 6.0, 8.0]
    model = GaussianMixture(1, random_state=0, max_iter=500).fit(np.array_split(X, 11))
    assert model.means_[0, 2] == pytest.approx(19 / 3, abs=1.5)


def test_passes_over_complete_data_are_not_more():
    """Nobody looks for missing cells in a pass of their own."""
    passes = 0

    def batches():
        nonlocal passes
        passes += 1
        return iter([rows[:200], rows[200:]])

    rows = np.random.default_rng(0).normal(size=(400, 2))
    model = GaussianMixture(2, random_state=0)
    counts = []
    for hidden in (0, 1):
        rows[:hidden] = np.nan
        passes = 0
        model.fit(batches)
        counts.append(passes - model.n_iter_)
    assert counts == [4, 4]  # two when it is opened, one to count, one for the start


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("kind", ["array", "frame", "batches", "dask"])
def test_a_column_without_values_is_named(X, given, kind):
    bad = X.copy()
    bad[:, 2] = np.nan
    data = {
        "array": lambda: bad,
        "frame": lambda: pd.DataFrame(bad, columns=NAMES),
        "batches": lambda: np.array_split(bad, 5),
        "dask": lambda: da.from_array(bad, chunks=(90, 4)),
    }[kind]()
    start = {}
    if given:
        start = {
            "weights_init": [1.0],
            "means_init": np.ones((1, 4)),
            "precisions_init": [np.eye(4)],
        }
    name = r" \('c'\)" if kind == "frame" else ""
    with pytest.raises(ValueError, match=rf"no observed value in column 2{name}: every value"):
        GaussianMixture(1, **start).fit(data)


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_too_few_rows_with_values(seen):
    X = np.full((50, 2), np.nan)
    X[:seen] = np.arange(2 * seen).reshape(seen, 2)
    start = {"means_init": [[0, 0], [1, 1], [2, 2.0]], "weights_init": [0.5, 0.2, 0.3]}
    start["precisions_init"] = [np.eye(2)] * 3
    for settings in (start, {"random_state": 0}):
        with pytest.raises(ValueError, match=r"no observed value in column 0|n_components = 3"):
            GaussianMixture(3, **settings).fit(X)


def test_rows_with_nothing_observed_are_as_if_they_were_not_there(X, gm):
    shown = ~np.isnan(X).all(axis=1)
    assert (~shown).sum() == 2
    start = {
        "weights_init": gm.weights_,
        "means_init": gm.means_,
        "precisions_init": gm.precisions_,
        "tol": 1e-6,
    }
    whole, without = (GaussianMixture(3, **start).fit(rows) for rows in (X, X[shown]))
    np.testing.assert_allclose(whole.means_, without.means_, rtol=1e-11)
    assert whole.score(X) == pytest.approx(whole.score(X[shown]), rel=1e-13)
    assert whole.bic(X) == pytest.approx(whole.bic(X[shown]), rel=1e-13)
    np.testing.assert_allclose(gm.predict_proba(X)[~shown], [gm.weights_] * 2, rtol=1e-14)
    assert (gm.score_samples(X)[~shown] == 0).all()
    with pytest.raises(ValueError, match=r"2 row\(s\), but none with an observed value"):
        gm.score(X[~shown])
    np.testing.assert_allclose(gm.impute(X)[~shown], [gm.weights_ @ gm.means_] * 2, rtol=1e-12)


# ------------------------------------------------------------------ cells filled in


def test_impute_gives_the_table_it_got(X, gm, frame, named):
    filled = gm.impute(X)
    seen = ~np.isnan(X)
    assert (filled[seen] == X[seen]).all()
    assert np.isfinite(filled).all()
    complete = gm.impute(filled)
    assert (complete == filled).all()
    pandas = named.impute(frame)
    pd.testing.assert_frame_equal(pandas, pd.DataFrame(filled, frame.index, NAMES))
    polars = named.impute(pl.from_pandas(frame))
    assert isinstance(polars, pl.DataFrame)
    assert polars.columns == NAMES
    np.testing.assert_array_equal(polars.to_numpy(), filled)
    dask = named.impute(dd.from_pandas(frame, npartitions=3))
    assert isinstance(dask, dd.DataFrame)
    pd.testing.assert_frame_equal(dask.compute(), pandas)


@pytest.mark.parametrize("rows", [9, 37, 400])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_cuts_and_threads_do_not_change_a_bit(X, gm, rows, n_threads, tmp_path):
    gm.set_params(n_threads=n_threads)
    filled = gm.impute(X)
    draws = gm.sample_missing(X, 3, random_state=5)
    assert draws.shape == (3, *X.shape)
    lazy = da.from_array(X, chunks=(rows, 4))
    unknown = lazy[~(lazy[:, 0] > 1e9)]
    np.save(tmp_path / "X.npy", X)
    for data in (np.array_split(X, range(rows, 400, rows)), lazy, unknown, tmp_path / "X.npy"):
        answers = gm.impute(data), gm.sample_missing(data, 3, random_state=5)
        if isinstance(data, da.Array):
            assert [type(answer) for answer in answers] == [da.Array] * 2
            assert repr(answers[0].chunks[0]) == repr(answers[1].chunks[1]) == repr(data.chunks[0])
            assert answers[1]._meta.ndim == 3
        np.testing.assert_array_equal(answers[0], filled)
        np.testing.assert_array_equal(answers[1], draws)


def test_draws_are_of_the_conditional(X, gm):
    row = np.array([np.nan, 5.0, np.nan, 8.5])
    n = 20_000
    rows = np.tile(row, (n // 2, 1))
    draws = gm.sample_missing(rows, 2, random_state=0)[:, :, [0, 2]].reshape(n, 2)
    rest = gm.conditional({1: 5.0, 3: 8.5})
    mean = rest.weights_ @ rest.means_
    np.testing.assert_allclose(gm.impute(row[None])[0, [0, 2]], mean, rtol=1e-10)
    spread = rest.means_ - mean
    within = rest.covariances_ + spread[:, :, None] * spread[:, None]
    covariance = np.tensordot(rest.weights_, within, 1)
    size = np.sqrt(np.diag(covariance))
    assert (abs(draws.mean(axis=0) - mean) < 5 * size / np.sqrt(n)).all()
    # the fourth moment of a mixture is larger than a Gaussian's; 8 leaves room
    assert (abs(np.cov(draws.T) - covariance) < 8 * np.outer(size, size) / np.sqrt(n)).all()
    other = gm.sample_missing(rows, 2, random_state=1)[:, :, [0, 2]].reshape(n, 2)
    assert (other != draws).all()


def test_seeds(X, gm):
    for same in (7, np.random.RandomState(7)):
        draws = gm.sample_missing(X, 1, same)
        np.testing.assert_array_equal(draws, gm.sample_missing(X, 1, 7))
    np.testing.assert_array_equal(draws, gm.sample_missing(X, 3, 7)[:1])  # more draws are more
    rng = np.random.RandomState(7)
    assert (gm.sample_missing(X, 1, rng) != gm.sample_missing(X, 1, rng)).any()
    by_estimator = gm.sample_missing(X, 1)  # its random_state is 0
    np.testing.assert_array_equal(by_estimator, gm.sample_missing(X, 1, 0))
    for wrong in (0, 1.5, "many"):
        with pytest.raises(ValueError, match="n_draws="):
            gm.sample_missing(X, wrong)


# ------------------------------------------------------------------ some of the features


@pytest.mark.parametrize("covariance_type", TYPES)
def test_marginal_times_conditional_is_the_joint(frame, covariance_type, tmp_path):
    model = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(frame)
    row = pd.DataFrame([[1.0, 3.0, 2.0, 4.0]], columns=NAMES)
    given = model.marginal(["d", "a"])
    rest = model.conditional({"d": 4.0, "a": 1.0})
    assert list(given.feature_names_in_) == ["d", "a"]
    assert list(rest.feature_names_in_) == ["b", "c"]
    parts = given.score_samples(row[["d", "a"]]) + rest.score_samples(row[["b", "c"]])
    np.testing.assert_allclose(parts, model.score_samples(row), rtol=1e-11)
    holes = row.assign(b=np.nan, c=np.nan)
    np.testing.assert_allclose(
        given.score_samples(row[["d", "a"]]), model.score_samples(holes), rtol=1e-11
    )
    by_number = model.conditional({3: 4.0, 0: 1.0})
    np.testing.assert_array_equal(by_number.means_, rest.means_)
    assert rest.sample(5)[0].shape == (5, 2)
    emdash.save(rest, tmp_path / "rest.npz")
    np.testing.assert_array_equal(emdash.load(tmp_path / "rest.npz").means_, rest.means_)
    rest.set_params(n_components=1).fit(np.arange(6.0)[:, None])  # its settings are its own
    assert model.n_components == 3


def test_features_that_cannot_be_meant(gm, named):
    for features, message in (
        ("a", "list with at least one"),
        ([], "list with at least one"),
        (["a", 0], "feature 0 twice"),
        (["z"], r"has 'z', but .* 0 to 3 and the names \['a'"),
        ([4], "has 4, but"),
        ([-1], "has -1, but"),
        ([True], "has True, but"),
    ):
        with pytest.raises(ValueError, match=message):
            named.marginal(features)
    with pytest.raises(ValueError, match=r"numbers 0 to 3$"):
        gm.marginal(["a"])
    with pytest.raises(ValueError, match="values of all 4 features"):
        named.conditional(dict.fromkeys(NAMES, 1.0))
    with pytest.raises(ValueError, match=r"given\['b'\] is nan"):
        named.conditional({"b": np.nan})
    with pytest.raises(TypeError, match="expected a mapping"):
        named.conditional(["a"])


def test_scikit_learn_is_told():
    assert GaussianMixture().__sklearn_tags__().input_tags.allow_nan


def test_a_part_has_no_prior_of_all_features():
    X = np.random.default_rng(0).normal(size=(60, 3))
    prior = NormalInverseWishart(mean_prior=[0.0, 0.0, 0.0])
    part = GaussianMixture(2, prior=prior, random_state=0).fit(X).marginal([0, 2])
    assert part.fit(X[:, [0, 2]]).n_features_in_ == 2
