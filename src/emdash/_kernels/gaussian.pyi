from numpy.typing import ArrayLike

from emdash._kernels.tile import FamilyKernel

class GaussianKernel(FamilyKernel): ...

class FullKernel(GaussianKernel):
    def __init__(
        self, log_offsets: ArrayLike, means: ArrayLike, precisions_cholesky: ArrayLike
    ) -> None: ...

class TiedKernel(GaussianKernel):
    def __init__(
        self,
        log_offsets: ArrayLike,
        means: ArrayLike,
        precisions_cholesky: ArrayLike,
        center: ArrayLike,
    ) -> None: ...

class DiagonalKernel(GaussianKernel):
    def __init__(
        self, log_offsets: ArrayLike, means: ArrayLike, precisions_cholesky: ArrayLike
    ) -> None: ...

class SphericalKernel(GaussianKernel):
    def __init__(
        self, log_offsets: ArrayLike, means: ArrayLike, precisions_cholesky: ArrayLike
    ) -> None: ...
