"""The same rows in a file of every format, and what every source of them keeps to."""

from itertools import chain

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import zarr

D = 3
NAMES = ["a", "b", "c"]
START = {
    "weights_init": [1.0],
    "means_init": np.ones((1, D)),
    "precisions_init": np.eye(D)[None] / 100,
}


def as_table(X):
    return pa.table(dict(zip(NAMES, X.T, strict=True)))


def in_zarr(X, folder, version=3, chunks=(7, 2), **how):
    path = folder / "X.zarr"
    array = zarr.create_array(
        path, shape=X.shape, dtype=X.dtype, chunks=chunks, zarr_format=version, **how
    )
    array[:] = X
    return path


def in_hdf5(X, folder, **how):
    with h5py.File(folder / "X.h5", "w") as file:
        file.create_dataset("deep/X", data=X, **how)
    return f"{folder / 'X.h5'}::deep/X"


def in_npy(X, folder):
    np.save(folder / "X.npy", X)
    return folder / "X.npy"


def in_parquet(X, folder):
    pa.parquet.write_table(as_table(X), folder / "X.parquet", row_group_size=7)
    return folder / "X.parquet"


def in_feather(X, folder):
    pa.feather.write_feather(as_table(X), folder / "X.feather", chunksize=9)
    return folder / "X.feather"


def in_csv(X, folder, **how):
    path = folder / "X.csv"
    pa.csv.write_csv(as_table(X), path, pa.csv.WriteOptions(**how))
    return path


def in_folder(X, folder):
    (folder / "year=1").mkdir()
    for i, piece in enumerate(np.split(X, [13, 13, 50])):
        path = folder / ("year=1" if i == 3 else "") / f"{i}.parquet"
        pa.parquet.write_table(as_table(piece), path, row_group_size=4)
    return folder


def in_list(X, folder):
    paths = [str(folder / f"{i}.npy") for i in range(4)]
    for path, piece in zip(paths, np.split(X, [13, 13, 50]), strict=True):
        np.save(path, piece)
    return paths


FILES = {
    "npy": in_npy,
    "zarr 2": lambda X, folder: in_zarr(X, folder, version=2),
    "zarr 3": in_zarr,
    "zarr, shards": lambda X, folder: in_zarr(X, folder, chunks=(4, 3), shards=(16, 3)),
    "zarr.Array": lambda X, folder: zarr.open_array(in_zarr(X, folder)),
    "hdf5": in_hdf5,
    "hdf5, chunks": lambda X, folder: in_hdf5(X, folder, chunks=(8, 2), compression="gzip"),
    "h5py.Dataset": lambda X, folder: h5py.File(in_hdf5(X, folder).partition("::")[0])["deep/X"],
    "parquet": in_parquet,
    "feather": in_feather,
    "csv": in_csv,
    "csv without names": lambda X, folder: in_csv(X, folder, include_header=False),
    "folder": in_folder,
    "list": in_list,
    "pyarrow.Dataset": lambda X, folder: pa.dataset.dataset(in_parquet(X, folder)),
}


def check(source, X):
    """All chunks together are the table, each says where it is, and so do the parts."""
    chunks = list(source.chunks())
    np.testing.assert_array_equal(np.concatenate([chunk.rows for chunk in chunks]), X)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    starts = np.cumsum([0, *map(len, chunks)])
    for chunk, start in zip(chunks, starts, strict=False):
        assert chunk.start == start or (source.n_rows is None and chunk.start is None)
    assert source.n_rows in (len(X), None)
    assert source.n_chunks in (len(chunks), None)
    for length in (1, 4):
        runs = [[chunk.index for chunk in part()] for part in source.parts(length)]
        assert list(chain.from_iterable(runs)) == list(range(len(chunks)))
    lengths = [len(chunk) for chunk in chunks]
    if source.n_rows is None:
        counted = source.counted(lengths)
        assert counted.n_rows == len(X)
        assert [chunk.start for chunk in counted.chunks()] == list(starts[:-1])
    return lengths


def check_lengths(source):
    return [len(chunk) for chunk in source.chunks()]
