"""Starting rows and starting parameters."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import sklearn.cluster

from emdash import start
from emdash.chunk import Chunk
from emdash.engines.local import LocalEngine
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.models.mixture import Mixture
from emdash.sources.array import ArraySource
from emdash.sources.base import Source
from emdash.sources.batches import BatchesSource

ENGINE = LocalEngine(2)


class RowNumbers(Source):
    """A table that exists only as it is read: row i is (i, 2 i). Counts what it hands out."""

    n_features = 2

    def __init__(self, n_rows, chunk_rows, dtype=np.float64):
        self.n_rows, self.chunk_rows, self.dtype = n_rows, chunk_rows, dtype
        self.n_chunks = -(-n_rows // chunk_rows)
        self.handed_out = 0

    def chunks(self, first=0, last=None):
        for index in range(first, self.n_chunks if last is None else last):
            begin = index * self.chunk_rows
            numbers = np.arange(begin, min(begin + self.chunk_rows, self.n_rows), dtype=self.dtype)
            self.handed_out += len(numbers)
            yield Chunk(np.stack([numbers, 2 * numbers], axis=1), index, begin)


def rows_of(source, K=3, seed=0, engine=ENGINE):
    return start.starting_rows(source, engine, K, np.random.RandomState(seed)).rows


def test_small_data_are_used_whole_and_in_order():
    rows = rows_of(RowNumbers(1000, 7))
    np.testing.assert_array_equal(rows[:, 0], np.arange(1000))
    exactly = start.SAMPLE_ROWS
    assert len(rows_of(RowNumbers(exactly, 10_000))) == exactly


def test_small_data_cost_no_draw():
    """So that the start that follows draws what it would draw in memory."""
    random_state = np.random.RandomState(0)
    start.starting_rows(RowNumbers(1000, 7), ENGINE, 3, random_state)
    assert random_state.uniform() == np.random.RandomState(0).uniform()


def test_sample_of_large_data_is_bounded_and_honest():
    n = 400_000
    rows = rows_of(RowNumbers(n, 30_000))
    numbers = rows[:, 0]
    assert rows.shape == (start.SAMPLE_ROWS, 2)
    assert np.all(np.diff(numbers) > 0)  # each row at most once
    np.testing.assert_array_equal(rows[:, 1], 2 * numbers)
    # every row is as likely as another: counts in ten tenths, five standard deviations
    share = start.SAMPLE_ROWS / n
    counts, _ = np.histogram(numbers, bins=10, range=(0, n))
    bound = 5 * np.sqrt(n / 10 * share * (1 - share))
    assert np.all(np.abs(counts - start.SAMPLE_ROWS / 10) < bound)


@pytest.mark.parametrize("chunk_rows", [1_000, 12_345, 200_000])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_sample_does_not_depend_on_chunks_or_threads(chunk_rows, n_threads):
    expected = rows_of(RowNumbers(100_000, 100_000), seed=4)
    source = RowNumbers(100_000, chunk_rows)
    found = rows_of(source, seed=4, engine=LocalEngine(n_threads))
    np.testing.assert_array_equal(found, expected)
    assert source.handed_out == 100_000  # in one pass
    assert not np.array_equal(rows_of(source, seed=5), expected)


def test_wide_tables_give_fewer_rows_but_enough_per_component(monkeypatch):
    monkeypatch.setattr(start, "SAMPLE_BYTES", 16 * 500)
    assert len(rows_of(RowNumbers(10_000, 999), K=2)) == 500
    assert len(rows_of(RowNumbers(10_000, 999), K=30)) == 3_000


def test_sample_keeps_the_type():
    assert rows_of(RowNumbers(100, 9, np.float32)).dtype == np.float32


def test_arrays_in_memory_are_not_copied():
    X = np.random.default_rng(0).normal(size=(200_000, 1))
    assert np.shares_memory(rows_of(ArraySource(X)), X)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinite_rows_are_named(in_memory, bad):
    X = np.zeros((9_000, 3))
    X[5_000, 1] = bad
    X[4_000, 1] = np.nan
    source = ArraySource(X) if in_memory else BatchesSource(np.array_split(X, 7))
    source = start.count_rows(source, ENGINE)
    with pytest.raises(ValueError, match="infinity in row 5000, column 1"):
        rows_of(source)


def test_rows_are_counted_once_and_only_when_unknown():
    known = RowNumbers(10, 3)
    assert start.count_rows(known, ENGINE) is known
    assert known.handed_out == 0
    batches = BatchesSource([np.zeros((3, 2)), np.zeros((0, 2)), np.zeros((5, 2))])
    counted = start.count_rows(batches, ENGINE)
    assert batches.n_rows is None
    assert counted.n_rows == 8


# --- from rows to parameters ------------------------------------------------------------------


@pytest.fixture
def clusters():
    rng = np.random.default_rng(1)
    return (
        rng.normal(size=(10_000, 2))
        + np.array([[0, 0], [6, 0], [0, 9]])[rng.integers(3, size=10_000)]
    )


@pytest.fixture
def model(covariance_type):
    return Mixture(Gaussian(SHAPES[covariance_type], reg_covar=1e-3))


def begin(rows, model, method, seed=0):
    return start.start_from(rows, model, 3, method, np.random.RandomState(seed))


def one_hot(labels):
    return np.eye(3)[labels]


def maximum_likelihood(rows, r):
    N = r.sum(axis=0)
    means = r.T @ rows / N[:, None]
    matrices = [
        (r[:, k, None] * (rows - m)).T @ (rows - m) / N[k] + 1e-3 * np.eye(2)
        for k, m in enumerate(means)
    ]
    return N / N.sum(), means, matrices


@pytest.mark.parametrize("method", ["kmeans", "random"])
def test_responsibilities_are_those_scikit_learn_draws(clusters, method):
    """More rows than one block, so that blocks must add up and draws must go on in order."""
    assert len(clusters) > 2 * start.BLOCK_ROWS
    if method == "kmeans":
        fit = sklearn.cluster.KMeans(3, n_init=1, random_state=np.random.RandomState(0))
        r = one_hot(fit.fit(clusters).labels_)
    else:
        r = np.random.RandomState(0).uniform(size=(len(clusters), 3))
        r /= r.sum(axis=1, keepdims=True)
    weights, means, matrices = maximum_likelihood(clusters, r)
    found = begin(clusters, Mixture(Gaussian(SHAPES["full"], reg_covar=1e-3)), method)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-12)
    np.testing.assert_allclose(found.components.means, means, rtol=1e-11)
    np.testing.assert_allclose(found.components.covariances, matrices, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["k-means++", "random_from_data"])
def test_rows_as_means_are_those_scikit_learn_draws(clusters, model, method):
    random_state = np.random.RandomState(0)
    if method == "k-means++":
        expected, _ = sklearn.cluster.kmeans_plusplus(clusters, 3, random_state=random_state)
    else:
        expected = clusters[random_state.choice(len(clusters), 3, replace=False)]
    found = begin(clusters, model, method)
    np.testing.assert_array_equal(found.components.means, expected)
    np.testing.assert_allclose(found.weights, 1 / 3)
    diagonal = found.components.covariances
    if diagonal.ndim > 1 and diagonal.shape[-2:] == (2, 2):
        diagonal = np.diagonal(diagonal, axis1=-2, axis2=-1)
    np.testing.assert_allclose(diagonal, 1e-3)


@pytest.mark.parametrize("method", sorted(start.METHODS))
def test_starts_advance_the_generator(clusters, model, method):
    random_state = np.random.RandomState(0)
    first = start.start_from(clusters, model, 3, method, random_state)
    second = start.start_from(clusters, model, 3, method, random_state)
    assert not np.array_equal(first.components.means, second.components.means)
    again = begin(clusters, model, method)
    np.testing.assert_array_equal(again.components.means, first.components.means)


@pytest.mark.parametrize("method", sorted(start.METHODS))
def test_rows_are_not_modified_and_may_be_of_any_kind(clusters, model, method):
    rows = np.asfortranarray(clusters.astype(np.float32))
    rows.setflags(write=False)
    before = rows.tobytes()
    found = begin(rows, model, method)
    assert rows.tobytes() == before
    assert found.components.means.dtype == np.float64
    assert np.isfinite(found.components.covariances).all()


def test_registry_is_what_the_estimator_accepts():
    from emdash import GaussianMixture

    (options,) = GaussianMixture._parameter_constraints["init_params"]
    assert options.options == set(start.METHODS)


SMALL_FIT = """
import os, threading
import numpy as np
from emdash import GaussianMixture
threading.Thread.start = None  # whoever starts one in Python fails
X = np.random.default_rng(0).normal(size=(200, 2))
X[:100] += 4
given = dict(weights_init=[0.5, 0.5], means_init=X[[0, 150]], precisions_init=[np.eye(2)] * 2)
before = len(os.listdir("/proc/self/task"))
for start in (given, {}):
    GaussianMixture(2, n_threads=2, random_state=0, **start).fit(X).predict(X)
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are not counted here")
def test_a_small_fit_starts_no_thread():
    done = subprocess.run(
        [sys.executable, "-c", SMALL_FIT], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["0"], done.stderr
