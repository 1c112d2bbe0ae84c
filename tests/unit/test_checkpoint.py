"""Checkpoints: a fit that was interrupted anywhere ends where it would have ended anyway."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from sklearn.base import clone

import emdash
from emdash import Checkpoint, GaussianMixture

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


class EnoughError(Exception):
    pass


class After:
    """A callback that raises in every `n`-th pass, whichever fit it belongs to."""

    def __init__(self, n):
        self.n, self.count = n, 0

    def __call__(self, record):
        self.count += 1
        if self.count % self.n == 0:
            raise EnoughError


def rows(n=600, d=3):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    X[::2] += 1.5
    X[::3, -1] -= 2
    return X


@pytest.fixture
def X():
    return rows()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "fit.npz"


@pytest.fixture(autouse=True)
def _folder(path, monkeypatch):
    path.parent.mkdir()
    # takes 10 ms, and is for a loss of power; that it is called is tested with the archives
    monkeypatch.setattr("emdash.archive.os.fsync", lambda file: None)


SETTINGS = {
    "n_components": 3,
    "random_state": 3,
    "tol": 1e-4,
    "max_iter": 15,
    "init_params": "random_from_data",
}


def without_clocks(history):
    return [replace(record, seconds=0.0, imbalance=1.0) for record in history]


def assert_same(one, other):
    for name in ATTRIBUTES:
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    for name in ("n_iter_", "converged_", "lower_bound_", "lower_bounds_"):
        assert getattr(one, name) == getattr(other, name), name
    assert without_clocks(one.history_) == without_clocks(other.history_)


def in_pieces(X, path, passes, **settings):
    """Fit in as many processes' worth of fits as it takes, `passes` passes each."""
    callback = After(passes)
    while True:
        try:
            estimator = GaussianMixture(checkpoint=path, callback=callback, **settings)
            return estimator.fit(X), callback.count
        except EnoughError:
            assert [file.name for file in path.parent.iterdir()] == [path.name]


# ------------------------------------------------------------------ going on


@pytest.mark.parametrize(
    ("covariance_type", "init_params"),
    [
        ("full", "kmeans"),
        ("full", "random_from_data"),
        ("tied", "k-means++"),
        ("diag", "random"),
        ("spherical", "random_from_data"),
    ],
)
def test_resumed_ends_bitwise_where_it_would_have_ended(covariance_type, init_params, X, path):
    settings = {**SETTINGS, "covariance_type": covariance_type, "init_params": init_params}
    settings |= {"n_init": 3}
    records = []
    expected = GaussianMixture(callback=records.append, **settings).fit(X)
    found, count = in_pieces(X, path, 4, **settings)
    assert_same(found, expected)
    assert count == len(records)  # no pass was made twice


@pytest.mark.parametrize("passes", [1, 2, 5])
def test_resumed_after_any_pass(passes, X, path):
    expected = GaussianMixture(**SETTINGS).fit(X)
    assert_same(in_pieces(X, path, passes, **SETTINGS)[0], expected)


def kinds(X, folder):
    np.save(folder / "rows.npy", X)
    yield folder / "rows.npy"
    yield np.load(folder / "rows.npy", mmap_mode="r")
    yield [X[:250], X[250:]]
    yield da.from_array(X, chunks=(100, 3))
    yield da.from_array(X, chunks=(100, 3))[X[:, 0] > -9]  # of unknown length
    yield X.astype(np.float32)


@pytest.mark.parametrize("kind", range(6))
def test_any_kind_of_data(kind, X, path, tmp_path):
    data = list(kinds(X, tmp_path))[kind]
    settings = {**SETTINGS, "n_init": 2}
    expected = GaussianMixture(**settings).fit(data)
    assert_same(in_pieces(data, path, 5, **settings)[0], expected)


def states(kind):
    if kind == "none":
        return None
    bits = np.random.PCG64(5) if kind == "pcg" else np.random.MT19937(5)
    state = np.random.RandomState(bits)
    state.normal()  # leaves half a pair behind
    return state


@pytest.mark.parametrize("kind", ["none", "instance", "pcg"])
def test_random_numbers_go_on_where_they_were(kind, X, path):
    """The new process has another random state; the one in the file is used."""
    settings = {**SETTINGS, "n_init": 4}
    np.random.seed(7)  # noqa: NPY002 - what random_state=None draws from
    expected = GaussianMixture(**{**settings, "random_state": states(kind)}).fit(X)
    np.random.seed(7)  # noqa: NPY002
    settings["random_state"] = states(kind)
    callback = After(17)
    with pytest.raises(EnoughError):
        GaussianMixture(checkpoint=path, callback=callback, **settings).fit(X)
    settings["random_state"] = np.random.RandomState(99) if states(kind) else None
    assert_same(GaussianMixture(checkpoint=path, **settings).fit(X), expected)


def test_start_given_in_full(X, path):
    start = {
        "means_init": X[:3],
        "weights_init": [0.2, 0.3, 0.5],
        "precisions_init": [np.eye(3)] * 3,
    }
    settings = {**SETTINGS, **start}
    expected = GaussianMixture(**settings).fit(X)
    assert_same(in_pieces(X, path, 2, **settings)[0], expected)


def test_start_is_kept_before_the_first_pass(X, path, monkeypatch):
    """Finding a start may take longer than a pass."""
    with monkeypatch.context() as patch:
        patch.setattr("emdash.estimators._step.Step.__call__", raising(EnoughError))
        with pytest.raises(EnoughError):
            GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    with monkeypatch.context() as patch:
        patch.setattr("emdash.estimators._starts.start_from", raising(AssertionError))
        found = GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    assert_same(found, GaussianMixture(**SETTINGS).fit(X))


def raising(error):
    def function(*args, **kwargs):
        raise error

    return function


def test_complete_checkpoint_makes_no_pass(X, path, monkeypatch, capsys):
    expected = GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    before = path.read_bytes()
    records = []
    monkeypatch.setattr("emdash.estimators._step.Step.__call__", raising(AssertionError))
    found = GaussianMixture(checkpoint=path, callback=records.append, verbose=2, **SETTINGS).fit(X)
    assert_same(found, expected)
    assert records == []
    assert capsys.readouterr().out == ""
    assert path.read_bytes() == before


@pytest.mark.parametrize("raised", [{"max_iter": 15}, {"tol": 1e-4}, {"max_iter": 15, "tol": 0.0}])
def test_more_passes_or_a_lower_tolerance_go_on(raised, X, path):
    settings = {**SETTINGS, "max_iter": 15, **raised}
    expected = GaussianMixture(**settings).fit(X)
    before = {**settings, **{name: {"max_iter": 5, "tol": 0.1}[name] for name in raised}}
    short = GaussianMixture(checkpoint=path, **before).fit(X)
    assert short.n_iter_ < expected.n_iter_
    assert_same(GaussianMixture(checkpoint=path, **settings).fit(X), expected)


def test_more_starts_go_on(X, path):
    expected = GaussianMixture(n_init=5, **SETTINGS).fit(X)
    GaussianMixture(checkpoint=path, n_init=2, **SETTINGS).fit(X)
    assert_same(GaussianMixture(checkpoint=path, n_init=5, **SETTINGS).fit(X), expected)


def test_of_several_starts_the_best_goes_on(X, path):
    settings = {**SETTINGS, "n_init": 4, "tol": 0.0}
    short = GaussianMixture(checkpoint=path, **{**settings, "max_iter": 3}).fit(X)
    best = {record.start for record in short.history_}
    found = GaussianMixture(checkpoint=path, **settings).fit(X)
    assert {record.start for record in found.history_} == best != {3}
    assert found.lower_bounds_[:3] == short.lower_bounds_
    assert found.n_iter_ == settings["max_iter"]
    again = GaussianMixture(checkpoint=path, **settings).fit(X)
    assert_same(again, found)


@pytest.mark.parametrize("name", ["fit.npz", "fit", "fit [1]*.npz"])
def test_what_a_killed_process_left_is_removed(name, X, path):
    left = path.parent / f".{name}.0123.tmp"
    left.write_bytes(b"half")
    kept = path.parent / ".other.npz.0123.tmp"
    kept.write_bytes(b"of another fit")
    GaussianMixture(checkpoint=str(path.parent / name), **SETTINGS).fit(X)
    assert {file.name for file in path.parent.iterdir()} == {name, kept.name}


def test_no_iterations(X, path):
    settings = {**SETTINGS, "max_iter": 0}
    for _ in range(2):
        found = GaussianMixture(checkpoint=path, **settings).fit(X)
        assert found.history_ == []
        np.testing.assert_array_equal(found.means_, GaussianMixture(**settings).fit(X).means_)
    expected = GaussianMixture(**SETTINGS).fit(X)
    assert_same(GaussianMixture(checkpoint=path, **SETTINGS).fit(X), expected)


def test_seconds_between_two_writes(X, path, monkeypatch):
    written = []
    monkeypatch.setattr(
        "emdash.checkpoint.write_archive",
        lambda path, kind, header, arrays: written.append(len(arrays["current.history"])),
    )
    fit = GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    assert written == [*range(fit.n_iter_ + 1)]
    written.clear()
    GaussianMixture(checkpoint=Checkpoint(path, seconds=3600), **SETTINGS).fit(X)
    assert written == [0, fit.n_iter_]
    written.clear()
    with pytest.raises(EnoughError):
        GaussianMixture(
            checkpoint=Checkpoint(path, seconds=3600), callback=After(4), **SETTINGS
        ).fit(X)
    assert written == [0, 4]


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_fit(X, path, monkeypatch):
    estimator = GaussianMixture(checkpoint=path, **SETTINGS)
    monkeypatch.setattr("emdash.archive.os.replace", raising(OSError(28, "No space left")))
    with pytest.warns(RuntimeWarning, match=r"fit\.npz .*No space left.*the fit goes on"):
        estimator.fit(X)
    assert_same(estimator, GaussianMixture(**SETTINGS).fit(X))
    assert list(path.parent.iterdir()) == []


# ------------------------------------------------------------------ the file


def test_file_needs_no_pickle_and_no_emdash(X, path):
    fit = GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["current.components.means"], fit.means_)
        assert archive["current.history"]["log_likelihood"].tolist() == fit.lower_bounds_


def test_estimator_with_a_checkpoint_can_be_cloned_and_saved(X, path, tmp_path):
    fit = GaussianMixture(checkpoint=Checkpoint(path, 5), **SETTINGS).fit(X)
    assert clone(fit).checkpoint == Checkpoint(path, 5)
    emdash.save(fit, tmp_path / "model.npz")
    assert emdash.load(tmp_path / "model.npz").checkpoint is None
