"""The kernels' calls with their outputs allocated."""

import numpy as np
import twins

from emdash._kernels import expect
from emdash._kernels.gaussian import DiagonalKernel, FullKernel, SphericalKernel, TiedKernel

KERNELS = {
    "full": FullKernel,
    "tied": TiedKernel,
    "diag": DiagonalKernel,
    "spherical": SphericalKernel,
}
SHAPES = tuple(KERNELS)
THREADED = ((4, 3, 30000), (10, 16, 9000), (3, 40, 20000))  # (K, d, n) that are worth a team


def example(shape="full", K=3, d=4, n=700, seed=0):
    """A kernel and rows for it."""
    rng = np.random.default_rng(seed)
    parameters = twins.random_parameters(shape, K, d, rng)
    return KERNELS[shape](*parameters), twins.random_rows(parameters, n, rng)


def statistics(kernel, X, weights=None, n_threads=1):
    out = np.full(kernel.statistics_size, np.nan)
    assert expect.accumulate(kernel, X, weights, out, n_threads) == -1
    return out


def posterior(kernel, X, n_threads=1):
    """Log densities (n, K), log-likelihood (n,), responsibilities (n, K), labels (n,)."""
    n, K = len(X), kernel.n_components
    out = {
        "log_densities": np.full((n, K), np.nan),
        "log_likelihood": np.full(n, np.nan),
        "responsibilities": np.full((n, K), np.nan),
        "labels": np.full(n, -1, dtype=np.intp),
    }
    assert expect.posterior(kernel, X, n_threads, **out) == -1
    return tuple(out.values())


def missing_kernels():
    """The kernels for rows with missing cells, by covariance type."""
    from emdash._kernels import missing, regressions

    return {
        "full": regressions.FullMissingKernel,
        "tied": regressions.TiedMissingKernel,
        "diag": missing.DiagonalMissingKernel,
        "spherical": missing.SphericalMissingKernel,
    }
