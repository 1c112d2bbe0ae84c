"""Dask data frames and xarray: the columns as rows of numbers, answers with their index."""

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from clusters import computed

from emdash import GaussianMixture
from emdash.sources import open_source

NAMES = list("abcd")


@pytest.fixture
def table(X):
    """Columns of several types, with an index that is not the row number."""
    table = pd.DataFrame(np.round(X * 10), columns=NAMES, index=np.arange(600) * 2 + 7)
    return table.astype({"a": "int64", "b": "float32", "c": "Float64", "d": "Int32"})


@pytest.fixture
def frame(table):
    """Four partitions, one of them empty, rows not counted."""
    frame = dd.from_pandas(table, npartitions=3)
    return dd.concat([frame, frame[frame["a"] > 1e9]])


@pytest.fixture
def ten(start):
    return {**start, "means_init": 10 * start["means_init"]}


def test_fit_and_answers(table, frame, ten, client):
    model = GaussianMixture(3, tol=1e-5, **ten).fit(frame)
    assert computed(client)["emdash-estep"] > 0
    here = GaussianMixture(3, tol=1e-5, **ten).fit(table.to_numpy(float))
    np.testing.assert_allclose(model.covariances_, here.covariances_, rtol=1e-12, atol=1e-12)
    assert model.n_iter_ == here.n_iter_
    assert list(model.feature_names_in_) == list(table.columns)
    rows = table.astype(float)
    for method, dtype in (("predict", np.intp), ("score_samples", float), ("predict_proba", float)):
        answer = getattr(model, method)(frame)
        meta, kind = answer._meta, dd.DataFrame if method == "predict_proba" else dd.Series
        assert isinstance(answer, kind)
        value = answer.compute()
        assert type(value) is type(meta)
        assert (np.asarray(value).dtype, np.asarray(meta).dtype) == (dtype, dtype)
        assert value.index.equals(table.index)
        np.testing.assert_array_equal(value, getattr(model, method)(rows))


def test_nothing_is_computed_for_an_answer(frame, ten, client):
    model = GaussianMixture(3, tol=1e-5, **ten).fit(frame)
    before = computed(client)
    labels = model.predict(frame)
    frame.assign(label=labels)
    assert computed(client) == before


def test_narrow_columns_stay_narrow(table):
    dtypes = {
        "float32": table.astype("float32"),
        "float64": table.astype({"a": "float32"}),
    }
    for dtype, columns in dtypes.items():
        assert open_source(dd.from_pandas(columns, npartitions=2)).array.dtype == dtype


def test_a_missing_value(table, ten, client):
    table.loc[table.index[433], "c"] = pd.NA
    frame = dd.from_pandas(table, npartitions=4)
    rows = table.to_numpy(dtype=float, na_value=np.nan)
    here = GaussianMixture(3, **ten).fit(rows)
    model = GaussianMixture(3, **ten).fit(frame)
    np.testing.assert_allclose(model.covariances_, here.covariances_, rtol=1e-12, atol=1e-12)
    named = pd.DataFrame(rows, columns=table.columns)
    np.testing.assert_array_equal(model.predict_proba(frame).compute(), model.predict_proba(named))


def test_other_collections_are_refused(table):
    frame = dd.from_pandas(table, npartitions=2)
    xarray = pytest.importorskip("xarray")
    dataset = xarray.Dataset({"a": ("row", np.ones(4))}).chunk({"row": 2})
    for collection, advice in ((frame["a"], r"X\.to_frame"), (dataset, r"X\.to_dataarray")):
        with pytest.raises(TypeError, match=advice):
            GaussianMixture(3).fit(collection)


def test_xarray(X, start, client):
    xarray = pytest.importorskip("xarray")
    table = xarray.DataArray(X, dims=("row", "column")).chunk({"row": 70})
    model = GaussianMixture(3, tol=1e-5, **start).fit(table)
    there = model.predict(table)
    assert dask.is_dask_collection(there)
    np.testing.assert_array_equal(there.compute(), model.predict(X))
