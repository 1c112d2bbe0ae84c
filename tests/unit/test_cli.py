"""The command line: the same answers as the library, and errors a person can read."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import emdash
from emdash import cli
from emdash.families.covariance import SHAPES
from emdash.progress import Progress
from emdash.start import METHODS


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 2)) + 5 * rng.integers(0, 2, size=(300, 1))


@pytest.fixture
def data(X, tmp_path):
    path = tmp_path / "data.npy"
    np.save(path, X)
    return path


@pytest.fixture
def model(data, tmp_path):
    path = tmp_path / "model.npz"
    succeed("fit", data, "-k", 2, "-o", path, "--quiet")
    return path


def run(*args):
    return CliRunner().invoke(cli.main, [str(arg) for arg in args], prog_name="emdash")


def succeed(*args):
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result


def fail(*args):
    """Return the only line of an error that has exit code 1 and no traceback."""
    result = run(*args)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    progress = ("  pass ", "Initialization ")
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith(progress)]
    assert line.startswith("Error: ")
    return line


def test_fit_gives_the_model_of_the_library(data, X, tmp_path):
    path = tmp_path / "model.npz"
    options = [
        *("--covariance", "diag", "--tol", "1e-5", "--max-iter", "50", "--reg-covar", "1e-5"),
        *("--init", "k-means++", "--n-init", "2", "--seed", "3", "--threads", "1"),
    ]
    result = succeed("fit", data, "-k", 2, "-o", path, *options)
    model = emdash.load(path)
    expected = emdash.GaussianMixture(
        2,
        covariance_type="diag",
        tol=1e-5,
        max_iter=50,
        reg_covar=1e-5,
        init_params="k-means++",
        n_init=2,
        random_state=3,
        n_threads=1,
    )
    assert model.get_params() == expected.get_params()
    np.testing.assert_array_equal(model.means_, expected.fit(str(data)).means_)
    assert result.stderr.count("log-likelihood") >= model.n_iter_
    assert f"passes          {model.n_iter_} (converged" in result.stdout
    assert str(path) in result.stdout


def test_interrupted_fit_goes_on_from_its_checkpoint(data, tmp_path, monkeypatch):
    """Control-C in the sixth pass; the same command makes the passes that are left."""
    passes = []

    def interrupted(self, fit, record, tell=Progress.tell):
        passes.append(record.number)
        tell(self, fit, record)
        if len(passes) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "tell", interrupted)
    command = ["fit", data, "-k", 3, "--max-iter", 20, "--tol", 0, "-o", tmp_path / "model.npz"]
    checkpoint = tmp_path / "fit.npz"
    line = fail(*command, "--checkpoint", checkpoint)
    assert line == f"Error: interrupted. Run the command again to go on from {checkpoint}"
    succeed(*command, "--checkpoint", checkpoint)
    assert passes == list(range(1, 21))
    one, other = emdash.load(tmp_path / "model.npz"), tmp_path / "other.npz"
    succeed(*command[:-1], other)
    np.testing.assert_array_equal(one.means_, emdash.load(other).means_)
    assert one.get_params() == emdash.load(other).get_params()
    passes.clear()
    assert "--checkpoint keeps a fit" in fail(*command)


def test_checkpoint_of_another_command_is_refused(data, tmp_path):
    path = tmp_path / "same.npz"
    assert "give another path" in fail("fit", data, "-k", 2, "-o", path, "--checkpoint", path)
    command = ["fit", data, "-o", tmp_path / "model.npz", "--checkpoint", path]
    succeed(*command, "-k", 2)
    assert "another model: n_components is 2 there, but 3 here" in fail(*command, "-k", 3)


def test_quiet_fit_says_nothing(data, tmp_path):
    result = succeed("fit", data, "-k", 2, "-o", tmp_path / "m", "--quiet", "--max-iter", 1)
    assert result.output == ""
    assert (tmp_path / "m").exists()


def test_fit_that_did_not_converge_says_so_in_a_line(data, tmp_path):
    path = tmp_path / "model.npz"
    result = succeed("fit", data, "-k", 2, "-o", path, "--max-iter", 1, "--tol", 0)
    assert "Stopped at --max-iter" in result.stderr
    assert "Warning" not in result.output
    assert "not converged" in result.stdout
    assert not emdash.load(path).converged_


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ([], "predict"),
        (["--proba"], "predict_proba"),
        (["--log-likelihood"], "score_samples"),
        (["--impute"], "impute"),
    ],
)
def test_predict_writes_what_the_library_answers(options, method, data, X, model, tmp_path):
    X = X.copy()
    X[::3, 1] = np.nan
    np.save(data, X)
    path = tmp_path / "answers.npy"
    succeed("predict", model, data, "-o", path, *options)
    expected = getattr(emdash.load(model), method)(X)
    answers = np.load(path)
    assert answers.dtype == expected.dtype
    np.testing.assert_array_equal(answers, expected)


def test_predict_goes_through_the_file_in_chunks(data, X, model, tmp_path, monkeypatch):
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 7 * 16)
    monkeypatch.setattr("emdash.answers.PIECE_BYTES", 3 * 16)
    path = tmp_path / "answers.npy"
    succeed("predict", model, data, "-o", path, "--proba")
    np.testing.assert_array_equal(np.load(path), emdash.load(model).predict_proba(X))
    X[100, 1] = np.inf
    np.save(data, X)
    assert "infinity in row 100, column 1" in fail("predict", model, data, "-o", path)
    assert len(np.load(path)) == len(X)  # what was there before is untouched
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answers.npy", "data.npy", "model.npz"]


def test_info_shows_the_model(model):
    estimator = emdash.load(model)
    lines = succeed("info", model).output.splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines[:3])
    assert facts == {"covariance": "full", "components": "2", "features": "2"}
    assert "free parameters 11" in lines
    assert f"log-likelihood  {estimator.lower_bound_:.10g} per row" in lines
    for k, line in enumerate(lines[-2:]):
        numbers = [float(cell) for cell in line.split()]
        expected = [k, estimator.weights_[k], *estimator.means_[k]]
        np.testing.assert_allclose(numbers, expected, atol=1e-4)


def test_info_of_many_columns_stays_readable(tmp_path):
    path = tmp_path / "model.npz"
    rows = np.random.default_rng(0).normal(size=(50, 30))
    emdash.save(emdash.GaussianMixture(covariance_type="diag").fit(rows), path)
    lines = succeed("info", path).output.splitlines()
    assert max(map(len, lines)) < 130
    assert "22 more columns" in lines[-1]


def test_versions(capsys):
    emdash.show_versions()
    assert succeed("versions").output == capsys.readouterr().out
    assert succeed("--version").output == f"emdash, version {emdash.__version__}\n"


@pytest.mark.parametrize("command", [[], *([name] for name in cli.main.commands)])
def test_help_has_examples(command):
    text = succeed(*command, "--help").output
    first = " ".join(["emdash", *command])
    assert re.search(rf"Examples:\n +{first}\b", text)
    assert "..." not in text.split("Commands:")[-1]  # no summary is cut short


def test_choices_are_those_of_the_library():
    assert set(cli.COVARIANCE_TYPES) == set(SHAPES)
    assert set(cli.INIT_PARAMS) == set(METHODS)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from click.testing import CliRunner; from emdash.cli import main;"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0;"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'dask', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


class TestErrors:
    def test_file_that_is_missing_or_no_array(self, data, tmp_path):
        path = tmp_path / "model.npz"
        missing = tmp_path / "missing.npy"
        assert fail("fit", missing, "-k", 2, "-o", path) == (
            f"Error: {missing}: No such file or directory"
        )
        missing.write_text("1,2,3")
        assert "missing.npy is not a .npy file" in fail("fit", missing, "-k", 2, "-o", path)
        data.write_bytes(data.read_bytes()[:-1])
        assert "is truncated" in fail("fit", data, "-k", 2, "-o", path)
        np.save(data, np.ones(5))
        assert "expected two dimensions" in fail("fit", data, "-k", 2, "-o", path)
        assert not path.exists()

    def test_infinity_is_named_with_its_row(self, data, X, tmp_path):
        X = X.copy()
        X[7, 1] = np.inf
        np.save(data, X)
        assert "infinity in row 7, column 1" in fail("fit", data, "-k", 2, "-o", tmp_path / "m")

    def test_more_components_than_rows(self, data, tmp_path):
        message = fail("fit", data, "-k", 301, "-o", tmp_path / "m")
        assert "n_components = 301, n_samples = 300" in message

    def test_target_is_checked_before_the_work(self, data, model, tmp_path):
        target = tmp_path / "missing" / "out"
        for command in (["fit", data, "-k", 2], ["predict", model, data]):
            result = run(*command, "-o", target)
            assert result.exit_code == 1
            assert result.stdout == ""
            assert result.stderr == (
                f"Error: there is no directory {target.parent.resolve()}: create it first\n"
            )

    def test_model_that_is_none(self, data, tmp_path):
        assert "not a .npz file" in fail("info", data)
        assert "not a .npz file" in fail("predict", data, data, "-o", tmp_path / "a.npy")

    def test_other_number_of_columns(self, data, model, tmp_path):
        np.save(data, np.ones((4, 3)))
        message = fail("predict", model, data, "-o", tmp_path / "a.npy")
        assert "has 3 columns" in message
        assert message.endswith("was fitted to 2")

    @pytest.mark.parametrize(
        "option", [("-k", 0), ("--tol", -1), ("--covariance", "round"), ("--seed", -1)]
    )
    def test_wrong_option_is_a_usage_error(self, option, data, tmp_path):
        result = run("fit", data, "-k", 2, "-o", tmp_path / "m", *option)
        assert result.exit_code == 2
        assert "Usage:" in result.stderr


def test_a_column_of_weights(X, tmp_path):
    w = np.random.default_rng(0).integers(0, 3, size=len(X)).astype(float)
    path, model = tmp_path / "data.csv", tmp_path / "model.npz"
    table = np.column_stack([X[:, 0], w, X[:, 1]])
    np.savetxt(path, table, delimiter=",", header="x,count,y", comments="", fmt="%.17g")
    expected = emdash.GaussianMixture(2, random_state=0).fit(X, sample_weight=w)
    for columns in ((), ("--columns", "x,y")):
        succeed("fit", path, "-k", 2, "-o", model, "-q", *columns, "--sample-weight", "count")
        np.testing.assert_allclose(emdash.load(model).means_, expected.means_, rtol=1e-10)
    message = fail("fit", path, "-k", 2, "-o", model, "--sample-weight", "weight")
    assert "has no column 'weight'; it has x, count, y" in message
