"""The two pictures of the demo, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_convergence", "draw_segmentation"]

Array = NDArray[np.float64]

INK, ACCENT, SOFT = "#24292f", "#c2410c", "#94a3b8"
NOTHING = 1e-17
"""Where a difference of zero is drawn on a logarithmic axis."""


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_segmentation(
    path: Path, photographs: Sequence[Array], segmented: Sequence[Array], caption: str
) -> None:
    """Draw each photograph beside its segmentation.

    Parameters
    ----------
    path : Path
        Where to write the PNG.
    photographs, segmented : sequences of (height, width, 3)
        Colours in [0, 1].
    caption : str
        One line below.
    """
    figure = _figure(12, 8.5)
    axes = figure.subplots(len(photographs), 2)
    for row, pair in zip(axes, zip(photographs, segmented, strict=True), strict=True):
        for axis, image in zip(row, pair, strict=True):
            axis.imshow(image, interpolation="nearest")
            axis.set_axis_off()
    axes[0, 0].set_title("photograph", color=INK)
    axes[0, 1].set_title("component of each pixel, in its mean colour", color=INK)
    figure.supxlabel(caption, color=INK, fontsize="medium")
    figure.savefig(path)


def draw_convergence(
    path: Path, out_of_core: Sequence[float], in_memory: Sequence[float], promised: float
) -> None:
    """Draw the log-likelihood of both fits pass by pass, and below it their difference.

    Parameters
    ----------
    path : Path
        Where to write the PNG.
    out_of_core, in_memory : sequences of float
        Mean log-likelihood per row entering each pass.
    promised : float
        Largest relative difference that is no error.
    """
    from matplotlib.ticker import MaxNLocator

    a, b = np.array(out_of_core), np.array(in_memory)
    passes = np.arange(1, len(a) + 1)
    figure = _figure(8, 6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    top.plot(passes, b, color=SOFT, linewidth=6, alpha=0.6, label="in memory, NumPy array")
    top.plot(passes, a, color=ACCENT, marker="o", linewidth=1, label="out of core, Dask cluster")
    top.set_ylabel("log-likelihood per row")
    top.set_title("The same fit twice", color=INK)
    top.legend(frameon=False, loc="lower right")
    relative = np.maximum(np.abs((a - b) / b), NOTHING)
    bottom.semilogy(passes, relative, color=INK, marker="o", linewidth=1)
    bottom.axhline(promised, color=ACCENT, linestyle="--", linewidth=1)
    bottom.text(passes[-1], promised, "emdash promises less than this", ha="right", va="bottom")
    bottom.set_ylim(NOTHING / 3, 1e-8)
    bottom.set_ylabel("relative difference")
    bottom.set_xlabel(f"pass over the data ({NOTHING:g}: no difference at all)")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (top, bottom):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color=SOFT, alpha=0.3)
    figure.savefig(path)
