"""How far a fit has come, in one file, so that another process can go on to the same end.

The file is replaced as a whole after a pass, without pickle. It says what model and what data it
is of; with anything else it is refused.

Must never know: which model, which family, which engine. Parameters are records of arrays.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from glob import escape
from pathlib import Path
from typing import Any

from emdash import __version__
from emdash.archive import Arrays, Kind, check_target, read_archive, write_archive
from emdash.progress import Pass, from_table, to_table

__all__ = ["Checkpoint", "Keeper", "Stage", "State"]

FORMAT = 1
"""Version of the layout; files of another one are refused."""

FILE = Kind(
    "checkpoint",
    "checkpoints are written by fit when the estimator has a checkpoint: give it another path",
    "checkpoint",
    {"format": int, "version": str, "model": dict, "data": dict, "start": int},
)

PLAN = "n_chunks"
"""The entry about the data that may differ: it changes the order of addition, not the sums."""

GRAPH = "graph"
"""The name of a Dask graph. The same name means the same data, another one means nothing."""


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a fit writes how far it has come.

    An estimator with a `checkpoint` writes parameters and history to one file after every pass.
    ``fit`` with the same data and the same file goes on from there, and ends bitwise where a fit
    without interruption ends.

    Parameters
    ----------
    path : str or path-like
        The file, by custom ``something.npz``. Replaced as a whole, so it is never half-written.
    seconds : float
        Write only when the last time was longer ago than this; 0 writes after every pass. An
        interrupt, an error and the end of the fit are written in any case.

    Examples
    --------
    >>> import emdash, numpy as np, os, tempfile
    >>> X = np.array([[1.0], [2.0], [8.0], [9.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = emdash.Checkpoint(os.path.join(folder, "fit.npz"), seconds=60)
    ...     first = emdash.GaussianMixture(2, random_state=0, checkpoint=checkpoint).fit(X)
    ...     again = emdash.GaussianMixture(2, random_state=0, checkpoint=checkpoint).fit(X)
    >>> again.history_ == first.history_  # read, not computed again
    True
    """

    path: str | os.PathLike[str]
    seconds: float = 0.0


@dataclass(frozen=True)
class Stage:
    """How far one start has come.

    Attributes
    ----------
    parameters : record of arrays
        What the next pass begins with.
    history : tuple of Pass
        The passes so far.
    """

    parameters: Any
    history: tuple[Pass, ...] = ()

    @property
    def trace(self) -> list[float]:
        """Objective of every pass so far."""
        return [record.log_likelihood + record.log_prior for record in self.history]


def better(one: Stage | None, other: Stage) -> Stage:
    """Return `other` if it came higher than `one`, or if that is nothing or made no pass."""
    if one is None or not one.history:
        return other
    return other if other.history and other.trace[-1] > one.trace[-1] else one


@dataclass(frozen=True)
class State:
    """How far a fit has come.

    Attributes
    ----------
    start : int
        Number of the start under way, from 0.
    current : Stage
        How far that has come.
    best : Stage or None
        The best of the starts before.
    random : dict or None
        What the starts that are left are drawn with.
    weight : float or None
        Total weight of the rows that a pass reads; None before the first.
    prior : dict or None
        What the first pass settled of the prior, as values of JSON; None before, or without one.
    """

    start: int
    current: Stage
    best: Stage | None = None
    random: Mapping[str, Any] | None = None
    weight: float | None = None
    prior: Mapping[str, Any] | None = None


class Keeper:
    """Holds how far a fit has come, and writes it to its checkpoint if it has one.

    Parameters
    ----------
    checkpoint : Checkpoint or None
        Where and how often.
    identity : dict
        Under ``"model"`` what decides where the fit goes, under ``"data"`` what tells the data
        from others: names and values of JSON, to be the same in the file. Of the data, None means
        not known, and of lists the common length counts.

    Attributes
    ----------
    state : State or None
        What was noted last.

    Raises
    ------
    OSError
        If the file cannot be written.
    """

    def __init__(
        self, checkpoint: Checkpoint | None, identity: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.state: State | None = None
        self.path: Path | None = None
        self._identity = {what: dict(entries) for what, entries in identity.items()}
        self._file_data: Mapping[str, Any] = {}
        self._written: State | None = None
        self._due = 0.0
        if checkpoint is not None:
            check_target(checkpoint.path)
            self.path = Path(os.path.realpath(checkpoint.path))
            self._seconds = checkpoint.seconds

    def note(self, state: State) -> None:
        """Hold a new state; write it if it is time."""
        self.state = state
        if time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        """Write the state, unless that was done. Failing is a warning: the fit goes on."""
        if self.path is None or self.state is None or self.state is self._written:
            return
        state = self.state
        header = {"format": FORMAT, "version": __version__, **self._identity}
        header |= {"start": state.start, "random": state.random, "weight": state.weight}
        header["prior"] = state.prior
        arrays = _pack(state.current, "current")
        if state.best is not None:
            arrays |= _pack(state.best, "best")
        try:
            write_archive(self.path, FILE, header, arrays)
        except OSError as error:
            warnings.warn(
                f"could not write the checkpoint {self.path} ({error}): the fit goes on, but if "
                "it is interrupted it resumes from an earlier pass. Make room there",
                RuntimeWarning,
                stacklevel=2,
            )
            return
        self._written = state
        self._due = time.monotonic() + self._seconds

    def read(self, like: Callable[[Sequence[Pass]], Any]) -> State | None:
        """Return what the file holds, or None if there is no file.

        Parameters
        ----------
        like : callable
            Returns parameters of the model after these passes, whatever their values: they show
            which shapes to expect.

        Raises
        ------
        ValueError
            If it is of another model or of other data, naming what differs; if it is no
            checkpoint, or damaged.
        """
        if self.path is None:
            return None
        for left in self.path.parent.glob(f".{escape(self.path.name)}.*.tmp"):  # of killed ones
            left.unlink(missing_ok=True)
        if not self.path.exists():
            return None
        header, arrays = read_archive(self.path, FILE)
        if header["format"] != FORMAT:
            raise ValueError(
                f"{self.path} was written by emdash {header['version']} in format "
                f"{header['format']}, but emdash {__version__} reads format {FORMAT}: go on with "
                "that version, or give another path to start anew"
            )
        self._compare("model", header["model"])
        self._compare("data", header["data"])
        self._file_data = header["data"]
        data = self._identity["data"]
        data.update({k: v for k, v in self._file_data.items() if data.get(k) is None})
        try:
            best = _unpack(arrays, "best", like) if "best.history" in arrays else None
            current = _unpack(arrays, "current", like)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{self.path} is damaged: {error}") from None
        learned = header["random"], header["weight"], header["prior"]
        self.state = State(header["start"], current, best, *learned)
        self._written = self.state
        return self.state

    @property
    def same_graph(self) -> bool:
        """Whether the data are known to be those of the file that was read, by their name."""
        name = self._identity["data"].get(GRAPH)
        return name is not None and name == self._file_data.get(GRAPH)

    def learn(self, name: str, marks: list[str]) -> None:
        """Take marks that a pass found into what tells the data from others.

        Parameters
        ----------
        name : str
            What to call them.
        marks : list of str
            The first does not depend on the chunks, the others do.

        Raises
        ------
        ValueError
            If the file that was read has others.
        """
        data = self._identity["data"]
        data[name] = marks
        there = self._file_data.get(name)
        if there is not None:
            same_plan = self._file_data[PLAN] == data[PLAN]
            self._compare("data", {**data, name: there if same_plan else there[:1]})

    def _compare(self, what: str, there: Mapping[str, Any]) -> None:
        here = self._identity[what]
        # the entry that is only a warning comes last: "the fit goes on" is said of one that does
        for name in sorted({**there, **here}, key=lambda name: name == PLAN):
            a, b = there.get(name), here.get(name)
            alike = what == "data" and (name == GRAPH or a is None or b is None or _agree(a, b))
            if a == b or alike:
                continue
            if name == PLAN:
                warnings.warn(
                    f"X has {b} chunks, but had {a} when {self.path} was written: the fit goes "
                    "on, but ends where one without interruption ends only to rounding",
                    stacklevel=2,
                )
                continue
            values = "differ" if isinstance(a, list) else f"is {a!r} there, but {b!r} here"
            raise ValueError(
                f"{self.path} is a checkpoint of {'another' if what == 'model' else 'other'} "
                f"{what}: {name} {values}. Give another path, or remove the file to start anew"
            )


def _agree(a: Any, b: Any) -> bool:
    """Compare lists as far as both go."""
    return isinstance(a, list) and all(x == y for x, y in zip(a, b, strict=False))


def _pack(stage: Stage, prefix: str) -> dict[str, Any]:
    """Return the arrays of a stage."""
    history = to_table(list(stage.history))
    return {f"{prefix}.history": history, **_arrays(stage.parameters, prefix)}


def _unpack(arrays: Arrays, prefix: str, like: Callable[[Sequence[Pass]], Any]) -> Stage:
    """Return the stage that :func:`_pack` made arrays of.

    Raises
    ------
    KeyError, ValueError
        If an array is missing, or differs in shape or type from the one in `like`.
    """
    history = tuple(from_table(arrays[f"{prefix}.history"]))
    return Stage(_record(arrays, prefix, like(history)), history)


def _arrays(record: Any, prefix: str) -> dict[str, Any]:
    """Return the arrays of a record of arrays and of such records, by their dotted names."""
    if not is_dataclass(record):
        return {prefix: record}
    found: dict[str, Any] = {}
    for field in fields(record):
        found |= _arrays(getattr(record, field.name), f"{prefix}.{field.name}")
    return found


def _record(arrays: Arrays, name: str, like: Any) -> Any:
    """Return a record of the type of `like`."""
    if is_dataclass(like):
        values = {
            field.name: _record(arrays, f"{name}.{field.name}", getattr(like, field.name))
            for field in fields(like)
        }
        make: Any = type(like)
        return make(**values)
    array = arrays[name]
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, expected {like.shape} and "
            f"{like.dtype}"
        )
    return array
