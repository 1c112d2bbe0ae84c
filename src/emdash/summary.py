"""A fitted model in lines of text."""

from __future__ import annotations

from typing import Any

__all__ = ["components", "facts"]

SHOWN_COLUMNS = 8


def facts(model: Any) -> list[str]:
    """Return the facts about a fitted mixture that fit on a line each."""
    K, d = model.means_.shape
    ended = "converged" if model.converged_ else "not converged"
    found = {
        "covariance": model.covariance_type,
        "components": K,
        "features": d,
        "free parameters": model._n_parameters(),
        "passes": f"{model.n_iter_} ({ended}, tol {model.tol:g})",
        "log-likelihood": f"{model.lower_bound_:.10g} per row",
    }
    return [f"{name:<15} {value}" for name, value in found.items()]


def components(model: Any) -> list[str]:
    """Return a line per component: its weight and means."""
    d = model.means_.shape[1]
    names = [str(n) for n in getattr(model, "feature_names_in_", (f"x{j}" for j in range(d)))]
    shown = names[:SHOWN_COLUMNS]
    rows = [["component", "weight", *(f"mean {name}" for name in shown)]]
    for k, (weight, mean) in enumerate(zip(model.weights_, model.means_, strict=True)):
        rows.append([str(k), f"{weight:.4f}", *(f"{value:.6g}" for value in mean[:SHOWN_COLUMNS])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    if d > SHOWN_COLUMNS:
        lines.append(f"({d - SHOWN_COLUMNS} more columns: numpy.load(...)['means_'] has them all)")
    return lines
