"""Zarr arrays on this machine are read where they are needed, and not when they were changed."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading

import h5py
import numpy as np
import pytest
import zarr

from emdash import GaussianMixture
from emdash.sources import open_source

N, D = 96, 3
LAYOUTS = {
    "plain": {"chunks": (32, D), "compressors": None},
    "zstd": {"chunks": (32, D)},
    "small": {"chunks": (8, 2)},
    "shards": {"chunks": (8, D), "shards": (32, D)},
    "format 2": {"chunks": (32, D), "zarr_format": 2, "order": "F"},
}


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(N, D))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 32 * D * 8)


def written(X, folder, **how):
    array = zarr.create_array(folder / "X.zarr", shape=X.shape, dtype=X.dtype, **how)
    array[:] = X
    return array


def rows(source):
    return np.concatenate([chunk.rows for chunk in source.chunks()])


class Watched(zarr.storage.LocalStore):
    """Remembers who read what."""

    def __init__(self, root, **how):
        super().__init__(root, **how)
        self.threads, self.buffers, self.fail = set(), [], None

    async def get(self, key, *args, **kwargs):
        self.threads.add(threading.current_thread())
        found = await super().get(key, *args, **kwargs)
        if key.startswith("c/") and self.fail is not None:
            raise self.fail
        if found is not None:
            self.buffers.append(found.as_numpy_array())
        return found


def watched(X, folder, **how):
    written(X, folder, **how)
    array = zarr.open_array(Watched(folder / "X.zarr"), mode="r")
    source = open_source(array)
    list(source.chunks())  # which opens it
    array.store.threads.clear()
    array.store.buffers.clear()
    return source, array.store


@pytest.mark.parametrize("layout", ["plain", "small", "shards"])
def test_the_thread_that_asks_reads_and_decodes(layout, X, tmp_path, monkeypatch):
    source, store = watched(X, tmp_path, **LAYOUTS[layout])
    elsewhere = []
    monkeypatch.setattr(
        "concurrent.futures.ThreadPoolExecutor.submit", lambda *call: elsewhere.append(call)
    )
    assert np.array_equal(rows(source), X)
    assert store.threads == {threading.current_thread()}
    assert elsewhere == []


def test_a_whole_chunk_is_not_copied(X, tmp_path):
    source, store = watched(X, tmp_path, **LAYOUTS["plain"])
    for chunk in source.chunks():
        assert np.shares_memory(chunk.rows, store.buffers[-1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_thread_with_a_loop_of_its_own_can_read(layout, X, tmp_path):
    """As in a notebook."""
    source = open_source(written(X, tmp_path, **LAYOUTS[layout]))

    async def cell():
        return rows(source)

    assert np.array_equal(asyncio.run(cell()), X)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunks_that_were_never_written(layout, X, tmp_path):
    array = zarr.create_array(
        tmp_path / "X.zarr", shape=X.shape, dtype=X.dtype, fill_value=7.0, **LAYOUTS[layout]
    )
    array[32:64] = X[32:64]
    expected = np.where((np.arange(N) // 32 == 1)[:, None], X, 7.0)
    assert np.array_equal(rows(open_source(array)), expected)


def test_an_error_or_an_interrupt_of_a_read(X, tmp_path, caplog):
    source, store = watched(X, tmp_path, **LAYOUTS["small"])
    with caplog.at_level(logging.WARNING):
        for error in (OSError("disk on fire"), KeyboardInterrupt()):
            store.fail = error
            with pytest.raises(type(error)):
                rows(source)
    assert not caplog.records  # no task of a loop is left behind
    store.fail = None
    assert np.array_equal(rows(source), X)


def test_a_chunk_that_is_cut_short(X, tmp_path):
    source = open_source(written(X, tmp_path, **LAYOUTS["plain"]))
    chunk = tmp_path / "X.zarr" / "c" / "1" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-8])
    with pytest.raises(ValueError, match="reshape"):
        rows(source)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")
def test_the_system_is_told_what_is_read_next(X, tmp_path, monkeypatch):
    """The files of two chunks, none past the end, and each file is closed again."""
    source = open_source(written(X, tmp_path, chunks=(16, D), compressors=None))
    told = []

    def advise(file, *where):
        told.append(os.path.relpath(os.readlink(f"/proc/self/fd/{file}"), tmp_path))
        assert where == (0, 0, os.POSIX_FADV_WILLNEED)

    monkeypatch.setattr("os.posix_fadvise", advise)
    before = os.listdir("/proc/self/fd")
    (tmp_path / "X.zarr" / "c" / "3" / "0").unlink()
    for chunk, expected in zip(source.chunks(), ([2, 4, 5], [4, 5], []), strict=True):
        assert told == [f"X.zarr/c/{i}/0" for i in expected]
        assert len(chunk) == 32
        told.clear()
    assert os.listdir("/proc/self/fd") == before


# ------------------------------------------------------------------ changed between passes


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_that_are_written_in_place_between_passes(layout, X, tmp_path):
    array = written(X, tmp_path, **LAYOUTS[layout])

    def change(progress):
        if progress.number == 2:
            array[40] = 0.0

    with pytest.raises(ValueError, match=r"X changed between passes: rows 32 to 63 of .*X\.zarr"):
        GaussianMixture(2, tol=0.0, random_state=0, callback=change).fit(tmp_path / "X.zarr")


def test_attributes_may_be_written_between_passes(X, tmp_path):
    array = written(X, tmp_path, **LAYOUTS["zstd"])

    def change(progress):
        array.attrs["pass"] = progress.number

    gm = GaussianMixture(2, tol=1e-2, random_state=0, callback=change).fit(tmp_path / "X.zarr")
    assert array.attrs["pass"] == gm.n_iter_ > 1


def test_the_description_of_an_array_is_read_once(X, tmp_path):
    source, store = watched(X, tmp_path, **LAYOUTS["plain"])
    for _ in range(3):
        assert len(list(source.chunks())) == 3
    assert len(store.buffers) == 9
    os.utime(tmp_path / "X.zarr" / "zarr.json")  # and again when it was written to
    list(source.chunks())
    assert len(store.buffers) == 9 + 1 + 3


# ------------------------------------------------------------------ what lies in memory


def test_what_cannot_be_sent_can_be_fitted(X, tmp_path):
    """Arrays in the memory of this process are refused elsewhere only."""
    np.save(tmp_path / "X.npy", X)
    with h5py.File("none", "w", driver="core", backing_store=False) as file:
        for table in (
            zarr.create_array(zarr.storage.MemoryStore(), data=X),
            file.create_dataset("X", data=X),
            np.load(tmp_path / "X.npy", mmap_mode="c"),
        ):
            gm = GaussianMixture(2, random_state=0).fit(table)
            assert gm.predict(table).shape == (N,)
