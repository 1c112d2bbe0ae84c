from numpy.typing import ArrayLike

from emdash._kernels.tile import FamilyKernel

class PointsKernel(FamilyKernel): ...

class NearestKernel(PointsKernel):
    def __init__(self, points: ArrayLike, relative: float, absolute: float) -> None: ...

class PotentialKernel(PointsKernel):
    def __init__(self, points: ArrayLike) -> None: ...
