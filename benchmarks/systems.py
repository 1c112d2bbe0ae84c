"""emdash and its rivals behind one interface: one EM iteration from a given start.

A system that is not installed is skipped with a word. All of them get the same
rows, the same start, no regularisation, and the same number of threads.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Truth

__all__ = ["SYSTEMS", "Answer", "Problem", "System", "why_not"]

Array = NDArray[np.float64]
Answer = tuple[Array, Array, Array]
"""Weights (K,), means (K, d), and covariances in scikit-learn's shape."""


@dataclass(frozen=True)
class Problem:
    """One iteration to do.

    Attributes
    ----------
    X : (n, d), float64 or float32
    start : Truth
        Parameters that enter the iteration.
    covariance_type : str
    n_threads : int
    """

    X: NDArray[Any]
    start: Truth
    covariance_type: str
    n_threads: int


class System(ABC):
    """Something that can do an EM iteration; the constructor does what is not timed.

    Attributes
    ----------
    name : str
        In the table.
    module : str
        What must be importable.
    covariance_types, dtypes : tuple of str
        What it can do.
    given_start : bool
        Whether it begins where it is told. If not, its answer cannot be compared.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    covariance_types: ClassVar[tuple[str, ...]] = ("full", "tied", "diag", "spherical")
    dtypes: ClassVar[tuple[str, ...]] = ("float64", "float32")
    given_start: ClassVar[bool] = True

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.system = import_module(self.module)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Convert the input to what the system wants."""

    @abstractmethod
    def iterate(self) -> None:
        """Do one E-step and one M-step from the start. Timed."""

    def rest(self) -> None:  # noqa: B027 - most do nothing besides
        """Do what `iterate` does besides an iteration; its time is subtracted."""

    @abstractmethod
    def answer(self) -> Answer:
        """Return the parameters that the last iteration made."""


def why_not(system: type[System], covariance_type: str, dtype: str) -> str | None:
    """Return why a system cannot do a case, or None if it can."""
    if covariance_type not in system.covariance_types or dtype not in system.dtypes:
        return f"no {covariance_type} {dtype}"
    try:
        import_module(system.module)
    except ModuleNotFoundError as error:
        if error.name == system.module.partition(".")[0]:
            return "not installed"
        return f"cannot be imported: {error}"
    except ImportError as error:
        return f"cannot be imported: {error}"
    return None


class Emdash(System):
    """This package below the estimator: pass, M-step, factorisations."""

    name = "emdash"
    module = "benchmarks.iteration"

    def prepare(self) -> None:
        p = self.problem
        self.iteration = self.system.Iteration(p.X, p.start, p.covariance_type, p.n_threads)

    def iterate(self) -> None:
        self.iteration()

    def answer(self) -> Answer:
        result = self.iteration.result
        return result.weights, result.components.means, result.components.covariances


class ScikitLearn(System):
    """The two steps of scikit-learn's ``GaussianMixture.fit``."""

    name = "scikit-learn"
    module = "sklearn.mixture"

    def prepare(self) -> None:
        p = self.problem
        covariances = p.start.shaped(p.covariance_type)
        self.model = self.system.GaussianMixture(
            len(p.start.means), covariance_type=p.covariance_type, reg_covar=0.0
        )
        compute = self.system._gaussian_mixture._compute_precision_cholesky
        start = (
            p.start.weights,
            p.start.means,
            covariances,
            compute(covariances, p.covariance_type),
        )
        self.start = [array.astype(p.X.dtype) for array in start]

    def e_step(self) -> Any:
        """Return the logarithm of the responsibilities, shape (n, K)."""
        model = self.model
        model.weights_, model.means_, model.covariances_, model.precisions_cholesky_ = self.start
        _, log_resp = model._e_step(self.problem.X)
        return log_resp

    def iterate(self) -> None:
        self.model._m_step(self.problem.X, self.e_step())

    def answer(self) -> Answer:
        return self.model.weights_, self.model.means_, self.model.covariances_


class OneDAL(System):
    """oneDAL through daal4py (PyPI: scikit-learn-intelex)."""

    name = "oneDAL"
    module = "daal4py"
    covariance_types = ("full", "diag")

    def prepare(self) -> None:
        p = self.problem
        self.system.daalinit(p.n_threads)
        self.algorithm = self.system.em_gmm(
            nComponents=len(p.start.means),
            fptype={"float64": "double", "float32": "float"}[p.X.dtype.name],
            maxIterations=1,
            accuracyThreshold=0.0,
            regularizationFactor=0.0,
            covarianceStorage={"full": "full", "diag": "diagonal"}[p.covariance_type],
        )
        covariances = p.start.shaped(p.covariance_type).astype(p.X.dtype)
        self.start = (
            p.start.weights[None].astype(p.X.dtype),
            p.start.means.astype(p.X.dtype),
            [np.atleast_2d(covariance) for covariance in covariances],
        )

    def iterate(self) -> None:
        self.result = self.algorithm.compute(self.problem.X, *self.start)

    def answer(self) -> Answer:
        covariances = np.array(self.result.covariances)
        return (
            self.result.weights[0],
            self.result.means,
            covariances.reshape(self.problem.start.shaped(self.problem.covariance_type).shape),
        )


class Pomegranate(System):
    """pomegranate on PyTorch, on the CPU."""

    name = "pomegranate"
    module = "pomegranate.gmm"
    covariance_types = ("full", "diag")

    def prepare(self) -> None:
        import torch
        from pomegranate.distributions import Normal

        p = self.problem
        torch.set_num_threads(p.n_threads)
        self.X = torch.tensor(p.X)
        self.components = [
            Normal(torch.tensor(m), torch.tensor(c), covariance_type=p.covariance_type)
            for m, c in zip(p.start.means, p.start.shaped(p.covariance_type), strict=True)
        ]
        self.make = lambda: self.system.GeneralMixtureModel(
            copy.deepcopy(self.components), priors=torch.tensor(p.start.weights)
        ).to(self.X.dtype)

    def rest(self) -> None:
        self.model = self.make()

    def iterate(self) -> None:
        self.model = self.make()
        self.model.summarize(self.X)
        self.model.from_summaries()

    def answer(self) -> Answer:
        components = self.model.distributions
        return (
            self.model.priors.numpy(),
            np.stack([component.means.numpy() for component in components]),
            np.stack([component.covs.numpy() for component in components]),
        )


class OpenCV(System):
    """OpenCV's EM (PyPI: opencv-contrib-python); an M-step from given responsibilities, an E-step.

    Its Python binding cannot be given covariances, but responsibilities: those of the start.
    """

    name = "OpenCV"
    module = "cv2.ml"
    covariance_types = ("full", "diag", "spherical")
    dtypes = ("float64",)

    def prepare(self) -> None:
        import cv2

        p = self.problem
        cv2.setNumThreads(p.n_threads)
        self.r = np.exp(ScikitLearn(p).e_step())
        self.X = np.array(p.X)  # it refuses read-only arrays
        self.model = self.system.EM_create()
        self.model.setClustersNumber(len(p.start.means))
        kind = {"full": "GENERIC", "diag": "DIAGONAL", "spherical": "SPHERICAL"}
        self.model.setCovarianceMatrixType(
            getattr(self.system, f"EM_COV_MAT_{kind[p.covariance_type]}")
        )
        self.model.setTermCriteria((cv2.TERM_CRITERIA_MAX_ITER, 1, 0.0))

    def iterate(self) -> None:
        self.model.trainM(self.X, self.r)

    def answer(self) -> Answer:
        covariances = np.array(self.model.getCovs())
        if self.problem.covariance_type != "full":
            covariances = np.diagonal(covariances, axis1=1, axis2=2)
        if self.problem.covariance_type == "spherical":
            covariances = covariances.mean(axis=1)
        return self.model.getWeights()[0], self.model.getMeans(), covariances


class Mlpack(System):
    """mlpack, which always starts from its own k-means: two iterations less one."""

    name = "mlpack"
    module = "mlpack"
    covariance_types = ("full", "diag")
    dtypes = ("float64",)
    given_start = False

    def prepare(self) -> None:
        self.X = np.array(self.problem.X)

    def train(self, iterations: int) -> None:
        self.system.gmm_train(
            len(self.problem.start.means),
            self.X,
            max_iterations=iterations,
            tolerance=0.0,
            seed=1,
            kmeans_max_iterations=1,
            diagonal_covariance=self.problem.covariance_type == "diag",
        )

    def rest(self) -> None:
        self.train(2)

    def iterate(self) -> None:
        self.train(3)

    def answer(self) -> Answer:
        raise NotImplementedError("mlpack does not begin at the start it is given")


SYSTEMS: tuple[type[System], ...] = (Emdash, ScikitLearn, OneDAL, Pomegranate, OpenCV, Mlpack)
"""The registry; the first two are always there."""
