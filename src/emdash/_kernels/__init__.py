"""Compiled kernels: one fused pass over tiles of rows per EM iteration.

Imports nothing from the rest of the package.
"""

import os


def _load_openmp() -> None:
    """Load the OpenMP runtime with threads that sleep while they wait for each other.

    GCC's runtime lets them spin for milliseconds. On a machine with other work to do a
    thread that spins keeps the core that the others wait for: beside two other busy
    processes on two cores, a pass of 1.2 ms took 7 to 11 ms on two threads, and 1.3 to
    2.7 ms with this setting; on idle cores the two are equal. The runtime reads the
    variable when it is loaded, which importing ``expect`` does; afterwards the
    environment is as before. What the user has set is left alone, and other runtimes
    (LLVM's, Microsoft's) do not know the variable.
    """
    chosen = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    if not chosen:
        os.environ["GOMP_SPINCOUNT"] = "1000"  # some 20 microseconds
    try:
        from emdash._kernels import expect  # noqa: F401
    finally:
        if not chosen:
            del os.environ["GOMP_SPINCOUNT"]


_load_openmp()
