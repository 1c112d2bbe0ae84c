"""Some features of a Gaussian: kernels for rows with missing cells, marginals, conditionals.

What differs between the shapes of a covariance is here; ``gaussian.py`` uses it. Letters are those
of ``docs/formulas.md``.

Must never know: mixing weights, rows, sources, loops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SUBSETS", "Subsets"]

Array = NDArray[np.float64]
Features = NDArray[np.intp]


class Subsets(ABC):
    """What a covariance shape knows about some of the features. Implement these methods."""

    @abstractmethod
    def kernel(self) -> Any:
        """Return the class of the compiled kernel for rows with missing cells."""

    @abstractmethod
    def marginal(self, covariances: Array, kept: Features) -> Array:
        """Return the covariances of the features `kept`."""

    @abstractmethod
    def conditional(
        self, means: Array, covariances: Array, kept: Features, given: Features, values: Array
    ) -> tuple[Array, Array]:
        """Return means (K, kept) and covariances of the features `kept` given values of others.

        Parameters
        ----------
        means : (K, d)
        covariances
            In the shape's own array shape.
        kept, given : (m,), (q,)
            Features, together all of them.
        values : (q,)
            Of the features `given`.
        """


def regress(covariance: Array, kept: Features, given: Features) -> tuple[Array, Array]:
    """Return ``B`` (m, q), the regression on what is given, and ``V`` (m, m), what it leaves.

    ``B = S_mo S_oo^-1`` and ``V = S_mm - B S_om`` [Anderson1957]_.
    """
    from scipy.linalg import cho_factor, cho_solve

    cross = covariance[np.ix_(given, kept)]
    B = cho_solve(cho_factor(covariance[np.ix_(given, given)], lower=True), cross).T
    V = covariance[np.ix_(kept, kept)] - B @ cross
    return B, (V + V.T) / 2


class _Full(Subsets):
    def kernel(self) -> Any:
        from emdash._kernels.regressions import FullMissingKernel

        return FullMissingKernel

    def marginal(self, covariances: Array, kept: Features) -> Array:
        return covariances[..., kept[:, None], kept]

    def conditional(
        self, means: Array, covariances: Array, kept: Features, given: Features, values: Array
    ) -> tuple[Array, Array]:
        pairs = [regress(covariance, kept, given) for covariance in covariances]
        B, V = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        return means[:, kept] + np.einsum("kmq,kq->km", B, values - means[:, given]), V


class _Tied(_Full):
    def kernel(self) -> Any:
        from emdash._kernels.regressions import TiedMissingKernel

        return TiedMissingKernel

    def conditional(
        self, means: Array, covariances: Array, kept: Features, given: Features, values: Array
    ) -> tuple[Array, Array]:
        B, V = regress(covariances, kept, given)
        return means[:, kept] + (values - means[:, given]) @ B.T, V


class _Diagonal(Subsets):
    def kernel(self) -> Any:
        from emdash._kernels.missing import DiagonalMissingKernel

        return DiagonalMissingKernel

    def marginal(self, covariances: Array, kept: Features) -> Array:
        return covariances[:, kept]

    def conditional(
        self, means: Array, covariances: Array, kept: Features, given: Features, values: Array
    ) -> tuple[Array, Array]:
        return means[:, kept], self.marginal(covariances, kept)


class _Spherical(_Diagonal):
    def kernel(self) -> Any:
        from emdash._kernels.missing import SphericalMissingKernel

        return SphericalMissingKernel

    def marginal(self, covariances: Array, kept: Features) -> Array:
        return covariances


SUBSETS: dict[str, Subsets] = {
    "full": _Full(),
    "tied": _Tied(),
    "diag": _Diagonal(),
    "spherical": _Spherical(),
}
"""The registry: name of a covariance shape to what it knows about some of the features."""
