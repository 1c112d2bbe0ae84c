"""One EM iteration of emdash on any input that ``fit`` takes, to be timed on its own.

Everything that an iteration costs is in it: factored parameters are bound, the
pass sums the statistics, the M-step makes the next parameters and factors them.
"""

from __future__ import annotations

from typing import Any

from benchmarks.data import Truth
from emdash.engines import engine_for
from emdash.engines.local import usable_cores
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.sources import open_source
from emdash.sources.array import ArraySource

__all__ = ["Iteration"]


class Iteration:
    """One EM iteration from fixed parameters; call it as often as needed.

    Parameters
    ----------
    X : ndarray, memmap, path, list of arrays or Dask array
        The rows.
    start : Truth
        Parameters that enter the iteration.
    covariance_type : {"full", "tied", "diag", "spherical"}
        Shape of the covariances.
    n_threads : int or None
        Largest number of threads on this machine; None means all.
    engine : Engine or None
        What runs the pass; None means what ``fit`` would use.

    Attributes
    ----------
    parameters : MixtureParameters
        The start.
    result : MixtureParameters
        What the last call made of it.
    """

    def __init__(
        self,
        X: Any,
        start: Truth,
        covariance_type: str = "full",
        n_threads: int | None = None,
        engine: Any = None,
    ) -> None:
        self.model = Mixture(
            Gaussian(SHAPES[covariance_type], n_threads=n_threads or usable_cores())
        )
        source = open_source(X)
        self.source = ArraySource(X) if source is None else source
        self.engine = engine_for(self.source, n_threads) if engine is None else engine
        components = self.model.family.parameters(
            start.weights, start.means, start.shaped(covariance_type)
        )
        self.parameters = self.result = MixtureParameters(start.weights, components)

    def __call__(self) -> float:
        """Run the iteration and return the log-likelihood per row of the start."""
        task = self.model.task(self.parameters)
        statistics = self.engine.total(task, self.source)
        assert self.model.nearer(statistics, self.parameters) is None  # as every step of a fit asks
        self.result = self.model.maximize(statistics, self.parameters)
        return self.model.objective(statistics, self.parameters)
