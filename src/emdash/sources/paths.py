"""Paths: which source reads a file or directory, and lists of them.

Must never know: what is in the files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from emdash.sources.base import Source
from emdash.sources.files import JoinedSource

__all__ = ["FORMATS", "is_path", "open_path", "open_paths"]

FORMATS: dict[str, tuple[str, str, bool]] = {
    ".npy": ("emdash.sources.npy", "NpySource", False),
    ".zarr": ("emdash.sources.zarr", "ZarrSource", False),
    ".h5": ("emdash.sources.hdf5", "Hdf5Source", False),
    ".hdf5": ("emdash.sources.hdf5", "Hdf5Source", False),
    ".hdf": ("emdash.sources.hdf5", "Hdf5Source", False),
    ".parquet": ("emdash.sources.parquet", "ParquetSource", True),
    ".pq": ("emdash.sources.parquet", "ParquetSource", True),
    ".arrow": ("emdash.sources.ipc", "IpcSource", True),
    ".feather": ("emdash.sources.ipc", "IpcSource", True),
    ".ipc": ("emdash.sources.ipc", "IpcSource", True),
    ".csv": ("emdash.sources.csv", "CsvSource", True),
    ".tsv": ("emdash.sources.csv", "CsvSource", True),
}
"""The registry of file formats, one line per suffix: module, class, whether columns have names.

What has none of these suffixes is taken for a ``.npy`` file, which says what it is.
"""

ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def is_path(X: Any) -> bool:
    """Tell whether `X` is a path."""
    return isinstance(X, str | os.PathLike)


def open_path(X: str | os.PathLike[str], columns: Sequence[str] | None = None) -> Source:
    """Return the source that reads a file or directory.

    Parameters
    ----------
    X : str or path-like
        ``path``, or ``path::name`` of an array inside a Zarr group or an HDF5 file. A
        directory that is no Zarr array stands for the files and Zarr arrays in it and
        below it that have one of the suffixes, in the order of their paths.
    columns : sequence of str or None
        Names of the columns to use; None means all.

    Raises
    ------
    ValueError
        If `columns` is given for a format that has no names, or a directory holds
        no files, or files of several formats.
    """
    if "\0" in os.fspath(X):
        raise ValueError(f"X is {X!r}, which is no path: the path of a file has no null character")
    path = Path(os.fspath(X).partition("::")[0])
    suffix = path.suffix.lower()
    if path.is_dir():
        if any((path / name).exists() for name in ZARR_FILES):
            suffix = ".zarr"
        elif suffix != ".zarr":
            return open_paths(_files(path), columns)
    module, name, named = FORMATS.get(suffix, FORMATS[".npy"])
    kind = getattr(import_module(module), name)
    if named:
        return kind(X, columns)  # type: ignore[no-any-return]
    if columns is not None:
        raise ValueError(
            f"columns={list(columns)}, but the columns of {os.fspath(X)} have no names: use all of "
            "them, or write it to Parquet"
        )
    return kind(X)  # type: ignore[no-any-return]


def open_paths(
    paths: Sequence[str | os.PathLike[str]], columns: Sequence[str] | None = None
) -> Source:
    """Return the source that reads files one after the other."""
    tables = [open_path(path, columns) for path in paths]
    return tables[0] if len(tables) == 1 else JoinedSource(tables, [str(p) for p in paths])


def _files(folder: Path) -> list[Path]:
    files = []
    for path, folders, names in os.walk(folder):
        arrays = [name for name in folders if name.lower().endswith(".zarr")]
        folders[:] = [name for name in folders if name not in arrays]  # what is in them is theirs
        files += [Path(path, name) for name in names + arrays]
    files = sorted(path for path in files if path.suffix.lower() in FORMATS)
    kinds = {FORMATS[path.suffix.lower()][1] for path in files}
    if len(kinds) != 1:
        found = "several formats" if kinds else f"no file that ends in {', '.join(FORMATS)}"
        raise ValueError(f"the directory {folder} has {found}: give a list of the files to read")
    if kinds == {"Hdf5Source"}:
        raise ValueError(
            f"the directory {folder} has HDF5 files, which hold datasets with names: give a list, "
            f"['{files[0]}::name/of/dataset', ...]"
        )
    return files
