"""Exact expectation-maximization at any scale.

The names below are imported when they are first used, so ``import emdash``
costs next to nothing and never imports Dask.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emdash.checkpoint import Checkpoint
    from emdash.estimators.imputer import GMMImputer
    from emdash.estimators.mixtures import GaussianMixture
    from emdash.persistence import load, save
    from emdash.priors import NormalInverseWishart
    from emdash.progress import Collapsed, Pass
    from emdash.sources import open_table
    from emdash.versions import show_versions

__version__ = "0.1.0.dev0"

_PUBLIC = {
    "Checkpoint": "emdash.checkpoint",
    "Collapsed": "emdash.progress",
    "GMMImputer": "emdash.estimators.imputer",
    "GaussianMixture": "emdash.estimators.mixtures",
    "NormalInverseWishart": "emdash.priors",
    "Pass": "emdash.progress",
    "load": "emdash.persistence",
    "open_table": "emdash.sources",
    "save": "emdash.persistence",
    "show_versions": "emdash.versions",
}

__all__ = [
    "Checkpoint",
    "Collapsed",
    "GMMImputer",
    "GaussianMixture",
    "NormalInverseWishart",
    "Pass",
    "__version__",
    "load",
    "open_table",
    "save",
    "show_versions",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'emdash' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
