"""The compiled kernels and their switches; everything else is in pyproject.toml.

EMDASH_NO_OPENMP=1  build without OpenMP        EMDASH_ABI3=1  one binary for Python 3.11 and later
EMDASH_DEBUG=1      bounds checks, -O1 -g
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from extension_helpers import add_openmp_flags_if_available
from setuptools import Extension, setup

debug, abi3, no_openmp = (
    os.environ.get(f"EMDASH_{name}") == "1" for name in ("DEBUG", "ABI3", "NO_OPENMP")
)
if sys.platform == "win32":
    flags = ["/Od", "/Zi"] if debug else ["/O2"]
else:
    flags = ["-O1", "-g"] if debug else ["-O3", "-g0"]
    flags += ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
    flags += ["-Werror=implicit-function-declaration"]  # how a call outside the limited API shows
extensions = [
    Extension(
        f"emdash._kernels.{path.stem}",
        [path.as_posix()],
        extra_compile_args=flags,
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if abi3 else [],
        py_limited_api=abi3,
        depends=[p.as_posix() for p in Path("src/emdash/_kernels/simd").glob("*.h")],
    )
    for path in sorted(Path("src/emdash/_kernels").glob("*.pyx"))
]
for extension in extensions:  # the modules that are built with OpenMP
    if extension.name.rpartition(".")[2] not in ("expect", "threads"):
        continue
    if not no_openmp and not add_openmp_flags_if_available(extension):
        raise SystemExit(
            "emdash: this C compiler cannot build OpenMP programs. Debian, Ubuntu: apt install gcc "
            "(or clang libomp-dev). macOS, whose clang has no OpenMP: brew install llvm libomp; "
            'export CC="$(brew --prefix llvm)/bin/clang" LDFLAGS="-L$(brew --prefix libomp)/lib" '
            'CFLAGS="-I$(brew --prefix libomp)/include"; or conda install c-compiler llvm-openmp. '
            "EMDASH_NO_OPENMP=1 builds without it: everything then runs on one thread."
        )
directives = {
    **{"language_level": 3, "cdivision": True, "freethreading_compatible": True},
    **{"boundscheck": debug, "initializedcheck": debug},
    "wraparound": False,  # no index counts from the end: the checks find one that does
}
setup(
    ext_modules=cythonize(extensions, compiler_directives=directives),
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {},
)
