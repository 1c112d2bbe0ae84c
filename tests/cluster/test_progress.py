"""How far a pass on the cluster has come, while it is under way."""

import time

import dask.array as da
import numpy as np
import pytest
from clusters import within

from emdash.engines.dask import DaskEngine
from emdash.sources.dask import DaskSource


@pytest.fixture
def index():
    return lambda chunk, n_threads: [chunk.index]  # pickled by value


def test_rows_are_told_as_parts_end(X, index, client, tmp_path):
    """The last chunk waits until some rows were told of, so without that the pass fails."""
    told = tmp_path / "told"

    def wait(block, block_id):
        end = time.monotonic() + 15
        while block_id[0] == 19 and not told.exists():
            assert time.monotonic() < end, "nobody was told"
            time.sleep(0.01)
        return block

    seen = []

    def on_rows(n_rows):
        seen.append(n_rows)
        told.touch()

    x = da.from_array(X, chunks=(30, 4)).map_blocks(wait, dtype=float, meta=np.empty((0, 0)))
    engine = DaskEngine()
    engine.on_rows = on_rows
    assert within(30, engine.total, index, DaskSource(x)) == list(range(20))
    assert set(seen) == {120}  # four chunks of 30 rows make a part
    assert len(seen) <= 5


def test_rows_that_nobody_has_counted_are_not_told(X, index, client):
    x = da.from_array(X, chunks=(30, 4))
    engine = DaskEngine()
    engine.on_rows = lambda n_rows: 1 / 0
    assert within(30, engine.total, index, DaskSource(x[x[:, 0] > -99])) == list(range(20))
