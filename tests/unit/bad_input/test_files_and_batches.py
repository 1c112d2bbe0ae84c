"""Files that are absent, cut short or something else, and batches that change or end."""

import numpy as np
import pytest
from bad_inputs import Batches, D, K, N, refused, saved, start

from emdash import GaussianMixture
from emdash.sources import open_source

# ------------------------------------------------------------------ files


def test_a_file_that_does_not_exist(X, tmp_path):
    with refused(GaussianMixture(K), X, FileNotFoundError, "nowhere.npy"):
        GaussianMixture(K).fit(tmp_path / "nowhere.npy")


@pytest.mark.parametrize("path", ["a\0b", "\0.npy"])
def test_no_path_has_a_null_character(X, path):
    with refused(GaussianMixture(K), X, ValueError, "null character"):
        GaussianMixture(K).fit(path)
    with pytest.raises(ValueError, match="null character"):
        GaussianMixture(K, checkpoint=path).fit(X)


@pytest.mark.parametrize("missing", [1, 8 * D, 8 * D * N])
def test_a_truncated_file(X, tmp_path, missing):
    for data in (X, np.asfortranarray(X)):
        path = saved(data, tmp_path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) - missing])
        with refused(GaussianMixture(K), X, ValueError, "X.npy is truncated", r"\(400, 4\)"):
            GaussianMixture(K).fit(path)


def test_a_truncated_header(X, tmp_path):
    path = saved(X, tmp_path)
    for length in (0, 3, 9, 40):
        (tmp_path / "cut.npy").write_bytes(path.read_bytes()[:length])
        with refused(GaussianMixture(K), X, ValueError, "cut.npy is not a .npy file"):
            GaussianMixture(K).fit(tmp_path / "cut.npy")


def test_files_that_are_not_arrays(X, tmp_path):
    (tmp_path / "table.txt").write_text("1,2,3\n4,5,6\n")
    np.savez(tmp_path / "X.npz", X=X)
    (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'what': 'ever'}")
    for name, advice in (
        ("table.txt", "numpy.save"),
        ("X.npz", "out of the archive"),
        ("header.npy", "numpy.save"),
    ):
        with refused(GaussianMixture(K), X, ValueError, f"{name} is not a .npy file", advice):
            GaussianMixture(K).fit(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with refused(GaussianMixture(K), X, ValueError, "empty has no file that ends in .npy"):
        GaussianMixture(K).fit(tmp_path / "empty")


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_that_shrinks_during_the_fit(X, tmp_path, order):
    path = saved(np.asarray(X, order=order), tmp_path)

    def shrink(progress):
        if progress.number == 2:
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 2)

    model = GaussianMixture(K, tol=0.0, callback=shrink, **start())
    with refused(model, X, ValueError, "X changed between passes", "X.npy", "written to"):
        model.fit(path)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_that_shrinks_during_a_pass(X, tmp_path, order):
    path = saved(np.asarray(X, order=order), tmp_path)
    chunks = open_source(path).chunks()
    next(chunks)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"X.npy was cut short.* row \d+"):
        list(chunks)


# ------------------------------------------------------------------ iterables


def test_what_can_be_read_only_once(X):
    class Once:
        def __init__(self):
            self.iterator = iter([X])

        def __iter__(self):
            return self.iterator

    for data in ((batch for batch in [X]), iter([X]), map(np.asarray, [X]), Once()):
        with refused(GaussianMixture(K), X, TypeError, "only once", "__iter__", "list of "):
            GaussianMixture(K).fit(data)


def test_a_function_that_returns_no_batches(X):
    with refused(GaussianMixture(K), X, TypeError, "X is a function that returned None"):
        GaussianMixture(K).fit(lambda: None)


class Changing:
    """Yields what a function of the number of the pass returns."""

    def __init__(self, batches):
        self.batches = batches
        self.passes = -1

    def __iter__(self):
        self.passes += 1  # the constructor of the source looks twice
        return iter(self.batches(self.passes))


def test_other_rows_in_a_later_pass(X):
    for settings in (start(), {"random_state": 0}):
        model = GaussianMixture(K, tol=0.0, **settings)
        with refused(model, X, ValueError, "(?i)X (changed|yielded)", "399", "400"):
            model.fit(Changing(lambda i: [X] if i < 5 else [X[1:]]))
        model = GaussianMixture(K, tol=0.0, **settings)
        with refused(model, X, ValueError, "X yielded 0 rows in this pass", "__iter__"):
            model.fit(Changing(lambda i: [X] if i < 4 else []))


def test_batches_that_do_not_fit_together(X):
    for data, message in (
        ([X, X[:, :3]], r"batch 1 of X has shape \(400, 3\), expected \(rows, 4\)"),
        ([X, X[:, 0]], r"batch 1 of X has shape \(400,\), expected \(rows, 4\)"),
        (Batches(X, X.astype(complex)), "batch 1 of X has dtype complex128"),
        (Batches(X[0], X[1]), r"first batch of X has shape \(4,\)"),
        (Batches(*X.ravel()), r"first batch of X has shape \(\)"),
        ({"a": X}, "first batch of X"),
    ):
        with refused(GaussianMixture(K), X, ValueError, message):
            GaussianMixture(K, **start()).fit(data)


def test_no_batches(X):
    for data in ([], (), Batches()):
        with refused(GaussianMixture(K), X, ValueError, "no batches|1D array|0 sample"):
            GaussianMixture(K).fit(data)


def test_a_list_of_rows_is_a_table(X):
    """As in scikit-learn: one-dimensional arrays in a list are its rows."""
    model = GaussianMixture(K, **start()).fit(list(X))
    np.testing.assert_array_equal(model.means_, GaussianMixture(K, **start()).fit(X).means_)
