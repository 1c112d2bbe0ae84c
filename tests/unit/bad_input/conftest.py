"""Good rows, and functions that present rows as each kind of input."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import bad_inputs`, whatever the import mode

from bad_inputs import LARGE, SOURCES, D, K, N


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, D)) + 5.0 * rng.integers(0, K, size=(N, 1))
    X.setflags(write=False)
    return X


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Files and memory maps are cut into chunks of 32 rows, so that threads share them."""
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 32 * D * 8)


@pytest.fixture(params=SOURCES)
def source(request, tmp_path):
    """A function that presents rows as one kind of input."""
    return lambda X: SOURCES[request.param](X, tmp_path)


@pytest.fixture(params=LARGE)
def large_source(request, tmp_path):
    """The same for kinds of input that scikit-learn does not know."""
    return lambda X: SOURCES[request.param](X, tmp_path)
