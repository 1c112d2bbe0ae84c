"""Listings as EM tutorials print them run with only their import line changed."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

LISTINGS = sorted((Path(__file__).parent / "articles").glob("*.py"))
THEIRS = "from sklearn.mixture import GaussianMixture\n"
OURS = "from emdash import GaussianMixture\n"
NUMBER = r"-?\d+\.?\d*(?:e[-+]?\d+)?"


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that executes a listing: what it printed, its variables, its figure."""
    mpl.use("Agg")
    from matplotlib import pyplot

    monkeypatch.setattr(pyplot, "show", lambda: None)

    def execute(source):
        variables = {"__name__": "__main__"}
        state = np.random.get_state()  # noqa: NPY002 - the listings seed the global generator
        try:
            exec(compile(source, "listing", "exec"), variables)
        finally:
            np.random.set_state(state)  # noqa: NPY002
        lines = [line.get_xydata() for axes in pyplot.gcf().axes for line in axes.lines]
        pyplot.close("all")
        return capsys.readouterr().out, variables, lines

    return execute


def test_there_are_two():
    assert [listing.name for listing in LISTINGS] == ["density_plot.py", "two_normals.py"]


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda path: path.stem)
def test_listing_runs_with_only_the_import_changed(listing, run):
    theirs = listing.read_text()
    assert theirs.count(THEIRS) == 1
    text, variables, lines = run(theirs)
    our_text, our_variables, our_lines = run(theirs.replace(THEIRS, OURS))
    assert our_variables["gmm"].__module__.startswith("emdash")

    assert re.sub(NUMBER, "#", our_text) == re.sub(NUMBER, "#", text)
    assert len(text.splitlines()) >= 4
    ours, expected = (np.array(re.findall(NUMBER, t), float) for t in (our_text, text))
    np.testing.assert_allclose(ours, expected, rtol=1e-6)

    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        np.testing.assert_allclose(
            getattr(our_variables["gmm"], name), getattr(variables["gmm"], name), rtol=1e-8
        )
    assert our_variables["gmm"].n_iter_ == variables["gmm"].n_iter_
    assert len(our_lines) == len(lines) == (3 if listing.stem == "density_plot" else 0)
    for ours, expected in zip(our_lines, lines, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-7)


def test_the_answer_is_near_the_truth(run):
    """Standard errors of the means are about 0.06 and 0.04 for 300 and 700 draws."""
    source = next(path for path in LISTINGS if path.stem == "two_normals").read_text()
    gmm = run(source.replace(THEIRS, OURS))[1]["gmm"]
    order = np.argsort(gmm.means_[:, 0])
    np.testing.assert_allclose(gmm.means_[order, 0], [0, 5], atol=0.2)
    np.testing.assert_allclose(gmm.covariances_[order, 0, 0], [1, 1], atol=0.25)
    np.testing.assert_allclose(gmm.weights_[order], [0.3, 0.7], atol=0.01)
