"""The stubs of the compiled modules say what the modules hold."""

import importlib.util
import subprocess
import sys

import pytest

# what Cython adds to every module and class
ALLOWED = r"emdash\._kernels\..*__(test|pyx_capi|reduce_cython|setstate_cython)__"


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_stubs_equal_the_modules(tmp_path):
    allowlist = tmp_path / "allowed"
    allowlist.write_text(ALLOWED)
    command = [sys.executable, "-m", "mypy.stubtest", "emdash._kernels", "--ignore-disjoint-bases"]
    done = subprocess.run(
        [*command, "--ignore-unused-allowlist", "--allowlist", str(allowlist)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
