"""Rows of few digits, so that they can be moved without loss."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import number_fits`, whatever the import mode

from number_fits import GRID


@pytest.fixture(scope="module")
def rows():
    """Return 600 rows of three clusters that overlap a little."""
    rng = np.random.default_rng(3)
    means = np.array([[0.0, 0.0, 0.0], [6.0, 5.0, -5.0], [-6.0, 6.0, 5.0]])
    mixing = np.eye(3) + 0.3 * rng.normal(size=(3, 3, 3))
    labels = rng.permutation(np.repeat([0, 1, 2], [300, 180, 120]))
    x = means[labels] + np.einsum("nij,nj->ni", mixing[labels], rng.normal(size=(600, 3)))
    return np.round(x / GRID) * GRID
