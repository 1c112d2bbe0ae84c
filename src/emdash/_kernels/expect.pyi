from typing import Any

from numpy.typing import NDArray

from emdash._kernels.tile import FamilyKernel

def accumulate(
    kernel: FamilyKernel,
    X: NDArray[Any],
    weights: NDArray[Any] | None,
    out: NDArray[Any],
    n_threads: int,
    *,
    labels: NDArray[Any] | None = ...,
    left_out: NDArray[Any] | None = ...,
    incomplete: NDArray[Any] | None = ...,
) -> int: ...
def posterior(
    kernel: FamilyKernel,
    X: NDArray[Any],
    n_threads: int,
    *,
    labels: NDArray[Any] | None = ...,
    log_likelihood: NDArray[Any] | None = ...,
    responsibilities: NDArray[Any] | None = ...,
    log_densities: NDArray[Any] | None = ...,
    filled: NDArray[Any] | None = ...,
    noise: NDArray[Any] | None = ...,
) -> int: ...
