"""What files and tables mean is found out, or the error says what to do instead."""

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
import zarr

from emdash import GaussianMixture, open_table

FRAME = pd.DataFrame({"a": [1.0, -1, 3, 5], "b": [1, 2, 3, 7]})


def rows_of(source):
    return np.concatenate([chunk.rows for chunk in source.chunks()])


def test_the_index_of_a_frame_is_no_column(tmp_path):
    some = FRAME[FRAME.a > 0]
    some.to_parquet(tmp_path / "X.parquet")
    some.set_index("b").to_feather(tmp_path / "X.feather")
    files = [tmp_path / "X.parquet", pa.dataset.dataset(tmp_path / "X.parquet")]
    for X in (*files, pa.Table.from_pandas(some)):
        source = open_table(X)
        assert source.feature_names == ["a", "b"]
        np.testing.assert_array_equal(rows_of(source), some)
    assert open_table(files[0], ["__index_level_0__"]).n_features == 1
    assert open_table(tmp_path / "X.feather").feature_names == ["a"]
    assert open_table(tmp_path / "X.feather", ["b", "a"]).feature_names == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("1.5,NA\n2,3\n", None, [1.5, np.nan]),
        (",-1\n2,3\n", None, [np.nan, -1]),
        ("1,null\n2,3\n", None, [1, np.nan]),
        ("nan,x\n2,3\n", ["nan", "x"], [2, 3]),
        (",0,1\n7,2,3\n", ["", "0", "1"], [7, 2, 3]),  # as pandas writes an index
    ],
)
def test_a_first_line_of_numbers_and_missing_values_is_data(text, names, first, tmp_path):
    (tmp_path / "X.csv").write_text(text)
    source = open_table(tmp_path / "X.csv")
    assert source.feature_names == names
    np.testing.assert_array_equal(rows_of(source)[0], first)


def test_a_suffix_in_capitals(tmp_path):
    (tmp_path / "X.TSV").write_text("a\tb\n1\t2\n")
    assert rows_of(open_table(tmp_path / "X.TSV")).tolist() == [[1, 2]]


# ------------------------------------------------------------------ batches of frames


def test_batches_of_frames_are_read_as_frames():
    frame = FRAME.astype({"b": "Int64"})
    frame.loc[1, "b"] = pd.NA
    expected = rows_of(open_table(frame))
    for given in ([frame], lambda: iter([frame]), [pl.from_pandas(frame)]):
        source = open_table(given)
        assert list(source.feature_names) == ["a", "b"]
        np.testing.assert_array_equal(rows_of(source), expected)


def test_batches_with_other_columns_or_another_order_are_refused():
    swapped = FRAME[["b", "a"]]
    for other in (swapped, FRAME.rename(columns={"a": "c"})):
        with pytest.raises(ValueError, match=r"batch 1 of X has .* first batch has \['a', 'b'\]"):
            GaussianMixture(1).fit(lambda other=other: iter([FRAME, other]))
    model = GaussianMixture(1).fit([FRAME])
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"feature names should match.*column 0"):
        model.predict([swapped])


def test_a_list_is_float32_if_all_its_batches_are():
    wide, narrow = np.arange(8.0).reshape(4, 2), np.arange(8, dtype="f4").reshape(4, 2)
    for batches in ([wide, narrow], [narrow, wide], [narrow, wide.astype(int)]):
        assert GaussianMixture(1).fit(batches).means_.dtype == np.float64
        assert GaussianMixture(1).fit(list(map(pd.DataFrame, batches))).means_.dtype == np.float64
    for batches in ([narrow, narrow], [pl.DataFrame(narrow)]):
        assert GaussianMixture(1).fit(batches).means_.dtype == np.float32


# ------------------------------------------------------------------ what to do instead


def test_a_directory_of_arrays(tmp_path):
    group = zarr.open_group(tmp_path / "group.zarr", mode="w")
    for name in ("y", "x/deep"):
        group.create_array(name, data=np.eye(3))
    for name in ("1.zarr", "below/2.zarr"):
        zarr.create_array(tmp_path / "many" / name, data=np.eye(3))
    assert open_table(tmp_path / "many").n_rows == 6
    for name in ("group.zarr", "group.zarr::none"):
        with pytest.raises(ValueError, match=r"group\.zarr::y, .*group\.zarr::x/deep"):
            open_table(f"{tmp_path / name}")
    (tmp_path / "hdf").mkdir()
    with h5py.File(tmp_path / "hdf" / "X.h5", "w") as file:
        file["some/X"] = np.eye(3)
        with pytest.raises(TypeError, match=r"X\['some/X'\]"):
            GaussianMixture(1).fit(file)
    with pytest.raises(ValueError, match=r"give a list, \['.*X\.h5::name"):
        open_table(tmp_path / "hdf")
    with pytest.raises(ValueError, match=r"X\.h5 names no dataset.*X\.h5::some/X"):
        open_table(tmp_path / "hdf" / "X.h5")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("X.csv", b"1;2\n3;4\n", "'1;2': .csv files are separated by commas"),
        ("X.tsv", b"a,b\n3,4\n", "'a,b'.*.tsv files by tabs"),
        ("X.csv", b"# from me\na,b\n3,4\n", "Remove the first line, '# from me'"),
        ("X.txt", b"a,b\n3,4\n", "let the name end in .csv"),
        ("X.zip", b"PK\x03\x04", "ZipStore"),
    ],
)
def test_files_that_are_written_in_another_way(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_table(tmp_path / name)


def test_a_stream_of_arrow(tmp_path):
    table = pa.table({"a": [1.0, 2]})
    with pa.ipc.new_stream(tmp_path / "X.arrow", table.schema) as file:
        file.write_table(table)
    with pytest.raises(
        ValueError, match=r"it is a stream.*write_feather\(pyarrow\.ipc\.open_stream"
    ):
        open_table(tmp_path / "X.arrow")


def test_objects_that_hold_a_table(tmp_path):
    table = pa.table({"a": [1.0, 2]})
    pa.parquet.write_table(table, tmp_path / "X.parquet")
    for X, advice in (
        (pl.LazyFrame({"a": [1.0, 2]}), r"X\.collect\(\)"),
        (table.to_batches()[0], "from_batches"),
        (table.to_reader(), r"X\.read_all\(\)"),
        (pa.dataset.dataset(table).scanner(), r"X\.to_table\(\)"),
        (pa.parquet.ParquetFile(tmp_path / "X.parquet"), "path of the file"),
        ((batch for batch in [np.eye(2)]), r"fit\(make_batches\) instead of"),
    ):
        with pytest.raises(TypeError, match=advice):
            GaussianMixture(1).fit(X)


def test_a_column_that_occurs_twice():
    frame = pd.DataFrame(np.eye(3), columns=["x", "x", "y"])
    for X in (frame, [frame]):
        with pytest.raises(ValueError, match="'x' twice"):
            GaussianMixture(1).fit(X)
