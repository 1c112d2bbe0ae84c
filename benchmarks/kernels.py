"""The compiled kernels alone, on rows in memory; and the M-step alone, which reads no row."""

from __future__ import annotations

import numpy as np

from benchmarks.data import clusters, draw, size
from benchmarks.iteration import Iteration
from emdash._kernels import threads
from emdash._kernels.expect import accumulate, posterior
from emdash.models.passes import Expect

__all__ = ["Accumulate", "Memory", "Outputs", "Posterior", "Serial"]

TYPES = ("full", "tied", "diag", "spherical")
SHAPES = ((1, 4), (4, 16), (10, 10), (32, 32), (64, 64))
SETTINGS = {
    "usual": ("best", "float64", 1),
    "avx2": ("avx2", "float64", 1),
    "baseline": ("baseline", "float64", 1),
    "float32": ("best", "float32", 1),
    "two threads": ("best", "float64", 2),
}
"""Instruction set, type of the rows, and threads; one at a time differs from the usual ones."""


def bound(iteration: Iteration, isa: str = "best") -> Expect:
    """Return the E-step, bound to an instruction set by name."""
    usual = threads.isa()
    threads._select_isa(threads.available_isas()[0] if isa == "best" else isa)
    try:
        return iteration.model.task(iteration.parameters)
    finally:
        threads._select_isa(usual)


class _Kernel:
    """Rows and a kernel bound to an instruction set."""

    params = (TYPES, SHAPES, tuple(SETTINGS))
    param_names = ("covariance", "(d, K)", "setting")

    def setup(self, covariance: str, shape: tuple[int, int], setting: str) -> None:
        isa, dtype, self.n_threads = SETTINGS[setting]
        if isa not in ("best", *threads.available_isas()):
            raise NotImplementedError(f"this machine has no {isa}")
        d, K = shape
        truth = clusters(d, K, covariance_type=covariance)
        self.X = draw(truth, size(min(300_000, 4_000_000_000 // (K * d * d))), dtype)
        task = bound(Iteration(self.X, truth.nearby(), covariance), isa)
        self.kernel = task.kernel
        self.sums = np.empty(task.kernel.statistics_size)
        self.responsibilities = np.zeros((len(self.X), K))


class Accumulate(_Kernel):
    """The pass that sums statistics.

    Catches a kernel that lost speed: for one covariance type, one size (a block size that no
    longer fits), one instruction set (dispatch broken, a loop no longer vectorised), float32
    rows (which should cost what float64 rows do), or two threads (imbalance, false sharing).
    """

    def time_accumulate(self, covariance: str, shape: tuple[int, int], setting: str) -> None:
        """Sum the statistics of all rows."""
        accumulate(self.kernel, self.X, None, self.sums, self.n_threads)


class Posterior(_Kernel):
    """The pass that writes responsibilities.

    Catches the same losses as :class:`Accumulate` in the half that prediction uses, and a
    slow transposing store.
    """

    def time_posterior(self, covariance: str, shape: tuple[int, int], setting: str) -> None:
        """Write the responsibilities of all rows."""
        posterior(self.kernel, self.X, self.n_threads, responsibilities=self.responsibilities)


class Outputs:
    """The per-row answers that ``predict`` and ``score_samples`` ask for.

    Catches one output that became dearer than the E-step it rides on.
    """

    params = (("labels", "log_likelihood", "log_densities"), ((10, 10), (64, 64)))
    param_names = ("output", "(d, K)")

    def setup(self, output: str, shape: tuple[int, int]) -> None:
        d, K = shape
        truth = clusters(d, K)
        X = draw(truth, size(300_000 if d == 10 else 15_000))
        iteration = Iteration(X, truth.nearby(), n_threads=1)
        self.question = iteration.model.rows(iteration.parameters, output)
        (self.chunk,) = iteration.source.chunks()
        self.answers = self.question(self.chunk, 1)

    def time_output(self, output: str, shape: tuple[int, int]) -> None:
        """Answer for all rows with one thread."""
        self.question(self.chunk, 1, out=self.answers)


class Serial:
    """What an iteration does between two passes: the M-step, then bound parameters.

    Catches a factorisation that lost speed, copies of K matrices of d x d, and work for tiny
    fits that does not depend on their size.
    """

    params = (("full", "tied"), ((2, 2), (10, 10), (64, 64), (128, 64), (256, 16)), (1, 2))
    param_names = ("covariance", "(d, K)", "threads")

    def setup(self, covariance: str, shape: tuple[int, int], n_threads: int) -> None:
        d, K = shape
        truth = clusters(d, K, covariance_type=covariance)
        X = draw(truth, max(200, 4 * d * K))  # every covariance must stay positive definite
        self.iteration = Iteration(X, truth.nearby(), covariance, n_threads)
        task = self.iteration.model.task(self.iteration.parameters)
        self.statistics = self.iteration.engine.total(task, self.iteration.source)

    def time_serial(self, covariance: str, shape: tuple[int, int], n_threads: int) -> None:
        """Check the sums, maximise, factor, bind."""
        model, parameters = self.iteration.model, self.iteration.parameters
        model.nearer(self.statistics, parameters)
        model.task(model.maximize(self.statistics, parameters))


class Memory:
    """Peak memory where an array of n x K would be 32 times the data.

    Catches a kernel that keeps densities or responsibilities of more than a tile.
    """

    params = (TYPES,)
    param_names = ("covariance",)

    def setup(self, covariance: str) -> None:
        truth = clusters(2, 64, covariance_type=covariance)
        self.X = draw(truth, size(500_000))
        self.task = bound(Iteration(self.X, truth.nearby(), covariance))
        self.sums = np.empty(self.task.kernel.statistics_size)
        self.log_likelihood = np.empty(len(self.X))

    def peakmem_accumulate(self, covariance: str) -> None:
        """Sum the statistics of 500 000 rows, 8 MB of data."""
        accumulate(self.task.kernel, self.X, None, self.sums, 2)

    def peakmem_log_likelihood(self, covariance: str) -> None:
        """Write the log-likelihood of 500 000 rows."""
        posterior(self.task.kernel, self.X, 2, log_likelihood=self.log_likelihood)
