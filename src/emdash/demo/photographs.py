"""Two photographs as a table of millions of rows: one row per pixel and scale.

The table is a lazy Dask array until it is written, chunk by chunk, as a stack
of ``.npy`` files; it never lies whole in memory.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.demo.colour import rgb_to_lab

__all__ = ["COLUMNS", "FINEST", "NAMES", "features", "photograph", "scales", "write_table"]

Array = NDArray[np.float64]

NAMES = ("china.jpg", "flower.jpg")
COLUMNS = (
    *("lightness", "green-red", "blue-yellow"),
    *("smooth lightness", "smooth green-red", "smooth blue-yellow"),
    *("contrast of lightness", "contrast of colour"),
    *("height", "width"),
)
FINEST, COARSEST = 1.0, 16.0
"""Standard deviation of the smoothing, in pixels."""

LEAST_SCALES = 4
CHUNK_BYTES = 8 << 20
"""Largest size of a file of the table: what a worker holds in memory at a time."""

LEAST_FILES = 16
"""A small table is cut all the same, so that there is something to add up."""


@cache
def photograph(name: str) -> Array:
    """Return a photograph that ships with scikit-learn as sRGB in [0, 1], (height, width, 3)."""
    from sklearn.datasets import load_sample_image

    return np.asarray(load_sample_image(name) / 255.0)


def features(rgb: Array, scale: float) -> Array:
    """Turn every pixel into a row: colour, smoothed colour, local contrast, position.

    Parameters
    ----------
    rgb : (height, width, 3)
        A photograph.
    scale : float
        Standard deviation of the smoothing, in pixels; contrast is measured over twice that.

    Returns
    -------
    ndarray of shape (height * width, 10)
        The columns of :data:`COLUMNS`.
    """
    from scipy.ndimage import gaussian_filter

    colour = rgb_to_lab(rgb)
    smooth = gaussian_filter(colour, (scale, scale, 0))
    window = (2 * scale, 2 * scale, 0)
    variance = gaussian_filter(colour**2, window) - gaussian_filter(colour, window) ** 2
    spread = np.sqrt(np.maximum(variance, 0))
    contrast = np.stack([spread[..., 0], spread[..., 1:].mean(axis=-1)], axis=-1)
    height, width = rgb.shape[:2]
    position = np.stack(
        np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij"), axis=-1
    )
    # the logarithm of a spread is closer to normal; 0.01 is the noise of 8-bit colours
    columns = [colour, smooth, np.log(contrast + 0.01) / 4, position]
    return np.concatenate(columns, axis=-1).reshape(height * width, len(COLUMNS))


def scales(n_rows: int) -> Array:
    """Return the scales that give at least `n_rows` rows, from fine to coarse."""
    pixels = sum(photograph(name)[..., 0].size for name in NAMES)
    return np.geomspace(FINEST, COARSEST, max(LEAST_SCALES, -(-n_rows // pixels)))


def rows_of(name: str, scale: float, count: int) -> Array:
    """Return `count` rows of one photograph at one scale, from pixels evenly apart."""
    rows = features(photograph(name), scale)
    return rows[np.arange(count) * len(rows) // count]


def write_table(folder: Path, n_rows: int) -> Any:
    """Write the table as a stack of ``.npy`` files.

    Parameters
    ----------
    folder : Path
        Where to write; created.
    n_rows : int
        Number of rows.

    Returns
    -------
    dask.array.Array of shape (n_rows, 10), float64
        Reads the files chunk by chunk when it is computed.
    """
    import dask
    import dask.array as da

    blocks = [(name, scale) for scale in scales(n_rows) for name in NAMES]
    ends = [n_rows * i // len(blocks) for i in range(len(blocks) + 1)]
    rows = dask.delayed(rows_of, pure=True)
    table = da.concatenate(
        [
            da.from_delayed(
                rows(name, scale, end - start), (end - start, len(COLUMNS)), dtype=np.float64
            )
            for (name, scale), start, end in zip(blocks, ends[:-1], ends[1:], strict=True)
        ]
    )
    rows_per_file = min(CHUNK_BYTES // (8 * len(COLUMNS)), -(-n_rows // LEAST_FILES))
    table = table.rechunk({0: rows_per_file})
    with dask.config.set(scheduler="threads"):  # also where a cluster runs already
        da.to_npy_stack(folder, table)
    return da.from_npy_stack(folder, mmap_mode=None)
