"""Arbitrary constructor parameters: most left out, most of the others valid, some absurd."""

import functools

import numpy as np
from fuzz_tables import values
from hypothesis import strategies as st
from sklearn.utils._param_validation import generate_valid_param, make_constraint

from emdash import NormalInverseWishart

ABSURD = [None, -1, 0, 1.5, np.nan, np.inf, -np.inf, "word", "", b"bytes", [], {}, True, 1j]
ABSURD += [object(), object, np.zeros((2, 2)), np.array(3), [[np.nan]], lambda *_: None, "\0"]
ENDLESS = ("max_iter", "n_init")
"""A huge number of these is valid, and takes as long as it says."""

SEEDS = [None, 0, 1, 2**32 - 1, np.random.RandomState(0), np.int64(7), np.random.default_rng(0)]

VALID = {
    "n_components": [1, 1, 2, 2, 3, 5, 12, 2**40, np.int8(2)],
    "covariance_type": ["full", "tied", "diag", "spherical"],
    "tol": [0, 0.0, 1e-3, 1e300, np.float32(0.1)],
    "reg_covar": [0, 1e-6, 1e-300, 1e3, 1e300],
    "max_iter": [0, 1, 2, 10, np.int32(3)],
    "n_init": [1, 2, 3],
    "init_params": ["kmeans", "k-means++", "random", "random_from_data"],
    "random_state": SEEDS,
    "warm_start": [False, True],
    "verbose": [0, 1, 2, True],
    "verbose_interval": [1, 2],
    "n_threads": [None, 1, 2, 3, 10**6],
    "memory_limit": [None, 1, "1 kB", 10**5, "1GB", "-1", "1 parsec", "NaN", "1e3"],
    "callback": [None, lambda record: None, print],
    "arithmetic": ["float64", "float32"],
    "checkpoint": [None],
    "on_collapse": ["regularize", "reseed", "drop", "raise"],
    "prior": [None, NormalInverseWishart(), NormalInverseWishart(mean_precision_prior=0.0)],
    "weight_concentration_prior": [None, 1, 1.5, 100.0, 1e300],
}
"""One line per parameter. Those without are taken from what the estimator says is valid."""

ARRAYS = ("weights_init", "means_init", "precisions_init")


def valid(draw, estimator, name, K, d):
    if name in ARRAYS:
        return start(draw, name, K, d)
    if name in VALID:
        return draw(st.sampled_from(VALID[name]))
    constraints = [c for c in estimator._parameter_constraints[name] if c is not None]
    choices = [None, *(generate_valid_param(make_constraint(c)) for c in constraints)]
    return draw(st.sampled_from(choices))


def start(draw, name, K, d):
    """Return a good start most of the time, else arbitrary values of a shape that may be right."""
    shapes = {
        "weights_init": [(K,)],
        "means_init": [(K, d)],
        "precisions_init": [(K, d, d), (d, d), (K, d), (K,)],
    }
    shape = draw(st.sampled_from(shapes[name]))
    if draw(st.integers(0, 2)) == 0:
        return values(draw, shape)
    if name == "weights_init":
        return np.full(K, 1 / K)
    if name == "means_init":
        return np.arange(K * d, dtype=float).reshape(K, d)
    identity = shape[-2:] == (d, d) and len(shape) != 1
    return np.broadcast_to(np.eye(d) if identity else 1.0, shape).copy()


@st.composite
def parameters(draw, estimator, d):
    """Draw keyword arguments for the constructor of an estimator, for tables of d columns."""
    chosen = {"n_components": draw(st.integers(1, 3)), "max_iter": draw(st.sampled_from([3, 15]))}
    K = chosen["n_components"]
    names = sorted(estimator().get_params())
    for name in draw(st.lists(st.sampled_from(names), max_size=5, unique=True)):
        if draw(st.integers(0, 14)) == 0:
            huge = [] if name in ENDLESS else [10**30]
            chosen[name] = draw(st.sampled_from(ABSURD + huge))
        else:
            chosen[name] = valid(draw, estimator, name, K, d)
    return chosen


def arguments_of(method):
    """Return the names of the further arguments that a method takes."""
    return _arguments_of(method.__func__)


@functools.cache
def _arguments_of(function):
    import inspect

    return tuple(inspect.signature(function).parameters)[2:]


def weights(n):
    """Return a strategy for weights of about n rows."""
    good = st.sampled_from([np.ones(n), np.arange(n), np.arange(n) % 2.0, np.full(n, 1e-30)])
    numbers = st.floats(-1, 1e3) | st.floats() | st.integers(-1, 3)
    arbitrary = st.lists(numbers, min_size=n, max_size=n)
    odd = st.sampled_from(
        [None, "x", "word", 1.0, np.ones(n + 1), np.ones((n, 1)), 1j * np.ones(n)]
    )
    return good | arbitrary.map(np.array) | odd


ARGUMENTS = {
    "y": lambda n: st.sampled_from([None, 1, "ignored"]),
    "sample_weight": weights,
    "n_draws": lambda n: st.sampled_from([1, 2, 0, 1.5, None, np.int8(2)]),
    "random_state": lambda n: st.sampled_from([*SEEDS, -1, "word"]),
}
"""What to give for the further arguments of methods that take n rows, one line each."""
