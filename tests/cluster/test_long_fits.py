"""Checkpoints of fits on a cluster: they end bitwise where they would have ended."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from clusters import counted, eventually, size, tasks

from emdash import GaussianMixture

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {
    "n_components": 3,
    "tol": 0.0,
    "max_iter": 4,
    "n_init": 2,
    "random_state": 0,
    "init_params": "random_from_data",
}


class LostError(Exception):
    pass


def test_a_lost_driver_goes_on_from_its_checkpoint(X, client, tmp_path):
    x = counted(da.from_array(X, chunks=(50, 4)), tmp_path / "count")
    chunks = x.numblocks[0]
    expected = GaussianMixture(**SETTINGS).fit(x)
    before = size(tmp_path / "count")
    passes = []

    def lose(record):
        passes.append((record.start, record.number))
        if len(passes) in (3, 6):
            raise LostError

    for _ in range(2):
        with pytest.raises(LostError):
            GaussianMixture(checkpoint=tmp_path / "fit", callback=lose, **SETTINGS).fit(x)
    fit = GaussianMixture(checkpoint=tmp_path / "fit", callback=lose, **SETTINGS).fit(x)
    assert passes == [(start, number) for start in range(2) for number in range(1, 5)]
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        assert getattr(fit, name).tobytes() == getattr(expected, name).tobytes()
    assert fit.lower_bounds_ == expected.lower_bounds_
    # the second fit read the rows to start from again; nothing else was read twice
    assert size(tmp_path / "count") - before == before + chunks
    other = da.from_array(np.concatenate([X[:50], X[50:] + 1e-9]), chunks=(50, 4))
    with pytest.raises(ValueError, match="other data: chunks differ"):
        GaussianMixture(checkpoint=tmp_path / "fit", **SETTINGS).fit(other)
    del fit
    eventually(lambda: not [key for key in tasks(client) if key.startswith("emdash-")])
