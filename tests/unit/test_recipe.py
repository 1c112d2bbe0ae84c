"""Recipes: a part's graph as calls. Each task once, nothing kept that nobody needs."""

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import convert_legacy_graph

from emdash.sources.dask import DaskSource
from emdash.sources.recipe import recipes


class Watched(dict):
    """Values by key that notes how many there are at most."""

    most = 0

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.most = max(self.most, len(self))


def add(*numbers):
    return sum(numbers)


def computed(graph, keys, given=(), several=True):
    """Run recipes of a graph; return results, values left, most at a time, and the recipes."""
    nodes = convert_legacy_graph(graph, {*graph, *given})
    values = Watched(dict.fromkeys(given, 100))
    prepared = recipes(nodes, keys, set(given), several)
    results = [recipe.compute(values) for recipe in prepared]
    return results, dict(values), values.most, prepared


def test_a_chain_is_forgotten_behind_its_head():
    graph = {"a0": (add, 1), **{f"a{i}": (add, f"a{i - 1}", 1) for i in range(1, 50)}}
    results, left, most, _ = computed(graph, ["a49"])
    assert results == [50]
    assert left == {}
    assert most == 2


def test_a_tree_is_computed_depth_first():
    graph = {("sum", 5, i): (add, i) for i in range(32)}
    for level in range(4, -1, -1):
        for i in range(2**level):
            graph["sum", level, i] = (add, ("sum", level + 1, 2 * i), ("sum", level + 1, 2 * i + 1))
    results, left, most, _ = computed(graph, [("sum", 0, 0)])
    assert results == [sum(range(32))]
    assert left == {}
    assert most <= 7  # the height and one more, not the 32 leaves


def test_what_the_next_chunk_needs_is_kept():
    graph = {"large": (add, 7), "x": (add, "large", 1), "y": (add, "large", 2), "z": (add, 3)}
    results, left, _, prepared = computed(graph, ["x", "y", "z"])
    assert results == [8, 9, 3]
    assert [recipe.keep for recipe in prepared] == [{"large"}, set(), set()]
    assert [len(recipe.steps) for recipe in prepared] == [2, 1, 1]
    assert left == {}


def test_several_are_kept_only_if_they_may_be():
    graph = {"a": (add, 1), "b": (add, 2), "x": (add, "a", "b"), "y": (add, "b", "a", "x")}
    for several, steps in ((True, [3, 1]), (False, [3, 4])):
        results, left, _, prepared = computed(graph, ["x", "y"], several=several)
        assert results == [3, 6]
        assert [len(recipe.steps) for recipe in prepared] == steps
        assert left == {}


def test_what_is_given_stays():
    graph = {"x": (add, "given", 1), "y": (add, "given", "x")}
    results, left, _, _ = computed(graph, ["x", "y", "given"], given=["given"])
    assert results == [101, 201, 100]
    assert left == {"given": 100}


def test_arguments_of_every_kind():
    def show(*args, **kwargs):
        return args, kwargs

    graph = {
        "a": 5,
        "alias": "a",
        "x": (show, "a", ["a", [1, "alias"]], {"key": "not a"}, (add, "a", 1), None, slice(3)),
    }
    expected = ((5, [5, [1, 5]], {"key": "not a"}, 6, None, slice(3)), {})
    assert computed(graph, ["x"])[0] == [expected]
    assert dask.get(graph, "x") == expected
    delayed = dask.delayed(show)([dask.delayed(1)], key={"a": dask.delayed(2)})
    graph = dict(delayed.__dask_graph__())
    assert computed(graph, [delayed.key])[0] == [(([1],), {"key": {"a": 2}})]


@pytest.mark.parametrize("n_chunks", [8, 64, 300])
def test_a_cumulative_sum_reads_each_chunk_at_most_twice(n_chunks):
    """Not once for each later chunk: what is carried on is small and computed once per fit."""
    loads = []

    def load(block_id):
        loads.append(block_id)
        return np.ones((10, 2))

    x = da.map_blocks(load, chunks=((10,) * n_chunks, (2,)), dtype=float, meta=np.empty((0, 0)))
    parts = DaskSource(x.cumsum(axis=0)).parts(4)
    for _ in range(2):
        loads.clear()
        rows = np.concatenate([chunk.rows for part in parts for chunk in part()])
        np.testing.assert_array_equal(rows[:, 0], np.arange(1, 10 * n_chunks + 1))
        assert len(loads) <= 2 * n_chunks


def test_parts_that_repeat_each_other_are_mentioned_once(monkeypatch):
    monkeypatch.setattr("emdash.sources.shared.MOST_BYTES", 10)  # nothing is computed once per fit
    x = da.ones((640, 2), chunks=(10, 2))
    source = DaskSource(x.rechunk((640, 2)).rechunk((10, 2)))
    with (
        pytest.warns(UserWarning, match="too large to keep"),
        pytest.warns(UserWarning, match=r"depend on each other: .* [3-8]\.\d times.*X\.persist"),
    ):
        source.parts(8)
    source.parts(8)
    for harmless in (x, 2 * x + 1, x.rechunk((15, 2)), x[x[:, 0] > 0]):
        DaskSource(harmless).parts(8)
