from numpy.typing import ArrayLike

from emdash._kernels.tile import FamilyKernel

class SingleKernel(FamilyKernel):
    def __init__(
        self,
        log_offsets: ArrayLike,
        means: ArrayLike,
        precisions_cholesky: ArrayLike,
        center: ArrayLike,
        unit: ArrayLike,
        reach: float,
    ) -> None: ...
