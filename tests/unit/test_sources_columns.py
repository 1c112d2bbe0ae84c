"""Columns with names: chosen, kept as ``feature_names_in_``, refused by name if not numbers."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest

import emdash
from emdash import GaussianMixture, open_table
from emdash.sources import open_source

FRAME = pd.DataFrame(
    {
        "whole": [1, 2, 3, 4, 6],
        "yes": [True, False, True, True, False],
        "single": np.array([1.5, 2, 3, np.nan, 5], np.float32),
        "maybe": pd.array([1, None, 3, 4, 5], "Int64"),
        "perhaps": pd.array([True, None, True, False, False], "boolean"),
        "city": ["A", "B", "C", "D", "E"],
        "when": pd.to_datetime(["2020-01-01"] * 5),
    }
)
REAL = ["perhaps", "whole", "maybe", "single", "yes"]
NUMBERS = np.array(
    [
        [1, 1, 1, 1.5, 1],
        [np.nan, 2, np.nan, 2, 0],
        [1, 3, 3, 3, 1],
        [0, 4, 4, np.nan, 1],
        [0, 6, 5, 5, 0],
    ]
)


def written(how, folder):
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    path = folder / f"X.{how}"
    if how == "parquet":
        pa.parquet.write_table(table, path, row_group_size=2)
    elif how == "feather":
        pa.feather.write_feather(table, path)
    else:
        pa.csv.write_csv(table, path)
    return path


NAMED = {
    "pandas": lambda folder: FRAME,
    "polars": lambda folder: pl.from_pandas(FRAME),
    "pyarrow.Table": lambda folder: pa.Table.from_pandas(FRAME, preserve_index=False),
    "pyarrow.Dataset": lambda folder: pa.dataset.dataset(written("parquet", folder)),
    "parquet": lambda folder: written("parquet", folder),
    "list": lambda folder: [str(written("parquet", folder))],
    "feather": lambda folder: written("feather", folder),
    "csv": lambda folder: written("csv", folder),
}


@pytest.fixture(params=NAMED)
def named(request, tmp_path):
    """The frame as one kind of table with names."""
    return NAMED[request.param](tmp_path)


def rows_of(source):
    return np.concatenate([chunk.rows for chunk in source.chunks()])


def test_columns_are_chosen_in_order_and_what_is_missing_is_nan(named):
    source = open_table(named, columns=REAL)
    assert source.n_features == 5
    assert list(source.feature_names) == REAL
    np.testing.assert_array_equal(rows_of(source), NUMBERS)
    np.testing.assert_array_equal(rows_of(pickle.loads(pickle.dumps(source))), NUMBERS)
    single = open_table(named, columns=["single"])
    assert rows_of(single).tolist()[:3] == [[1.5], [2.0], [3.0]]


def test_names_become_those_of_the_model_and_are_compared(named):
    model = GaussianMixture(1, reg_covar=1.0).fit(open_table(named, ["whole", "yes"]))
    assert model.feature_names_in_.tolist() == ["whole", "yes"]
    assert model.n_features_in_ == 2
    with pytest.raises(ValueError, match=r"feature names should match.*column 0.*'yes'.*'whole'"):
        model.predict(open_table(named, ["yes", "whole"]))
    np.testing.assert_array_equal(
        model.score_samples(open_table(named, model.feature_names_in_)),
        model.score_samples(FRAME[["whole", "yes"]]),
    )
    model.fit(np.eye(3))
    assert not hasattr(model, "feature_names_in_")


def test_columns_that_hold_no_numbers_are_refused_by_name_before_a_pass(named, monkeypatch):
    monkeypatch.setattr("emdash.engines.local.LocalEngine.total", None)  # no pass may begin
    with pytest.raises(ValueError, match=r"'city' \(.*'when' \(.*columns=\[\.\.\.\]"):
        GaussianMixture(1).fit(named)
    with pytest.raises(ValueError, match=r"real numbers: 'when' \("):
        open_table(named, ["whole", "when"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["whole", "wole"], "no column 'wole'; .*whole, yes"),
        (["whole", "yes", "whole"], "'whole' twice"),
        ([], "at least one column"),
        ("whole", r"columns=\['whole'\]"),
    ],
)
def test_columns_that_cannot_be_chosen(named, columns, message):
    with pytest.raises(ValueError, match=message):
        open_table(named, columns)


def test_a_column_without_values_is_named(named):
    """Missing values are data, but a column of nothing else cannot be fitted."""
    table = open_table(named, ["whole", "single"])
    assert np.isfinite(GaussianMixture(1).fit(table).covariances_).all()


def test_complex_columns_are_refused_by_name():
    frame = pd.DataFrame({"x": [1.0, 2], "z": [1j, 2]})
    with pytest.raises(ValueError, match=r"'z' \(complex128\)"):
        GaussianMixture(1).fit(frame)


def test_what_has_no_names(tmp_path):
    np.save(tmp_path / "X.npy", np.eye(3))
    for X in (np.eye(3), tmp_path / "X.npy", [np.eye(3)], str(tmp_path / "X.npy")):
        with pytest.raises(ValueError, match=r"columns=\['a'\], but the columns of .* no names"):
            open_table(X, ["a"])
    (tmp_path / "X.csv").write_text("1,2\n3,4\n")
    with pytest.raises(ValueError, match="no line of names"):
        open_table(tmp_path / "X.csv", ["a"])


def test_open_table_opens_whatever_fit_takes(tmp_path):
    X = np.arange(12.0).reshape(6, 2)
    np.save(tmp_path / "X.npy", X)
    for given in (X, X.tolist(), tmp_path / "X.npy", [X[:2], X[2:]], pd.DataFrame(X)):
        source = open_table(given)
        np.testing.assert_array_equal(rows_of(source), X)
        assert open_table(source) is source
        assert open_source(source) is source
        assert source.feature_names is None
    with pytest.raises(ValueError, match="two dimensions"):
        open_table(X[0])


def test_a_frame_gives_an_array_of_answers():
    """As scikit-learn does; a Series comes out where a Dask dataframe goes in."""
    frame = pd.DataFrame({"x": [0.0, 1, 8, 9]}, index=list("abcd"))
    model = emdash.GaussianMixture(2, random_state=0).fit(frame)
    assert type(model.predict(frame)) is np.ndarray
    assert model.feature_names_in_.tolist() == ["x"]
    batches = model.predict([pl.from_pandas(frame)])
    np.testing.assert_array_equal(batches, model.predict(frame))


def test_generators_and_the_functions_that_make_them():
    X = np.random.default_rng(0).normal(size=(50, 2))

    def batches():
        yield X[:20]
        yield X[20:]

    with pytest.raises(TypeError, match=r"fit\(batches\) instead of fit\(batches\(\)\)"):
        GaussianMixture(1).fit(batches())
    same = iter([X])
    with pytest.raises(TypeError, match="returns the same iterator every time"):
        GaussianMixture(1).fit(lambda: same)
    expected = GaussianMixture(2, random_state=0).fit([X[:20], X[20:]])
    found = GaussianMixture(2, random_state=0).fit(batches)
    np.testing.assert_array_equal(found.means_, expected.means_)
