"""Parameters and starting values that cannot be are refused by name and value, for every input."""

import re

import numpy as np
import pytest
from bad_inputs import D, K, refused, saved, start

from emdash import GaussianMixture

pytestmark = pytest.mark.filterwarnings("ignore:the columns of the Dask array X:UserWarning")


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


@pytest.mark.filterwarnings("ignore:Components collapsed:sklearn.exceptions.ConvergenceWarning")
def test_numbers_of_few_bits_are_numbers(X, tmp_path):
    """NumPy computes in the type of such a parameter, and overflows."""
    narrow = {"n_components": np.int8(K), "tol": np.float32(1e-3), "max_iter": np.int8(100)}
    model = GaussianMixture(**narrow, random_state=0).fit(saved(X, tmp_path))
    expected = GaussianMixture(K, tol=float(np.float32(1e-3)), random_state=0).fit(X)
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-12)
    GaussianMixture(K, **start(), tol=np.float32(1e-3)).fit(X * 1e-140)
    assert GaussianMixture(True).fit(X, sample_weight=np.arange(len(X))).converged_


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


def test_a_start_is_checked_before_its_checkpoint(X, tmp_path):
    model = GaussianMixture(K, means_init={}, checkpoint=tmp_path / "fit.npz")
    with pytest.raises(ValueError, match=r"means_init.*shape \(3, 4\)"):
        model.fit(X)


def test_repeated_rows_without_regularisation(X, source):
    model = GaussianMixture(K, reg_covar=0.0, random_state=0, on_collapse="raise")
    bad = np.repeat(X[:4], 100, axis=0)
    with pytest.raises(ValueError, match=r"covariance of component [012] is not positive"):
        model.fit(source(bad))
