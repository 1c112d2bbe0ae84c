"""The graph of each chunk as a straight list of calls, prepared once and run in every pass.

Dask's own synchronous scheduler orders and counts the tasks of a graph whenever
it runs it: 50 to 400 microseconds per chunk, where a chunk of a hundred rows
takes the kernel ten. Here that is done once per part and fit; what remains of a
pass is a loop over calls, 1 to 5 microseconds per chunk.

Must never know: what the results are for, who keeps the recipes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from operator import itemgetter
from typing import Any

from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef
from dask.sizeof import sizeof

__all__ = ["Recipe", "recipes"]

Key = Any
Call = Callable[[dict[Key, Any]], Any]
Step = tuple[Key, Call, tuple[Key, ...]]
"""What is made, how to make it of the values so far, and what nobody needs after it."""


@dataclass(frozen=True)
class Recipe:
    """How to compute one chunk.

    Attributes
    ----------
    steps : tuple of Step
        In an order in which everything is made before it is used.
    result : hashable
        Key of the chunk.
    spent : bool
        Whether the chunk itself can be forgotten once it is delivered.
    keep : frozenset
        Keys of results that the next recipe begins with.
    """

    steps: tuple[Step, ...]
    result: Key
    spent: bool
    keep: frozenset[Key]

    def compute(self, values: dict[Key, Any]) -> Any:
        """Return the chunk; of what was made for it, `values` holds `keep` and nothing else.

        Parameters
        ----------
        values : dict
            What is given, and what the recipe before has kept.
        """
        for key, call, spent in self.steps:
            values[key] = call(values)
            for name in spent:
                del values[name]
        return values.pop(self.result) if self.spent else values[self.result]

    def keeps_too_much(self, values: dict[Key, Any], block: Any) -> bool:
        """Tell whether what is kept is more than was in memory with this chunk anyway.

        One result was. Several, such as columns that are stored apart, may be all of the data.
        """
        if len(self.keep) < 2:
            return False
        return bool(sum(sizeof(values[key]) for key in self.keep) > 2 * sizeof(block))


def recipes(
    graph: Mapping[Key, GraphNode], keys: Sequence[Key], given: Container[Key], several: bool = True
) -> list[Recipe]:
    """Prepare the chunks of a part, to be computed in this order.

    Parameters
    ----------
    graph : mapping
        Nodes by key; all that the chunks need and that is not given.
    keys : sequence
        Keys of neighbouring chunks.
    given : container
        Keys whose values are there before the first step, and stay.
    several : bool
        Whether more than one result may be kept for the next chunk.
    """
    binder = _Binder()
    calls = {key: binder.bind(node) for key, node in graph.items()}
    found = []
    kept: frozenset[Key] = frozenset()
    for key, following in zip_longest(keys, keys[1:]):
        order = _order(graph, key, kept, given)
        made = {*order, *kept}
        keep = _needed_again(graph, made, following)
        if len(keep) > 1 and not several:
            keep = frozenset()
        steps = _steps(graph, calls, order, kept, {key, *keep})
        found.append(Recipe(steps, key, key in made and key not in keep, keep))
        kept = keep
    return found


def _order(
    graph: Mapping[Key, GraphNode], result: Key, kept: Iterable[Key], given: Container[Key]
) -> list[Key]:
    """Return the keys to compute, depth first, so that little is in memory at a time."""
    order: list[Key] = []
    made = set(kept)
    pending: list[tuple[Key, Iterator[Key]]] = [(None, iter([result]))]
    while pending:
        owner, needs = pending[-1]
        for key in needs:
            if key not in made and key not in given:
                made.add(key)
                pending.append((key, iter(sorted(graph[key].dependencies, key=str))))
                break
        else:
            pending.pop()
            order.append(owner)
    return order[:-1]  # the last is not a task, it only wanted the result


def _steps(
    graph: Mapping[Key, GraphNode],
    calls: Mapping[Key, Call],
    order: Sequence[Key],
    kept: Iterable[Key],
    wanted: Container[Key],
) -> tuple[Step, ...]:
    """Return the calls in order, each with what can be forgotten after it."""
    mine = {*order, *kept}
    last: dict[Key, Key] = {}
    for key in order:
        last.update((need, key) for need in graph[key].dependencies if need in mine)
    spent: dict[Key, list[Key]] = {key: [] for key in order}
    for need, key in last.items():
        if need not in wanted:
            spent[key].append(need)
    return tuple((key, calls[key], tuple(spent[key])) for key in order)


def _needed_again(
    graph: Mapping[Key, GraphNode], made: Container[Key], following: Key | None
) -> frozenset[Key]:
    """Return what the next chunk needs of what is in memory with this one."""
    found: set[Key] = set()
    seen: set[Key] = set()
    pending = [] if following is None else [following]
    while pending:
        key = pending.pop()
        if key in seen or key not in graph:
            continue
        seen.add(key)
        node = graph[key]
        if key not in made or isinstance(node, Alias):
            pending.extend(node.dependencies)
        elif not isinstance(node, DataNode):
            found.add(key)
    return frozenset(found)


class _Binder:
    """Turns nodes of a graph into calls, looking at their arguments once."""

    def __init__(self) -> None:
        self.subgraphs: dict[Any, Callable[..., Any]] = {}  # fused blocks share one

    def bind(self, node: Any) -> Call:
        """Return a function that computes a node from the values it needs."""
        if isinstance(node, Alias):
            return itemgetter(*node.dependencies)  # the one
        if isinstance(node, TaskRef):
            return itemgetter(node.key)
        if isinstance(node, DataNode) or not isinstance(node, GraphNode):
            value = node.value if isinstance(node, DataNode) else node
            return lambda values: value
        if isinstance(node, Task) and type(node).__call__ is Task.__call__:
            return self._bind_task(node)
        return node  # type: ignore[no-any-return]

    def _bind_task(self, task: Any) -> Call:
        function, arguments = task.func, task.args
        if _is_fused(function, arguments):
            inner, result, names, *arguments = arguments
            function = self._subgraph(inner, result, names)
        positional = [self.bind(argument) for argument in arguments]
        if task.kwargs:
            named = {name: self.bind(value) for name, value in task.kwargs.items()}
            return lambda values: function(
                *[get(values) for get in positional],
                **{name: get(values) for name, get in named.items()},
            )
        if len(positional) == 1:
            (only,) = positional
            return lambda values: function(only(values))
        return lambda values: function(*[get(values) for get in positional])

    def _subgraph(self, inner: dict[Key, Any], result: Key, names: tuple[Key, ...]) -> Any:
        """Return a function of the values of `names` that runs tasks that Dask has fused."""
        identity = id(inner), result, names
        if identity not in self.subgraphs:
            order = _order(inner, result, (), set(names))
            calls = {key: self.bind(inner[key]) for key in order}
            steps = _steps(inner, calls, order, names, {result})

            def execute(*given: Any) -> Any:
                values = dict(zip(names, given, strict=True))
                for key, call, spent in steps:
                    values[key] = call(values)
                    for name in spent:
                        del values[name]
                return values[result]

            self.subgraphs[identity] = execute
        return self.subgraphs[identity]


def _is_fused(function: Any, arguments: Sequence[Any]) -> bool:
    """Tell whether a task is a graph that Dask has fused; its form is known since 2025."""
    name = getattr(function, "__name__", "")
    return name == "_execute_subgraph" and isinstance(arguments[2], tuple)
