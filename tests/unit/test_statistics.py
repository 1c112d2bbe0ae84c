"""Named views on one buffer that can be added."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emdash.statistics import COUNTS, HEADER, Layout, Statistics

LAYOUT = Layout((("N", (2,)), ("F", (2, 3)), ("extra", ())))
SIZE = len(HEADER) + 2 + 6 + 1


def counting(pass_id="1"):
    return Statistics(LAYOUT, np.arange(SIZE, dtype=float), pass_id)


def test_layout_lays_fields_out_in_order():
    assert LAYOUT.size == SIZE
    assert list(LAYOUT.slices) == [*HEADER, "N", "F", "extra"]
    ends = [where.stop for where, _ in LAYOUT.slices.values()]
    starts = [where.start for where, _ in LAYOUT.slices.values()]
    assert starts == [0, *ends[:-1]]
    assert ends[-1] == LAYOUT.size
    assert Layout().size == len(HEADER)


def test_fields_have_names_and_shapes():
    statistics = counting()
    assert [getattr(statistics, name) for name in HEADER] == list(range(len(HEADER)))
    assert isinstance(statistics.weight, float)
    begin = len(HEADER)
    np.testing.assert_array_equal(statistics.N, [begin, begin + 1])
    np.testing.assert_array_equal(statistics.F, begin + np.array([[2, 3, 4], [5, 6, 7]]))
    assert statistics.extra == SIZE - 1


def test_kernels_write_behind_the_counts():
    statistics = Statistics.zeros(LAYOUT)
    statistics.sums[:] = np.arange(SIZE - len(COUNTS))
    assert (statistics.log_likelihood, statistics.weight) == (0.0, 1.0)
    np.testing.assert_array_equal(statistics.N, [2, 3])
    assert [getattr(statistics, name) for name in COUNTS] == [0] * len(COUNTS)


def test_counts_add_up():
    statistics = Statistics.zeros(LAYOUT)
    statistics.count(np.zeros((3, 2)), left_out=4, incomplete=2)
    statistics.count(np.zeros((5, 2), np.float32), unused=2)
    assert [getattr(statistics, name) for name in COUNTS] == [8, 3 * 16 + 5 * 8, 4, 6, 2]
    assert (statistics.sums == 0).all()


def test_fields_are_views():
    statistics = counting()
    statistics.F[1, 2] = -1
    assert statistics.buffer[len(HEADER) + 2 + 5] == -1
    assert np.shares_memory(statistics.N, statistics.buffer)


def test_buffer_is_not_copied():
    buffer = np.zeros(SIZE)
    assert Statistics(LAYOUT, buffer).buffer is buffer


def test_unknown_field_is_named_with_those_there_are():
    with pytest.raises(AttributeError, match=r"no field 'means'.*'F', 'N'"):
        counting().means  # noqa: B018


@pytest.mark.parametrize("shape", [(SIZE - 1,), (SIZE + 1,), (SIZE, 1), ()])
def test_buffer_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match="layout needs"):
        Statistics(LAYOUT, np.zeros(shape))


def test_adding():
    one, two = counting(), counting()
    total = one + two
    np.testing.assert_array_equal(total.buffer, 2 * np.arange(SIZE))
    assert (total.pass_id, total.layout) == ("1", LAYOUT)
    np.testing.assert_array_equal(one.buffer, np.arange(SIZE))  # operands stay as they were
    assert not np.shares_memory(total.buffer, one.buffer)


FLOATS = hnp.arrays(float, SIZE, elements=st.floats(-1e100, 1e100))


@given(FLOATS, FLOATS)
def test_adding_commutes_and_has_a_zero(a, b):
    one, two = Statistics(LAYOUT, a), Statistics(LAYOUT, b)
    np.testing.assert_array_equal((one + two).buffer, (two + one).buffer)
    np.testing.assert_array_equal((one + Statistics.zeros(LAYOUT)).buffer, a)


def test_passes_are_never_mixed():
    with pytest.raises(ValueError, match="pass '1' and pass '2'"):
        counting("1") + counting("2")


def test_layouts_are_never_mixed():
    other = Statistics.zeros(Layout((("N", (SIZE - len(HEADER),)),)), "1")
    assert other.buffer.shape == counting().buffer.shape
    with pytest.raises(ValueError, match="different layouts"):
        counting() + other


def test_nothing_else_can_be_added():
    with pytest.raises(TypeError):
        counting() + 1
    with pytest.raises(TypeError):
        sum([counting()])  # 0 + statistics: a sum needs a start of its own kind


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickling(protocol):
    twin = pickle.loads(pickle.dumps(counting("7"), protocol))
    np.testing.assert_array_equal(twin.buffer, counting().buffer)
    assert (twin.layout, twin.pass_id) == (LAYOUT, "7")
    np.testing.assert_array_equal((twin + counting("7")).N, 2 * counting().N)


def test_a_pickle_is_little_more_than_the_buffer():
    layout = Layout((("S", (100, 100)),))
    layout.slices, layout.size  # noqa: B018 - what is cached must not travel twice
    assert len(pickle.dumps(Statistics.zeros(layout))) < 8 * layout.size + 1_000


def test_repr_says_what_it_holds():
    assert repr(counting()) == "Statistics(weight=6, fields=[N, F, extra], pass_id='1')"


def test_misaligned_buffers_are_copied():
    """Arrays that crossed a network begin at any byte; kernels need whole doubles."""
    misaligned = np.zeros(8 * SIZE + 1, np.uint8)[1:].view(np.float64)
    misaligned[:] = np.arange(SIZE)
    assert not misaligned.flags.aligned
    statistics = Statistics(LAYOUT, misaligned)
    assert statistics.buffer.flags.aligned
    np.testing.assert_array_equal(statistics.buffer, misaligned)
