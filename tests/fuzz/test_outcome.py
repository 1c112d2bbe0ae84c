"""The judge of the fuzz tests finds guilty what is."""

import warnings

import numpy as np
import pytest
from fuzz_outcome import attempt, check_model, why_not_actionable
from sklearn.exceptions import ConvergenceWarning

from emdash import GaussianMixture

BARE = [
    "",
    "something is wrong with what you gave me, sorry",  # names nothing
    "X is bad",
    "could not convert string to float: 'component'",
    "operands could not be broadcast together with shapes (2,3) (3,)",
    "2-th leading minor of the array is not positive definite",
    "Buffer dtype mismatch, expected 'double' but got 'float' in array X",
    "'>' not supported between instances of 'str' and 'int' in row 3",
    "'NoneType' object has no attribute 'shape'",
]


@pytest.mark.parametrize("text", BARE)
def test_a_bare_message_is_not_actionable(text):
    assert why_not_actionable(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "X contains NaN in row 3, column 1: drop the row",
        "n_components = 3, n_samples = 2: decrease n_components or give more rows",
        "X, a list, is no table of real numbers (could not convert string to float: 'a')",
    ],
)
def test_a_message_that_names_what_was_given_is(text):
    assert why_not_actionable(text) is None


def call(error):
    raise error


def by_numpy():
    np.zeros((2, 3)) @ np.zeros((2, 3))


def by_lapack():
    np.linalg.cholesky(-np.eye(2))


@pytest.mark.parametrize("broken", [by_numpy, by_lapack, lambda: [].pop(), lambda: {}["X"]])
def test_errors_that_nobody_raised_on_purpose_are_refused(broken):
    with pytest.raises(AssertionError, match=r"not on purpose|internals|not documented"):
        attempt(broken)


def test_an_assertion_is_no_answer():
    with pytest.raises(AssertionError, match="AssertionError is not documented"):
        attempt(call, AssertionError("the shape of X in row 3"))


def test_warnings_are_judged():
    attempt(warnings.warn, "Best performing initialization did not converge", ConvergenceWarning)
    with pytest.raises(AssertionError, match="RuntimeWarning: overflow"):
        attempt(warnings.warn, "overflow encountered in square", RuntimeWarning)


@pytest.mark.parametrize("name", ["weights_", "means_", "covariances_", "precisions_cholesky_"])
def test_a_model_with_a_nan_is_refused(name, iris):
    model = GaussianMixture(2, random_state=0).fit(iris)
    check_model(model)
    getattr(model, name).setflags(write=True)
    getattr(model, name).flat[0] = np.nan
    with pytest.raises(AssertionError, match=name):
        check_model(model)
