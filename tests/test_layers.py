"""Imports go in one direction; what is heavy or optional is imported where it is used.

Reads the source, so that an import inside a function counts like any other.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import emdash

SOURCE = Path(emdash.__file__).parent
PYTHON = sorted(SOURCE.rglob("*.py"))
CYTHON = sorted([*SOURCE.rglob("*.pyx"), *SOURCE.rglob("*.pxd")])
C = sorted(SOURCE.rglob("*.h"))

ROOT = Path(__file__).parents[1]
TESTS = sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/*.py")])

BELOW_ESTIMATORS = {"em", "chunk", "statistics", "sources", "engines", "families", "models"}
MAY_IMPORT = {
    "_kernels": {"_kernels"},
    "em": set(),
    "chunk": set(),
    "statistics": set(),
    "sources": {"sources", "chunk"},
    "engines": {"engines", "sources", "chunk"},
    "priors": set(),
    "families": {"families", "priors", "statistics", "_kernels"},
    "counter": set(),
    "models": {"models", "families", "statistics", "chunk", "counter", "_kernels"},
    "kmeans": {"_kernels"},
    "start_missing": set(),
    "observed": {"engines", "sources", "chunk"},
    "start_weights": {"chunk"},
    "start": {
        "kmeans",
        "observed",
        "start_missing",
        "start_weights",
        "models",
        "engines",
        "sources",
        "statistics",
        "chunk",
        "_kernels",
    },
    "progress": {"em"},
    "collapse": {"models", "families", "statistics", "chunk", "progress"},
    "checkpoint": {"archive", "progress"},
    "estimators": {
        "estimators",
        "start",
        "observed",
        "progress",
        "checkpoint",
        "collapse",
        "priors",
        *BELOW_ESTIMATORS,
    },
    "archive": set(),
    "summary": set(),
    "persistence": {"estimators", "priors", "progress", "archive"},
    "answers": {"archive", "sources", "chunk"},
    "versions": {"_kernels", "engines"},
    "cli": {
        "answers",
        "archive",
        "demo",
        "estimators",
        "persistence",
        "versions",
        "sources",
        "progress",
        "start",
        "summary",
    },
    "demo": {"demo", "estimators", "progress", "persistence", "engines", "_kernels"},
}
"""For every layer, the layers it may import; a new module needs a decision, and a line here."""

MAY_IMPORT_DASK = {
    *(f"sources/{name}.py" for name in ("dask", "collections", "recipe", "shared")),
    *(f"engines/{name}.py" for name in ("cluster", "dask", "worker")),
    "versions.py",
}
"""And the command line and the demonstration, which are about it."""


def layer_of(path):
    part = path.relative_to(SOURCE).parts[0]
    return "" if part == "__init__.py" else part.removesuffix(".py")


def imported(path):
    """Return the full names of all modules that a Python file imports, wherever it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def cimported(path):
    """Return the modules that a Cython file imports or cimports."""
    return set(re.findall(r"^\s*(?:from|cimport|import)\s+([\w.]+)", path.read_text(), re.M))


def our_layers(names):
    """Return the layers of our own package among imported names; public names are in theirs."""
    parts = {name.split(".")[1] for name in names if name.startswith("emdash.")}
    return {emdash._PUBLIC.get(part, f".{part}").split(".")[1] for part in parts - {"__version__"}}


def name_of(path):
    return path.relative_to(SOURCE if path.is_relative_to(SOURCE) else ROOT).as_posix()


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_imports_go_one_way(path):
    layer = layer_of(path)
    found = our_layers(imported(path))
    if layer == "":  # the public names, for type checkers; at run time they are lazy
        return
    assert layer in MAY_IMPORT, f"give {layer} its place among the layers"
    assert found <= MAY_IMPORT[layer], f"{name_of(path)} imports upwards"


def test_the_order_of_layers_has_no_cycle():
    """Whatever the table above says, following it never leads back."""
    from graphlib import TopologicalSorter

    edges = {layer: found - {layer} for layer, found in MAY_IMPORT.items()}
    assert set(TopologicalSorter(edges).static_order()) == set(MAY_IMPORT)


@pytest.mark.parametrize("path", CYTHON, ids=name_of)
def test_kernels_import_kernels_only(path):
    assert layer_of(path) == "_kernels"
    assert our_layers(cimported(path)) <= {"_kernels"}


@pytest.mark.parametrize("path", CYTHON + C, ids=name_of)
def test_no_c_api_of_numpy(path):
    assert not re.search(r"cimport\s+numpy|from\s+numpy\S*\s+cimport|numpy/", path.read_text())


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_dask_is_imported_where_dask_is_meant(path):
    roots = {name.split(".")[0] for name in imported(path)}
    if name_of(path) in MAY_IMPORT_DASK or layer_of(path) in ("cli", "demo"):
        return
    assert not roots & {"dask", "distributed"}


@pytest.mark.parametrize("path", CYTHON + C, ids=name_of)
def test_openmp_is_in_one_loop(path):
    found = re.search(r"prange|cython\.parallel|#pragma omp|omp\.h|_OPENMP", path.read_text())
    may = name_of(path) in {
        "_kernels/expect.pyx",
        "_kernels/chain.pyx",
        "_kernels/threads.pyx",
        "_kernels/threads.pxd",
    }
    assert may or not found, f"{found}"


@pytest.mark.parametrize("path", PYTHON + CYTHON + C + TESTS, ids=name_of)
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 400


def test_something_was_read():
    assert len(PYTHON) > 20
    assert {path.name for path in CYTHON} >= {"expect.pyx", "gaussian.pyx", "tile.pxd"}
    assert {name_of(path) for path in TESTS} >= {"tests/test_layers.py", "benchmarks/fits.py"}
    assert "families" in our_layers(imported(SOURCE / "models" / "mixture.py"))
    assert "dask" in imported(SOURCE / "engines" / "dask.py")
    assert "emdash._kernels.tile" in {name for path in CYTHON for name in cimported(path)}


def modules_after(code):
    """Run code in a fresh interpreter and return the top-level modules it has imported."""
    report = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(done.stdout.split())


def test_importing_imports_next_to_nothing():
    loaded = modules_after("import emdash")
    assert "emdash" in loaded
    assert not loaded & {"dask", "distributed", "sklearn", "scipy", "numpy", "click", "matplotlib"}


BLOCKED = (
    "import sys\n"
    "for name in ('dask', 'distributed', 'click', 'matplotlib'):\n"
    "    sys.modules[name] = None\n"  # as if it were not installed
)


@pytest.mark.parametrize("prepare", ["", BLOCKED], ids=["installed", "not installed"])
def test_fitting_without_dask(prepare, tmp_path):
    loaded = modules_after(
        f"{prepare}import numpy as np, emdash\n"
        "X = np.random.default_rng(0).normal(size=(100, 3))\n"
        f"path = {str(tmp_path / 'rows.npy')!r}\n"
        "np.save(path, X)\n"
        "float32 = np.asfortranarray(X, np.float32)\n"
        "for X in (X, [X[:50], X[50:]], float32, path, np.load(path, 'r')):\n"
        "    fit = emdash.GaussianMixture(2, random_state=0).fit(X)\n"
        "    fit.predict_proba(X), fit.bic(X), fit.sample(3)\n"
    )
    assert "sklearn" in loaded
    assert prepare or not loaded & {"dask", "distributed", "click", "matplotlib"}
