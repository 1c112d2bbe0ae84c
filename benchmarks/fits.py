"""Whole fits with the public estimator, start included, on real and generated data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import QUICK, clusters, draw, size
from emdash import GaussianMixture

__all__ = ["Default", "Start", "Tiny"]

TYPES = ("full", "spherical") if QUICK else ("full", "tied", "diag", "spherical")
COMPONENTS = {"iris": 3, "digits": 10, "china": 8, "generated": 10}


def dataset(name: str) -> NDArray[Any]:
    """Return iris (150 x 4), digits (1797 x 64), the pixels of china.jpg or a million rows x 10."""
    from sklearn import datasets

    if name == "generated":
        return draw(clusters(10, 10), size(1_000_000))
    if name == "china":
        pixels = datasets.load_sample_image("china.jpg").reshape(-1, 3)
        return pixels[:: len(pixels) // size(len(pixels))] / 255.0
    return np.asarray(getattr(datasets, f"load_{name}")().data)


class Default:
    """The fit a user gets with the default settings: k-means start, EM until it stops.

    Catches a slower start, a slower pass, and (by the count) a change of the answer: the
    number of iterations must be that of scikit-learn from the same random state.
    """

    params = (tuple(COMPONENTS), TYPES)
    param_names = ("data", "covariance")
    timeout = 300

    def setup(self, name: str, covariance: str) -> None:
        self.X = dataset(name)
        self.estimator = GaussianMixture(
            COMPONENTS[name], covariance_type=covariance, max_iter=500, random_state=0
        )

    def time_fit(self, name: str, covariance: str) -> None:
        """Fit."""
        self.estimator.fit(self.X)

    def track_iterations(self, name: str, covariance: str) -> int:
        """Fit and return how many iterations it took."""
        return int(self.estimator.fit(self.X).n_iter_)

    track_iterations.unit = "iterations"  # type: ignore[attr-defined]


class Start:
    """The start alone (``max_iter=0``) by each method.

    Catches a start that reads or copies more than it must.
    """

    params = (("kmeans", "k-means++", "random", "random_from_data"),)
    param_names = ("init_params",)

    def setup(self, method: str) -> None:
        self.X = draw(clusters(10, 10), size(300_000))
        self.estimator = GaussianMixture(10, init_params=method, max_iter=0, random_state=0)

    def time_start(self, method: str) -> None:
        """Find starting parameters for 10 components in 300 000 rows."""
        self.estimator.fit(self.X)


class Tiny:
    """200 rows, 2 features, 2 components and a given start.

    Catches overhead that no large fit shows: checks, imports, threads started for nothing.
    """

    def setup(self) -> None:
        truth = clusters(2, 2)
        start = truth.nearby()
        self.X = draw(truth, 200)
        self.estimator = GaussianMixture(
            2,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=np.linalg.inv(start.covariances),
        )

    def time_fit(self) -> None:
        """Fit."""
        self.estimator.fit(self.X)

    def time_predict(self) -> None:
        """Fit and label the rows."""
        self.estimator.fit_predict(self.X)
