"""emdash.save and emdash.load: the same estimator comes back, and nothing else is accepted."""

from __future__ import annotations

import io
import json
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture as ReferenceMixture

import emdash
from emdash.archive import check_target, write_atomically
from emdash.persistence import FORMAT
from emdash.progress import to_table

COVARIANCE_TYPES = ["full", "tied", "diag", "spherical"]


def rows(n=200, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + 4 * rng.integers(0, 2, size=(n, 1))


def fitted(covariance_type="full", **parameters):
    settings = {"n_components": 2, "random_state": 0, **parameters}
    return emdash.GaussianMixture(covariance_type=covariance_type, **settings).fit(rows())


def rewrite(path, **changes):
    """Change members of a model file; None takes one away."""
    with np.load(path) as archive:
        members = dict(archive)
    members.update(changes)
    np.savez(path, **{name: value for name, value in members.items() if value is not None})


def rewrite_header(path, **changes):
    with np.load(path) as archive:
        header = json.loads(str(archive["emdash"]))
    rewrite(path, emdash=np.array(json.dumps({**header, **changes})))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_everything_comes_back(covariance_type, path):
    model = fitted(covariance_type, tol=1e-5, n_threads=2)
    emdash.save(model, path)
    again = emdash.load(path)
    assert again.get_params() == model.get_params()
    assert set(vars(again)) == set(vars(model))
    for name, value in vars(model).items():
        other = getattr(again, name)
        assert type(other) is type(value), name
        np.testing.assert_array_equal(other, value, err_msg=name)
    X = rows(seed=1)
    for method in ("predict", "predict_proba", "score_samples"):
        assert getattr(again, method)(X).tobytes() == getattr(model, method)(X).tobytes()
    np.testing.assert_array_equal(again.sample(5)[0], model.sample(5)[0])


def test_arrays_of_the_constructor_come_back(path):
    start = [[0.0, 0.0, 0.0], [4.0, 4.0, 4.0]]
    model = fitted(means_init=start, weights_init=(0.25, 0.75))
    emdash.save(model, path)
    again = emdash.load(path)
    np.testing.assert_array_equal(again.means_init, start)
    np.testing.assert_array_equal(again.weights_init, [0.25, 0.75])
    assert again.precisions_init is None
    refit = clone(again).fit(rows())
    np.testing.assert_array_equal(refit.means_, model.means_)


def test_fit_goes_on_where_the_saved_one_stopped(path):
    X = rows(n=2000)
    settings = {"n_components": 3, "tol": 0.0, "warm_start": True, "random_state": 0}
    with pytest.warns(match="did not converge"):
        model = emdash.GaussianMixture(max_iter=3, **settings).fit(X)
    emdash.save(model, path)
    again = emdash.load(path)
    for estimator in (model, again):
        with pytest.warns(match="did not converge"):
            estimator.fit(X)
    np.testing.assert_array_equal(again.means_, model.means_)
    assert again.lower_bounds_ == model.lower_bounds_


def test_feature_names_come_back(path):
    frame = pd.DataFrame(rows(), columns=["Länge", "Breite", "Höhe"])
    model = emdash.GaussianMixture(2, random_state=0).fit(frame)
    emdash.save(model, path)
    again = emdash.load(path)
    assert again.feature_names_in_.dtype == model.feature_names_in_.dtype == object
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        again.predict(frame[["Höhe", "Breite", "Länge"]])


def test_a_model_of_no_iterations_comes_back(path):
    model = fitted(max_iter=0)
    emdash.save(model, path)
    again = emdash.load(path)
    assert again.lower_bounds_ == []
    assert again.lower_bound_ == -np.inf


def test_what_cannot_be_kept_is_left_out(path):
    seen = []
    model = fitted(random_state=np.random.RandomState(0), callback=seen.append)
    emdash.save(model, path)
    again = emdash.load(path)
    assert again.random_state is None
    assert again.callback is None
    numpy_seed = fitted(random_state=np.int64(7))
    emdash.save(numpy_seed, path)
    assert emdash.load(path).random_state == 7


def test_file_needs_no_pickle_and_no_emdash(path):
    model = fitted()
    emdash.save(model, path)
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["means_"], model.means_)
        assert all(archive[name].dtype.kind in "fibUV" for name in archive.files)
        assert archive["history_"].dtype.names[:3] == ("start", "number", "log_likelihood")


def test_same_model_gives_the_same_bytes(tmp_path, monkeypatch):
    model = fitted()
    for name, now in (("a", 1e9), ("b", 2e9)):
        monkeypatch.setattr(zipfile.time, "time", lambda now=now: now)
        emdash.save(model, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("name", ["model", "model.npz", "model.v2", "modèle 1.model"])
def test_path_given_is_the_path_written(name, tmp_path):
    emdash.save(fitted(), str(tmp_path / name))
    assert [file.name for file in tmp_path.iterdir()] == [name]
    emdash.load(str(tmp_path / name))


def test_file_has_ordinary_permissions(path):
    path.touch()
    expected = path.stat().st_mode
    emdash.save(fitted(), path)
    assert path.stat().st_mode == expected


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_nothing_is_left_behind_on_failure(error, path, monkeypatch):
    path.write_bytes(b"before")

    def fail(*args, **kwargs):
        args[0].write(b"half")
        raise error

    monkeypatch.setattr("emdash.archive.npy_format.write_array", fail)
    with pytest.raises(type(error)):
        emdash.save(fitted(), path)
    assert path.read_bytes() == b"before"
    assert list(path.parent.iterdir()) == [path]


def test_target_is_complete_or_absent_while_writing(path):
    with write_atomically(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"half"


def test_content_is_on_the_disk_before_it_has_its_name(path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            f"emdash.archive.os.{name}",
            lambda *args, name=name, real=real: (calls.append(name), real(*args)),
        )
    emdash.save(fitted(), path)
    assert calls == ["fsync", "replace"]


def test_symbolic_link_is_followed(tmp_path, path):
    link = tmp_path / "latest"
    try:
        link.symlink_to(path)
    except OSError:
        pytest.skip("this system lets users make no symbolic links")
    emdash.save(fitted(), link)
    assert link.is_symlink()
    emdash.load(path)


def test_target_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a directory"):
        check_target(tmp_path)
    with pytest.raises(FileNotFoundError, match="create it first"):
        emdash.save(fitted(), tmp_path / "missing" / "model.npz")


def test_save_refuses_what_it_cannot_bring_back(path):
    with pytest.raises(NotFittedError):
        emdash.save(emdash.GaussianMixture(), path)
    with pytest.raises(TypeError, match=r"sklearn.*GaussianMixture"):
        emdash.save(ReferenceMixture().fit(rows()), path)

    class Mine(emdash.GaussianMixture):
        pass

    with pytest.raises(TypeError, match="Mine"):
        emdash.save(Mine().fit(rows()), path)
    with pytest.raises(ValueError, match=r"fit again\): covariances_ has"):
        emdash.save(fitted("diag").set_params(covariance_type="full"), path)
    model = fitted()
    model.means_ = [[1.0], [1.0, 2.0]]
    with pytest.raises(ValueError, match=r"fit again\): an attribute is no array of numbers"):
        emdash.save(model, path)
    assert not path.exists()


def npy_bytes():
    buffer = io.BytesIO()
    np.save(buffer, rows())
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK", b"hello, world", npy_bytes()])
def test_what_is_no_archive_is_refused(content, path):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.npz is not a \.npz file; models are written by"):
        emdash.load(path)


def test_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"model\.npz"):
        emdash.load(path)


def test_file_cut_anywhere_is_refused(path):
    emdash.save(fitted(), path)
    whole = path.read_bytes()
    for length in [4, 30, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="truncated or damaged"):
            emdash.load(path)


def test_flipped_bit_is_noticed(path):
    model = fitted()
    emdash.save(model, path)
    whole = bytearray(path.read_bytes())
    whole[whole.index(model.means_.tobytes())] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"truncated or damaged \(Bad CRC"):
        emdash.load(path)


@pytest.mark.parametrize(("offset", "bit"), [(8, 0), (8, 5), (10, 4)])
def test_bytes_that_would_mean_encryption_or_compression_are_damage(offset, bit, path):
    """In the directory at the end: flags, and the method of compression."""
    emdash.save(fitted(), path)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + offset] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.npz is truncated or damaged"):
        emdash.load(path)


def test_archive_of_another_program_is_refused(path):
    np.savez(path, x=np.arange(3), y=np.arange(4))
    with pytest.raises(ValueError, match="not a model of emdash: it holds x, y"):
        emdash.load(path)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(ValueError, match="holds nothing"):
        emdash.load(path)
    for header in ("{", "[]", '{"format": 1}', "1"):
        np.savez(path, emdash=np.array(header))
        with pytest.raises(ValueError, match="its header is not one"):
            emdash.load(path)


def test_pickle_is_not_read(path):
    emdash.save(fitted(), path)
    rewrite(path, means_=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        emdash.load(path)


def test_newer_files_are_refused(path):
    emdash.save(fitted(), path)
    rewrite_header(path, format=FORMAT + 1, version="99.0")
    with pytest.raises(ValueError, match=r"written by emdash 99\.0 in format 2.*upgrade emdash"):
        emdash.load(path)
    rewrite_header(path, format=FORMAT, **{"class": "Unheard"})
    with pytest.raises(ValueError, match=r"'Unheard' written by emdash 99\.0"):
        emdash.load(path)


def test_unknown_and_invalid_parameters_are_refused(path):
    emdash.save(fitted(), path)
    rewrite_header(path, parameters={"colour": 1})
    with pytest.raises(ValueError, match="sets the parameter 'colour'"):
        emdash.load(path)
    rewrite_header(path, parameters={"covariance_type": "round"})
    with pytest.raises(ValueError, match="'covariance_type' parameter"):
        emdash.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights_": np.ones(3) / 3}, r"weights_ has .* shape \(3,\), expected shape \(2,\)"),
        ({"means_": np.ones(6)}, "make no model"),
        ({"means_": None}, "make no model"),
        ({"means_": np.ones((2, 4))}, r"covariances_ has|precisions_"),
        ({"covariances_": np.ones((2, 3))}, r"covariances_ has"),
        ({"precisions_cholesky_": None}, "missing attribute precisions_cholesky_"),
        ({"extra_": np.ones(1)}, "unexpected or missing attribute extra_"),
        ({"weights_": np.array(["a", "b"])}, "weights_ has dtype <U1"),
        ({"n_features_in_": np.array(4)}, "n_features_in_ and means_ differ"),
        ({"lower_bounds_": np.ones(0)}, r"lower_bounds_ has"),
        ({"history_": np.ones(3)}, "expected a table with the fields"),
        ({"history_": to_table([])}, "history_ has"),
    ],
)
def test_attributes_that_do_not_agree_are_refused(changes, message, path):
    emdash.save(fitted(), path)
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=r"model\.npz is damaged: .*" + message):
        emdash.load(path)


@pytest.mark.parametrize("names", ["means_", ["means_", "colour_"], [["means_"]], 3])
def test_rounded_attributes_that_are_not_there_are_refused(names, path):
    emdash.save(fitted(), path)
    rewrite_header(path, float32=names)
    with pytest.raises(ValueError, match=r"model\.npz is damaged: float32 attributes"):
        emdash.load(path)
