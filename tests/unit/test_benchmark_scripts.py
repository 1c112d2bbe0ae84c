"""Benchmarks that are scripts: run quickly, and their tables hold what they say."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def table_of(script: str, arguments: list[str], folder: Path) -> list[list[str]]:
    """Run a script of the suite elsewhere and return the cells of the table it prints."""
    path = [folder for folder in sys.path if folder and Path(folder) != ROOT]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{script}.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    return [row.strip("| ").split(" | ") for row in rows]


def test_rivals_runs_as_a_script(tmp_path: Path) -> None:
    arguments = ["--quick", "--threads", "2", "--rounds", "1", "--cases", "full (1,4)", "spherical"]
    table = table_of("rivals", arguments, tmp_path)
    assert [row[0] for row in table] == ["case", "full (1,4) mod", "spherical (10,10) mod"]
    for row in table[1:]:
        theirs, ours, ratio = map(float, row[3:6])
        assert ratio == pytest.approx(theirs / ours, rel=0.01, abs=0.06)
    assert [row[6] for row in table[1:]] == ["90", "30"]  # the targets for two threads


def test_answers_runs_as_a_script(tmp_path: Path) -> None:
    _, *lines = table_of("answers", ["--quick", "--rounds", "1"], tmp_path)
    wanted = [
        (case, question, target)
        for case, target in (("full (10,10) mod", "20"), ("full (64,64) mod", "4"))
        for question in ("predict", "predict_proba", "score_samples")
    ]
    assert [(line[0], line[2], line[6]) for line in lines] == wanted
    for line in lines:
        theirs, ours, ratio = map(float, line[3:6])
        assert ratio == pytest.approx(theirs / ours, rel=0.01, abs=0.06)


def test_fits_runs_as_a_script(tmp_path: Path) -> None:
    arguments = ["--quick", "--threads", "1", "--overlaps", "well", "mod"]
    head, *lines = table_of("fits", arguments, tmp_path)
    assert [line[head.index("data")] for line in lines] == ["well", "mod"]
    for line in lines:
        for column in ("scikit-learn s", "emdash s", "ratio of s", "start CPU s", "passes CPU s"):
            assert float(line[head.index(column)]) > 0


def test_roofline_runs_as_a_script(tmp_path: Path) -> None:
    arguments = ["--quick", "--threads", "2", "--rounds", "1"]
    arguments += ["--cases", "full (32,32) well", "tied (10,10)", "float32"]
    head, *lines = table_of("roofline", arguments, tmp_path)
    assert [line[0] for line in lines] == [
        "full (32,32) well",
        "tied (10,10) mod with scatter",
        "full (10,10) mod float32",
        "full (64,64) mod float32",
    ]
    columns = [dict(zip(head, line, strict=True)) for line in lines]
    for line in columns:
        share = 100 * float(line["floor us"]) / float(line["CPU us/row"])
        assert float(line["% of floor"]) == pytest.approx(share, rel=0.02, abs=0.6)
    assert [line["bytes"] for line in columns] == ["256", "80", "40", "256"]
    # clusters far apart: the sums of full covariance need one component per row
    assert float(columns[0]["comps/row"]) == pytest.approx(1, abs=0.2)
    assert float(columns[0]["multiply-adds"]) == pytest.approx(33 * (528 + 32), rel=0.01)
    assert columns[1]["multiply-adds"] == "310"


def test_float32_runs_as_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMDASH_BENCH_QUICK", "1")
    table = table_of("float32", ["--rounds", "1"], tmp_path)
    rows = {row[0]: row for row in table if row[0].startswith(("0 ", "cond"))}
    tame, wild = rows["0 sigma from the origin"], rows["condition 1e+08"]
    assert (tame[2], wild[2]) == ("float32", "float64")
    assert float(tame[5]) < 1e-4 < 1e-2 < float(wild[5])


def test_the_same_fit_is_compared_with_what_users_would_pick(tmp_path: Path) -> None:
    arguments = ["--rows", "4000", "--passes", "1", "--chunks", "4"]
    arguments += ["--systems", "Emdash", "ScikitLearn"]
    _, *lines = table_of("scale", arguments, tmp_path)
    assert [line[0].split(",")[0] for line in lines] == ["emdash", "scikit-learn"]
    for line in lines:
        assert math.isfinite(float(line[2])), line  # nobody's answer differs, nobody is skipped
        assert 100 < float(line[4]) < 10_000
