"""Instruction sets are picked at import; a forked child of a threaded process runs on."""

import os
import platform
import shutil
import subprocess
import sys

import pytest

from emdash._kernels import threads


def run(program, prefix=(), **environment):
    return subprocess.run(
        [*prefix, sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_names():
    assert threads.available_isas()[-1] == "scalar"
    assert threads.isa() in threads.available_isas()
    assert isinstance(threads.openmp_enabled(), bool)
    with pytest.raises(ValueError, match=r"available: .*scalar"):
        threads._select_isa("sse9")


@pytest.mark.parametrize("name", threads.available_isas())
def test_the_environment_forces_an_instruction_set(name):
    done = run("from emdash._kernels import threads; print(threads.isa())", EMDASH_ISA=name)
    assert done.stdout.strip() == name


UNAVAILABLE = {"sse9", "avx512", "avx2"}.difference(threads.available_isas())


@pytest.mark.parametrize("name", sorted(UNAVAILABLE))
def test_an_unknown_or_unsupported_instruction_set_is_an_import_error(name):
    done = run("import emdash._kernels.gaussian", EMDASH_ISA=name)
    assert done.returncode != 0
    available = ", ".join(threads.available_isas())
    assert (
        f"ImportError: EMDASH_ISA: instruction set {name!r} is unknown or not supported here; "
        f"available: {available}\n"
    ) in done.stderr


# emulated processors of 2008 and 2013: NumPy runs on both
@pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None or platform.machine() != "x86_64", reason="no qemu-x86_64"
)
@pytest.mark.parametrize(
    ("processor", "wanted"),
    [("Nehalem", ("baseline", "scalar")), ("Haswell", ("avx2", "baseline", "scalar"))],
)
def test_the_best_instruction_set_of_the_processor_is_chosen(processor, wanted):
    program = "from emdash._kernels import threads as t; print((*t.available_isas(), t.isa()))"
    wanted = [isa for isa in wanted if isa in threads.available_isas()]  # a scalar build has one
    done = run(program, prefix=["qemu-x86_64", "-cpu", processor])
    assert done.stdout.strip() == str((*wanted, wanted[0])), done.stderr


FORK = """
import os, signal, numpy as np
from emdash._kernels import expect
from emdash._kernels.gaussian import DiagonalKernel
kernel = DiagonalKernel(np.zeros(8), np.random.default_rng(0).normal(size=(8, 4)), np.ones((8, 4)))
X = np.random.default_rng(1).normal(size=(200000, 4))
def total():
    out = np.empty(kernel.statistics_size)
    expect.accumulate(kernel, X, None, out, 2)
    return out
before = total()
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(0 if (total() == before).all() else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (total() == before).all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_does_not_hang():
    done = run(FORK, PYTHONWARNINGS="default")
    assert done.returncode == 0, done.stderr


TEAM = """
import os, numpy as np
from emdash._kernels import expect
from emdash._kernels.gaussian import FullKernel
kernel = FullKernel(np.zeros(4), np.zeros((4, 10)), np.stack([np.eye(10)] * 4))
X = np.zeros((100000, 10))
out, labels = np.empty(kernel.statistics_size), np.empty(len(X), dtype=np.intp)
def threads(n):
    expect.accumulate(kernel, X[:n], None, out, 2)
    expect.posterior(kernel, X[:n], 2, labels=labels[:n])
    return len(os.listdir("/proc/self/task"))
before = threads(1)
print(threads(3000) - before, threads(100000) - before)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are not counted here")
@pytest.mark.skipif(not threads.openmp_enabled(), reason="built without OpenMP")
def test_little_work_starts_no_team():
    """3000 rows, (d, K) = (10, 4), take 70 microseconds."""
    done = run(TEAM)
    assert done.stdout.split() == ["0", "1"], done.stderr
