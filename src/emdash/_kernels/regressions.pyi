from numpy.typing import ArrayLike

from emdash._kernels.missing import MissingKernel

class MatrixKernel(MissingKernel):
    def __init__(
        self,
        log_weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        precisions_cholesky: ArrayLike,
        about: ArrayLike,
        center: ArrayLike,
    ) -> None: ...

class FullMissingKernel(MatrixKernel): ...
class TiedMissingKernel(MatrixKernel): ...
