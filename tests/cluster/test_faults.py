"""Bad rows and chunks that cannot be computed: a clear error, the first of several, no hang."""

import sys
import time
import types

import dask
import dask.array as da
import numpy as np
import pytest
from clusters import eventually, tasks, within

from emdash import GaussianMixture


def mapped(x, function):
    """Return the array with a function of each block and its number in its graph."""
    return x.map_blocks(
        lambda block, block_id: function(block, block_id[0]), dtype=float, meta=x._meta
    )


@pytest.mark.parametrize(("row", "value"), [(0, np.inf), (433, np.inf), (599, -np.inf)])
def test_an_infinite_row(X, start, client, row, value):
    bad = X.copy()
    bad[row, 2] = value
    x = da.from_array(bad, chunks=(70, 4))
    for model in (GaussianMixture(3, **start), GaussianMixture(3, random_state=0)):
        with pytest.raises(ValueError, match=rf"X contains infinity in row {row}, column 2\b"):
            model.fit(x)
        assert not hasattr(model, "means_")
        model.fit(da.from_array(X, chunks=(70, 4)))  # and it can still be used
    with pytest.raises(ValueError, match=rf"X contains infinity in row {row}, column 2\b"):
        model.score(x)
    with pytest.raises(ValueError, match=rf"X contains infinity in row {row}, column 2\b"):
        model.predict(x).compute()
    eventually(lambda: not [key for key in tasks(client) if key.startswith("emdash-")])


def test_an_infinite_row_when_nobody_counted_the_rows(X, start, client):
    bad = X.copy()
    bad[433, 2] = np.inf
    x = da.from_array(bad, chunks=(70, 4))
    x = x[x[:, 0] > -np.inf]
    with pytest.raises(ValueError, match=r"infinity in row 13 of chunk 6, column 2"):
        GaussianMixture(3, **start).fit(x)
    with pytest.raises(ValueError, match=r"infinity in row 433, column 2"):
        GaussianMixture(3, random_state=0).fit(x)  # the start counts


def test_the_first_of_several_bad_rows_is_reported(X, start, client):
    """Though its part takes longest; later parts are cancelled, not waited for."""
    bad = X.copy()
    bad[[77, 211, 599], 1] = np.inf

    def slow(block, index):
        time.sleep(0.8 if index == 0 else 0)
        return block

    x = mapped(da.from_array(bad, chunks=(20, 4)), slow)
    with pytest.raises(ValueError, match=r"infinity in row 77, column 1"):
        GaussianMixture(3, **start).fit(x)
    eventually(lambda: not tasks(client))


@pytest.mark.parametrize("persisted", [False, True])
def test_a_chunk_that_cannot_be_computed(X, start, client, persisted):
    """The error is the user's own, with the line of their code; the chunk is named."""

    def broken(block, index):
        if index == 7:
            raise OSError("the disk is on fire")
        return block

    x = mapped(da.from_array(X, chunks=(50, 4)), broken)
    x = x.persist() if persisted else x
    with pytest.raises(OSError, match="the disk is on fire") as caught:
        GaussianMixture(3, **start).fit(x)
    assert "broken" in [entry.name for entry in caught.traceback]
    if not persisted:  # if it is, Dask has computed it
        assert "chunk 7" in "".join(caught.value.__notes__)
    # even while somebody keeps the traceback
    eventually(lambda: not [key for key in tasks(client) if key.startswith("emdash-")])


def test_memory_that_is_not_there(X, start, client):
    """Advice on the size of chunks comes with the error."""

    def huge(block, index):
        return np.empty(1 << 45) if index == 7 else block

    with pytest.raises(MemoryError) as caught:
        GaussianMixture(3, **start).fit(mapped(da.from_array(X, chunks=(50, 4)), huge))
    assert "X.rechunk({0: rows})" in "".join(caught.value.__notes__)
    eventually(lambda: not tasks(client))


def test_a_shared_reduction_that_cannot_be_computed(X, start, client):
    def broken(block, block_id):
        if block_id[0] == 7:
            raise OSError("the disk is on fire")
        return block

    x = da.from_array(X, chunks=(50, 4)).map_blocks(broken, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(OSError, match="the disk is on fire"):
        GaussianMixture(3, **start).fit(x - x.mean(axis=0))
    eventually(lambda: not tasks(client))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda block: block[:, :3], r"chunk 7 of X has shape \(50, 3\), expected \(rows, 4\)"),
        (lambda block: block.astype(complex), "chunk 7 of X has dtype complex128"),
        (lambda block: np.ma.masked_less(block, 0.0), "chunk 7 of X has masked values"),
    ],
)
def test_a_block_that_is_not_what_it_was_said_to_be(X, start, client, wrong, message):
    def change(block, block_id):
        return wrong(block) if block_id[0] == 7 else block

    x = da.from_array(X, chunks=(50, 4)).map_blocks(change, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(ValueError, match=message):
        GaussianMixture(3, **start).fit(x)


def test_a_collapsing_component_is_named(client):
    x = da.from_array(np.repeat(np.eye(4), 30, axis=0), chunks=(10, 4))
    with pytest.raises(ValueError, match="covariance of component 0 is not positive definite"):
        GaussianMixture(2, reg_covar=0.0, random_state=0, on_collapse="raise").fit(x)
    eventually(lambda: not tasks(client))


def test_rows_that_come_and_go(X, start, client, tmp_path):
    """A table with other rows in the second pass is refused."""
    name = str(tmp_path / "count")

    def fewer(block, index):
        with open(name, "a") as file:
            file.write("x")
        with open(name) as file:
            return block[:-1] if index == 3 and len(file.read()) > 12 else block

    x = mapped(da.from_array(X, chunks=(50, 4)), fewer)
    with pytest.raises(ValueError, match=r"X changed between passes: pass 2 read 599 rows.* 600"):
        GaussianMixture(3, **start).fit(x)


def test_arrays_that_are_shuffled_between_workers(X, start, client):
    """P2P takes the whole cluster and cannot be part of a task; persisted it can be used."""
    with dask.config.set({"array.rechunk.method": "p2p"}):
        x = da.from_array(X, chunks=(600, 1)).rechunk((70, 4))
    with pytest.raises(ValueError, match=r"P2P.*X.persist\(\)"):
        GaussianMixture(3, **start).fit(x)
    there = within(60, GaussianMixture(3, tol=1e-7, **start).fit, x.persist())
    here = GaussianMixture(3, tol=1e-7, **start).fit(da.from_array(X, chunks=(70, 4)))
    np.testing.assert_array_equal(there.covariances_, here.covariances_)


def test_what_the_workers_cannot_import(X, start, client, monkeypatch):
    """The error is theirs, not one about lost data."""
    function = types.FunctionType((lambda block: block).__code__, globals(), "here_only")
    module = types.ModuleType("module_of_this_process")
    module.here_only, function.__module__ = function, module.__name__
    function.__qualname__ = function.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    x = da.from_array(X, chunks=(50, 4)).map_blocks(function, dtype=float, meta=np.empty((0, 0)))
    message = "module_of_this_process|different environments"
    with pytest.raises((ModuleNotFoundError, RuntimeError), match=message):
        within(60, GaussianMixture(3, **start).fit, x)
