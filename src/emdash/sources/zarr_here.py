"""Chunks of Zarr arrays on this machine, read and decoded by the thread that asks for them.

zarr-python gives every read of a process to one thread with an event loop, which gives reading
files and decoding to a pool of threads and copies the results into a buffer of its own. A team of
threads waits for that one, while cores idle. Here the same coroutines run in the thread that asks:
zarr's own codecs, shards and formats are used, and a chunk that is all that was asked for is not
copied. Two threads, 320 MB in chunks of 8 MB, medians of 15, ms of wall clock / of the cores:

=============================  ============  =========
...                            uncompressed  zstd
=============================  ============  =========
zarr's loop                    124 / 144     355 / 474
here                           55 / 64       245 / 336
files and decoder by hand      33 / 47       220 / 312
=============================  ============  =========

By hand would mean to know every codec. Without the empty result of `_Adopting` zstd took 416 / 586.
A store that reads into arrays of our own gained less than a twentieth. More threads than cores, and
reading ahead, hide the waiting but not the work, and need memory for their chunks.

Must never know: which rows are asked for, and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from zarr import AsyncArray
from zarr.abc.buffer import BufferPrototype, NDBuffer
from zarr.buffer import cpu
from zarr.storage import LocalStore

from emdash.sources.sliced import Read

__all__ = ["reader"]

T = TypeVar("T")


class _Here(asyncio.SelectorEventLoop):
    """An event loop without helpers: what is meant for another thread is done at once."""

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # raised where it is awaited
            done.set_exception(error)
        return done


class _Adopting(cpu.NDBuffer):  # type: ignore[misc]
    """A result that takes over the array it is filled with, if that is all of it.

    It has no memory before: a third block beside the stored and the decoded chunk, though never
    touched, makes the C library give all three back to the system after each chunk, and the
    page faults then cost as much as reading.
    """

    _has_memory = True

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: Any, order: Any = "C") -> _Adopting:
        result = cls(np.broadcast_to(np.empty((), dtype), shape))
        result._has_memory = False
        return result

    def __setitem__(self, key: Any, value: Any) -> None:
        whole = isinstance(value, NDBuffer) and value.shape == self.shape
        if whole and value.dtype == self.dtype:
            self._data, self._has_memory = value.as_ndarray_like(), True
        else:
            super(_Adopting, self._with_memory()).__setitem__(key, value)

    def as_ndarray_like(self) -> Any:
        return self._with_memory()._data

    def _with_memory(self) -> _Adopting:
        if not self._has_memory:
            self._data, self._has_memory = np.empty(self.shape, self.dtype), True
        return self


_PROTOTYPE = BufferPrototype(cpu.Buffer, _Adopting)


def reader(array: Any) -> Read:
    """Return what reads rows of an array as fast as this thread can.

    Stores elsewhere keep zarr's way: their connections belong to its loop, and waiting for a
    network is what it is good at. So does a thread with a loop of its own, such as a notebook's.

    Parameters
    ----------
    array : zarr.Array
        Two-dimensional.
    """

    def read(start: int, stop: int) -> Any:
        return array[start:stop]

    if not isinstance(array.store, LocalStore):
        return read
    here = AsyncArray(array.metadata, array.store_path)
    prototype = None if array.shards else _PROTOTYPE  # inside shards zarr takes its own only

    def read_here(start: int, stop: int) -> Any:
        if _in_a_loop():
            return read(start, stop)
        with asyncio.Runner(loop_factory=_Here) as runner:
            return runner.run(here.getitem((slice(start, stop), slice(None)), prototype=prototype))

    return read_here


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
