"""Instruction sets are picked at import; a forked child of a threaded process runs on."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_calls import example, statistics

from emdash._kernels import threads

HERE = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"


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


BITS = """
from kernel_calls import example, statistics
from emdash._kernels import threads
print(threads.isa(), statistics(*example(K=6, d=12)).tobytes().hex())
"""


def test_the_environment_forces_an_instruction_set(isa):
    """The bits tell which code has run: no two sets agree in all, see test_isas_agree."""
    done = run(HERE + BITS, EMDASH_ISA=isa)
    assert done.stdout.split() == [isa, statistics(*example(K=6, d=12)).tobytes().hex()]


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
import os
import numpy as np
from kernel_calls import SHAPES, THREADED, example, posterior, statistics
from emdash._kernels import expect, factor

def tasks():
    return len(os.listdir("/proc/self/task"))

def team(call, *arguments):  # in a child: the threads of a team stay
    child = os.fork()
    if child == 0:
        before = tasks()
        call(*arguments)
        os._exit(11 if tasks() > before else 10)
    return {10: False, 11: True}[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]

def accumulate(shape, d, K, n, **labels):
    kernel, X = example(shape, K, d, n)
    expect.accumulate(kernel, X, None, np.empty(kernel.statistics_size), 2, **labels)

def known(shape, d, K, n):
    accumulate(shape, d, K, n, labels=np.zeros(n, dtype=np.intp))

def labels(shape, d, K, n):
    expect.posterior(*example(shape, K, d, n), 2, labels=np.empty(n, dtype=np.intp))

def log_likelihood(shape, d, K, n):
    expect.posterior(*example(shape, K, d, n), 2, log_likelihood=np.empty(n))

def responsibilities(shape, d, K, n):
    expect.posterior(*example(shape, K, d, n), 2, responsibilities=np.empty((n, K)))

def covariances(d, K):
    S, shift = np.ones((K, d * (d + 1) // 2)), np.zeros((K, d))
    factor.covariances(np.ones(K), S, shift, np.empty((K, d, d)), 2)

def factors(d, K):
    factor.factor(np.stack([np.eye(d)] * K), np.empty((K, d, d)), 2)

for call, *case, little, enough in (
    (accumulate, "full", 10, 4, 3000, 9000),
    (accumulate, "full", 1, 4, 20000, 60000),
    (accumulate, "tied", 2, 8, 10000, 30000),
    (known, "diag", 10, 10, 6500, 19000),
    (labels, "full", 10, 10, 2500, 7500),
    (labels, "full", 2, 8, 16000, 47000),
    (labels, "full", 1, 4, 40000, 120000),
    (labels, "tied", 10, 10, 7500, 22000),
    (labels, "diag", 10, 10, 6500, 19000),
    (labels, "spherical", 10, 10, 10000, 28000),
    (log_likelihood, "full", 10, 10, 2200, 6500),
    (responsibilities, "diag", 10, 10, 5000, 13000),
    (covariances, 100, 15, 45),
    (covariances, 46, 64, 200),
    (factors, 16, 80, 240),
):
    if team(call, *case, little):
        print("a team for", call.__name__, *case, little)
    if not team(call, *case, enough):
        print("no team for", call.__name__, *case, enough)
for shape in SHAPES:
    for K, d, n in THREADED:
        kernel, X = example(shape, K, d, n)
        if not team(statistics, kernel, X, None, 2) or not team(posterior, kernel, X, 2):
            print("test_threads_change_no_bit is of one thread for", shape, K, d, n)
print("done")
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are not counted here")
@pytest.mark.skipif(not threads.openmp_enabled(), reason="built without OpenMP")
def test_little_work_starts_no_team():
    """Little takes 60 to 90 microseconds on one thread, enough takes three times that."""
    done = run(HERE + TEAM)
    assert done.stdout == "done\n", done.stderr
