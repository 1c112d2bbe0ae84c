"""What is installed and which compiled code runs: the facts a bug report needs.

Versions are read from the metadata of the distributions, so nothing heavy is imported.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

__all__ = ["show_versions"]

PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "dask",
    "distributed",
    "threadpoolctl",
    "click",
    "matplotlib",
    "pillow",
    "Cython",
)


def show_versions() -> None:
    """Print the versions of emdash, Python and the packages it uses, and how it was compiled.

    Whether OpenMP is compiled in, how many threads would be used, and which
    variant of the vector instructions runs, of those this machine could run.

    Examples
    --------
    >>> import emdash
    >>> emdash.show_versions()
    emdash         ...
    Python         ...
    """
    for name, value in [*_system(), *_packages(), *_kernels()]:
        print(f"{name:<14} {value}")


def _system() -> list[tuple[str, str]]:
    from emdash import __version__

    return [
        ("emdash", __version__),
        ("Python", sys.version.replace("\n", " ")),
        ("platform", platform.platform()),
    ]


def _packages() -> list[tuple[str, str]]:
    return [(name, _installed(name)) for name in PACKAGES]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed" + (" (needed to compile only)" if name == "Cython" else "")


def _kernels() -> list[tuple[str, str]]:
    """Say how the kernels were compiled; they may be missing from an incomplete installation."""
    from emdash.engines.local import usable_cores

    spec = find_spec("emdash._kernels.threads")
    if spec is None or spec.origin is None:
        return [("kernels", "missing: compile them with 'pip install .'")]
    from emdash._kernels.threads import available_isas, isa, openmp_enabled

    openmp = openmp_enabled()
    return [
        ("kernels", "built as " + Path(spec.origin).name.split(".", 1)[1]),
        ("OpenMP", "yes" if openmp else "no: an array in memory is computed by one thread"),
        ("threads", f"{usable_cores()} (cores this process may use)"),
        ("SIMD", f"{isa()} (available: {', '.join(available_isas())})"),
    ]
