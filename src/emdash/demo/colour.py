"""From the colours of a screen, sRGB, to CIE L*a*b* and back.

Distances in the latter are closer to what the eye sees. Lightness and the two
colour axes are divided by 100, so that they range over about one unit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["lab_to_rgb", "rgb_to_lab"]

Array = NDArray[np.float64]

TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = TO_XYZ.sum(axis=1)
KNEE = 6 / 29
"""Where the cube root of the definition gives way to a straight line."""


def rgb_to_lab(rgb: Array) -> Array:
    """Return L*a*b* / 100 of sRGB colours in [0, 1]; the last axis has length 3 in both."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    t = linear @ TO_XYZ.T / WHITE
    x, y, z = np.moveaxis(
        np.where(t > KNEE**3, np.cbrt(t), t / (3 * KNEE**2) + KNEE * 2 / 3), -1, 0
    )
    return np.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], axis=-1)


def lab_to_rgb(lab: Array) -> Array:
    """Return sRGB colours in [0, 1] of L*a*b* / 100; what no screen can show is clipped."""
    y = (lab[..., 0] + 0.16) / 1.16
    f = np.stack([y + lab[..., 1] / 5, y, y - lab[..., 2] / 2], axis=-1)
    t = np.where(f > KNEE, f**3, 3 * KNEE**2 * (f - KNEE * 2 / 3)) * WHITE
    linear = np.clip(t @ np.linalg.inv(TO_XYZ).T, 0, 1)
    return np.asarray(
        np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    )
