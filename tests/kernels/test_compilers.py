"""One source, every compiler at hand: primitives against plain C, bodies without a warning.

A cross compiler and an emulator stand in for an ARM machine where they are installed
(Debian, Ubuntu: gcc-aarch64-linux-gnu, qemu-user).
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import emdash._kernels

HERE = Path(__file__).parent
SIMD = Path(emdash._kernels.__file__).parent / "simd"
FLAGS = ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]  # as in setup.py
FLAGS += ["-Wall", "-Wextra", "-Werror", f"-I{SIMD}", f"-I{HERE}"]
# guesses that depend on the optimiser; compilers ignore a -Wno- that they do not know
FLAGS += ["-Wno-maybe-uninitialized", "-Wno-unknown-warning-option"]
BODIES = ("gaussian", "softmax", "single", "load", "nearest", "factor", "missing")
ARM = "aarch64-linux-gnu-gcc"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="flags of gcc and clang")


def run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=["gcc", "clang", ARM])
def compiler(request):
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param}")
    return request.param


@pytest.mark.parametrize("define", [(), ("-DEMDASH_SCALAR",)], ids=["vectors", "scalar"])
def test_primitives(compiler, define, tmp_path):
    emulator = [shutil.which("qemu-aarch64")] if compiler == ARM else []
    if None in emulator:
        pytest.skip("no qemu-aarch64")
    static = ["-static"] if compiler == ARM else []  # the emulator then needs no libraries
    program = tmp_path / "primitives"
    run(compiler, "-O3", *FLAGS, *define, *static, HERE / "primitives.c", "-o", program, "-lm")
    lines = run(*emulator, program).splitlines()
    assert lines[-1] == "scalar: 0 wrong"
    assert ("baseline: 0 wrong" in lines) == (define == ())
    assert all(line.endswith(": 0 wrong") for line in lines)


# external, so that nothing is dropped as unused
TABLES = '#include "{0}.h"\nconst void *table = emdash_{0}_tables;\n'

# what MSVC sees: neither GNU extensions nor clang's
STANDARD = """
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#undef __GNUC__
#undef __clang__
#define __forceinline inline
"""


@pytest.mark.parametrize("body", BODIES)
def test_bodies_compile_without_a_warning(compiler, body, tmp_path):
    source, assembly = tmp_path / "body.c", tmp_path / "body.s"
    source.write_text(TABLES.format(body))
    multiplies = compiler == ARM and body == "gaussian"
    # -O1 is quicker (gcc: three times), but only -O2 makes one instruction of a product and a sum,
    # and only there clang says which loop over registers it could not unroll
    level = "-O2" if multiplies or compiler == "clang" else "-O1"
    run(compiler, level, *FLAGS, "-S", source, "-o", assembly)
    if multiplies:
        assert len(re.findall(r"fmla\s+v\d+\.2d", assembly.read_text())) > 1000


@pytest.mark.parametrize("body", BODIES)
def test_without_extensions_bodies_are_standard_c(compiler, body, tmp_path):
    source = tmp_path / "body.c"
    source.write_text(STANDARD + TABLES.format(body))
    # without extensions there is no way to say that a function may stay unused
    strict = [
        "-std=c11",
        "-pedantic-errors",
        "-Wno-unused-function",
        "-Wno-builtin-macro-redefined",
    ]
    run(compiler, *FLAGS, *strict, "-fsyntax-only", source)
