"""Random numbers by row number."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from emdash.counter import normals, philox, uniforms

KNOWN = [
    ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        0x299F31D0A4093822,
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]
"""Counter, key and answer: the known answers that come with Random123 [Salmon2011]_."""


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    words = philox(tuple(np.array([c], np.uint64) for c in counter), key)
    assert [int(w[0]) for w in words] == answer


def test_numbers_belong_to_rows():
    rows = np.array([0, 5, 2**32, 2**40 + 7])
    whole = uniforms(3, rows, 5)
    assert whole.shape == (4, 5)
    for i, row in enumerate(rows):
        assert (uniforms(3, np.array([row]), 5)[0] == whole[i]).all()
    different = [whole, uniforms(3, rows, 5, stream=1), uniforms(4, rows, 5)]
    assert len(np.unique(np.concatenate(different))) == 60
    assert uniforms(0, np.empty(0, np.intp), 3).shape == (0, 3)


def test_distribution():
    u = uniforms(0, np.arange(20_000), 3)
    assert u.min() > 0
    assert u.max() < 1
    assert kstest(u.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u.T) - np.eye(3)).max() < 0.03
    assert kstest(normals(u[:, 0]), "norm").pvalue > 1e-3
