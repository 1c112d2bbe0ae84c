"""Data and helpers that all tests share; test modules cannot import one another."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from emdash.estimators._rounded import exact

Array = NDArray[np.float64]

GOLDEN = Path(__file__).parent / "golden"
COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


def pytest_configure() -> None:
    """Let Ctrl-C be tested where a shell that starts the tests in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _load_faithful() -> Array:
    return np.loadtxt(GOLDEN / "faithful.csv", delimiter=",", skiprows=1)


def _load_from_sklearn(name: str) -> Array:
    import sklearn.datasets

    return np.ascontiguousarray(getattr(sklearn.datasets, f"load_{name}")().data, dtype=float)


@pytest.fixture(scope="session")
def datasets() -> dict[str, Array]:
    """Real data by name: faithful (272, 2), iris (150, 4), wine (178, 13), digits (1797, 64)."""
    found = {name: _load_from_sklearn(name) for name in ("iris", "wine", "digits")}
    found["faithful"] = _load_faithful()
    for array in found.values():
        array.setflags(write=False)  # a test that wrote to it would spoil all others
    return found


@pytest.fixture(scope="session")
def iris(datasets: dict[str, Array]) -> Array:
    """Return the iris measurements, shape (150, 4)."""
    return datasets["iris"]


@pytest.fixture(scope="session")
def faithful(datasets: dict[str, Array]) -> Array:
    """Return eruption lengths and waiting times of Old Faithful in minutes, shape (272, 2)."""
    return datasets["faithful"]


@pytest.fixture(params=COVARIANCE_TYPES)
def covariance_type(request: pytest.FixtureRequest) -> str:
    """Run the test once for every covariance type."""
    return str(request.param)


@pytest.fixture(scope="session")
def relative_error() -> Callable[[Any, Any], float]:
    """Return the largest difference between two arrays over the largest value of the second.

    Relative to the array and not to each entry, because entries such as the
    covariance of independent features are zero up to rounding.
    """

    def measure(found: Any, expected: Any) -> float:
        found, expected = np.asarray(found, float), np.asarray(expected, float)
        assert found.shape == expected.shape
        return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))

    return measure


@pytest.fixture(scope="session")
def assert_same_fit(
    relative_error: Callable[[Any, Any], float],
) -> Callable[[Any, Any, float], None]:
    """Return a check that two fitted mixtures took the same steps to the same parameters."""

    def check(found: Any, expected: Any, tolerance: float) -> None:
        assert found.n_iter_ == expected.n_iter_
        assert found.converged_ == expected.converged_
        for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
            # rows of float32: before the attributes were rounded
            error = relative_error(exact(found, name), exact(expected, name))
            assert error <= tolerance, f"{name} differs by {error:.2g}"
        error = relative_error(found.lower_bounds_, expected.lower_bounds_)
        assert error <= tolerance, f"lower_bounds_ differs by {error:.2g}"

    return check
