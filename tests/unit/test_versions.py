"""emdash.show_versions says what is installed and which compiled code runs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import numpy as np
import pytest

import emdash
from emdash._kernels import threads
from emdash.engines.local import usable_cores


def shown(capsys):
    emdash.show_versions()
    lines = capsys.readouterr().out.splitlines()
    return dict(re.split(r"\s+", line, maxsplit=1) for line in lines)


def test_versions_are_those_that_are_imported(capsys):
    facts = shown(capsys)
    assert facts["emdash"] == emdash.__version__
    assert facts["Python"].startswith(sys.version.split()[0])
    assert facts["numpy"] == np.__version__
    for name in ("scipy", "scikit-learn", "dask", "distributed"):
        assert facts[name] == importlib.metadata.version(name)


def test_compiled_code_is_described(capsys):
    facts = shown(capsys)
    assert facts["OpenMP"].split(":")[0] == ("yes" if threads.openmp_enabled() else "no")
    assert facts["threads"].split()[0] == str(usable_cores())
    assert facts["SIMD"].split()[0] == threads.isa()
    for name in threads.available_isas():
        assert name in facts["SIMD"]


def test_what_is_missing_is_said(capsys, monkeypatch):
    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("emdash.versions.version", not_installed)
    monkeypatch.setattr("emdash.versions.find_spec", lambda name: None)
    facts = shown(capsys)
    assert facts["Cython"] == "not installed (needed to compile only)"
    assert facts["dask"] == "not installed"
    assert "pip install" in facts["kernels"]


@pytest.mark.parametrize("heavy", ["dask", "distributed", "sklearn", "scipy", "matplotlib"])
def test_nothing_heavy_is_imported(heavy):
    code = f"import emdash, sys; emdash.show_versions(); sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
