"""Where rows and weights may be: every kind of input, read once and not copied."""

from __future__ import annotations

import dask.dataframe
import numpy as np
import pandas as pd
import polars
import pyarrow
import pyarrow.dataset
import pytest
from weighted_tables import ATTRIBUTES, TABLE, K, assert_same, frame, in_file, lazy, unknown

import emdash
from emdash import GaussianMixture
from emdash.engines.dask import DaskEngine

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def in_npy(X, path):
    np.save(path, X)
    return path


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
    "column of an opened frame of dask": lambda X, w, tmp: (
        emdash.open_table(dask.dataframe.from_pandas(frame(X, w), npartitions=5)),
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
    if kind.startswith("column"):
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
