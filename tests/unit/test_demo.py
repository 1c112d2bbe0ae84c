"""The demo: it runs from beginning to end, says the truth, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from distributed import LocalCluster
from PIL import Image

import emdash
from emdash.cli import main
from emdash.demo import photographs
from emdash.demo.cluster import Meter
from emdash.demo.colour import lab_to_rgb, rgb_to_lab
from emdash.demo.compare import differences
from emdash.demo.figures import draw_convergence
from emdash.demo.story import PASSES

# what the installed script does, with every warning an error, in the worker processes too
DEMO = [sys.executable, "-W", "error", "-c", "from emdash.cli import main; main()", "demo"]
RESULTS = {"segmentation.png", "convergence.png", "model.npz"}


@pytest.fixture
def output(tmp_path):
    return tmp_path / "demo"


def test_demo_from_beginning_to_end(output):
    command = [*DEMO, "--rows", "20000", "-k", "3", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {path.name for path in output.iterdir()} == RESULTS
    for name in RESULTS:
        assert str(output / name) in done.stdout
    difference = re.search(r"largest relative difference: (\S+)", done.stdout)
    assert float(difference[1]) < 1e-10
    passes = re.findall(r"pass +\d+/\d+ +log-likelihood (\S+) +\S+ M rows/s +(\w+)", done.stdout)
    traces = {who: [float(x) for x, w in passes if w == who] for who in ("workers", "this")}
    assert traces["workers"] == traces["this"]  # to the nine digits shown
    assert len(traces["workers"]) == PASSES
    assert np.all(np.diff(traces["workers"]) > 0)
    model = emdash.load(output / "model.npz")
    assert model.means_.shape == (3, len(photographs.COLUMNS))
    with Image.open(output / "segmentation.png") as image:
        picture = np.asarray(image.convert("RGB"))
    assert picture.shape[0] > 600
    assert len(np.unique(picture[:, -200:].reshape(-1, 3), axis=0)) > 3


def test_demo_on_a_cluster_that_runs_already(output):
    with LocalCluster(
        n_workers=1, processes=False, dashboard_address=":0", local_directory=str(output.parent)
    ) as cluster:
        options = ["--rows", "1000", "-k", "2", "--keep", "--output", str(output)]
        result = CliRunner().invoke(
            main, ["demo", *options, "--scheduler", cluster.scheduler_address]
        )
    assert result.exit_code == 0, result.output
    assert {path.name for path in output.iterdir()} == {*RESULTS, "table"}
    again = CliRunner().invoke(main, ["demo", *options])
    assert again.exit_code == 1
    assert "exists already" in again.stderr


@pytest.mark.skipif(os.name == "nt", reason="no process groups to send Ctrl-C to")
def test_ctrl_c_ends_quietly_and_cleans_up(output):
    command = [*DEMO, "--rows", "200000", "--output", str(output)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        for line in running.stdout:
            if "pass  2" in line:
                break
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to the workers as well
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert errors.strip() == "Aborted!"
    assert list(output.iterdir()) == []


def test_answers_that_differ_are_an_error(output, monkeypatch):
    monkeypatch.setattr("emdash.demo.story.run", lambda *args, **options: 1e-9)
    result = CliRunner().invoke(main, ["demo", "--output", str(output)])
    assert result.exit_code == 1
    assert "the two answers differ" in result.stderr


def test_full_disk_is_noticed_before_the_work(output, monkeypatch):
    free = 500_000_000 + 80 * 12_345
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    result = CliRunner().invoke(main, ["demo", "--output", str(output)])
    assert result.exit_code == 1
    assert "GB of disk" in result.stderr
    assert result.stderr.endswith("enough for --rows 12345\n")


class TestTable:
    def test_rows_are_pixels_at_scales(self, tmp_path):
        n_rows = 5001
        table = photographs.write_table(tmp_path / "table", n_rows)
        assert table.shape == (n_rows, len(photographs.COLUMNS))
        assert table.dtype == np.float64
        assert table.numblocks[0] >= photographs.LEAST_FILES
        rows = table.compute(scheduler="sync")
        files = [np.load(tmp_path / "table" / f"{i}.npy") for i in range(table.numblocks[0])]
        np.testing.assert_array_equal(np.concatenate(files), rows)
        finest = photographs.features(photographs.photograph("china.jpg"), photographs.FINEST)
        count = n_rows // (2 * len(photographs.scales(n_rows)))
        np.testing.assert_array_equal(rows[:count], finest[np.arange(count) * len(finest) // count])

    def test_files_are_small_and_scales_suffice(self):
        assert len(photographs.scales(10)) == photographs.LEAST_SCALES
        pixels = sum(len(photographs.photograph(n).reshape(-1, 3)) for n in photographs.NAMES)
        for n_rows in (10 * pixels, 10 * pixels + 1):
            assert n_rows <= len(photographs.scales(n_rows)) * pixels < n_rows + pixels

    def test_one_colour_has_no_contrast(self):
        rgb = np.broadcast_to([0.2, 0.5, 0.8], (20, 30, 3))
        rows = photographs.features(rgb, 2.0)
        np.testing.assert_allclose(rows[:, :3], np.broadcast_to(rgb_to_lab(rgb[0, 0]), (600, 3)))
        np.testing.assert_allclose(rows[:, 3:6], rows[:, :3], rtol=1e-12)
        np.testing.assert_allclose(rows[:, 6:8], np.log(0.01) / 4, rtol=1e-5)
        np.testing.assert_array_equal(rows[[0, -1], 8:], [[0, 0], [1, 1]])

    def test_edge_has_contrast(self):
        rgb = np.zeros((40, 40, 3))
        rgb[:, 20:] = 1
        contrast = photographs.features(rgb, 1.0)[:, 6].reshape(40, 40)
        assert contrast[20, 19] > contrast[20, 2] + 0.5


class TestColour:
    @pytest.mark.parametrize(
        ("rgb", "lab"),  # from the tables of CIE colours of sRGB, D65
        [
            ([0, 0, 0], [0, 0, 0]),
            ([1, 1, 1], [100, 0, 0]),
            ([1, 0, 0], [53.2408, 80.0925, 67.2032]),
            ([0, 1, 0], [87.7347, -86.1827, 83.1793]),
            ([0, 0, 1], [32.2970, 79.1875, -107.8602]),
        ],
    )
    def test_known_colours(self, rgb, lab):
        np.testing.assert_allclose(100 * rgb_to_lab(np.array(rgb, float)), lab, atol=0.02)

    def test_there_and_back(self):
        rgb = np.random.default_rng(0).uniform(size=(100, 3))
        np.testing.assert_allclose(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=1e-12)


@pytest.mark.parametrize(
    ("attribute", "name"),
    [("weights_", "weights"), ("means_", "means"), ("covariances_", "covariances")],
)
def test_differences_are_relative(attribute, name):
    rows = np.random.default_rng(0).normal(scale=[1e-3, 1, 1e3], size=(500, 3))
    a = emdash.GaussianMixture(2, random_state=0).fit(rows)
    assert set(differences(a, a).values()) == {0.0}
    b = deepcopy(a)
    sigma = np.sqrt(np.diagonal(a.covariances_, axis1=1, axis2=2))
    unit = {"weights": a.weights_, "means": sigma, "covariances": sigma[:, :, None] ** 2}[name]
    where = (1,) + (0,) * (unit.ndim - 1)
    getattr(b, attribute)[where] += 1e-6 * unit[where]
    assert differences(a, b)[name] == pytest.approx(1e-6)
    assert sum(value > 0 for value in differences(a, b).values()) == 1


def test_difference_of_traces():
    a = emdash.GaussianMixture(1).fit(np.random.default_rng(0).normal(size=(50, 1)))
    b = deepcopy(a)
    b.lower_bounds_[0] *= 1 + 1e-7
    assert differences(a, b)["log-likelihood"] == pytest.approx(1e-7)


def test_meter_keeps_first_and_peak():
    values = iter([3, 5, 9])
    seen = []

    def read():
        seen.append(next(values, 4))
        return seen[-1]

    with Meter(read) as meter:
        while len(seen) < 5:
            pass
    assert (meter.first, meter.peak) == (3, 9)


def test_convergence_is_drawn_when_nothing_differs(tmp_path):
    draw_convergence(tmp_path / "c.png", [1.0, 2.0], [1.0, 2.0], 1e-10)
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.size == (960, 720)
