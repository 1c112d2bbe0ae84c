"""Rows of float32: the fit of the same numbers, in the types of scikit-learn."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import sklearn.mixture
from number_fits import ARRAYS, INITS, differences, fitted, settings
from sklearn.exceptions import ConvergenceWarning

import emdash
from emdash import GaussianMixture
from emdash.estimators._rounded import exact


def types_of(fit, *queries):
    arrays = [getattr(fit, name) for name in (*ARRAYS, "precisions_")]
    answers = [f(X) for X in queries for f in (fit.predict, fit.predict_proba, fit.score_samples)]
    return [array.dtype for array in (*arrays, *answers, *fit.sample(2))]


@pytest.mark.filterwarnings("ignore:covariance is not symmetric:RuntimeWarning")  # theirs
@pytest.mark.parametrize(
    ("dtype", "init"),
    [*(("float32", init) for init in INITS), *((t, "kmeans") for t in ("f8", "f2", "i4"))],
)
def test_result_types_are_those_of_scikit_learn(rows, dtype, init, covariance_type):
    X = rows[:60].astype(dtype)
    arguments = settings(covariance_type, init, max_iter=2, tol=1.0)
    makers = GaussianMixture, sklearn.mixture.GaussianMixture
    fits = [fitted(X, maker, **arguments) for maker in makers]
    queries = X, rows.astype("float64"), rows.astype("float32")
    found, expected = (types_of(fit, *queries) for fit in fits)
    assert found == expected
    assert (np.dtype("float32") in found) == (dtype == "float32")


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_float32_rows_give_the_fit_of_the_same_numbers(rows, offset, init, covariance_type):
    single = (rows + offset).astype(np.float32)  # 1e6: in steps of a sixteenth
    arguments = settings(
        covariance_type, init, reg_covar=0 if init in ("kmeans", "random") else 1e-6
    )
    found, expected = (fitted(X, **arguments) for X in (single, single.astype(np.float64)))
    assert found.n_iter_ == expected.n_iter_
    assert max(differences(found, expected)) < 1e-5
    assert found.history_[0].n_bytes == single.nbytes  # read as they are
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), exact(found, name).astype(np.float32))
    np.testing.assert_allclose(found.predict_proba(rows), expected.predict_proba(rows), atol=1e-9)
    likelihoods = found.score_samples(single)
    np.testing.assert_allclose(likelihoods, expected.score_samples(single), rtol=1e-6)
    wanted = expected.predict_proba(single).astype(np.float32)
    np.testing.assert_allclose(found.predict_proba(single), wanted, atol=1e-7)


def test_rounded_attributes_lose_nothing_on_the_way(rows, tmp_path, covariance_type):
    """Far from the origin float32 means are wrong by thirty standard deviations."""
    single = (1e-3 * rows + 2.0**19).astype(np.float32)
    single[:, 0] = rows[:, 0]
    arguments = settings(covariance_type, tol=1e-12, reg_covar=1e-3)
    whole = fitted(single, max_iter=8, **arguments)
    path = tmp_path / "fit.npz"

    first = fitted(single, max_iter=3, warm_start=True, **arguments)
    emdash.save(first, path)
    for again in (first, emdash.load(path), pickle.loads(pickle.dumps(first))):
        assert again.means_.dtype == np.float32
        np.testing.assert_array_equal(again.predict_proba(rows), first.predict_proba(rows))
        again.set_params(max_iter=5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            again.fit(single)
        if again is first:
            expected = {name: exact(again, name).copy() for name in ARRAYS}
            first = fitted(single, max_iter=3, **arguments)
        for name in ARRAYS:
            np.testing.assert_array_equal(exact(again, name), expected[name])
            np.testing.assert_allclose(
                exact(again, name), exact(whole, name), rtol=1e-9, atol=1e-12
            )

    fitted(single, max_iter=3, checkpoint=str(path) + ".ckpt", **arguments)
    resumed = fitted(single, max_iter=8, checkpoint=str(path) + ".ckpt", **arguments)
    for name in ARRAYS:
        np.testing.assert_array_equal(exact(resumed, name), exact(whole, name))


def test_attributes_changed_by_hand_count(rows):
    fit = GaussianMixture(3, random_state=0).fit(rows.astype(np.float32))
    before = fit.predict(rows)
    fit.means_ = fit.means_[::-1].copy()
    assert (fit.predict(rows) != before).any()
    fit.means_ = fit.means_[::-1].tolist()
    fit.weights_[:] = 0, 0.5, 0.5  # in place
    assert not (fit.predict(rows) == 0).any()


def test_parameters_beyond_the_range_of_float32_stay_float64(rows):
    single = (rows * 1e25).astype(np.float32)
    fit = GaussianMixture(3, random_state=0, reg_covar=0).fit(single)
    assert {fit.means_.dtype, fit.covariances_.dtype} == {np.dtype(np.float64)}
    assert (
        max(differences(fit, fitted(rows, n_components=3, reg_covar=0, random_state=0), scale=1e25))
        < 1e-5
    )
    assert fit.predict_proba(single).dtype == np.float64


def test_log_densities_beyond_the_range_of_float32_are_minus_infinity(rows):
    fit = GaussianMixture(3, random_state=0).fit(rows.astype(np.float32))
    assert fit.score_samples(np.full((1, 3), 1e25, np.float32)) == [-np.inf]
    assert fit.score_samples(np.full((1, 3), 1e25)) < -1e45
