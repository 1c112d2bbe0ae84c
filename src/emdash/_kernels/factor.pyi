from typing import Any

from numpy.typing import NDArray

def covariances(
    N: NDArray[Any],
    S: NDArray[Any],
    shift: NDArray[Any],
    out: NDArray[Any],
    n_threads: int = 1,
) -> None: ...
def factor(covariances: NDArray[Any], out: NDArray[Any], n_threads: int = 1) -> int: ...
