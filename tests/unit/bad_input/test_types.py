"""Words, dates, objects and what is sparse, masked or lazy are refused, with their type."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from bad_inputs import D, K, N, refused, saved, start

from emdash import GaussianMixture
from emdash.sources import open_table


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


@pytest.mark.parametrize("columns", [0, object()])
def test_columns_that_are_no_list(X, columns):
    for table in (X, pd.DataFrame(X)):
        with pytest.raises(ValueError, match=r"columns=.* is no list of names"):
            open_table(table, columns)


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
