"""Engines: the order of addition, threads, errors and interrupts."""

import itertools
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest

from emdash.chunk import Chunk
from emdash.engines import engine_for
from emdash.engines.base import fold, part_length
from emdash.engines.cluster import current_client
from emdash.engines.dask import DaskEngine
from emdash.engines.local import LocalEngine, usable_cores
from emdash.sources.array import ArraySource
from emdash.sources.base import Source
from emdash.sources.batches import BatchesSource
from emdash.sources.dask import DaskSource


class Numbers(Source):
    """Chunk ``i`` holds the number ``i`` in one row; `before` is called with it first."""

    def __init__(self, n_chunks, before=lambda i: None):
        self.n_chunks = self.n_rows = n_chunks
        self.n_features = 1
        self.before = before

    def chunks(self, first=0, last=None):
        for i in range(first, self.n_chunks if last is None else last):
            self.before(i)
            yield Chunk(np.full((1, 1), float(i)), i, i)


class Tree:
    """A sum that remembers how it was added."""

    def __init__(self, text):
        self.text = text

    def __add__(self, other):
        return type(self)(f"({self.text}{other.text})")


def leaf(chunk, n_threads):
    return Tree(f"{chunk.index:x}")


def tree(task, engine, source):
    return engine.total(task, source).text


EXPECTED = {1: "0", 2: "(01)", 3: "((01)2)", 7: "(((01)(23))((45)6))"}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 9, 15, 16])
@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_the_order_of_addition_depends_on_the_chunks_only(n, n_threads):
    expected = fold([Tree(f"{i:x}") for i in range(n)]).text
    assert expected == EXPECTED.get(n, expected)
    assert tree(leaf, LocalEngine(n_threads), Numbers(n)) == expected
    batches = BatchesSource([np.zeros((1, 1))] * n)
    assert tree(leaf, LocalEngine(n_threads), batches) == expected
    x = DaskSource(da.zeros((n, 1), chunks=1))
    assert tree(leaf, DaskEngine(n_threads), x) == expected


@pytest.mark.parametrize("n", range(1, 40))
def test_any_run_of_a_power_of_two_is_a_subtree(n):
    leaves = [Tree(f"{i}.") for i in range(n)]
    whole = fold(leaves).text
    for length in (1, 2, 4, 8, 16):
        runs = [fold(leaves[i : i + length]) for i in range(0, n, length)]
        assert fold(runs).text == whole


@pytest.mark.parametrize("n_chunks", [1, 5, 64, 1000])
@pytest.mark.parametrize("most", [0, 1, 7, 64])
def test_part_length(n_chunks, most):
    length = part_length(n_chunks, most)
    assert length & (length - 1) == 0
    assert -(-n_chunks // length) <= max(1, most)
    assert length == 1 or -(-n_chunks // (length // 2)) > max(1, most)  # and no longer


# ------------------------------------------------------------------ this machine


@pytest.mark.parametrize(("n_chunks", "n_threads"), [(1, 4), (2, 4), (3, 2), (100, 4)])
def test_no_more_threads_than_allowed(n_chunks, n_threads):
    """Chunks at work at the same time, times the threads of each, stay within the limit."""
    lock, at_work, most = threading.Lock(), [0], [0]

    def task(chunk, threads):
        with lock:
            at_work[0] += threads
            most[0] = max(most[0], at_work[0])
        for _ in range(1000):
            pass
        with lock:
            at_work[0] -= threads
        return 1

    assert LocalEngine(n_threads).total(task, Numbers(n_chunks)) == n_chunks
    assert most[0] <= n_threads


def test_all_threads_take_part():
    meeting = threading.Barrier(3, timeout=30)

    def task(chunk, threads):
        if chunk.index < 3:
            meeting.wait()  # hangs unless three parts run at the same time
        return 1

    assert LocalEngine(3).total(task, Numbers(48)) == 48


def test_one_chunk_in_memory_per_thread():
    """A chunk is let go before the next one is loaded."""
    import weakref

    made = []

    class Blocks(Numbers):
        def chunks(self, first=0, last=None):
            for i in range(first, self.n_chunks if last is None else last):
                assert sum(block() is not None for block in made) < n_threads
                yield Chunk(self.block(), i, i)

        def block(self):
            block = np.zeros((1, 1))
            made.append(weakref.ref(block))
            return block

    for n_threads in (1, 2):
        assert LocalEngine(n_threads).total(lambda chunk, threads: 1, Blocks(40)) == 40
        LocalEngine(n_threads).each(Indices(), Blocks(40))
    assert len(made) == 160


class Indices:
    """Answer every row with the number of its chunk, in two columns."""

    dtype, row_shape = np.int32, (2,)

    def __call__(self, chunk, n_threads, out=None):
        if out is None:
            out = np.empty((len(chunk), 2), np.int32)
        out[...] = chunk.index
        return out


@pytest.mark.parametrize("n_threads", [1, 3])
def test_answers_are_in_the_order_of_the_rows(n_threads):
    expected = np.repeat(np.arange(50), 2).reshape(50, 2)
    engine = LocalEngine(n_threads)
    np.testing.assert_array_equal(engine.each(Indices(), Numbers(50)), expected)
    for lengths in ([1] * 50, [0, 3, 0, 40_000, 0]):
        batches = BatchesSource([np.zeros((n, 1)) for n in lengths])
        answers = engine.each(Indices(), batches)
        expected = np.repeat(np.arange(len(lengths)), lengths)
        np.testing.assert_array_equal(answers, np.column_stack([expected, expected]))
        assert answers.dtype == np.int32


def test_a_source_without_chunks():
    assert LocalEngine(2).each(Indices(), Numbers(0)).shape == (0, 2)
    with pytest.raises(ValueError, match="no chunks"):
        LocalEngine(2).total(leaf, Numbers(0))


@pytest.mark.parametrize("n_threads", [2, 5])
def test_few_answers_wait_behind_a_slow_one(n_threads):
    """Sums of large models are large: those of finished parts must not pile up."""
    done, others = [], threading.Event()

    def wait(i):
        if i == 0:
            others.wait(0.5)  # longer than all others take, if nothing held them back
        done.append(i)

    engine = LocalEngine(n_threads)
    slow = engine._map(lambda part, n: list(part()), Numbers(32 * n_threads, wait), n_threads)
    assert [chunk.index for chunk in next(slow)] == [0]
    assert len(done) <= 2 * n_threads
    others.set()
    assert len(list(slow)) == 32 * n_threads - 1


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_the_first_error_wins(n_threads):
    """Whichever thread meets its error first."""
    late = threading.Event()

    def fail(i):
        if i == 0:
            assert n_threads == 1 or late.wait(30)
            raise ValueError("first")
        if i in (4, 6):
            late.set()
            raise ValueError("later")

    with pytest.raises(ValueError, match="first"):
        LocalEngine(n_threads).total(leaf, Numbers(80, fail))
    late.set()


def test_after_an_error_the_others_stop():
    loaded = []
    failed = threading.Event()

    def fail(i):
        loaded.append(i)
        if i == 0:
            failed.set()
            raise ValueError("at once")
        assert failed.wait(30)

    with pytest.raises(ValueError, match="at once"):
        LocalEngine(2).total(leaf, Numbers(1000, fail))
    assert len(loaded) < 10  # of two parts of 16 chunks that were under way
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("emdash")]


def test_an_interrupt_ends_the_others():
    """Control-C reaches the thread that waits for the first part."""
    loaded = []
    interrupted = threading.Event()

    class Interrupting(Tree):
        def __add__(self, other):
            if threading.current_thread() is threading.main_thread():
                interrupted.set()
                raise KeyboardInterrupt
            return super().__add__(other)

    def wait(i):
        loaded.append(i)
        if i > 300:  # parts of 128: the first two are done, others under way
            assert interrupted.wait(30)
            time.sleep(0.01)  # so that a part that goes on would be seen

    def task(chunk, threads):
        return Interrupting(f"{chunk.index:x}")

    with pytest.raises(KeyboardInterrupt):
        LocalEngine(2).total(task, Numbers(1000, wait))
    assert len(loaded) < 350
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("emdash")]


def test_usable_cores(monkeypatch):
    """A LocalCluster leaves OMP_NUM_THREADS=1 behind; it must not count."""
    before = usable_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_cores() == before >= 1
    assert LocalEngine().n_threads == before


# ------------------------------------------------------------------ the choice


def test_engine_for():
    assert isinstance(engine_for(ArraySource(np.zeros((2, 1))), 2), LocalEngine)
    assert isinstance(engine_for(DaskSource(da.zeros((2, 1))), 2), DaskEngine)
    assert engine_for(ArraySource(np.zeros((2, 1))), 7).n_threads == 7


@pytest.mark.parametrize("scheduler", [None, "threads", "synchronous", "processes"])
def test_without_a_client_dask_arrays_are_computed_here(scheduler):
    x = da.zeros((8, 1), chunks=1)
    with dask.config.set(scheduler=scheduler):
        assert current_client(x) is None
        assert DaskEngine(4).total(lambda chunk, n: [chunk.index], DaskSource(x)) == list(range(8))


def test_the_synchronous_scheduler_means_one_thread():
    def where(chunk, n_threads):
        return [(threading.get_ident(), n_threads)]

    x = DaskSource(da.zeros((8, 1), chunks=1))
    with dask.config.set(scheduler="synchronous"):
        assert set(DaskEngine(4).total(where, x)) == {(threading.get_ident(), 1)}
    with dask.config.set(scheduler="threads"):
        assert threading.get_ident() not in dict(DaskEngine(2).total(where, x))


def test_callbacks_of_dask_are_left_alone():
    """Dask swaps its list of callbacks while it computes, which threads would get wrong."""
    from dask.callbacks import Callback

    begun = itertools.count()
    x = DaskSource(da.zeros((200, 1), chunks=1))
    callback = Callback(start=lambda graph: next(begun))
    with callback:
        DaskEngine(4).total(leaf, x)
        assert Callback.active == {callback._callback}
    assert not Callback.active
    assert next(begun) == 0
