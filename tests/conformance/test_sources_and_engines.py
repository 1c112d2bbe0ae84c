"""The answer does not depend on where the rows are, how they are cut, and who adds them up."""

from __future__ import annotations

from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emdash import GaussianMixture
from emdash.estimators._rounded import exact

# said of every Dask array whose columns are in chunks; tests/unit/test_sources_dask.py holds it
pytestmark = pytest.mark.filterwarnings("ignore:the columns of the Dask array X:UserWarning")

SAME = 1e-10  # what the project promises for any cut of the rows
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_")


def bits(fit):
    """Return all that was fitted, as bytes."""
    return {name: np.asarray(exact(fit, name)).tobytes() for name in PARAMETERS}


def in_memory(rows, kind, **arguments):
    """Fit to the same numbers as one plain array, with one thread."""
    return GaussianMixture(**arguments, n_threads=1).fit(rows.astype(kind.dtype))


def test_fit_equals_the_fit_in_memory(
    rows, make, kind, machines, given_start, covariance_type, assert_same_fit
):
    arguments = {**given_start(covariance_type), "tol": 1e-5}
    expected = in_memory(rows, kind, **arguments)
    assert 5 < expected.n_iter_ < 100  # neither trivial nor cut off
    fits = []
    for machine in machines:
        with machine.context():
            fits.append(GaussianMixture(**arguments, **machine.arguments).fit(make(rows)))
        assert_same_fit(fits[-1], expected, SAME)
        assert fits[-1].means_.dtype == expected.means_.dtype == kind.dtype
    assert all(bits(fit) == bits(fits[0]) for fit in fits[1:])


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_start_and_fit_equal_those_in_memory(rows, make, kind, init_params, assert_same_fit):
    arguments = {"n_components": 3, "init_params": init_params, "random_state": 3}
    X = make(rows)
    expected = in_memory(rows, kind, **arguments, max_iter=0)
    found = GaussianMixture(**arguments, max_iter=0).fit(X)
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert_same_fit(GaussianMixture(**arguments).fit(X), in_memory(rows, kind, **arguments), SAME)


def test_answers_per_row_equal_those_in_memory(rows, make, kind, machines, given_start):
    arguments = {**given_start("full"), "max_iter": 100}
    fit = in_memory(rows, kind, **arguments)
    X = make(rows)
    for machine in machines:
        fit.set_params(**machine.arguments)
        for method in ("predict", "predict_proba", "score_samples"):
            expected = getattr(fit, method)(rows.astype(kind.dtype))
            with machine.context():
                found = getattr(fit, method)(X)
                if kind.collection:
                    assert isinstance(found, da.Array)
                    assert found.dtype == expected.dtype
                    assert type(found._meta) is np.ndarray
                    assert repr(found.chunks[0]) == repr(X.chunks[0])  # repr: nan equals nan
                    found = found.compute()
            assert type(found) is np.ndarray
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        for method in ("score", "aic", "bic"):
            with machine.context():
                found = getattr(fit, method)(X)
            assert isinstance(found, float)
            assert found == pytest.approx(getattr(fit, method)(rows), rel=1e-13)


def with_holes(rows):
    """Return the rows with every sixth cell missing, one with nothing observed."""
    holes = rows.copy()
    holes.flat[::6] = np.nan
    holes.flat[1::24] = np.nan
    holes[41] = np.nan
    return holes


def test_missing_cells_are_data_everywhere(rows, make, kind, machines, assert_same_fit):
    """Starts, fits and answers equal those in memory, to the same tolerance as without holes."""
    holes = with_holes(rows)
    arguments = {"n_components": 3, "random_state": 3}
    X = make(holes)
    expected = in_memory(holes, kind, **arguments)
    assert expected.n_iter_ > 5
    fits = []
    for machine in machines[-2:]:
        with machine.context():
            fits.append(GaussianMixture(**arguments, **machine.arguments).fit(X))
        assert_same_fit(fits[-1], expected, SAME)
    assert all(bits(fit) == bits(fits[0]) for fit in fits[1:])
    for method in ("predict", "predict_proba", "score_samples"):
        found = np.asarray(getattr(expected, method)(X))
        there = getattr(expected, method)(holes)
        np.testing.assert_array_equal(found, there.astype(found.dtype))  # float32 for float32
    for method in ("score", "aic", "bic"):
        found = getattr(expected, method)(X)
        assert found == pytest.approx(getattr(expected, method)(holes), rel=1e-13)


def test_fit_predict_is_fit_then_predict(rows, make, kind, given_start):
    estimator = GaussianMixture(**given_start("full"), max_iter=100)
    found = estimator.fit_predict(make(rows))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(estimator.predict(make(rows))))


def snapshot(X):
    """Return the bytes of every number the input holds."""
    if isinstance(X, str | Path):
        path = Path(str(X).partition("::")[0])
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        return [file.read_bytes() for file in files if file.is_file()]
    if isinstance(X, list) and isinstance(X[0], Path):
        return [snapshot(path) for path in X]
    if callable(X):
        return snapshot(list(X()))
    if hasattr(X, "to_table"):
        return snapshot(X.to_table())
    if hasattr(X, "num_rows"):
        return X.to_pandas().to_numpy().tobytes()
    if isinstance(X, zarr.Array):
        return X[:].tobytes()
    if isinstance(X, da.Array):
        return [np.asarray(block.compute(scheduler="sync")).tobytes() for block in X.blocks]
    if isinstance(X, np.ndarray):
        return X.tobytes()
    return [np.asarray(batch).tobytes() for batch in getattr(X, "values", X)]


def test_input_is_never_modified(rows, make, given_start, covariance_type):
    arguments = given_start(covariance_type)
    inits = [value for value in arguments.values() if isinstance(value, np.ndarray)]
    X = make(rows)
    before = snapshot(X), [snapshot(value) for value in inits]
    estimator = GaussianMixture(**arguments).fit(X)
    for method in ("predict", "predict_proba", "score_samples", "score", "bic"):
        np.asarray(getattr(estimator, method)(X))
    assert (snapshot(X), [snapshot(value) for value in inits]) == before


def test_read_only_starts_are_accepted(rows, given_start, covariance_type):
    arguments = given_start(covariance_type)
    for value in arguments.values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    assert GaussianMixture(**arguments).fit(rows).converged_


def test_starts_are_copied(rows, given_start, covariance_type):
    """Editing what was fitted edits nothing of the user's."""
    arguments = given_start(covariance_type)
    fit = GaussianMixture(**arguments, max_iter=0).fit(rows)
    for init in ("weights_init", "means_init", "precisions_init"):
        for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
            assert not np.shares_memory(getattr(fit, name), arguments[init])


def test_one_iteration_of_the_batches_per_pass(rows, given_start):

    class Counted:
        begun = 0

        def __iter__(self):
            self.begun += 1
            yield from np.array_split(rows, 4)

    X = Counted()
    fit = GaussianMixture(**given_start("full")).fit(X)
    assert X.begun == fit.n_iter_ + 1  # one look at the first batch


# --- chunkings that nobody thought of -------------------------------------------------------

CUTS = st.lists(st.integers(0, 120), max_size=12).map(sorted)
MANY = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@MANY
@given(cuts=CUTS, columns=st.integers(1, 3), n_threads=st.integers(1, 5))
def test_any_dask_chunks(cuts, columns, n_threads, rows, given_start, covariance_type, request):
    check = request.getfixturevalue("assert_same_fit")
    arguments = given_start(covariance_type)
    lengths = tuple(np.diff([0, *cuts, 120]).tolist())
    X = da.from_array(rows, chunks=(lengths, columns))
    found = GaussianMixture(**arguments, n_threads=n_threads).fit(X)
    check(found, GaussianMixture(**arguments, n_threads=1).fit(rows), SAME)


@MANY
@given(cuts=CUTS, n_threads=st.integers(1, 5))
def test_any_list_of_batches(cuts, n_threads, rows, given_start, covariance_type, request):
    check = request.getfixturevalue("assert_same_fit")
    arguments = given_start(covariance_type)
    found = GaussianMixture(**arguments, n_threads=n_threads).fit(np.split(rows, cuts))
    check(found, GaussianMixture(**arguments, n_threads=1).fit(rows), SAME)


# --- enough rows that threads have something to share ---------------------------------------


@pytest.fixture(scope="module")
def many_rows():
    rng = np.random.default_rng(11)
    return rng.normal(size=(40_000, 5)) + 3 * rng.integers(0, 3, size=(40_000, 1))


@pytest.mark.parametrize("n_components", [2, 7])
@pytest.mark.parametrize("order", ["C", "F"])
def test_bits_do_not_depend_on_threads(
    many_rows, covariance_type, n_components, order, tmp_path, monkeypatch
):
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 100_000)
    X = np.asarray(many_rows, order=order)
    path = tmp_path / "rows.npy"
    np.save(path, X)
    inputs = {
        "ndarray": X,
        "memmap": np.load(path, mmap_mode="r"),
        "npy": path,
        "dask": da.from_array(X, chunks=(3_000, -1)),
        "list": np.array_split(X, 9),
    }
    arguments = {
        "n_components": n_components,
        "covariance_type": covariance_type,
        "init_params": "random_from_data",
        "reg_covar": 1.0,
        "random_state": 0,
        "max_iter": 3,
        "tol": 0,
    }
    for name, X in inputs.items():
        fits = []
        for n_threads in (1, 2, 3, 8, None):
            estimator = GaussianMixture(**arguments, n_threads=n_threads)
            with pytest.warns(match="did not converge"):
                fits.append(estimator.fit(X))
        if name == "dask":
            with dask.config.set(scheduler="sync"), pytest.warns(match="did not converge"):
                fits.append(GaussianMixture(**arguments).fit(X))
        assert all(bits(fit) == bits(fits[0]) for fit in fits[1:]), name
