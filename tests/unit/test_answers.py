"""``emdash predict`` from and to files of every format: streamed, complete or not there."""

import numpy as np
import pyarrow.parquet
import pytest
import zarr
from click.testing import CliRunner

import emdash
from emdash import answers, cli
from emdash.answers import WRITERS
from emdash.sources import open_table

N = 300


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 2)) + 5 * rng.integers(0, 2, size=(N, 1))


@pytest.fixture
def model(X, tmp_path):
    emdash.save(emdash.GaussianMixture(2, random_state=0).fit(X), tmp_path / "model.npz")
    return emdash.load(tmp_path / "model.npz")


@pytest.fixture
def data(X, tmp_path):
    """A table in chunks of 32 rows; answers are written in pieces of a few."""
    zarr.create_array(tmp_path / "X.zarr", data=X, chunks=(32, 2))
    return tmp_path / "X.zarr"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 32 * 16)
    monkeypatch.setattr("emdash.answers.PIECE_BYTES", 7 * 16)


def predict(folder, data, output, *options):
    args = ["predict", folder / "model.npz", data, "-o", folder / output, *options]
    return CliRunner().invoke(cli.main, [str(arg) for arg in args])


QUESTIONS = {
    "predict": ([], ["label"]),
    "predict_proba": (["--proba"], ["component 0", "component 1"]),
    "score_samples": (["--log-likelihood"], ["log_likelihood"]),
}


@pytest.mark.parametrize("method", QUESTIONS)
@pytest.mark.parametrize("suffix", WRITERS)
def test_answers_are_those_of_the_library(suffix, method, X, data, model, tmp_path):
    options, names = QUESTIONS[method]
    expected = getattr(model, method)(X)
    for _ in range(2):  # the second time it replaces the first
        result = predict(tmp_path, data, f"answers{suffix}", *options)
        assert result.exit_code == 0, result.output
        found = read(tmp_path / f"answers{suffix}", names)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"model.npz", "X.zarr", f"answers{suffix}"}


def read(path, names):
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".zarr":
        return zarr.open_array(path)[:]
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        assert table.column_names == names
        found = np.stack([column.to_numpy() for column in table.columns], axis=1)
    else:
        source = open_table(path, names)
        found = np.concatenate([chunk.rows for chunk in source.chunks()])
        found = found.astype(np.intp) if names == ["label"] else found
    return found if len(names) > 1 else found[:, 0]


def test_pieces_are_small_and_stored_whole(data, model, tmp_path, monkeypatch):
    asked = []
    score = emdash.GaussianMixture.score_samples
    monkeypatch.setattr(
        emdash.GaussianMixture,
        "score_samples",
        lambda self, batches: (asked.append(len(batches[0])), score(self, batches))[1],
    )
    assert predict(tmp_path, data, "a.zarr", "--log-likelihood").exit_code == 0
    assert sum(asked) == N + 1  # one row tells the type
    assert max(asked) == 14
    assert zarr.open_array(tmp_path / "a.zarr").chunks == (14,)
    assert predict(tmp_path, data, "a.parquet", "--log-likelihood").exit_code == 0
    metadata = pyarrow.parquet.read_metadata(tmp_path / "a.parquet")
    rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert set(rows[:-1]) == {14}
    assert sum(rows) == N


@pytest.mark.parametrize("suffix", WRITERS)
def test_after_an_error_there_is_what_was_there_before(suffix, X, data, model, tmp_path):
    zarr.open_array(data)[250, 1] = np.inf
    for before in (False, True):
        result = predict(tmp_path, data, f"answers{suffix}")
        assert result.exit_code == 1
        assert "infinity in row 250, column 1" in result.output
        left = {path.name for path in tmp_path.iterdir()} - {"model.npz", "X.zarr"}
        assert left == ({f"answers{suffix}"} if before else set())
        if not before:
            with answers.writing(tmp_path / f"answers{suffix}", np.zeros(1), ["old"], 5) as write:
                write(np.array([1.0, 2]))
    np.testing.assert_array_equal(read(tmp_path / f"answers{suffix}", ["old"]), [1, 2])


def test_rows_that_nobody_has_counted(X, model, tmp_path):
    path = tmp_path / "X.csv"
    np.savetxt(path, X, delimiter=",", header="x,y", comments="")
    assert predict(tmp_path, path, "labels.npy").exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), model.predict(X))
    assert open_table(path).n_rows is None


def test_fit_and_predict_with_columns_and_a_limit(X, tmp_path):
    table = pyarrow.table({"x": X[:, 0], "city": ["A"] * N, "y": X[:, 1]})
    path = tmp_path / "X.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=100)
    args = ["fit", path, "-k", 2, "-o", tmp_path / "model.npz", "--columns", "y,x"]
    result = CliRunner().invoke(cli.main, [str(a) for a in [*args, "--memory-limit", "100MB"]])
    assert result.exit_code == 0, result.output
    model = emdash.load(tmp_path / "model.npz")
    assert model.memory_limit == "100MB"
    assert model.feature_names_in_.tolist() == ["y", "x"]
    assert predict(tmp_path, path, "labels.npy", "--columns", "y,x").exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), model.predict([X[:, ::-1]]))
    for options, message in (
        ([], "'city' (string)"),
        (["--columns", "x,z"], "no column 'z'"),
        (["--columns", "x,y"], "wants --columns y,x"),
        (["--columns", "y,x", "--memory-limit", "lots"], "no amount of memory"),
        (["--columns", "y,x", "--memory-limit", "100"], "row_group_size"),
    ):
        result = predict(tmp_path, path, "labels.npy", *options)
        assert result.exit_code == 1
        assert message in result.output


def test_directories_are_not_replaced(data, model, tmp_path):
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("years of work")
    group = zarr.open_group(tmp_path / "group.zarr", mode="w")
    group.create_array("x", data=np.ones(3))
    for name in ("mine.zarr", "group.zarr"):
        result = predict(tmp_path, data, name)
        assert result.exit_code == 1
        assert "is a directory" in result.output
        assert any((tmp_path / name).iterdir())
    old = zarr.create_array(tmp_path / "old.zarr", data=np.ones(3), zarr_format=2)
    assert predict(tmp_path, data, "old.zarr").exit_code == 0
    assert zarr.open_array(tmp_path / "old.zarr").shape == (N,) != old.shape


def test_what_nothing_can_write(data, model, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    result = predict(tmp_path, data, "labels.parquet")
    assert result.exit_code == 1
    assert "pip install 'emdash[io]'" in result.output
    assert predict(tmp_path, data, "missing/labels.zarr").exit_code == 1
