from numpy.typing import ArrayLike

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
