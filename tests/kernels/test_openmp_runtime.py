"""How the OpenMP runtime is loaded: its threads sleep while they wait, the environment stays."""

import os
import subprocess
import sys

import pytest

from emdash._kernels.threads import openmp_enabled

LOAD = """
import os
before = dict(os.environ)
import emdash._kernels
assert dict(os.environ) == before
"""
RUNTIME = """
import emdash._kernels
print("libgomp" in open("/proc/self/maps").read())
"""


def loaded(**settings):
    """Return what the runtime says of its settings when the kernels load it."""
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    run = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        env={**kept, "OMP_DISPLAY_ENV": "verbose", **settings},
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.mark.skipif(
    not (openmp_enabled() and sys.platform == "linux"), reason="only GCC's runtime spins this long"
)
def test_threads_do_not_spin_for_long_unless_told_to():
    found = subprocess.run([sys.executable, "-c", RUNTIME], capture_output=True, text=True)
    if found.stdout.strip() == "False":
        pytest.skip("built with another runtime, which does not know GOMP_SPINCOUNT")
    assert "GOMP_SPINCOUNT = '1000'" in loaded()
    assert "GOMP_SPINCOUNT = '12345'" in loaded(GOMP_SPINCOUNT="12345")
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in loaded(OMP_WAIT_POLICY="active")
