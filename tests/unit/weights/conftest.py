"""Rows of two groups and a weight for each."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import weighted_tables`, whatever the import mode


@pytest.fixture(scope="module")
def X():
    """Rows of two groups that overlap, (350, 3), in random order."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(350, 3)) + 2.5 * rng.integers(0, 2, size=(350, 1))
    X.setflags(write=False)
    return X


@pytest.fixture(scope="module")
def w(X):
    """Return weights from 0 to 3, whole numbers."""
    w = np.random.default_rng(1).integers(0, 4, size=len(X)).astype(float)
    w.setflags(write=False)
    return w
