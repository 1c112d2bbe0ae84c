"""Types: the package passes ``mypy --strict``, and the stubs say what the compiled modules do."""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import emdash._kernels

ROOT = Path(__file__).parents[2]
COMPILED = sorted(
    f"emdash._kernels.{module.name}" for module in pkgutil.iter_modules(emdash._kernels.__path__)
)
# what Cython adds to a module by itself, and nobody calls
GENERATED = r".*\.__(reduce_cython|setstate_cython|pyx_capi|pyx_vtable|test)__"


def run(tmp_path, *arguments):
    environment = {**os.environ, "MYPY_CACHE_DIR": str(tmp_path), "MYPYPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_package_passes_mypy_strict(tmp_path):
    result = run(tmp_path, "mypy")
    assert result.returncode == 0, result.stdout + result.stderr


def test_stubs_agree_with_compiled_modules(tmp_path):
    assert "emdash._kernels.expect" in COMPILED
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nignore_missing_imports = true\nignore_errors = true\n")
    allowed = tmp_path / "allowed"
    allowed.write_text(GENERATED)
    result = run(
        tmp_path,
        "mypy.stubtest",
        f"--mypy-config-file={settings}",
        f"--allowlist={allowed}",
        "--ignore-unused-allowlist",
        # layout in memory, which a stub can state only with the newest type checkers
        "--ignore-disjoint-bases",
        *COMPILED,
    )
    assert result.returncode == 0, result.stdout + result.stderr
