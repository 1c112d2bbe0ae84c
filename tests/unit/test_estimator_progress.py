"""What a fit tells while it runs: printed lines and one record per pass."""

from __future__ import annotations

import math
import re

import dask.array as da
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import emdash
from emdash import GaussianMixture


def test_callback_gets_one_record_per_pass_in_order(iris):
    records = []
    fit = GaussianMixture(3, random_state=0, callback=records.append).fit(iris)
    assert all(isinstance(record, emdash.Pass) for record in records)
    assert [record.number for record in records] == list(range(1, fit.n_iter_ + 1))
    assert {record.start for record in records} == {0}
    assert {record.n_rows for record in records} == {150}
    assert [record.log_likelihood for record in records] == fit.lower_bounds_
    assert math.isinf(records[0].change)
    np.testing.assert_allclose(
        [record.change for record in records[1:]], np.diff(fit.lower_bounds_), rtol=0, atol=0
    )
    assert all(record.seconds >= 0 for record in records)


def test_callback_counts_starts(iris):
    records = []
    fit = GaussianMixture(3, n_init=3, random_state=0, callback=records.append).fit(iris)
    starts = [record.start for record in records]
    assert starts == sorted(starts)
    assert set(starts) == {0, 1, 2}
    last = {record.start: record for record in records}
    assert fit.lower_bound_ == max(record.log_likelihood for record in last.values())
    assert fit.n_iter_ in {record.number for record in last.values()}


def test_callback_sees_no_pass_without_iterations(iris):
    records = []
    GaussianMixture(3, max_iter=0, random_state=0, callback=records.append).fit(iris)
    assert records == []


def test_error_in_callback_ends_the_fit(iris):
    class EnoughError(Exception):
        pass

    def stop(record):
        if record.number == 2:
            raise EnoughError

    estimator = GaussianMixture(3, random_state=0, callback=stop)
    with pytest.raises(EnoughError):
        estimator.fit(iris)
    assert not hasattr(estimator, "means_")  # nothing half-fitted


def test_silent_by_default(iris, capsys):
    GaussianMixture(3, random_state=0).fit(iris)
    assert capsys.readouterr() == ("", "")


def test_every_pass_is_printed_when_very_verbose(iris, capsys):
    fit = GaussianMixture(3, random_state=0, verbose=2).fit(iris)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Initialization 0"
    assert lines[-1] == f"Initialization 0 converged after {fit.n_iter_} passes."
    passes = [re.search(r"pass\s+(\d+)\s+log-likelihood (\S+)", line) for line in lines[1:-1]]
    assert [int(found[1]) for found in passes] == list(range(1, fit.n_iter_ + 1))
    np.testing.assert_allclose(
        [float(found[2]) for found in passes], fit.lower_bounds_, rtol=0, atol=1e-8
    )
    assert all("rows/s" in line for line in lines[1:-1])


def test_interval_and_several_starts(iris, capsys):
    estimator = GaussianMixture(
        3, random_state=0, verbose=1, verbose_interval=4, max_iter=9, tol=0, n_init=2
    )
    with pytest.warns(ConvergenceWarning):
        estimator.fit(iris)
    lines = capsys.readouterr().out.splitlines()
    numbers = [int(found[1]) for line in lines if (found := re.search(r"pass\s+(\d+)", line))]
    assert numbers == [4, 8, 4, 8]
    assert lines[0] == "Initialization 0"
    assert "Initialization 1" in lines
    assert lines.count("Initialization 1 did not converge after 9 passes.") == 1


def test_log_likelihood_printed_is_that_of_the_data(iris):
    """The record of pass i is the score of the parameters after i - 1 steps."""
    records = []
    estimator = GaussianMixture(3, random_state=0, max_iter=4, tol=0, callback=records.append)
    with pytest.warns(ConvergenceWarning):
        estimator.fit(iris)
    shorter = GaussianMixture(3, random_state=0, max_iter=3, tol=0)
    with pytest.warns(ConvergenceWarning):
        shorter.fit(iris)
    assert records[3].log_likelihood == pytest.approx(shorter.score(iris), rel=1e-13)


def clusters(separation, K=8, d=16, n=2000):
    rng = np.random.default_rng(0)
    means = separation * rng.normal(size=(K, d))
    return rng.normal(size=(n, d)) + means[rng.integers(K, size=n)]


def test_history_has_every_pass_of_the_best_start(iris):
    records = []
    fit = GaussianMixture(3, n_init=3, random_state=4, callback=records.append).fit(iris)
    assert fit.history_
    best = {record.start for record in fit.history_}
    assert len(best) == 1
    assert fit.history_ == [record for record in records if record.start in best]
    assert [record.log_likelihood for record in fit.history_] == fit.lower_bounds_
    assert [record.number for record in fit.history_] == list(range(1, fit.n_iter_ + 1))
    assert {record.n_bytes for record in fit.history_} == {150 * 4 * 8}
    with pytest.warns(ConvergenceWarning):
        again = GaussianMixture(3, random_state=4, max_iter=1).fit(iris)
    assert len(again.history_) == 1
    assert GaussianMixture(3, random_state=4, max_iter=0).fit(iris).history_ == []


@pytest.mark.parametrize("n_threads", [1, 3])
def test_history_says_which_fraction_was_left_out(n_threads, capsys):
    """Of 8 components far apart 7 need not be computed for a row; near ones are not ruled out."""
    settings = {"n_components": 8, "random_state": 0, "n_threads": n_threads, "verbose": 2}
    X = clusters(60.0)
    for data in (list(np.array_split(X, 5)), da.from_array(X, chunks=(300, 16))):
        fit = GaussianMixture(**settings).fit(data)
        assert [record.left_out for record in fit.history_] == [7 / 8] * fit.n_iter_
        assert capsys.readouterr().out.count("  88% left out  ") == fit.n_iter_
    with pytest.warns(ConvergenceWarning):
        fit = GaussianMixture(max_iter=3, **settings).fit(clusters(0.1))
    assert [record.left_out for record in fit.history_] == [0] * 3
    assert "left out" not in capsys.readouterr().out
    assert {record.arithmetic for record in fit.history_} == {"float64"}


def test_history_counts_what_is_read(iris, tmp_path):
    np.save(tmp_path / "rows.npy", iris.astype(np.float32))
    fit = GaussianMixture(3, random_state=0).fit(tmp_path / "rows.npy")
    assert {(record.n_rows, record.n_bytes) for record in fit.history_} == {(150, 150 * 4 * 4)}


def test_history_survives_a_file(iris, tmp_path):
    fit = GaussianMixture(3, random_state=0).fit(iris)
    emdash.save(fit, tmp_path / "model.npz")
    assert emdash.load(tmp_path / "model.npz").history_ == fit.history_
    with np.load(tmp_path / "model.npz") as archive:  # readable without emdash
        assert archive["history_"]["log_likelihood"].tolist() == fit.lower_bounds_
