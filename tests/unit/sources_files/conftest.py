"""Rows to be stored, and chunks that are few rows long."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import stored_files`, whatever the import mode

from stored_files import D


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of ten rows of float64, where nothing larger is stored together."""
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 10 * D * 8)


@pytest.fixture
def X():
    return np.arange(96 * D, dtype=float).reshape(96, D) / 7
