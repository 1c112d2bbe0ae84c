"""The command line never writes over what it reads, and takes names and URLs as they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import zarr
from click.testing import CliRunner

import emdash
from emdash import cli
from emdash.archive import check_apart

ROWS = np.random.default_rng(0).normal(size=(60, 2))


def run(*args):
    return CliRunner().invoke(cli.main, [str(arg) for arg in args], prog_name="emdash")


def table(path):
    pa.parquet.write_table(pa.table({"x": ROWS[:, 0], "y": ROWS[:, 1]}), path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Inputs of every shape; only paths matter, so that one file stands for all formats."""
    monkeypatch.chdir(tmp_path)
    np.save("d.npy", ROWS)
    Path("link.npy").symlink_to("d.npy")
    (tmp_path / "many").mkdir()
    np.save("many/a.npy", ROWS)
    Path("d.h5").write_bytes(b"any file: it is refused before it is opened")
    zarr.create_array("d.zarr", data=ROWS)
    zarr.create_array("outer.zarr", data=ROWS)
    np.save("outer.zarr/inner.npy", ROWS)
    emdash.save(emdash.GaussianMixture(1).fit(ROWS), "m.npz")
    return tmp_path


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    "command",
    [
        "fit d.npy -k 1 -o d.npy",
        "fit d.npy -k 1 -o ./many/../d.npy",
        "fit d.npy -k 1 -o link.npy",
        "fit link.npy -k 1 -o d.npy",
        "fit many -k 1 -o many/m.npz",
        "fit d.npy -k 1 -o new.npz --checkpoint d.npy",
        "fit d.npy -k 1 -o new.npz --checkpoint new.npz",
        "fit d.zarr -k 1 -o d.zarr/zarr.json",
        "predict m.npz d.npy -o d.npy",
        "predict m.npz d.npy -o m.npz",
        "predict m.npz d.h5::x -o d.h5",
        "predict m.npz d.zarr -o d.zarr",
        "predict m.npz outer.zarr/inner.npy -o outer.zarr",
        "predict m.npz file://{folder}/d.zarr -o d.zarr",
    ],
)
def test_inputs_are_never_written_over(command, folder):
    before = contents(folder)
    result = run(*command.format(folder=folder).split())
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "used, too: give another path to write to" in result.stderr
    assert contents(folder) == before


def test_hard_links_are_one_file(folder):
    os.link("d.npy", "other.npy")
    with pytest.raises(ValueError, match=r"writing other\.npy would replace d\.npy"):
        check_apart("other.npy", "d.npy")


def test_what_lies_beside_the_inputs_may_be_written(folder):
    check_apart("new.npy", "d.npy", "many", "d.h5::new.npy", "s3://bucket/new.npy")
    check_apart("many.npy", "many", "file:///new.npy")
    check_apart("d.zarr.npy", "d.zarr")


def test_data_are_no_checkpoint(folder):
    """The library does not write a checkpoint over a file that is none."""
    before = contents(folder)
    for path in ("d.npy", "m.npz", "many/a.npy", "d.zarr/zarr.json"):
        with pytest.raises(ValueError, match="checkpoint"):
            emdash.GaussianMixture(1, checkpoint=path).fit("d.npy")
    assert contents(folder) == before


def test_urls_are_not_taken_for_paths(folder):
    run_ok = run("fit", f"file://{folder}/d.zarr", "-k", 1, "-o", "new.npz", "-q")
    assert run_ok.exit_code == 0, run_ok.output
    expected = emdash.GaussianMixture(1, random_state=0).fit(f"file://{folder}/d.zarr")
    np.testing.assert_array_equal(emdash.load("new.npz").means_, expected.means_)
    result = run("predict", "new.npz", f"file://{folder}/d.zarr", "-o", "labels.npy")
    assert result.exit_code == 0, result.output
    assert len(np.load("labels.npy")) == len(ROWS)
    shutil.rmtree("d.zarr")
    result = run("predict", "new.npz", f"file://{folder}/d.zarr", "-o", "labels.npy")
    assert f"file://{folder}/d.zarr" in result.stderr


def test_wrong_columns_name_the_option(folder):
    table("t.parquet")
    assert run("fit", "t.parquet", "-k", 1, "--columns", "y,x", "-o", "t.npz").exit_code == 0
    result = run("predict", "t.npz", "t.parquet", "-o", "labels.npy")
    assert result.stderr == ("Error: t.parquet has columns x,y, but t.npz wants --columns y,x\n")
    again = run("predict", "t.npz", "t.parquet", "-o", "labels.npy", "--columns", "y,x")
    assert again.exit_code == 0
