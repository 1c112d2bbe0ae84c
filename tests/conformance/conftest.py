"""The registry of sources and engines: a new one is one more line, and every test here runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import polars
import pyarrow
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest
import xarray
import zarr
from numpy.typing import NDArray

Rows = NDArray[np.floating[Any]]


class Batches:
    """The smallest thing that can be iterated again and again."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Rows]:
        for begin in range(0, len(self.rows), 17):
            yield self.rows[begin : begin + 17]


def strided(rows: Rows) -> Rows:
    """Return a view with holes between rows and between columns."""
    wide = np.full((2 * len(rows), 3 * rows.shape[1]), np.nan, rows.dtype)
    wide[::2, ::3] = rows
    return wide[::2, ::3]


def misaligned(rows: Rows) -> Rows:
    """Return an array whose numbers do not begin at multiples of their size."""
    raw = np.empty(rows.nbytes + 1, np.uint8)
    view = raw[1:].view(rows.dtype).reshape(rows.shape)
    view[...] = rows
    return view


def read_only(rows: Rows) -> Rows:
    """Return a copy that cannot be written to."""
    copy = rows.copy()
    copy.setflags(write=False)
    return copy


def saved(rows: Rows, folder: Path) -> Path:
    """Save the rows as a .npy file, in the order they are in."""
    path = folder / "rows.npy"
    np.save(path, rows)
    return path


def mapped(rows: Rows, folder: Path) -> Rows:
    """Save the rows and map the file read-only."""
    return np.load(saved(rows, folder), mmap_mode="r")


def in_zarr(rows: Rows, folder: Path, **how: Any) -> Any:
    """Write the rows as a Zarr array in chunks of 20 rows, unless told otherwise."""
    how = {"chunks": (20, rows.shape[1]), **how}
    array = zarr.create_array(
        folder / "rows.zarr", shape=rows.shape, dtype=rows.dtype, overwrite=True, **how
    )
    array[:] = rows
    return array


def in_hdf5(rows: Rows, folder: Path) -> str:
    """Write the rows as an HDF5 dataset in chunks of nine rows."""
    with h5py.File(folder / "rows.h5", "w") as file:
        file.create_dataset("table/rows", data=rows, chunks=(9, rows.shape[1]))
    return f"{folder / 'rows.h5'}::table/rows"


def arrow(rows: Rows) -> Any:
    """Return the rows as an Arrow table whose columns are called a, b, c, ..."""
    return pyarrow.table({chr(97 + j): column for j, column in enumerate(rows.T)})


def with_names(rows: Rows, folder: Path, suffix: str) -> Path:
    """Write the rows as a file whose columns have names."""
    path = folder / f"rows{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(arrow(rows), path, row_group_size=11)
    elif suffix == ".feather":
        pyarrow.feather.write_feather(arrow(rows), path, chunksize=9)
    else:
        pyarrow.csv.write_csv(arrow(rows), path)
    return path


def in_files(rows: Rows, folder: Path) -> list[Path]:
    """Write the rows as several .npy files."""
    paths = [folder / f"rows-{i}.npy" for i in range(3)]
    for path, piece in zip(paths, np.array_split(rows, 3), strict=True):
        np.save(path, piece)
    return paths


def cut(rows: Rows, lengths: tuple[int, ...]) -> list[Rows]:
    """Cut the rows into pieces of these lengths and one of what is left."""
    return np.split(rows, np.cumsum(lengths))


def dask_rows(rows: Rows, lengths: tuple[int, ...] | int, columns: int = -1) -> Any:
    """Return a Dask array with these row chunks; a tuple is completed by the rest."""
    if isinstance(lengths, tuple):
        lengths = (*lengths, len(rows) - sum(lengths))
    return da.from_array(rows, chunks=(lengths, columns))


def dask_unknown(rows: Rows) -> Any:
    """Return a Dask array that does not know how many rows each chunk has."""
    framed = np.vstack([rows, np.full((5, rows.shape[1]), 1e6, rows.dtype)])
    array = da.from_array(framed, chunks=(19, -1))
    return array[~(array[:, 0] > 1e5)]  # NaN stays


@dataclass(frozen=True)
class Kind:
    """One kind of input: how to make it of rows, with a folder for files."""

    name: str
    make: Callable[[Rows, Path], Any]
    collection: bool = False
    dtype: type = np.float64


SOURCES = (
    Kind("ndarray", lambda rows, folder: rows.copy()),
    Kind("fortran", lambda rows, folder: np.asfortranarray(rows)),
    Kind("strided", lambda rows, folder: strided(rows)),
    Kind("reversed", lambda rows, folder: rows[::-1, ::-1].copy()[::-1, ::-1]),
    Kind("misaligned", lambda rows, folder: misaligned(rows)),
    Kind("read-only", lambda rows, folder: read_only(rows)),
    Kind("float32", lambda rows, folder: rows.astype(np.float32), dtype=np.float32),
    Kind(
        "float32-fortran",
        lambda rows, folder: np.asfortranarray(rows, np.float32),
        dtype=np.float32,
    ),
    Kind("big-endian", lambda rows, folder: rows.astype(">f8")),
    Kind("nested-list", lambda rows, folder: rows.tolist()),
    Kind("data-frame", lambda rows, folder: pd.DataFrame(rows)),
    Kind("memmap", mapped),
    Kind("memmap-fortran", lambda rows, folder: mapped(np.asfortranarray(rows), folder)),
    Kind(
        "memmap-float32",
        lambda rows, folder: mapped(rows.astype(np.float32), folder),
        dtype=np.float32,
    ),
    Kind("npy", saved),
    Kind("npy-str", lambda rows, folder: str(saved(rows, folder))),
    Kind("npy-fortran", lambda rows, folder: saved(np.asfortranarray(rows), folder)),
    Kind(
        "npy-float32",
        lambda rows, folder: saved(rows.astype(np.float32), folder),
        dtype=np.float32,
    ),
    Kind("npy-big-endian", lambda rows, folder: saved(rows.astype(">f8"), folder)),
    Kind("zarr-2", lambda rows, folder: str(in_zarr(rows, folder, zarr_format=2).store.root)),
    Kind("zarr-shards", lambda rows, folder: in_zarr(rows, folder, chunks=(25, 3), shards=(50, 3))),
    Kind("hdf5", in_hdf5),
    Kind("parquet", lambda rows, folder: with_names(rows, folder, ".parquet")),
    Kind("feather", lambda rows, folder: with_names(rows, folder, ".feather")),
    Kind("csv", lambda rows, folder: with_names(rows, folder, ".csv")),
    Kind("files", in_files),
    Kind("arrow-table", lambda rows, folder: arrow(rows)),
    Kind(
        "arrow-dataset",
        lambda rows, folder: pyarrow.dataset.dataset(with_names(rows, folder, ".parquet")),
    ),
    Kind("polars", lambda rows, folder: [polars.DataFrame(x) for x in cut(rows, (40, 3, 7))]),
    Kind("xarray", lambda rows, folder: xarray.DataArray(rows, dims=("row", "feature"))),
    Kind("function", lambda rows, folder: lambda: iter(cut(rows, (40, 3, 7)))),
    Kind("list", lambda rows, folder: cut(rows, (40, 3, 7))),
    Kind("list-of-rows", lambda rows, folder: cut(rows, (1,) * (len(rows) - 1))),
    Kind("list-with-empty", lambda rows, folder: cut(rows, (0, 50, 0, 0, 1))),
    Kind("re-iterable", lambda rows, folder: Batches(rows)),
    Kind("dask-one-chunk", lambda rows, folder: dask_rows(rows, -1), collection=True),
    Kind("dask-even", lambda rows, folder: dask_rows(rows, 13), collection=True),
    Kind("dask-uneven", lambda rows, folder: dask_rows(rows, (60, 2, 30)), collection=True),
    Kind("dask-rows", lambda rows, folder: dask_rows(rows, (1,) * 40), collection=True),
    Kind(
        "dask-empty-chunks",
        lambda rows, folder: dask_rows(rows, (0, 25, 0, 0, 50, 0)),
        collection=True,
    ),
    Kind("dask-column-chunks", lambda rows, folder: dask_rows(rows, 31, 1), collection=True),
    Kind("dask-unknown", lambda rows, folder: dask_unknown(rows), collection=True),
    Kind("dask-lazy", lambda rows, folder: dask_rows(rows - 1, 29) + 1, collection=True),
    Kind(
        "dask-persisted",
        lambda rows, folder: dask_rows(rows, 29).persist(scheduler="sync"),
        collection=True,
    ),
    Kind(
        "dask-fortran", lambda rows, folder: dask_rows(np.asfortranarray(rows), 29), collection=True
    ),
    Kind(
        "dask-float32",
        lambda rows, folder: dask_rows(rows.astype(np.float32), 29),
        collection=True,
        dtype=np.float32,
    ),
)


@dataclass(frozen=True)
class Machine:
    """One way to run passes: a context to fit in, and arguments of the estimator."""

    name: str
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    arguments: dict[str, Any] = field(default_factory=dict)
    only_collections: bool = False

    def runs(self, kind: Kind) -> bool:
        """Tell whether it makes a difference to this kind of input."""
        return kind.collection or not self.only_collections


ENGINES = (
    Machine("1-thread", arguments={"n_threads": 1}),
    Machine("2-threads", arguments={"n_threads": 2}),
    Machine("3-threads", arguments={"n_threads": 3}),
    Machine("8-threads", arguments={"n_threads": 8}),
    Machine("synchronous", lambda: dask.config.set(scheduler="sync"), only_collections=True),
    Machine("threaded", lambda: dask.config.set(scheduler="threads"), only_collections=True),
)


@pytest.fixture(params=SOURCES, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Run the test once for every kind of input."""
    return request.param


@pytest.fixture
def machines(kind: Kind) -> tuple[Machine, ...]:
    """Return the engines that can run this kind of input."""
    return tuple(machine for machine in ENGINES if machine.runs(kind))


@pytest.fixture
def make(kind: Kind, tmp_path: Path) -> Callable[[Rows], Any]:
    """Return the function that turns rows into this kind of input, holding the same numbers."""
    return lambda rows: kind.make(rows, tmp_path)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files and memory maps be read in chunks of 10 or 20 rows."""
    monkeypatch.setattr("emdash.sources.base.CHUNK_BYTES", 500)


@pytest.fixture(scope="session")
def rows() -> Rows:
    """Return 120 rows of three overlapping clusters.

    Rounded to few bits, so that float32, and float64 far from the origin, hold
    the very same numbers.
    """
    rng = np.random.default_rng(7)
    means = np.array([[0.0, 0.0, 5.0], [3.0, 1.0, 4.0], [0.0, 4.0, 6.0]])
    mixing = rng.normal(size=(3, 3, 3)) * 0.4 + np.eye(3)
    labels = rng.permutation(np.repeat([0, 1, 2], [60, 35, 25]))
    x = means[labels] + np.einsum("nij,nj->ni", mixing[labels], rng.normal(size=(120, 3)))
    return np.round(x * 2**16) / 2**16


@pytest.fixture(scope="session")
def given_start() -> Callable[[str], dict[str, Any]]:
    """Return the arguments of a start that owes nothing to the data, by covariance type."""

    def arguments(covariance_type: str) -> dict[str, Any]:
        precisions = {
            "full": np.stack([0.5 * np.eye(3)] * 3),
            "tied": 0.5 * np.eye(3),
            "diag": np.full((3, 3), 0.5),
            "spherical": np.full(3, 0.5),
        }
        return {
            "n_components": 3,
            "covariance_type": covariance_type,
            "weights_init": np.array([0.5, 0.3, 0.2]),
            "means_init": np.array([[0.5, 0.5, 5.0], [2.0, 1.0, 5.0], [1.0, 3.0, 5.0]]),
            "precisions_init": precisions[covariance_type],
        }

    return arguments
