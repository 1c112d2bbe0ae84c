"""The two obvious ways to run EM on a Dask array, which emdash is measured against.

`NaiveEngine` makes one task per chunk and pass; kernel and M-step are emdash's own,
so the difference is scheduling alone. `expectation_maximization` is written in
array expressions, as somebody would who knows dask.array and has no kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.chunk import Chunk
from emdash.models.passes import Expect
from emdash.sources.dask import DaskSource
from emdash.statistics import Statistics

__all__ = ["NaiveEngine", "expectation_maximization"]


def block_statistics(block: NDArray[Any], task: Expect) -> NDArray[Any]:
    """Return the statistics of one chunk as a row."""
    return task(Chunk(block, index=0, start=None), 1).buffer[None]


class NaiveEngine:
    """Map the E-step over the blocks of a Dask array, sum the results, compute."""

    def total(self, task: Expect, source: DaskSource) -> Statistics:
        """Return the statistics of all rows; the whole graph is built anew."""
        array = source.array
        sums = array.map_blocks(
            block_statistics,
            task,
            dtype=float,
            chunks=((1,) * array.numblocks[0], (task.layout.size,)),
        ).sum(axis=0)
        return Statistics(task.layout, sums.compute(), task.pass_id)


def expectation_maximization(
    X: Any, weights: NDArray[Any], means: NDArray[Any], covariances: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Do one EM iteration with full covariances on a Dask array.

    Parameters
    ----------
    X : dask.array.Array of shape (n, d)
    weights : (K,)
    means : (K, d)
    covariances : (K, d, d)

    Returns
    -------
    weights, means, covariances
        The next parameters.
    """
    import dask
    import dask.array as da

    K, d = means.shape
    columns = []
    for k in range(K):
        white = np.linalg.inv(np.linalg.cholesky(covariances[k]))
        z = (X - means[k]) @ white.T
        constant = np.log(weights[k]) + np.log(np.diagonal(white)).sum() - d / 2 * np.log(2 * np.pi)
        columns.append(constant - 0.5 * (z * z).sum(axis=1))
    log_densities = da.stack(columns, axis=1).rechunk({1: -1})
    r = da.exp(log_densities - log_densities.max(axis=1, keepdims=True))
    r = r / r.sum(axis=1, keepdims=True)
    N = r.sum(axis=0)
    F = r.T @ X
    S = [(r[:, k : k + 1] * (X - means[k])).T @ (X - means[k]) for k in range(K)]
    N, F, *S = dask.compute(N, F, *S)
    new = F / N[:, None]
    shift = new - means
    covariances = np.stack(S) / N[:, None, None] - shift[:, :, None] * shift[:, None, :]
    return N / N.sum(), new, covariances
