"""What a person sees of a fit: estimates, bars where they can be drawn, lines where they cannot."""

from __future__ import annotations

import io
import re
import sys
import threading
import time

import numpy as np
import pytest

from emdash import GaussianMixture
from emdash.chunk import Chunk
from emdash.em import Stop
from emdash.engines.base import Engine, fold
from emdash.engines.local import LocalEngine
from emdash.estimators import _fitted
from emdash.progress import passes_left
from emdash.sources.base import Source
from emdash.sources.batches import BatchesSource

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("passes", [3, 6, 20])
def test_estimate_is_right_where_the_change_decays_evenly(decay, passes):
    changes = decay ** np.arange(1000)
    trace = np.cumsum(changes) - 1e3
    tolerance = decay**70.5
    left, estimated = passes_left(trace[:passes].tolist(), Stop(tolerance, 1000))
    assert estimated
    assert left == 72 - passes  # the change before pass i is decay ** (i - 1)


@pytest.mark.parametrize(
    ("trace", "tolerance"),
    [
        ([], 1e-3),
        ([-5.0], 1e-3),
        ([-5.0, -4.0], 1e-3),  # one change tells no decay
        ([-5.0, -4.0, -3.0], 1e-3),  # none
        ([-5.0, -4.0, -2.0], 1e-3),  # growing
        ([-5.0, -4.0, -4.0], 1e-3),
        ([-5.0, -4.0, -3.5], 0.0),  # a tolerance that is never met
        ([-5.0, -4.0, -3.01], 1e-3),  # later than max_iter
    ],
)
def test_bound_where_there_is_no_estimate(trace, tolerance):
    assert passes_left(trace, Stop(tolerance, 20)) == (20 - len(trace), False)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Notebook(io.StringIO):
    __module__ = "ipykernel.iostream"


def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2))
    X[::2] += 2
    return X


def shown(stream, monkeypatch, X=None, **settings):
    """Return what a fit writes to a stream that stands for standard output."""
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr("emdash.progress.REDRAWN", 0.0)
    settings = {"n_components": 2, "random_state": 0, "n_threads": 1, **settings}
    GaussianMixture(**settings).fit(list(np.array_split(rows(), 6)) if X is None else X)
    return stream.getvalue()


@pytest.mark.parametrize("stream", [Terminal, Notebook])
def test_bar_of_the_pass_under_way(stream, monkeypatch):
    text = shown(stream(), monkeypatch, verbose=2)
    bars = re.findall(
        r"\r  pass    2  \[([#.]{24})\] +(\d+)%  \S+ [kMG]? ?rows/s  \d+ s left", text
    )
    assert [int(percent) for _, percent in bars] == [17, 33, 50, 67, 83, 100]
    assert [bar.count("#") for bar, _ in bars] == [4, 8, 12, 16, 20, 24]
    # nobody knew how many rows there are before the first pass
    assert text.index("\r  start  600 rows") < text.index("\r  pass    1  100 rows")
    screen = [line.split("\r")[-1] for line in text.split("\n")]  # what is left to be seen
    assert not any("[" in line or "start " in line for line in screen)
    assert sum("log-likelihood" in line for line in screen) == text.count("log-likelihood")


def test_log_has_lines_only(monkeypatch):
    text = shown(io.StringIO(), monkeypatch, verbose=2)
    assert "\r" not in text
    assert "[" not in text
    assert shown(Terminal(), monkeypatch, verbose=0) == ""


class Bare:
    """What some programs put in the place of standard output."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def getvalue(self):
        return self.text


def test_streams_that_are_no_files(monkeypatch):
    text = shown(Bare(), monkeypatch, verbose=2)
    assert "log-likelihood" in text
    assert "\r" not in text
    monkeypatch.setattr(sys, "stdout", None)  # a process without a console
    GaussianMixture(2, random_state=0).fit(rows())


def test_bar_is_gone_after_an_error(monkeypatch):
    X = [*np.array_split(rows(), 6)]
    X[3][0, 0] = np.inf
    stream = Terminal()
    start = {
        "means_init": [[0, 0], [2, 2]],
        "weights_init": [0.5, 0.5],
        "precisions_init": [np.eye(2)] * 2,
    }
    with pytest.raises(ValueError, match="infinity"):
        shown(stream, monkeypatch, X, verbose=1, **start)
    assert "\r  pass    1  300 rows" in stream.getvalue()
    assert stream.getvalue().split("\r")[-1] == ""


def test_lines_say_how_fast_and_how_long(monkeypatch):
    lines = shown(io.StringIO(), monkeypatch, verbose=2, tol=1e-9, max_iter=60).splitlines()
    speeds = [re.search(r"  \S+ [kMG]? ?rows/s  \S+ [kMG]?B/s  ", line) for line in lines[1:-1]]
    assert all(speeds)
    assert re.search(r"  at most 59 passes, \d+ s left$", lines[1])
    assert any(re.search(r"  about \d+ passes, \d+ s left$", line) for line in lines)
    assert "left" not in lines[-2]  # the last pass


class Uneven(Source):
    """Eight chunks; the first takes long."""

    n_features, n_rows, n_chunks = 1, 8, 8

    def chunks(self, first=0, last=None):
        for i in range(first, 8 if last is None else last):
            yield Chunk(np.full((1, 1), float(i)), i, i)


def test_imbalance_is_the_busiest_thread_over_the_mean():
    others = threading.Semaphore(0)

    def task(chunk, n_threads):
        if chunk.index == 0:
            for _ in range(3):  # no more than four wait for the first
                assert others.acquire(timeout=30)
            time.sleep(0.2)
        else:
            others.release()
        return 1

    engine = LocalEngine(2)
    assert engine.total(task, Uneven()) == 8
    assert 1.5 < engine.imbalance <= 2
    assert engine.total(lambda chunk, n_threads: 1, BatchesSource([np.eye(1)])) == 1
    assert engine.imbalance == 1


class Watched(Engine):
    """One chunk after the other, and a note of every report."""

    imbalance = 1.25

    def __init__(self):
        self.events = []

    def total(self, task, source):
        return fold(task(chunk, 1) for chunk in source.chunks())

    def each(self, task, source):
        raise NotImplementedError

    def report(self, event):
        self.events.append(event)


def test_engine_is_told_of_every_pass_once(monkeypatch, tmp_path):
    engine, calls = Watched(), []
    monkeypatch.setattr(_fitted, "engine_for", lambda *_: engine)

    def stop(record):
        calls.append(record)
        if len(calls) == 3:
            raise RuntimeError

    settings = {"n_components": 2, "random_state": 0, "tol": 1e-6, "checkpoint": tmp_path / "c"}
    with pytest.raises(RuntimeError):
        GaussianMixture(callback=stop, **settings).fit(rows())
    assert len(engine.events) == 3
    fit = GaussianMixture(**settings).fit(rows())
    assert engine.events == [{**vars(record), "collapses": ""} for record in fit.history_]
    assert {record.imbalance for record in fit.history_} == {1.25}
