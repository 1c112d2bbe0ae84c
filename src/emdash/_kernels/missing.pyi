from typing import Any

from numpy.typing import ArrayLike, NDArray

from emdash._kernels.tile import FamilyKernel

class MissingKernel(FamilyKernel): ...

class VarianceKernel(MissingKernel):
    def __init__(
        self,
        log_weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        precisions_cholesky: ArrayLike,
        about: ArrayLike,
        center: ArrayLike,
    ) -> None: ...

class DiagonalMissingKernel(VarianceKernel): ...
class SphericalMissingKernel(VarianceKernel): ...

def sort_by_pattern(X: NDArray[Any], numbers: NDArray[Any], rows: NDArray[Any]) -> int: ...
