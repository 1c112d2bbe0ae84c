"""A Dask cluster seen from outside: who is its client, whether it is alive, what failures mean.

Must never know: tasks, plans, sources.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any

import dask
from dask.base import get_scheduler
from dask.utils import parse_timedelta

from emdash.engines.local import inside_a_task
from emdash.sources.shared import LOST

__all__ = ["check_open", "current_client", "explain", "first_failure", "sizes", "wait_for"]

PATIENCE = 30.0
"""Seconds without a result after which a cluster without workers is mentioned."""

LOOK = 0.2
"""Seconds between two looks at what is finished, for who watches a pass."""

WITHOUT_WORKERS = "10 minutes"
"""How long a cluster without workers is waited for, unless Dask's configuration has
``emdash.no-workers-timeout``."""


def current_client(array: Any) -> Any | None:
    """Return the distributed client that would compute this collection, or None.

    Inside a task of a worker there is none: a one-threaded worker that waits
    for tasks of its own would wait for ever.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None or inside_a_task():
        return None
    if dask.config.get("scheduler", None) in (None, "distributed", "dask.distributed"):
        with contextlib.suppress(ValueError):  # there is none
            _refuse_asynchronous(distributed.Client.current())
    client = getattr(get_scheduler(collections=[array]), "__self__", None)
    if not isinstance(client, distributed.Client):
        return None
    if is_closed(client):
        raise RuntimeError(
            f"{client} is closed but still the current client: open another, "
            "distributed.Client(address), or leave its with block to compute on this machine"
        )
    return client


def _refuse_asynchronous(client: Any) -> None:
    if client.asynchronous:
        raise TypeError(
            f"{client} is asynchronous, but fit waits for its result: use a synchronous client, "
            "distributed.Client(address), or run fit in a thread, asyncio.to_thread(model.fit, X)"
        )


def wait_for(futures: Any, client: Any, look: Callable[[], object] | None = None) -> None:
    """Wait until futures are finished or failed; if there are no workers to do them, say so.

    Parameters
    ----------
    futures : Future or list of Future
    client : distributed.Client
    look : callable or None
        Called every :data:`LOOK` seconds meanwhile.

    Raises
    ------
    TimeoutError
        If there were none for too long.
    """
    from distributed import wait

    allowed = parse_timedelta(dask.config.get("emdash.no-workers-timeout", WITHOUT_WORKERS))
    patience = min(PATIENCE, allowed)
    waited = without = 0.0
    while True:
        step = patience if look is None else min(LOOK, patience)
        try:
            wait(futures, timeout=step)
            return
        except TimeoutError:
            waited += step
        if look is not None:
            look()
        if waited < patience:
            continue
        waited = 0.0
        if not (missing := _missing_workers(client)):
            without = 0.0
            continue
        without += patience
        if without >= allowed:
            raise TimeoutError(
                f"{client} had {missing} for {without:g} s: start some and call fit again, or "
                "allow more, dask.config.set({'emdash.no-workers-timeout': '1 hour'})"
            )
        warnings.warn(f"{client} has {missing}: waiting for one", stacklevel=2)


def _missing_workers(client: Any) -> str:
    """Say which workers there are instead of some that take tasks; nothing if some do."""
    paused = sum(w["status"] == "paused" for w in client.scheduler_info()["workers"].values())
    missing = "only paused workers, which have no memory left" if paused else "no workers"
    return missing if paused == len(client.nthreads()) else ""


def first_failure(parts: Sequence[Any], client: Any) -> Any | None:
    """Return the failed task that comes first in the rows, None if no part has failed.

    Later parts are cancelled; earlier ones are waited for, so that of several
    bad rows the first is reported whichever is met first.
    """
    failed = [i for i, part in enumerate(parts) if part.status == "error"]
    if not failed:
        return None
    client.cancel(parts[failed[0] + 1 :], force=True)
    for part in parts[: failed[0]]:
        wait_for(part, client)
        if part.status == "error":
            return part
    return parts[failed[0]]


def sizes(keys: set[Any], client: Any) -> dict[Any, int]:
    """Return the bytes of those persisted results that are in memory.

    Waits for what this client has asked for, as others are not told when it is there: a key
    that the cluster has forgotten would be waited for for ever.
    """
    from distributed import Future

    asked = [key in client.futures for key in keys]  # before the next line, which adds them
    futures = [Future(key, client) for key in keys]  # those in a graph may have no client
    wait_for([future for future, mine in zip(futures, asked, strict=True) if mine], client)
    there = [key for key, workers in client.who_has(futures).items() if workers]
    found: dict[Any, int] = client.nbytes(there, summary=False)
    return found


def is_closed(client: Any) -> bool:
    """Tell whether nothing can be asked of a client any more."""
    return client.status in ("closing", "closed")


def check_open(client: Any) -> None:
    """Refuse to go on with a client that was closed since the fit began.

    Raises
    ------
    RuntimeError
        Saying what to do.
    """
    if is_closed(client):
        raise RuntimeError(_gone(client))


def _gone(client: Any) -> str:
    return (
        f"{client} was closed, or lost its scheduler, while fit was running: keep both until fit "
        "returns; a fit with the same start and chunks repeats the passes to the bit"
    )


def explain(error: BaseException, client: Any, cause: Any) -> None:
    """Say what a failure of the cluster itself means and what to do about it.

    Parameters
    ----------
    error : BaseException
        What was raised.
    client : distributed.Client
    cause : Future or None
        A task that has failed; it made others be cancelled.

    Raises
    ------
    RuntimeError
        If the client was closed, its scheduler is gone, or data are lost.
    """
    if type(error).__name__ == "KilledWorker" or isinstance(error, MemoryError):
        error.add_note(
            "A worker holds one chunk of X per thread at a time, and what it takes to compute it. "
            "If they do not fit in its memory, make them smaller, X.rechunk({0: rows}), or give "
            "the workers more"
        )
    if not isinstance(error, Exception):
        return
    if client.status != "running" or type(error).__name__ == "CommClosedError":
        raise RuntimeError(_gone(client)) from error
    if not isinstance(error, CancelledError):
        return
    if cause is not None:
        cause.result()  # raises
    raise RuntimeError(LOST) from error
