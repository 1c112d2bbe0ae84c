"""Engines, and the choice between them."""

from __future__ import annotations

from emdash.engines.base import Engine
from emdash.engines.local import LocalEngine
from emdash.engines.memory import MemoryLimit
from emdash.sources.base import Source

__all__ = ["engine_for"]


def engine_for(source: Source, n_threads: int | None, memory: MemoryLimit | None = None) -> Engine:
    """Return a new engine that can run passes over `source`.

    Parameters
    ----------
    source : Source
        Where the rows are.
    n_threads : int or None
        Largest number of threads on this machine; None means all usable cores.
    memory : MemoryLimit or None
        What passes on this machine may take; those of workers are theirs to limit.
    """
    if source.collection:
        from emdash.engines.dask import DaskEngine

        return DaskEngine(n_threads, memory)
    return LocalEngine(n_threads, memory)
