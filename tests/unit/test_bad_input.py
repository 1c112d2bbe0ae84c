"""Bad input gets an error that names argument, value and place, and the estimator stays usable."""

import re
from contextlib import contextmanager

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError

from emdash import GaussianMixture
from emdash.estimators._rounded import exact
from emdash.sources import open_source, open_table

pytestmark = pytest.mark.filterwarnings("ignore:the columns of the Dask array X:UserWarning")

N, D, K = 400, 4, 3


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, D)) + 5.0 * rng.integers(0, K, size=(N, 1))
    X.setflags(write=False)
    return X


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Files and memory maps are cut into chunks of 32 rows, so that threads share them."""
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 32 * D * 8)


def start(K=K, d=D):
    """A whole start for full covariances: the fit reads nothing before its first pass."""
    return {
        "weights_init": np.full(K, 1 / K),
        "means_init": np.arange(K)[:, None] * np.ones(d),
        "precisions_init": np.broadcast_to(np.eye(d), (K, d, d)).copy(),
    }


class Batches:
    """A re-iterable of arrays."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def saved(X, folder):
    np.save(folder / "X.npy", X)
    return folder / "X.npy"


def mapped(X, folder, mode="r"):
    return np.load(saved(X, folder), mmap_mode=mode)


SOURCES = {
    "array": lambda X, folder: X,
    "fortran": lambda X, folder: np.asfortranarray(X),
    "frame": lambda X, folder: pd.DataFrame(X),
    "nested lists": lambda X, folder: X.tolist(),
    "file": saved,
    "file in Fortran order": lambda X, folder: saved(np.asfortranarray(X), folder),
    "path as str": lambda X, folder: str(saved(X, folder)),
    "memory map": mapped,
    "list of arrays": lambda X, folder: np.array_split(X, 7),
    "iterable": lambda X, folder: Batches(*np.array_split(X, 7)),
    "dask": lambda X, folder: da.from_array(X, chunks=(60, X.shape[1])),
    "dask, columns in chunks": lambda X, folder: da.from_array(X, chunks=(60, 1)),
}
LARGE = [name for name in SOURCES if name not in ("array", "fortran", "frame", "nested lists")]


@pytest.fixture(params=SOURCES)
def source(request, tmp_path):
    """A function that presents rows as one kind of input."""
    return lambda X: SOURCES[request.param](X, tmp_path)


@pytest.fixture(params=LARGE)
def large_source(request, tmp_path):
    """The same for kinds of input that scikit-learn does not know."""
    return lambda X: SOURCES[request.param](X, tmp_path)


@contextmanager
def refused(model, good, error, *parts):
    """Expect an error with all these parts in its message; afterwards the model can be fitted."""
    before = dict(vars(model))
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    for part in parts:
        assert re.search(part, message), f"{part!r} is not in {message!r}"
    fitted = {name for name in vars(model) if name.endswith("_") and name not in before}
    assert fitted <= {"n_features_in_", "feature_names_in_"}
    for name in ("means_", "weights_", "covariances_", "lower_bound_"):
        assert getattr(model, name, None) is before.get(name)
    model.set_params(n_components=K, covariance_type="full", tol=1e-3, callback=None, **start())
    assert np.isfinite(model.fit(good).means_).all()


# ------------------------------------------------------------------ values that are infinite


@pytest.mark.parametrize(
    ("row", "column", "value"), [(0, 0, np.inf), (257, 3, np.inf), (N - 1, 1, -np.inf)]
)
def test_infinity(X, source, row, column, value):
    bad = X.copy()
    bad[row] = np.nan  # which is no error and does not hide one
    bad[row, column] = value
    for settings in (start(), {"init_params": "random"}):
        model = GaussianMixture(K, **settings)
        with refused(model, X, ValueError, f"X contains infinity in row {row}, column {column}\\b"):
            model.fit(source(bad))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_the_first_of_several_bad_rows_is_named(X, source, n_threads):
    bad = X.copy()
    bad[[311, 130, 399, 131], 2] = np.inf
    for settings in (start(), {"random_state": 0}):
        model = GaussianMixture(K, n_threads=n_threads, **settings)
        with refused(model, X, ValueError, r"X contains infinity in row 130, column 2\b"):
            model.fit(source(bad))


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "score_samples", "score", "aic", "bic"]
)
def test_infinity_in_an_answer(X, source, method):
    bad = X.copy()
    bad[333, 1] = np.inf
    model = GaussianMixture(K, **start()).fit(X)
    with refused(model, X, ValueError, r"X contains infinity in row 333, column 1\b"):
        answer = getattr(model, method)(source(bad))
        if hasattr(answer, "compute"):
            answer.compute()


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("settings", [start(), {"random_state": 0}])
def test_a_value_that_overflows_when_squared(X, settings):
    bad = X.copy()
    bad[7, 0] = 1e200
    model = GaussianMixture(K, **settings)
    with refused(model, X, ValueError, "component \\d", "values of X overflow when squared"):
        model.fit(bad)


def test_longdouble_beyond_float64(X, large_source):
    bad = X.astype(np.longdouble)
    bad[7, 0] *= np.longdouble(10) ** 400
    if np.isinf(bad[7, 0]):
        pytest.skip("longdouble is float64 here")
    model = GaussianMixture(K, **start())
    with refused(model, X, ValueError, r"X contains infinity in row 7, column 0\b"):
        model.fit(large_source(bad))


# ------------------------------------------------------------------ shapes


def test_one_dimension(X, source, tmp_path):
    for name, present in SOURCES.items():
        if name in ("frame", "dask, columns in chunks", "list of arrays", "iterable"):
            continue
        data = da.from_array(X[:, 0]) if name == "dask" else present(X[:, 0], tmp_path)
        model = GaussianMixture(K)
        with refused(model, X, ValueError, "2D|two dim", r"reshape\(-1, 1\)"):
            model.fit(data)


def test_three_dimensions(X, tmp_path):
    cube = X.reshape(-1, 2, 4)
    for data in (cube, saved(cube, tmp_path), mapped(cube, tmp_path), da.from_array(cube)):
        model = GaussianMixture(K)
        with refused(model, X, ValueError, "dim|3D", ""):
            model.fit(data)


def test_no_columns(X, tmp_path):
    none = np.empty((N, 0))
    for data in (none, saved(none, tmp_path), [none, none], da.from_array(none, chunks=(50, 0))):
        model = GaussianMixture(K)
        with refused(model, X, ValueError, r"0 feature\(s\)"):
            model.fit(data)


def test_no_rows(X, tmp_path):
    none = np.empty((0, D))
    x = da.from_array(X, chunks=(60, D))
    for data in (
        none,
        saved(none, tmp_path),
        [none, none],
        da.from_array(none),
        x[x[:, 0] > 1e9],
        x[:0],
    ):
        for settings in (start(), {"random_state": 0}):
            model = GaussianMixture(K, **settings)
            with refused(model, X, ValueError, r"0 sample\(s\)|n_samples = 0"):
                model.fit(data)


@pytest.mark.parametrize("method", ["score", "aic", "bic"])
def test_the_score_of_no_rows(X, tmp_path, method):
    model = GaussianMixture(K, **start()).fit(X)
    x = da.from_array(X, chunks=(60, D))
    for data in (X[:0], saved(X[:0], tmp_path), [X[:0], X[:0]], x[:0], x[x[:, 0] > 1e9]):
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            getattr(model, method)(data)


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_rows_than_components(X, source, n):
    for settings in (start(), {"random_state": 0}):
        model = GaussianMixture(K, **settings)
        with refused(model, X, ValueError, f"n_samples = {n}|{n} sample"):
            model.fit(source(X[:n]))


def test_fewer_rows_than_components_when_nobody_counted_them(X):
    x = da.from_array(X, chunks=(60, D))
    x = x[x[:, 0] >= np.sort(X[:, 0])[-2]]
    for settings in (start(), {"random_state": 0}):
        model = GaussianMixture(K, **settings)
        with refused(model, X, ValueError, "n_components = 3, n_samples = 2"):
            model.fit(x)


def test_another_number_of_columns(X, source):
    model = GaussianMixture(K, **start()).fit(X)
    for d in (3, 5):
        data = source(np.ones((N, d)))
        for method in ("predict", "predict_proba", "score_samples", "score", "aic", "bic"):
            with pytest.raises(ValueError, match=rf"X has {d} features.* expecting 4 features"):
                getattr(model, method)(data)
    model.predict(source(X))


# ------------------------------------------------------------------ types


@pytest.mark.parametrize(
    ("values", "what"),
    [("complex128", "[Cc]omplex"), ("U3", "convert|numeric"), ("datetime64[s]", "convert|Date")],
)
def test_types_that_are_not_real_numbers(X, large_source, values, what):
    bad = np.zeros((N, D), dtype=values)
    for settings in (start(), {"random_state": 0}):
        model = GaussianMixture(K, **settings)
        with refused(model, X, ValueError, what, "dtype"):
            model.fit(large_source(bad))


def test_complex_and_strings_in_memory(X):
    for bad in (X + 1j, np.full((N, D), "word"), [["a", "b"]] * N):
        model = GaussianMixture(K)
        with refused(model, X, ValueError, "[Cc]omplex|string"):
            model.fit(bad)


@pytest.mark.parametrize(
    "bad",
    [[[1.0], [2.0, 3.0]], {"x": [1.0]}, [["a"], ["b"]], 7.5, [[1.0], [{}]], [b"a"]],
)
def test_what_is_no_table(X, bad):
    with refused(GaussianMixture(K), X, (TypeError, ValueError), r"\bX\b|2D array"):
        GaussianMixture(K).fit(bad)
    with pytest.raises((TypeError, ValueError), match=r"^X has|^X, a|the first batch of X"):
        open_table(bad)


def test_dates_in_memory(X):
    with refused(GaussianMixture(K), X, ValueError, "X has dtype datetime64", "astype"):
        GaussianMixture(K).fit(X.astype("datetime64[s]"))


@pytest.mark.parametrize("path", ["a\0b", "\0.npy"])
def test_no_path_has_a_null_character(X, path):
    with refused(GaussianMixture(K), X, ValueError, "null character"):
        GaussianMixture(K).fit(path)
    with pytest.raises(ValueError, match="null character"):
        GaussianMixture(K, checkpoint=path).fit(X)


def test_a_start_is_checked_before_its_checkpoint(X, tmp_path):
    model = GaussianMixture(K, means_init={}, checkpoint=tmp_path / "fit.npz")
    with pytest.raises(ValueError, match=r"means_init.*shape \(3, 4\)"):
        model.fit(X)


@pytest.mark.filterwarnings("ignore:Components collapsed:sklearn.exceptions.ConvergenceWarning")
def test_numbers_of_few_bits_are_numbers(X, tmp_path):
    """NumPy computes in the type of such a parameter, and overflows."""
    narrow = {"n_components": np.int8(K), "tol": np.float32(1e-3), "max_iter": np.int8(100)}
    model = GaussianMixture(**narrow, random_state=0).fit(saved(X, tmp_path))
    expected = GaussianMixture(K, tol=float(np.float32(1e-3)), random_state=0).fit(X)
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-12)
    GaussianMixture(K, **start(), tol=np.float32(1e-3)).fit(X * 1e-140)
    assert GaussianMixture(True).fit(X, sample_weight=np.arange(len(X))).converged_


def test_a_function_that_returns_no_batches(X):
    with refused(GaussianMixture(K), X, TypeError, "X is a function that returned None"):
        GaussianMixture(K).fit(lambda: None)


@pytest.mark.parametrize("columns", [0, object()])
def test_columns_that_are_no_list(X, columns):
    for table in (X, pd.DataFrame(X)):
        with pytest.raises(ValueError, match=r"columns=.* is no list of names"):
            open_table(table, columns)


# ------------------------------------------------------------------ after an error


@pytest.mark.parametrize("bad", [[[1.0], [np.inf]], [[1.0]], [["a"], ["b"]]])
@pytest.mark.parametrize("method", ["fit", "fit_predict"])
def test_a_fit_that_fails_leaves_no_trace(X, bad, method):
    model = GaussianMixture(K, **start())
    before = dict(vars(model))
    with pytest.raises(ValueError, match=r"X|sample"):
        getattr(model, method)(bad)
    assert vars(model) == before
    with pytest.raises(NotFittedError):
        model.predict(X)
    expected = model.fit(X).predict(X)
    fitted = dict(vars(model))
    with pytest.raises(ValueError, match=r"X|sample"):
        getattr(model, method)(pd.DataFrame(bad, columns=["other"]))
    assert vars(model) == fitted
    np.testing.assert_array_equal(model.predict(X), expected)


def test_the_number_of_columns_alone_is_no_fit(X):
    model = GaussianMixture(K)
    model.n_features_in_ = D
    with pytest.raises(NotFittedError, match="Call 'fit'"):
        model.score(X)


def test_objects(X, tmp_path):
    bad = np.full((N, D), None, dtype=object)
    np.save(tmp_path / "X.npy", bad, allow_pickle=True)
    for data in (tmp_path / "X.npy", [bad], da.from_array(bad, chunks=(60, D))):
        model = GaussianMixture(K)
        with refused(model, X, ValueError, "dtype object", r"astype\('float64'\)"):
            model.fit(data)


def test_a_pickle_in_a_file_is_not_loaded(X, tmp_path):
    """Only the header is read, so nobody's code runs."""

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    np.save(tmp_path / "X.npy", np.array([[Bomb()]]), allow_pickle=True)
    with refused(GaussianMixture(K), X, ValueError, "dtype object"):
        GaussianMixture(K).fit(tmp_path / "X.npy")
    assert not (tmp_path / "exploded").exists()


def test_structured_types(X, tmp_path):
    bad = np.zeros((N, D), dtype=[("a", float), ("b", int)])
    with refused(GaussianMixture(K), X, ValueError, r"X.npy has records \(a, b\)"):
        GaussianMixture(K).fit(saved(bad, tmp_path))


def test_sparse(X):
    table = sp.csr_matrix(X)
    batches = [X, sp.csr_array(X)]
    blocks = da.from_array(X, chunks=(60, D)).map_blocks(sp.csr_matrix, dtype=float)
    for data, where in ((table, "X"), ([table], "first batch"), (batches, "batch 1")):
        model = GaussianMixture(K, **start())
        with refused(model, X, TypeError, "(?i)sparse", r"toarray\(\)", where):
            model.fit(data)
    with refused(GaussianMixture(K), X, ValueError, "csr_matrix", r"toarray\(\)"):
        GaussianMixture(K).fit(blocks)
    hidden = blocks.map_blocks(lambda block: block, dtype=float, meta=np.empty((0, 0)))
    with refused(GaussianMixture(K), X, TypeError, "chunk 0 of X is sparse"):
        GaussianMixture(K, **start()).fit(hidden)


def test_masked_records():
    table = np.ma.zeros((4, 2), dtype=[("a", float), ("b", int)])
    with pytest.raises(ValueError, match=r"X has dtype .* does not hold real numbers"):
        open_table(table)


def test_masked(X):
    table = np.ma.masked_less(X, 0)
    blocks = da.from_array(X, chunks=(60, D)).map_blocks(np.ma.masked_less, 0, dtype=float)
    for data, where in ((table, "^X has"), ([table], "first batch"), ([X, table], "batch 1")):
        model = GaussianMixture(K, **start())
        with refused(model, X, ValueError, "masked", "filled|compress", where):
            model.fit(data)
    with refused(GaussianMixture(K), X, ValueError, "MaskedArray", "filled"):
        GaussianMixture(K).fit(blocks)
    GaussianMixture(K, **start()).fit(np.ma.masked_less(X, -1e9))  # nothing is masked


# ------------------------------------------------------------------ files


def test_a_file_that_does_not_exist(X, tmp_path):
    with refused(GaussianMixture(K), X, FileNotFoundError, "nowhere.npy"):
        GaussianMixture(K).fit(tmp_path / "nowhere.npy")


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


def test_lazy_collections_that_are_not_arrays(X):
    import dask.bag
    import dask.delayed

    lazy = da.from_array(X, chunks=(60, D))
    for data, advice in (
        (dask.delayed(X), "from_delayed"),
        (dask.bag.from_sequence([1, 2]), "from_delayed"),
        ([lazy, lazy], "concatenate"),
    ):
        with refused(GaussianMixture(K), X, TypeError, "lazy Dask", advice):
            GaussianMixture(K).fit(data)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.Series(["a", "b"] * (N // 2), dtype=object), "column 'bad' .* has dtype (object|str)"),
        (pd.Series(pd.Categorical([1, 2] * (N // 2))), "column 'bad' .* has dtype category"),
        (pd.to_datetime(pd.Series(range(N))), "column 'bad' .* has dtype datetime64"),
        (pd.Series(np.ones(N) * 1j), "Complex data not supported: column 'bad'"),
    ],
)
def test_columns_of_dask_frames(X, values, message):
    dd = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(X).assign(bad=values)
    with refused(GaussianMixture(K), X, ValueError, message):
        GaussianMixture(K).fit(dd.from_pandas(frame, npartitions=3))


# ------------------------------------------------------------------ parameters


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None])
def test_number_of_components(X, source, value):
    model = GaussianMixture(value)
    with refused(model, X, ValueError, "'n_components'", "int", re.escape(repr(value))):
        model.fit(source(X))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tol", -1.0, "'tol'.*-1.0"),
        ("reg_covar", -1.0, "'reg_covar'.*-1.0"),
        ("max_iter", -1, "'max_iter'.*-1"),
        ("n_init", 0, "'n_init'.*0"),
        ("n_threads", 0, "'n_threads'.*0"),
        ("init_params", "magic", "'init_params'.*'magic'"),
        ("covariance_type", "round", "'covariance_type'.*'round'"),
        ("callback", 3, "'callback'.*3"),
    ],
)
def test_other_parameters(X, large_source, name, value, message):
    model = GaussianMixture(K, **{name: value})
    with pytest.raises(ValueError, match=message):
        model.fit(large_source(X))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("name", ["weights_init", "means_init", "precisions_init"])
def test_shapes_of_starting_values(X, source, covariance_type, name):
    model = GaussianMixture(K, covariance_type=covariance_type, **{name: np.ones((2, 2, 2, 2))})
    with refused(model, X, ValueError, f"'{name}'", r"\(2, 2, 2, 2\)", rf"\({K}|\({D}"):
        model.fit(source(X))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.5, 0.5], r"'weights_init' should be normalized.*1\.5"),
        ([-0.5, 1.0, 0.5], r"'weights_init' should be in the range \[0, 1\].*-0\.5"),
        ([0.5, 0.5, np.nan], "weights_init contains NaN"),
        (["a", "b", "c"], "'a'|string"),
    ],
)
def test_starting_weights(X, source, weights, message):
    model = GaussianMixture(K, weights_init=weights)
    with refused(model, X, ValueError, message):
        model.fit(source(X))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_starting_means(X, source, value):
    means = X[:K].copy()
    means[1, 1] = value
    model = GaussianMixture(K, means_init=means)
    with refused(model, X, ValueError, "means_init contains (NaN|infinity)"):
        model.fit(source(X))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_starting_precisions_that_are_not_positive(X, source, covariance_type):
    good = {
        "full": np.stack([np.eye(D)] * K),
        "tied": np.eye(D),
        "diag": np.ones((K, D)),
        "spherical": np.ones(K),
    }[covariance_type]
    where = "all components" if covariance_type == "tied" else "component 1"
    for value in (0.0, -2.0):
        bad = good.copy()
        bad[
            {"full": (1, 2, 2), "tied": (2, 2), "diag": (1, 2), "spherical": 1}[covariance_type]
        ] = value
        model = GaussianMixture(K, covariance_type=covariance_type, precisions_init=bad)
        with refused(model, X, ValueError, f"precisions_init of {where} should be.*positive"):
            model.fit(source(X))


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_starting_precisions_that_are_not_symmetric(X, covariance_type):
    bad = np.stack([np.eye(D)] * K)
    bad[2, 0, 1] = 0.5
    bad, where = (bad, "component 2") if covariance_type == "full" else (bad[2], "all components")
    model = GaussianMixture(K, covariance_type=covariance_type, precisions_init=bad)
    with refused(model, X, ValueError, f"precisions_init of {where} should be symmetric"):
        model.fit(X)


def test_repeated_rows_without_regularisation(X, source):
    model = GaussianMixture(K, reg_covar=0.0, random_state=0, on_collapse="raise")
    bad = np.repeat(X[:4], 100, axis=0)
    with pytest.raises(ValueError, match=r"covariance of component [012] is not positive"):
        model.fit(source(bad))


def test_not_fitted(source, X):
    from sklearn.exceptions import NotFittedError

    for method in ("predict", "predict_proba", "score_samples", "score", "aic", "bic"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(GaussianMixture(K), method)(source(X))


# ------------------------------------------------------------------ unusual input that is good


def unusual(X):
    """The same values in forms that are easily got wrong."""
    raw = np.empty(X.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(X.dtype).reshape(X.shape)
    misaligned[...] = X
    wide = np.full((3 * N, 2 * D), np.nan)
    wide[::3, ::2] = X
    return {
        "read-only": X,
        "fortran": np.asfortranarray(X),
        "misaligned": misaligned,
        "strided": wide[::3, ::2],
        "backwards": X[::-1, ::-1].copy()[::-1, ::-1],
        "big-endian": X.astype(">f8"),
        "long double": X.astype(np.longdouble),
        "int64": X.astype(np.int64),
        "uint8": X.astype(np.uint8),
        "big-endian int": X.astype(">i4"),
        "bool": X > 0,
        "float16": X.astype(np.float16),
        "float32": X.astype(np.float32),
        "big-endian float32": X.astype(">f4"),
    }


FORMS = list(unusual(np.zeros((N, D))))


@pytest.mark.parametrize("form", FORMS)
def test_unusual_but_good(form, source):
    rng = np.random.default_rng(1)
    whole = np.abs(np.round(rng.normal(size=(N, D)) * 3 + 20 * rng.integers(0, 2, size=(N, 1))))
    whole.setflags(write=False)
    bad = unusual(whole)[form]
    before = np.array(bad)
    settings = {"reg_covar": 1e-2, "tol": 1e-6, **start()}
    expected = GaussianMixture(K, **settings).fit(np.array(bad, dtype=np.float64, order="C"))
    model = GaussianMixture(K, **settings).fit(source(bad))
    assert model.n_iter_ == expected.n_iter_
    found = exact(model, "covariances_")  # of float32: before they were rounded
    np.testing.assert_allclose(found, expected.covariances_, rtol=1e-10, atol=1e-12)
    labels = np.asarray(model.predict(source(bad)))
    np.testing.assert_array_equal(labels, expected.predict(np.array(bad, dtype=np.float64)))
    np.testing.assert_array_equal(bad, before)  # never modified
