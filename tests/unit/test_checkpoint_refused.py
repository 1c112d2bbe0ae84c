"""Checkpoints of another model, of other data, damaged, or no checkpoints at all."""

from __future__ import annotations

import json
import warnings

import dask.array as da
import numpy as np
import pytest
import zarr

import emdash
from emdash import GaussianMixture

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {
    "n_components": 3,
    "random_state": 3,
    "tol": 1e-4,
    "max_iter": 15,
    "init_params": "random_from_data",
}


class EnoughError(Exception):
    pass


def after_four_passes(record):
    if record.number == 4:
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
def path(tmp_path, monkeypatch):
    # takes 10 ms, and is for a loss of power
    monkeypatch.setattr("emdash.archive.os.fsync", lambda file: None)
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "fit.npz"


@pytest.mark.parametrize(
    "changed",
    [
        {"n_components": 2},
        {"covariance_type": "diag"},
        {"reg_covar": 1e-3},
        {"init_params": "random"},
        {"random_state": 4},
        {"random_state": None},
        {"means_init": np.eye(3)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_model_is_refused_by_name(changed, X, path):
    GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    before = path.read_bytes()
    (name,) = changed
    with pytest.raises(ValueError, match=rf"fit\.npz is a checkpoint of another model: {name} is"):
        GaussianMixture(checkpoint=path, **{**SETTINGS, **changed}).fit(X)
    assert path.read_bytes() == before


def test_other_start_arrays_are_refused(X, path):
    GaussianMixture(checkpoint=path, means_init=X[:3], **SETTINGS).fit(X)
    with pytest.raises(ValueError, match="another model: means_init"):
        GaussianMixture(checkpoint=path, means_init=X[3:6], **SETTINGS).fit(X)


def other_data(X):
    first, last, between = X.copy(), X.copy(), X.copy()
    between[300, 0] += 1e-9
    first[2, 1] += 1e-9
    last[-3, 0] += 1e-9
    return {
        "n_features is 3 there, but 2": X[:, :2],
        "n_rows is 600 there, but 599": X[:-1],
        "first_rows differ": first,
        "last_rows differ": last,
        "rows differ": between,
    }


def in_memory(X, path):
    return X


def npy(X, path):
    np.save(path.with_name("X.npy"), X)
    return path.with_name("X.npy")


def mapped(X, path):
    return np.load(npy(X, path), mmap_mode="r")


def zarr_chunks(X, path):
    folder = path.with_name("X.zarr")
    zarr.create_array(folder, data=X, chunks=(70, 2), overwrite=True)
    return folder


def csv(X, path):
    np.savetxt(path.with_name("X.csv"), X, delimiter=",", fmt="%.17g")
    return path.with_name("X.csv")


@pytest.mark.parametrize("stored", [in_memory, npy, mapped, zarr_chunks, csv])
@pytest.mark.parametrize("what", other_data(rows()))
def test_other_data_are_refused_by_name(what, stored, X, path, monkeypatch):
    """Of up to 256 MB every row counts, in how many chunks ever."""
    if stored is csv and what.startswith("n_rows"):
        what = "last_rows differ"  # only a pass counts them
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 140 * 24)
    with pytest.raises(EnoughError):
        GaussianMixture(checkpoint=path, callback=after_four_passes, **SETTINGS).fit(
            stored(X, path)
        )
    before = path.read_bytes()
    other = other_data(X).get(what, X[:-1])
    with pytest.raises(ValueError, match=f"of other data: {what}"):
        GaussianMixture(checkpoint=path, **SETTINGS).fit(stored(other, path))
    assert path.read_bytes() == before


def test_the_same_rows_are_known_in_any_chunks_layout_and_type(X, path, monkeypatch):
    X = X.astype(np.float32)
    with pytest.raises(EnoughError):
        GaussianMixture(checkpoint=path, callback=after_four_passes, **SETTINGS).fit(X)
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 140 * 24)
    other = X.copy()
    other[300, 0] += 1e-6
    for stored in (in_memory, npy, zarr_chunks, csv):
        with pytest.raises(ValueError, match="of other data: rows differ"):  # and no warning
            GaussianMixture(checkpoint=path, **SETTINGS).fit(stored(other, path))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X has .* chunks, but had 1")
            same = stored(np.asfortranarray(X, np.float64), path)
            GaussianMixture(checkpoint=path, **{**SETTINGS, "max_iter": 4}).fit(same)


def test_of_more_data_chunks_all_over_are_compared(X, path, monkeypatch):
    """What is noticed and what is not: the how-to says it in the same words."""
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 50 * 24)
    monkeypatch.setattr("emdash.estimators._identity.LOOK_BYTES", 4 * 50 * 24)
    with pytest.raises(EnoughError):
        GaussianMixture(checkpoint=path, callback=after_four_passes, **SETTINGS).fit(npy(X, path))
    for chunk in range(12):
        other = X.copy()
        other[50 * chunk + 25, 1] += 1e-9
        fit = GaussianMixture(checkpoint=path, **{**SETTINGS, "max_iter": 4})
        if chunk in (0, 3, 7, 11):
            with pytest.raises(ValueError, match="of other data: 200 rows in 4 chunks differ"):
                fit.fit(npy(other, path))
        else:
            fit.fit(npy(other, path))
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 100 * 24)
    other[[25, 575]] = X[[25, 575]]
    with pytest.warns(UserWarning, match="X has 6 chunks, but had 12"):
        GaussianMixture(checkpoint=path, **SETTINGS).fit(npy(other, path))


@pytest.mark.parametrize(
    "changed",
    [
        {"memory_limit": "1GB"},
        {"n_threads": 1},
        {"callback": lambda record: None},
        {"verbose": 1, "verbose_interval": 3},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_does_not_define_the_model_may_differ(changed, X, path):
    expected = GaussianMixture(**SETTINGS).fit(X)
    with pytest.raises(EnoughError):
        GaussianMixture(checkpoint=path, callback=after_four_passes, **SETTINGS).fit(X)
    found = GaussianMixture(checkpoint=path, **SETTINGS, **changed).fit(X)
    assert found.means_.tobytes() == expected.means_.tobytes()
    assert found.n_iter_ == expected.n_iter_


@pytest.mark.parametrize(("limit", "chunks"), [("1GB", 1), ("30kB", 4)])
def test_a_fit_that_ran_out_of_memory_goes_on_with_less(limit, chunks, X, path):
    """A limit that needs other chunks is said to change the last bits; no other does."""
    expected = GaussianMixture(**SETTINGS).fit(X)
    with pytest.raises(EnoughError):
        GaussianMixture(checkpoint=path, callback=after_four_passes, **SETTINGS).fit(npy(X, path))
    estimator = GaussianMixture(checkpoint=path, memory_limit=limit, **SETTINGS)
    if chunks == 1:
        found = estimator.fit(npy(X, path))
        assert found.means_.tobytes() == expected.means_.tobytes()
    else:
        with pytest.warns(UserWarning, match=f"X has {chunks} chunks, but had 1"):
            found = estimator.fit(npy(X, path))
        np.testing.assert_allclose(found.means_, expected.means_, rtol=1e-9)
    assert [record.number for record in found.history_] == [*range(1, expected.n_iter_ + 1)]


@pytest.mark.parametrize("row", [0, 300])
def test_other_chunks_of_dask_are_refused_after_a_pass(row, X, path):
    """No chunk is loaded to look at: it may depend on all others."""
    loaded = []

    def load(block):
        loaded.append(len(block))
        return block

    def lazy(X, chunks=150):
        x = da.from_array(X, chunks=(chunks, 3))
        return x.map_blocks(load, dtype=x.dtype, meta=x._meta)

    settings = {**SETTINGS, "n_init": 1, "n_threads": 1}
    with pytest.raises(EnoughError):
        GaussianMixture(checkpoint=path, callback=after_four_passes, **settings).fit(lazy(X))
    assert len(loaded) == (1 + 4) * 4  # one pass for the start
    loaded.clear()
    before = path.read_bytes()
    other = X.copy()
    other[row] += 1e-9
    with pytest.raises(ValueError, match="of other data: chunks differ"):
        GaussianMixture(checkpoint=path, **settings).fit(lazy(other))
    assert len(loaded) == 4
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="of other data: n_rows is 600 there, but 599"):
        GaussianMixture(checkpoint=path, **settings).fit(lazy(X[1:]))
    assert len(loaded) == 4
    if row == 0:
        with pytest.warns(UserWarning, match="X has 6"), pytest.raises(ValueError, match="chunks"):
            GaussianMixture(checkpoint=path, **settings).fit(lazy(other, chunks=100))
    with pytest.warns(UserWarning, match="X has 6"):
        GaussianMixture(checkpoint=path, **settings).fit(lazy(X, chunks=100))


def test_a_finished_fit_to_dask_knows_its_data(X, path):
    """By the name of the graph, or by a pass that does nothing but look."""
    loaded = []

    def lazy(X, name):
        def load(block):
            loaded.append(len(block))
            return block

        x = da.from_array(X, chunks=(150, 3), name=name)
        return x.map_blocks(load, dtype=x.dtype, meta=x._meta, name=f"loaded-{name}")

    settings = {**SETTINGS, "n_init": 1, "n_threads": 1, "checkpoint": path}
    first = GaussianMixture(**settings).fit(lazy(X, "one"))
    before = path.read_bytes()
    other = X.copy()
    other[300] += 1e-9
    loaded.clear()
    with pytest.raises(ValueError, match="of other data: chunks differ"):
        GaussianMixture(**settings).fit(lazy(other, "two"))
    assert len(loaded) == 4
    assert path.read_bytes() == before
    for name, passes in (("one", 0), ("two", 1)):
        loaded.clear()
        again = GaussianMixture(**settings).fit(lazy(X, name))
        assert again.history_ == first.history_
        assert len(loaded) == 4 * passes


def test_other_batches_are_refused_as_soon_as_they_tell(X, path):
    with pytest.raises(EnoughError):
        GaussianMixture(checkpoint=path, callback=after_four_passes, **SETTINGS).fit(
            [X[:300], X[300:]]
        )
    with pytest.raises(ValueError, match="pass 5 read 599 rows, the pass before 600"):
        GaussianMixture(checkpoint=path, **SETTINGS).fit([X[:300], X[300:-1]])
    with pytest.raises(ValueError, match="of other data: first_rows differ"):
        GaussianMixture(checkpoint=path, **SETTINGS).fit([X[1:300], X[300:]])


def test_other_chunks_go_on_with_a_warning(X, path):
    expected = GaussianMixture(**SETTINGS).fit(X)
    with pytest.raises(EnoughError):
        GaussianMixture(checkpoint=path, callback=after_four_passes, **SETTINGS).fit(X)
    with pytest.warns(UserWarning, match="X has .* chunks, but had 1"):
        found = GaussianMixture(checkpoint=path, **SETTINGS).fit(da.from_array(X, chunks=(100, 3)))
    np.testing.assert_allclose(found.means_, expected.means_, rtol=1e-9)


def test_what_is_no_checkpoint_is_refused_and_left_alone(X, path):
    emdash.save(GaussianMixture(**SETTINGS).fit(X), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not a checkpoint of emdash: it holds emdash"):
        GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    assert path.read_bytes() == before
    path.write_bytes(b"notes")
    with pytest.raises(ValueError, match=r"fit\.npz is not a \.npz file; checkpoints are written"):
        GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    path.unlink()
    GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    with pytest.raises(ValueError, match="not a model of emdash: it holds checkpoint"):
        emdash.load(path)


def rewrite(path, **changes):
    with np.load(path) as archive:
        members = dict(archive)
    np.savez(path, **{**members, **changes})


def test_damage_and_newer_formats_are_refused(X, path):
    GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    whole = path.read_bytes()
    for length in (4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"fit\.npz is truncated or damaged"):
            GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    path.write_bytes(whole)
    rewrite(path, **{"current.components.means": np.ones((3, 4))})
    with pytest.raises(ValueError, match=r"damaged: current\.components\.means has shape \(3, 4\)"):
        GaussianMixture(checkpoint=path, **SETTINGS).fit(X)
    with np.load(path) as archive:
        header = json.loads(str(archive["checkpoint"]))
    rewrite(path, checkpoint=np.array(json.dumps({**header, "format": 99})))
    with pytest.raises(ValueError, match="in format 99, but emdash"):
        GaussianMixture(checkpoint=path, **SETTINGS).fit(X)


def test_paths_and_values_that_cannot_be(X, path):
    with pytest.raises(FileNotFoundError, match="create it first"):
        GaussianMixture(checkpoint=path.parent / "none" / "fit.npz", **SETTINGS).fit(X)
    with pytest.raises(IsADirectoryError):
        GaussianMixture(checkpoint=path.parent, **SETTINGS).fit(X)
    with pytest.raises(ValueError, match="'checkpoint' parameter"):
        GaussianMixture(checkpoint=3, **SETTINGS).fit(X)
    with pytest.raises(ValueError, match=r"warm_start .* choose one"):
        GaussianMixture(checkpoint=path, warm_start=True, **SETTINGS).fit(X)
    assert list(path.parent.iterdir()) == []
