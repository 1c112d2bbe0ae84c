"""Rows of an open HDF5 dataset that are written in place between two passes."""

import time
import zlib

import h5py
import numpy as np
import pytest
from stored_files import START, D

from emdash import GaussianMixture
from emdash.sources import hdf5, open_source


@pytest.mark.parametrize("layout", [{}, {"chunks": (32, D)}, {"chunks": (8, D), "compression": 1}])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.usefixtures("small_chunks")
def test_rows_that_are_written_in_an_open_file_between_passes(layout, n_threads, X, tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        dataset = file.create_dataset("X", data=X, **layout)

        def change(progress):
            if progress.number == 2:
                time.sleep(0.02)  # a file's time advances in steps of some milliseconds
                dataset[40, 1] += 1e-9

        with pytest.raises(
            ValueError, match=r"X changed between passes: rows \d+ to .*X\.h5::/X were"
        ):
            GaussianMixture(tol=0.0, callback=change, n_threads=n_threads, **START).fit(dataset)


def test_another_dataset_of_the_file_may_be_written_between_passes(X, tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        dataset, log = (
            file.create_dataset("X", data=X),
            file.create_dataset("log", data=np.zeros(99)),
        )

        def write(progress):
            log[progress.number] = progress.log_likelihood

        gm = GaussianMixture(tol=1e-3, callback=write, **START).fit(dataset)
        assert log[gm.n_iter_] == gm.lower_bound_


def test_rows_of_an_open_file_are_summed_once(X, tmp_path, monkeypatch):
    """And again only if the file was written to, which a file open for reading cannot be."""
    counted, crc32 = [], zlib.crc32

    def counting(rows):
        counted.append(len(rows))
        return crc32(rows)

    monkeypatch.setattr(hdf5.zlib, "crc32", counting)
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["X"] = X
    for mode, passes_with_sums in (("r+", 1), ("r", 0)):
        with h5py.File(tmp_path / "X.h5", mode) as file:
            source = open_source(file["X"])
            counted.clear()
            for _ in range(4):
                assert sum(map(len, source.chunks())) == len(X)
            assert sum(counted) == passes_with_sums * len(X)
