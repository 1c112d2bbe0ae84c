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
FLAGS += ["-Wno-maybe-uninitialized", "-Wno-pass-failed", "-Wno-unknown-warning-option"]
BODIES = ("gaussian.h", "softmax.h", "load.h")
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


@pytest.fixture(params=[(), ("-DEMDASH_SCALAR",)], ids=["vectors", "scalar"])
def define(request):
    return request.param


def test_primitives(compiler, define, tmp_path):
    emulator = [shutil.which("qemu-aarch64")] if compiler == ARM else []
    if None in emulator:
        pytest.skip("no qemu-aarch64")
    static = ["-static"] if compiler == ARM else []  # the emulator then needs no libraries
    program = tmp_path / "primitives"
    run(compiler, "-O3", *FLAGS, *define, *static, HERE / "primitives.c", "-o", program, "-lm")
    lines = run(*emulator, program).splitlines()
    assert lines[-1] == "baseline: 0 wrong"
    assert all(line.endswith(": 0 wrong") for line in lines)


@pytest.mark.parametrize("body", BODIES)
def test_bodies_compile_without_a_warning(compiler, body, define, tmp_path):
    source = tmp_path / "body.c"
    # external, so that nothing is dropped as unused
    source.write_text(f'#include "{body}"\nconst void *table = emdash_{body[:-2]}_tables;\n')
    assembly = tmp_path / "body.s"
    multiplies = compiler == ARM and body == "gaussian.h" and not define
    # -O1 is three times as quick, but only -O2 makes one instruction of a product and a sum
    run(compiler, "-O2" if multiplies else "-O1", *FLAGS, *define, "-S", source, "-o", assembly)
    if multiplies:
        assert len(re.findall(r"fmla\s+v\d+\.2d", assembly.read_text())) > 1000
