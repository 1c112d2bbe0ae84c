from typing import Any

from numpy.typing import ArrayLike, NDArray

from emdash._kernels.tile import FamilyKernel

class Points:
    def __init__(self, points: ArrayLike) -> None: ...

def settle(
    X: NDArray[Any],
    points: ArrayLike,
    used: NDArray[Any],
    labels: NDArray[Any],
    margins: NDArray[Any],
    center: NDArray[Any],
    changes: NDArray[Any],
    *,
    least: float,
    relative: float,
    absolute: float,
) -> None: ...

class PotentialKernel(FamilyKernel):
    def __init__(self, points: ArrayLike) -> None: ...
