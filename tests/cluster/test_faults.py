"""Lost workers, bad rows and chunks that cannot be computed: the same bits, or a clear error."""

import os
import signal

import dask
import dask.array as da
import numpy as np
import pytest
from clusters import cluster_by_hand, eventually, local_cluster, tasks, within
from distributed import Client, KilledWorker

from emdash import GaussianMixture


@pytest.fixture(params=["in the middle of a task", "between two passes"])
def killed(request):
    return request.param


def killing(path, call):
    """Return a function of a block that kills its process the `call`-th time it is called."""
    name = str(path)

    def kill(block):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, b"x")
        here = os.fstat(file).st_size
        os.close(file)
        if here == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    return kill


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the process that was killed
def test_a_killed_worker(X, start, tmp_path, killed):
    """The fit ends, with the same bits, on the workers that are left and the one that comes."""
    x = da.from_array(X, chunks=(20, 4))
    expected = GaussianMixture(3, tol=1e-7, **start).fit(x)
    assert expected.n_iter_ > 3
    callback = None
    with local_cluster(2) as cluster, Client(cluster) as client:
        if killed == "in the middle of a task":
            fatal = 2 * x.numblocks[0] + 10  # in the third pass
            x = x.map_blocks(killing(tmp_path / "count", fatal), dtype=x.dtype, meta=x._meta)
        else:

            def callback(progress):
                if progress.number == 2:
                    (victim, *_) = client.run(os.getpid).values()
                    os.kill(victim, signal.SIGKILL)

        model = GaussianMixture(3, tol=1e-7, callback=callback, **start)
        within(90, model.fit, x)
        np.testing.assert_array_equal(model.covariances_, expected.covariances_)
        assert model.lower_bounds_ == expected.lower_bounds_
        eventually(lambda: not tasks(client))
    if killed == "in the middle of a task":
        assert (tmp_path / "count").stat().st_size > fatal  # it went on after the loss


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the process that was killed
def test_a_chunk_that_kills_every_worker(X, start):
    """As one does that is too large for their memory: an error with advice, not a loop."""

    def fatal(block, block_id):
        if block_id[0] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    x = da.from_array(X, chunks=(50, 4)).map_blocks(fatal, dtype=float, meta=np.empty((0, 0)))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        local_cluster(1) as cluster,
        Client(cluster) as client,
    ):
        with pytest.raises(KilledWorker) as caught:
            within(60, GaussianMixture(3, **start).fit, x)
        assert "X.rechunk({0: rows})" in "".join(caught.value.__notes__)
        eventually(lambda: not tasks(client))


@pytest.mark.parametrize(("row", "value"), [(0, np.nan), (433, np.inf), (599, -np.inf)])
def test_a_row_that_is_not_finite(X, start, client, row, value):
    bad = X.copy()
    bad[row, 2] = value
    x = da.from_array(bad, chunks=(70, 4))
    what = "NaN" if np.isnan(value) else "infinity"
    for model in (GaussianMixture(3, **start), GaussianMixture(3, random_state=0)):
        with pytest.raises(ValueError, match=rf"X contains {what} in row {row}, column 2\b"):
            model.fit(x)
        assert not hasattr(model, "means_")
        model.fit(da.from_array(X, chunks=(70, 4)))  # and it can still be used
    with pytest.raises(ValueError, match=rf"X contains {what} in row {row}, column 2\b"):
        model.score(x)
    with pytest.raises(ValueError, match=rf"X contains {what} in row {row}, column 2\b"):
        model.predict(x).compute()
    eventually(lambda: not [key for key in tasks(client) if key.startswith("emdash-")])


def test_a_row_that_is_not_finite_when_nobody_counted_the_rows(X, start, client):
    bad = X.copy()
    bad[433, 2] = np.nan
    x = da.from_array(bad, chunks=(70, 4))
    x = x[x[:, 0] > -np.inf]
    with pytest.raises(ValueError, match=r"NaN in row 13 of chunk 6, column 2"):
        GaussianMixture(3, **start).fit(x)
    with pytest.raises(ValueError, match=r"NaN in row 433, column 2"):
        GaussianMixture(3, random_state=0).fit(x)  # the start counts


def test_a_chunk_that_cannot_be_computed(X, start, client):
    def broken(block, block_id):
        if block_id[0] == 7:
            raise OSError("the disk is on fire")
        return block

    x = da.from_array(X, chunks=(50, 4)).map_blocks(broken, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(OSError, match="the disk is on fire") as caught:
        GaussianMixture(3, **start).fit(x)
    assert "chunk 7" in "".join(caught.value.__notes__)
    eventually(lambda: not tasks(client))  # even while somebody keeps the traceback


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
        GaussianMixture(2, reg_covar=0.0, random_state=0).fit(x)
    eventually(lambda: not tasks(client))


def test_the_scheduler_dies(X, start, tmp_path):
    """The fit ends with an error about the connection instead of waiting for ever."""
    with cluster_by_hand(tmp_path, 1) as file, Client(scheduler_file=file, timeout=60) as client:
        x = da.from_array(X, chunks=(50, 4))

        def kill(progress):
            os.kill(client.run_on_scheduler(os.getpid), signal.SIGKILL)

        with pytest.raises(Exception, match=r"(?i)close|cancel|connect"):
            within(60, GaussianMixture(3, tol=0.0, callback=kill, **start).fit, x)
