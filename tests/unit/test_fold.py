"""The one order of addition, and the engines' promise that sharing out changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdash.engines.base import fold, part_length
from emdash.engines.local import LocalEngine
from emdash.sources.base import Source, rows_per_chunk
from emdash.sources.batches import BatchesSource

NUMBERS = st.lists(st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-9), min_size=1)


def in_runs(values, length):
    return [values[begin : begin + length] for begin in range(0, len(values), length)]


def test_order_is_kept():
    assert fold("abcdefghijk") == "abcdefghijk"


def test_tree_is_complete_and_binary():
    class Leaf(str):
        def __add__(self, other):
            return Leaf(f"({self}{other})")

    assert fold(map(Leaf, "a")) == "a"
    assert fold(map(Leaf, "abcd")) == "((ab)(cd))"
    assert fold(map(Leaf, "abcdefg")) == "(((ab)(cd))((ef)g))"
    assert fold(map(Leaf, "abcde")) == "(((ab)(cd))e)"


@given(NUMBERS, st.integers(0, 7))
def test_folding_aligned_runs_first_gives_the_same_bits(values, height):
    runs = in_runs(values, 2**height)
    assert fold(fold(run) for run in runs) == fold(values)


@given(NUMBERS, st.lists(st.integers(0, 3), max_size=4))
def test_folding_in_any_number_of_levels_gives_the_same_bits(values, heights):
    level = list(values)
    for height in heights:
        level = [fold(run) for run in in_runs(level, 2**height)]
    assert fold(level) == fold(values)


def test_other_runs_do_not():
    """Why parts are powers of two: this is how the test above would fail."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=100).tolist()
    assert fold(fold(run) for run in in_runs(values, 3)) != fold(values)


@given(NUMBERS)
def test_close_to_the_exact_sum(values):
    bound = np.finfo(float).eps * (math.log2(len(values)) + 1) * sum(map(abs, values))
    assert abs(fold(values) - math.fsum(values)) <= bound


def test_nothing_to_add():
    with pytest.raises(ValueError, match="no chunks"):
        fold([])


def test_few_partial_sums_are_alive():
    alive = peak = 0

    class Counted:
        def __init__(self):
            nonlocal alive, peak
            alive += 1
            peak = max(peak, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

        def __add__(self, other):
            return Counted()

    fold(Counted() for _ in range(1000))
    assert peak <= math.log2(1000) + 4


@given(st.integers(1, 10_000), st.integers(1, 100))
def test_parts_are_powers_of_two_and_not_too_many(n_chunks, most_parts):
    length = part_length(n_chunks, most_parts)
    assert length & (length - 1) == 0
    assert math.ceil(n_chunks / length) <= most_parts
    assert length == 1 or math.ceil(n_chunks / (length // 2)) > most_parts


def test_part_length_of_nothing():
    assert part_length(0, 4) == 1
    assert part_length(7, 0) == 8


@given(st.integers(0, 10**9))
def test_every_chunk_has_a_row(d):
    assert rows_per_chunk(d, np.dtype("f4")) >= 1


class Numbers(Source):
    """A source whose chunks hold one number each."""

    def __init__(self, values):
        self.values = np.asarray(values, float)
        self.n_rows = self.n_chunks = len(self.values)
        self.n_features = 1

    def chunks(self, first=0, last=None):
        from emdash.chunk import Chunk

        for index in range(first, self.n_chunks if last is None else last):
            yield Chunk(self.values[index : index + 1, None], index, index)


def add_up(chunk, n_threads):
    return float(chunk.rows.sum())


@given(NUMBERS)
def test_any_number_of_threads_gives_the_same_bits(values):
    expected = fold(values)
    for n_threads in (1, 2, 3, 8):
        assert LocalEngine(n_threads).total(add_up, Numbers(values)) == expected
    batches = BatchesSource([np.array([[value]]) for value in values])
    assert LocalEngine(3).total(add_up, batches) == expected


def test_threads_share_the_work_and_keep_the_order():
    import threading
    import time

    names = set()

    def slow_at_first(chunk, n_threads):
        names.add(threading.current_thread().name)
        time.sleep(0.02 if chunk.index == 0 else 0.001)
        return [chunk.index]

    assert LocalEngine(3).total(slow_at_first, Numbers(range(40))) == list(range(40))
    assert len(names) > 1
