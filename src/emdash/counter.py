"""Random numbers that belong to a row number: the same whatever the chunks, threads or workers.

Philox4x32-10 [Salmon2011]_ turns a counter and a key into random bits; here the key is the seed
and the counter the row. No state is carried from one row to the next.

Must never know: rows, models, what the numbers are for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["normals", "philox", "uniforms"]

Words = NDArray[np.uint64]
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
STEPS = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10


def philox(counter: tuple[Words, Words, Words, Words], key: int) -> tuple[Words, ...]:
    """Return four words of 32 random bits for every counter.

    Parameters
    ----------
    counter : four arrays of uint64
        Below ``2**32``, of shapes that broadcast.
    key : int
        From 0 to ``2**64 - 1``.
    """
    a, b, c, d = counter
    for i in range(ROUNDS):
        first, second = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        low = np.uint64((key + i * STEPS[0]) & 0xFFFFFFFF)
        high = np.uint64(((key >> 32) + i * STEPS[1]) & 0xFFFFFFFF)
        a, b, c, d = (
            (second >> HALF) ^ b ^ low,
            second & LOW,
            (first >> HALF) ^ d ^ high,
            first & LOW,
        )
    return a, b, c, d


def uniforms(
    seed: int, rows: NDArray[np.integer[Any]], n: int, stream: int = 0
) -> NDArray[np.float64]:
    """Return `n` numbers for each row, uniform between 0 and 1, both excluded.

    Parameters
    ----------
    seed : int
        From 0 to ``2**64 - 1``.
    rows : (m,)
        Row numbers, not negative.
    n : int
        How many numbers per row.
    stream : int
        Another one gives independent numbers for the same rows, from 0 to ``2**32 - 1``.

    Returns
    -------
    (m, n) float64

    Examples
    --------
    >>> import numpy as np
    >>> from emdash.counter import uniforms
    >>> both = uniforms(0, np.array([3, 4]), 2)
    >>> np.array_equal(both[1:], uniforms(0, np.array([4]), 2))
    True
    """
    row = np.asarray(rows, dtype=np.uint64)[:, None]
    pair = np.arange(-(-n // 2), dtype=np.uint64)
    words = philox((row & LOW, row >> HALF, pair, np.array(stream, np.uint64)), seed)
    bits = np.stack([words[0] << HALF | words[1], words[2] << HALF | words[3]], axis=-1)
    # 52 bits and a half: the largest is 1 - 2**-53, not 1
    numbers = ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return np.ascontiguousarray(numbers.reshape(len(row), 2 * len(pair))[:, :n])


def normals(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard normal quantiles of uniform numbers, one for each."""
    from scipy.special import ndtri

    return np.asarray(ndtri(uniform))
