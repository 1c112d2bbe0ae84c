"""Row weights on a cluster: each block of them in the task that loads its block of rows."""

import dask.array as da
import numpy as np
import pytest
from clusters import computed, forget_log, within

from emdash import GaussianMixture

PASSES = 3


def fit(X, weights, start):
    model = GaussianMixture(3, tol=0.0, max_iter=PASSES, **start)
    return model.fit(X, sample_weight=weights)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kept", ["nothing", "rows", "weights", "both", "array"])
def test_weights_cost_no_task_and_change_no_bit(client, X, start, kept):
    """Whatever of the two was persisted, and for weights that are an array of the client."""
    w = np.random.default_rng(1).integers(0, 4, size=len(X)).astype(float)
    rows, weights = da.from_array(X, chunks=(50, -1)), da.from_array(w, chunks=50)
    local = fit([X[i : i + 50] for i in range(0, len(X), 50)], w, start)
    rows = rows.persist() if kept in ("rows", "both") else rows
    weights = weights.persist() if kept in ("weights", "both") else weights
    tasks = []
    for beside in (None, w if kept == "array" else weights):
        forget_log(client)
        model = within(60, fit, rows, beside, start)
        tasks.append({name: n for name, n in computed(client).items() if "emdash" in name})
    assert tasks[0] == tasks[1]
    assert tasks[1]["emdash-estep"] > 0
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(local, name))


def test_a_bad_weight_is_named_across_the_cluster(client, X, start):
    w = np.ones(len(X))
    w[[217, 430]] = -2.0
    with pytest.raises(ValueError, match=r"sample_weight is -2\.0 in row 217"):
        within(60, fit, da.from_array(X, chunks=(50, -1)), da.from_array(w, chunks=50), start)
