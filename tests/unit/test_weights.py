"""Row weights: a weight of two is the row twice, of zero the row left out, and scale is nothing."""

from __future__ import annotations

import warnings

import dask.array as da
import dask.dataframe
import numpy as np
import pandas as pd
import polars
import pyarrow
import pyarrow.dataset
import pytest
import sklearn
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import emdash
from emdash import GaussianMixture, start
from emdash.chunk import Chunk
from emdash.engines.dask import DaskEngine
from emdash.engines.local import LocalEngine
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.sources.weighted import WeightedSource

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

K = 2
ATTRIBUTES = ("weights_", "means_", "covariances_")
TABLE = ("a", "b", "c")


@pytest.fixture(scope="module")
def X():
    """Rows of two groups that overlap, (350, 3), in random order."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(350, 3)) + 2.5 * rng.integers(0, 2, size=(350, 1))
    X.setflags(write=False)
    return X


@pytest.fixture(scope="module")
def w(X):
    """Return weights from 0 to 3, whole numbers."""
    w = np.random.default_rng(1).integers(0, 4, size=len(X)).astype(float)
    w.setflags(write=False)
    return w


def given_start(X, covariance_type):
    precisions = {
        "full": np.stack([np.eye(3)] * K),
        "tied": np.eye(3),
        "diag": np.ones((K, 3)),
        "spherical": np.ones(K),
    }
    return {
        "weights_init": [0.5, 0.5],
        "means_init": X[:K] + 0.5,
        "precisions_init": precisions[covariance_type],
        "covariance_type": covariance_type,
        "tol": 0.0,
        "max_iter": 12,
    }


def repeated(X, w):
    return np.repeat(X, w.astype(int), axis=0)


def assert_same(fit, other, rtol=1e-10):
    assert fit.n_iter_ == other.n_iter_
    for name in ATTRIBUTES:
        expected = getattr(other, name)
        error = np.abs(getattr(fit, name) - expected).max() / np.abs(expected).max()
        assert error <= rtol, name
    np.testing.assert_allclose(fit.lower_bounds_, other.lower_bounds_, rtol=rtol)


# --- what weights mean ------------------------------------------------------------------------


def test_whole_weights_are_repeated_rows(X, w, covariance_type):
    settings = given_start(X, covariance_type)
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=w)
    other = GaussianMixture(K, **settings).fit(repeated(X, w))
    assert_same(fit, other)
    plain = GaussianMixture(K, **settings).fit(X)
    assert np.abs(fit.means_ - plain.means_).max() > 0.01  # weights did matter
    for question in ("score", "aic", "bic"):
        found = getattr(fit, question)(X, sample_weight=w)
        assert found == pytest.approx(getattr(other, question)(repeated(X, w)), rel=1e-12)
        assert found != pytest.approx(getattr(fit, question)(X), rel=1e-6)


def test_far_starts_take_sums_again_with_weights(X, w, covariance_type):
    """The pass about nearer means is one of its own, in plain NumPy."""
    settings = {**given_start(X, covariance_type), "means_init": X[:K] + 1e7, "max_iter": 2}
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=w)
    assert_same(fit, GaussianMixture(K, **settings).fit(repeated(X, w)), rtol=1e-9)


@pytest.mark.parametrize("method", sorted(start.METHODS))
def test_weights_of_zero_are_removed_rows(X, w, method):
    """The start included: the draws are those that are made without these rows."""
    settings = {"init_params": method, "random_state": 0, "n_init": 2}
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=w)
    assert_same(fit, GaussianMixture(K, **settings).fit(X[w > 0], sample_weight=w[w > 0]))
    mask = (w > 0).astype(float)
    fit.fit(X, sample_weight=mask)
    assert_same(fit, GaussianMixture(K, **settings).fit(X[w > 0]))
    assert fit.score(X, sample_weight=mask) == pytest.approx(fit.score(X[w > 0]), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-60, 3.0])
def test_scale_changes_no_parameter(X, w, covariance_type, scale):
    settings = {"random_state": 0, "tol": 1e-4, "covariance_type": covariance_type}
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=scale * w)
    assert_same(fit, GaussianMixture(K, **settings).fit(X, sample_weight=w))
    assert fit.converged_  # tol is per unit of weight, and so is the objective
    assert fit.score(X, sample_weight=scale * w) == pytest.approx(fit.lower_bound_, abs=1e-3)


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_weights_that_float32_cannot_hold(X, w, scale):
    settings = {**given_start(X, "full"), "arithmetic": "float32"}
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=scale * w)
    assert_same(fit, GaussianMixture(K, **settings).fit(X, sample_weight=w), rtol=1e-5)


def test_powers_of_two_change_no_bit(X, w, covariance_type):
    fits = [
        GaussianMixture(K, covariance_type=covariance_type, random_state=0).fit(
            X, sample_weight=scale * w
        )
        for scale in (1.0, 2.0**-80)
    ]
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(fits[0], name), getattr(fits[1], name))


def test_weights_of_one_change_no_bit(X):
    fit, other = (GaussianMixture(K, random_state=0) for _ in range(2))
    fit.fit(X, sample_weight=np.ones(len(X)))
    other.fit(X)
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(fit, name), getattr(other, name))


def test_nearly_empty_components_do_not_notice_the_scale(X, w):
    """Some rules begin at the weight of one row: that row's own, not 1."""
    settings = {**given_start(X, "full"), "weights_init": [1e-9, 1 - 1e-9]}
    settings["means_init"] = [X[0] + 40, X[1]]
    fit = GaussianMixture(K, **settings).fit(X, sample_weight=1e-12 * w)
    assert_same(fit, GaussianMixture(K, **settings).fit(X, sample_weight=w))


def test_score_is_the_weighted_mean(X, w):
    fit = GaussianMixture(K, random_state=0).fit(X)
    expected = (w * fit.score_samples(X)).sum() / w.sum()
    assert fit.score(X, sample_weight=w) == pytest.approx(expected, rel=1e-13)
    p = fit._n_parameters()
    assert fit.bic(X, sample_weight=w) == pytest.approx(
        -2 * w.sum() * expected + p * np.log(w.sum()), rel=1e-13
    )


def test_fit_predict_labels_every_row(X, w):
    fit = GaussianMixture(K, random_state=0)
    labels = fit.fit_predict(X, sample_weight=w)
    np.testing.assert_array_equal(labels, fit.predict(X))
    assert_same(fit, GaussianMixture(K, random_state=0).fit(X, sample_weight=w))


# --- with missing values ----------------------------------------------------------------------


@pytest.mark.parametrize("far", [0.0, 1e7])
def test_weights_times_missing(X, w, covariance_type, far):
    """Every sum of a pass, of the pass about other means, and of a score."""
    rng = np.random.default_rng(2)
    rows = X.copy()
    rows[rng.random(rows.shape) < 0.2] = np.nan
    rows[rng.choice(len(rows), 20)] = np.nan  # with weight and without
    shape = SHAPES[covariance_type]
    model = Mixture(Gaussian(shape, reg_covar=1e-6))
    factors = shape.unit_factors(K, 3)
    components = model.family.from_factors(np.ones(K), X[:K] + far, factors)
    parameters = MixtureParameters(np.array([0.4, 0.6]), components)
    tasks = (
        model.task(parameters),
        model.task_about(parameters, model.reference(X[2 : 2 + K])),
        model.score(parameters),
    )
    observed = ~np.isnan(rows).all(axis=1)
    for task in tasks:
        weighted = task(Chunk(rows, 0, 0, w), 1)
        for scale in (1.0, 1e-20):
            scaled = task(Chunk(rows, 0, 0, scale * w), 1)
            np.testing.assert_allclose(scaled.sums, scale * weighted.sums, rtol=1e-10)
        several = task(Chunk(repeated(rows, w), 0, 0), 1)
        removed = task(Chunk(rows[w > 0], 0, 0, w[w > 0]), 1)
        size = np.abs(several.sums).max()
        np.testing.assert_allclose(weighted.sums, several.sums, rtol=1e-10, atol=1e-14 * size)
        np.testing.assert_allclose(weighted.sums, removed.sums, rtol=1e-10, atol=1e-14 * size)
        assert weighted.weight == several.weight == w[observed].sum()
        assert weighted.n_used == removed.n_used == np.count_nonzero(w[observed])
        assert (weighted.n_rows, several.n_used) == (len(rows), w[observed].sum())


# --- starts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["k-means++", "random_from_data"])
def test_rows_are_drawn_by_weight(method):
    """A first seed is a row with the probability of its share of the weight."""
    rows, weights = np.arange(4.0)[:, None], np.array([1.0, 0.0, 2.0, 5.0])
    random_state = np.random.RandomState(0)
    model = Mixture(Gaussian(SHAPES["full"], reg_covar=1e-3))
    n = 400
    drawn = [
        start.start_from(rows, model, 1, method, random_state, 1, weights).components.means[0, 0]
        for _ in range(n)
    ]
    counts = np.bincount(np.array(drawn, int), minlength=4)
    expected = n * weights / weights.sum()
    assert counts[1] == 0
    assert np.all(np.abs(counts - expected) <= 5 * np.sqrt(expected))


def test_k_means_weighs(X, w):
    """Labels and sums are those of scikit-learn's k-means with these weights."""
    some = w > 0
    theirs = sklearn.cluster.KMeans(K, n_init=1, random_state=np.random.RandomState(3))
    theirs.fit(X[some], sample_weight=w[some])
    model = Mixture(Gaussian(SHAPES["full"], reg_covar=1e-3))
    found = start.start_from(X, model, K, "kmeans", np.random.RandomState(3), 1, w)
    np.testing.assert_allclose(found.components.means, theirs.cluster_centers_, rtol=1e-12)
    shares = np.bincount(theirs.labels_, weights=w[some]) / w.sum()
    np.testing.assert_allclose(found.weights, shares, rtol=1e-12)


def test_random_responsibilities_weigh(X, w):
    some = w > 0
    r = np.random.RandomState(3).uniform(size=(np.count_nonzero(some), K))
    r *= (w[some] / r.sum(axis=1))[:, None]
    model = Mixture(Gaussian(SHAPES["full"], reg_covar=1e-3))
    found = start.start_from(X, model, K, "random", np.random.RandomState(3), 1, w)
    np.testing.assert_allclose(found.weights, r.sum(axis=0) / r.sum(), rtol=1e-12)
    means = r.T @ X[some] / r.sum(axis=0)[:, None]
    np.testing.assert_allclose(found.components.means, means, rtol=1e-11)


@pytest.mark.parametrize("in_memory", [True, False])
def test_start_among_few_rows_with_weight(in_memory, monkeypatch):
    """A sample of all rows would hold hardly one of them; two more passes find them all."""
    monkeypatch.setattr(start, "SAMPLE_ROWS", 400)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9_000, 2))
    w = np.zeros(len(X))
    used = rng.choice(len(X), 30, replace=False)
    w[used] = rng.uniform(1, 2, size=30)
    X[used[:15]] += 20
    if in_memory:
        fit = GaussianMixture(K, random_state=0, memory_limit=10_000_000).fit(X, sample_weight=w)
    else:
        fit = GaussianMixture(K, random_state=0).fit(np.array_split(X, 7), sample_weight=w)
    few = GaussianMixture(K, random_state=0).fit(X[np.sort(used)], sample_weight=w[np.sort(used)])
    assert_same(fit, few)


def test_sample_carries_the_weights(monkeypatch):
    monkeypatch.setattr(start, "SAMPLE_ROWS", 300)
    numbers = np.arange(5_000.0)
    source = emdash.open_table([numbers[:2_000, None], numbers[2_000:, None]])
    source = WeightedSource(start.count_rows(source, LocalEngine(1)), 2 * numbers + 1)
    sample = start.starting_rows(source, LocalEngine(1), 2, np.random.RandomState(0))
    assert len(sample) == 300
    np.testing.assert_array_equal(sample.weights, 2 * sample.rows[:, 0] + 1)


# --- where rows and weights may be ------------------------------------------------------------


def frame(X, w):
    table = pd.DataFrame(X, columns=TABLE)
    table.insert(1, "w", w)
    return table


def in_file(X, w, path):
    table = frame(X, w)
    if path.suffix == ".csv":
        table.to_csv(path, index=False, float_format="%.17g")
    elif path.suffix == ".parquet":
        table.to_parquet(path, row_group_size=40)
    else:
        table.to_feather(path)
    return path


def in_npy(X, path):
    np.save(path, X)
    return path


def lazy(array, rows=40):
    return da.from_array(array, chunks=(rows, *array.shape[1:]))


def unknown(array):
    """A Dask array whose chunks have lengths that nobody knows before."""
    return lazy(array)[da.ones(len(array), chunks=40) > 0]


KINDS = {
    "lists": lambda X, w, tmp: (X.tolist(), w.tolist()),
    "series": lambda X, w, tmp: (pd.DataFrame(X), pd.Series(w)),
    "npy": lambda X, w, tmp: (in_npy(X, tmp / "x.npy"), w),
    "memmap": lambda X, w, tmp: (np.load(in_npy(X, tmp / "x.npy"), "r"), w),
    "batches": lambda X, w, tmp: (np.array_split(X, 7), w),
    "function": lambda X, w, tmp: (lambda: iter(np.array_split(X, 7)), w),
    "csv and array": lambda X, w, tmp: (
        emdash.open_table(in_file(X, w, tmp / "x.csv"), TABLE),
        w.astype(np.float32),
    ),
    "column of pandas": lambda X, w, tmp: (frame(X, w), "w"),
    "column of polars": lambda X, w, tmp: (polars.from_pandas(frame(X, w)), "w"),
    "column of arrow": lambda X, w, tmp: (pyarrow.table(frame(X, w)), "w"),
    "column of dataset": lambda X, w, tmp: (
        pyarrow.dataset.dataset(in_file(X, w, tmp / "x.parquet")),
        "w",
    ),
    "column of parquet": lambda X, w, tmp: (in_file(X, w, tmp / "x.parquet"), "w"),
    "column of feather": lambda X, w, tmp: (in_file(X, w, tmp / "x.feather"), "w"),
    "column of csv": lambda X, w, tmp: (in_file(X, w, tmp / "x.csv"), "w"),
    "column of table": lambda X, w, tmp: (emdash.open_table(in_file(X, w, tmp / "x.csv")), "w"),
    "column of table in memory": lambda X, w, tmp: (emdash.open_table(frame(X, w)), "w"),
    "column of dask": lambda X, w, tmp: (
        dask.dataframe.from_pandas(frame(X, w), npartitions=5),
        "w",
    ),
    "dask": lambda X, w, tmp: (lazy(X), lazy(w)),
    "dask, other chunks": lambda X, w, tmp: (lazy(X), lazy(w, 33)),
    "dask and array": lambda X, w, tmp: (lazy(X), w),
    "dask, unknown lengths": lambda X, w, tmp: (unknown(X), unknown(w)),
    "dask, made together": lambda X, w, tmp: (
        lazy(np.column_stack([X, w]))[:, :3],
        lazy(np.column_stack([X, w]))[:, 3],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input(X, w, tmp_path, kind):
    data, weights = KINDS[kind](X, w, tmp_path)
    settings = {"random_state": 0, "tol": 1e-6, "max_iter": 500}
    fit = GaussianMixture(K, **settings).fit(data, sample_weight=weights)
    reference = GaussianMixture(K, **settings).fit(X, sample_weight=w)
    assert_same(fit, reference, rtol=1e-12)
    found = fit.score(data, sample_weight=weights)
    assert found == pytest.approx(reference.score(X, sample_weight=w), rel=1e-12)
    if kind.startswith("column") and kind != "column of dask":  # whose arrays have no names
        assert list(fit.feature_names_in_) == list(TABLE)
    labels = fit.fit_predict(data, sample_weight=weights)
    np.testing.assert_array_equal(np.asarray(labels), reference.predict(X))


def test_chunks_and_threads_change_nothing(X, w, tmp_path):
    """A named column in many chunks: the bits do not depend on who reads them."""
    path = in_file(X, w, tmp_path / "x.csv")
    fits = [
        GaussianMixture(K, random_state=0, n_threads=n, memory_limit=100_000).fit(
            path, sample_weight="w"
        )
        for n in (1, 2)
    ]
    assert emdash.open_table(path).limited(100_000).n_chunks > 4
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(fits[0], name), getattr(fits[1], name))


def test_arrays_are_not_copied(X, w):
    source = GaussianMixture(K)._open(X, w, reset=True)
    (chunk,) = source.chunks()
    assert np.shares_memory(chunk.rows, X)
    assert np.shares_memory(chunk.weights, w)


def test_tables_in_memory_are_taken_apart_once(X, w):
    source = GaussianMixture(K)._open(emdash.open_table(frame(X, w)), "w", reset=True)
    (one,), (two,) = source.chunks(), source.chunks()
    assert np.shares_memory(one.rows, two.rows)
    assert np.shares_memory(one.weights, two.weights)


@pytest.mark.parametrize("kind", [lazy, unknown])
def test_weights_cost_no_pass(X, w, kind, monkeypatch):
    calls = []
    total = DaskEngine.total

    def counted(self, task, source):
        calls.append(task)
        return total(self, task, source)

    monkeypatch.setattr(DaskEngine, "total", counted)
    numbers = []
    for weights in ({}, {"sample_weight": kind(w)}):
        calls.clear()
        fit = GaussianMixture(K, random_state=0, tol=0.0, max_iter=3).fit(kind(X), **weights)
        numbers.append(len(calls))
    assert numbers[0] == numbers[1] == fit.n_iter_ + (1 if kind is lazy else 2)


# --- errors -----------------------------------------------------------------------------------


def with_value(w, value, row=123):
    w = w.copy()
    w[row] = value
    return w


@pytest.mark.parametrize("kind", ["array", "dask", "column", "dask and array"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, -np.inf])
def test_bad_values_are_named(X, w, tmp_path, kind, value):
    weights = with_value(w, value)
    if kind == "column":
        data, weights = in_file(X, weights, tmp_path / "x.parquet"), "w"
    else:
        data = lazy(X) if kind.startswith("dask") else X
        weights = lazy(weights) if kind == "dask" else weights
    fit = GaussianMixture(K, random_state=0).fit(X)
    for method in (fit.score, fit.bic, fit.fit):
        with pytest.raises(ValueError, match=f"sample_weight is {value} in row 123"):
            method(data, sample_weight=weights)


@pytest.mark.parametrize("wrap", [np.asarray, lazy])
def test_useless_weights_are_refused(X, w, wrap):
    data = wrap(X)
    fit = GaussianMixture(K, random_state=0).fit(X)
    zeros, one = np.zeros(len(X)), with_value(np.zeros(len(X)), 1.0)
    with pytest.raises(ValueError, match="n_components = 2 rows with a weight above zero"):
        fit.fit(data, sample_weight=wrap(zeros))
    with pytest.raises(ValueError, match="n_components = 2 rows with a weight above zero"):
        fit.fit(data, sample_weight=wrap(one))
    with pytest.raises(ValueError, match="none with an observed value and a weight above zero"):
        fit.score(data, sample_weight=wrap(zeros))
    message = "n_components = 1, n_samples = 1 with an observed value and a weight above zero"
    with pytest.raises(ValueError, match=message):
        GaussianMixture().fit(data, sample_weight=wrap(one))
    for scale, word in ((1e-310, "small"), (1e300, "large")):
        with pytest.raises(ValueError, match=f"too {word} to compute with: divide it"):
            GaussianMixture(random_state=0).fit(data, sample_weight=wrap(scale * w))


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(349), ValueError, r"has shape \(349,\), but X has 350 rows"),
        (np.ones((350, 1)), ValueError, r"has shape \(350, 1\).*shape \(350,\)"),
        (2.0, ValueError, r"has shape \(\), but X has 350 rows"),
        (["a"] * 350, ValueError, "does not hold real numbers"),
        ([{}] * 350, ValueError, "does not hold numbers only"),
        (np.ones(350) * 1j, ValueError, "Complex"),
        (np.ma.masked_less(np.arange(350), 3), ValueError, "masked"),
        (da.ones(350), TypeError, "lazy Dask collection, but X is not"),
        ("w", ValueError, "columns of X have no names"),
    ],
)
def test_what_is_no_weights_is_refused(X, weights, error, message):
    with pytest.raises(error, match=message):
        GaussianMixture(K).fit(X, sample_weight=weights)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda w: lazy(w[1:]), "has 349 elements, but X 350 rows"),
        (lambda w: lazy(w)[:, None], r"has shape \(350, 1\)"),
        (lambda w: lazy(w).astype(complex), "Complex"),
        (lambda w: w[1:], r"has shape \(349,\), but X has 350 rows"),
    ],
)
def test_dask_weights_that_do_not_fit_are_refused(X, w, weights, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(K).fit(lazy(X), sample_weight=weights(w))


def test_chunks_of_unknown_lengths_must_agree(X, w):
    model = GaussianMixture(K, random_state=0)
    with pytest.raises(ValueError, match=r"call X\.compute_chunk_sizes"):
        model.fit(unknown(X), sample_weight=w)
    with pytest.raises(ValueError, match="has 11 chunks, X 9"):
        model.fit(unknown(X), sample_weight=lazy(w, 33))
    shifted = da.concatenate([lazy(w)[1:], lazy(w)[:1]]).rechunk({0: (39, *[40] * 7, 31)})
    with pytest.raises(ValueError, match=r"chunk 0 of sample_weight has shape \(39,\), .* 40 rows"):
        model.fit(unknown(X), sample_weight=shifted)


def test_columns_that_are_not_there_are_named(X, w, tmp_path):
    path = in_file(X, w, tmp_path / "x.parquet")
    for data in (frame(X, w), path, emdash.open_table(path, TABLE)):
        with pytest.raises(ValueError, match="X has no column 'weight'; it has"):
            GaussianMixture(K).fit(data, sample_weight="weight")
    with pytest.raises(ValueError, match="leaves no feature"):
        GaussianMixture(K).fit(emdash.open_table(path, ["w"]), sample_weight="w")


class Shrinking:
    """Leaves out the last row of every block from the fifth pass on."""

    calls = 0

    def __call__(self, block):
        self.calls += 1
        return block if self.calls <= 4 * 9 else block[:-1]


def test_rows_that_change_between_passes_are_told(X, w):
    """Also if only their number changes, or only their weight."""
    zeros = w.copy()
    zeros[39::40] = zeros[-1] = 0
    shrinking = Shrinking()
    table = lazy(np.column_stack([X, zeros])).map_blocks(
        lambda block: shrinking(block),
        dtype=float,
        chunks=((np.nan,) * 9, (4,)),
        meta=np.empty((0, 4)),
    )
    with pytest.raises(ValueError, match="pass 3 read 341 rows, the pass before 350"):
        GaussianMixture(K, tol=0.0, random_state=0).fit(table[:, :3], sample_weight=table[:, 3])
    assert shrinking.calls == 5 * 9  # what rows and weights are made of is made once per pass

    class Changing:
        passes = 0

        def __iter__(self):
            self.passes += 1
            yield from np.array_split(X if self.passes < 5 else X[:-1], 3)

    with pytest.raises(ValueError, match=r"X (changed between passes|yielded 349 rows)"):
        GaussianMixture(K, tol=0.0).fit(Changing(), sample_weight=w)

    class Moody:
        """A column whose values are others each time it is looked at."""

        passes = 0

        def __call__(self, block):
            self.passes += 1
            return block + 1e-6 * self.passes

    moody = lazy(w).map_blocks(Moody(), dtype=float)
    with pytest.raises(ValueError, match=r"pass 2 read 564\.\d+ units of weight"):
        GaussianMixture(K, tol=0.0, random_state=0).fit(lazy(X), sample_weight=moody)


# --- checkpoints and routing ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["array", "dask", "column"])
def test_checkpoint_of_other_weights_is_refused(X, w, tmp_path, kind):
    def fit(weights, max_iter=3):
        data = X
        if weights is not None and kind == "column":
            data, weights = frame(X, weights), "w"
            data.to_csv(tmp_path / "x.csv", index=False, float_format="%.17g")
            data = tmp_path / "x.csv"
        elif kind == "dask":
            data, weights = lazy(X), None if weights is None else lazy(weights)
        path = tmp_path / "fit.npz"
        model = GaussianMixture(K, random_state=0, tol=0.0, max_iter=max_iter, checkpoint=path)
        return model.fit(data, sample_weight=weights)

    fit(w)
    went_on = fit(w, max_iter=6)
    other = w.copy()
    other[[0, 1]] = w[[1, 0]]  # of the same sum
    assert other[0] != w[0]
    with pytest.raises(ValueError, match="checkpoint of other data"):
        fit(other, max_iter=9)
    with pytest.raises(ValueError, match="checkpoint of other data: weights"):
        fit(None, max_iter=9)
    straight = GaussianMixture(K, random_state=0, tol=0.0, max_iter=6).fit(X, sample_weight=w)
    assert_same(went_on, straight, rtol=1e-12)


def test_metadata_routing(X, w):
    with sklearn.config_context(enable_metadata_routing=True):
        mixture = GaussianMixture(K, random_state=0).set_fit_request(sample_weight=True)
        mixture.set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, mixture).fit(X, sample_weight=w)
        found = pipeline.score(X, sample_weight=w)
    scaled = StandardScaler().fit_transform(X)
    by_hand = GaussianMixture(K, random_state=0).fit(scaled, sample_weight=w)
    assert_same(pipeline[-1], by_hand)
    assert found == by_hand.score(scaled, sample_weight=w)


def test_warm_start_goes_on_with_weights(X, w):
    settings = {"random_state": 0, "tol": 0.0}
    warm = GaussianMixture(K, warm_start=True, max_iter=4, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warm.fit(X, sample_weight=w).fit(X, sample_weight=w)
    straight = GaussianMixture(K, max_iter=8, **settings).fit(X, sample_weight=w)
    np.testing.assert_allclose(warm.means_, straight.means_, rtol=1e-12)
