"""Answers, one per row, written to a file piece by piece; complete, or not there.

Must never know: models, what was asked.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from emdash.archive import check_target, write_atomically
from emdash.chunk import first_infinite
from emdash.sources.base import Source

__all__ = ["WRITERS", "check_answers_target", "write_answers", "writing"]

Write = Callable[[NDArray[Any]], None]
"""``write(piece)`` appends the answers of the next rows."""

PIECE_BYTES = 4 << 20
"""Answers that are written together: a chunk of a Zarr array, a row group of Parquet."""


@contextmanager
def _npy(path: Path, like: NDArray[Any], names: Sequence[str], rows: int) -> Iterator[Write]:
    """Write the header last: only then is the number of rows known. It has room to grow."""
    written = 0
    header = {"descr": npy_format.dtype_to_descr(like.dtype), "fortran_order": False}
    with write_atomically(path) as file:

        def begin() -> None:
            file.seek(0)
            shape = (written, *like.shape[1:])
            npy_format.write_array_header_1_0(file, {**header, "shape": shape})

        def write(piece: NDArray[Any]) -> None:
            nonlocal written
            file.write(np.ascontiguousarray(piece).data)
            written += len(piece)

        begin()
        yield write
        begin()


@contextmanager
def _zarr(path: Path, like: NDArray[Any], names: Sequence[str], rows: int) -> Iterator[Write]:
    zarr = _library("zarr", path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    array = zarr.open_array(
        str(temporary),
        mode="w",
        shape=(0, *like.shape[1:]),
        chunks=(rows, *like.shape[1:]),
        dtype=like.dtype,
    )

    def write(piece: NDArray[Any]) -> None:
        end = array.shape[0] + len(piece)
        array.resize((end, *like.shape[1:]))
        array[end - len(piece) : end] = piece

    try:
        with _whole_pieces(write, rows) as buffered:
            yield buffered
        _move_into_place(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _move_into_place(temporary: Path, path: Path) -> None:
    """Let a directory appear under its name; one that was there before goes when it has."""
    if not path.exists():
        temporary.rename(path)
        return
    before = temporary.with_suffix(".old")
    path.rename(before)
    temporary.rename(path)
    shutil.rmtree(before)


@contextmanager
def _parquet(path: Path, like: NDArray[Any], names: Sequence[str], rows: int) -> Iterator[Write]:
    pyarrow, parquet = _library("pyarrow", path), _library("pyarrow.parquet", path)
    first = _table(pyarrow, like[:0], names)
    with (
        write_atomically(path) as file,
        parquet.ParquetWriter(file, first.schema) as writer,
        _whole_pieces(lambda piece: writer.write_table(_table(pyarrow, piece, names)), rows) as w,
    ):
        yield w


@contextmanager
def _csv(path: Path, like: NDArray[Any], names: Sequence[str], rows: int) -> Iterator[Write]:
    pyarrow, csv = _library("pyarrow", path), _library("pyarrow.csv", path)
    first = _table(pyarrow, like[:0], names)
    with write_atomically(path) as file, csv.CSVWriter(file, first.schema) as writer:
        yield lambda piece: writer.write_table(_table(pyarrow, piece, names))


def _table(pyarrow: Any, piece: NDArray[Any], names: Sequence[str]) -> Any:
    columns = piece.reshape(len(piece), len(names)).T
    return pyarrow.table([np.ascontiguousarray(column) for column in columns], names=list(names))


@contextmanager
def _whole_pieces(write: Write, length: int) -> Iterator[Write]:
    """Pass on pieces of `length` rows and a last one that may be shorter."""
    waiting: list[NDArray[Any]] = []

    def gather(piece: NDArray[Any]) -> None:
        waiting.append(piece)
        while sum(map(len, waiting)) >= length:
            joined = np.concatenate(waiting)
            waiting[:] = [joined[length:].copy()]
            write(joined[:length])

    yield gather
    if sum(map(len, waiting)):
        write(np.concatenate(waiting))


def _library(name: str, path: Path) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"writing {path} needs {name.partition('.')[0]} ({error}): pip install 'emdash[io]', "
            "or write a .npy file"
        ) from None


WRITERS: dict[
    str, Callable[[Path, NDArray[Any], Sequence[str], int], AbstractContextManager[Write]]
] = {
    ".npy": _npy,
    ".zarr": _zarr,
    ".parquet": _parquet,
    ".csv": _csv,
}
"""The registry of formats, one line per suffix; what has none of them becomes a ``.npy`` file."""


def check_answers_target(path: str | os.PathLike[str]) -> None:
    """Refuse a path that cannot be written, before any work is done.

    Raises
    ------
    OSError
        If its directory does not exist or cannot be written, or if it is a directory
        that is not a Zarr array and would be lost.
    """
    path = Path(path)
    is_array = (path / ".zarray").exists() or _is_array(path / "zarr.json")
    check_target(path.parent / "new.zarr" if path.suffix == ".zarr" and is_array else path)


def _is_array(description: Path) -> bool:
    return description.exists() and '"node_type": "array"' in description.read_text("utf-8")


def writing(
    path: str | os.PathLike[str], like: NDArray[Any], names: Sequence[str], rows: int
) -> AbstractContextManager[Write]:
    """Open a file for answers that appears under `path` when the context ends without an error.

    Parameters
    ----------
    path : str or path-like
        Its suffix chooses the format; replaced if it exists.
    like : ndarray of shape (m, ...), m at least 1
        Some answers, for their type and shape.
    names : sequence of str
        Names of the columns, one per number of a row.
    rows : int
        Rows of a chunk or row group, where the format has them.

    Returns
    -------
    context manager
        Yields ``write(piece)``, which appends the answers of the next rows.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from emdash.answers import writing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels.npy")
    ...     with writing(path, np.zeros(1, int), ["label"], rows=1000) as write:
    ...         write(np.array([3, 1]))
    ...         write(np.array([2]))
    ...     np.load(path)
    array([3, 1, 2])
    """
    path = Path(os.path.realpath(path))
    check_answers_target(path)
    return WRITERS.get(path.suffix.lower(), _npy)(path, like, names, rows)


def write_answers(
    ask: Callable[[Any], Any], names: Sequence[str], source: Source, path: str | os.PathLike[str]
) -> None:
    """Write the answer for each row of a source to a file, a few megabytes at a time.

    Parameters
    ----------
    ask : callable
        A method of a fitted estimator, such as ``predict``.
    names : sequence of str
        Names of the columns of the answer.
    source : Source
        Where the rows are.
    path : str or path-like
        See :func:`writing`.

    Raises
    ------
    ValueError
        If a row holds infinity, naming it; then there is no file, or the one there was.
    """
    like = ask([np.zeros((1, source.n_features))])  # type and shape of one row's answer
    # chunks are smaller under a memory_limit, and pieces are copied when they are joined
    most = min(PIECE_BYTES, source.chunk_memory // 4 or PIECE_BYTES)
    step = max(1, most // like.nbytes)
    with writing(path, like, names, step) as write:
        for chunk in source.chunks():
            bad = first_infinite(chunk.rows)  # `ask` would count from the start of the chunk
            if bad >= 0:
                chunk.refuse(bad)
            for begin in range(0, len(chunk), step):
                write(ask([chunk.rows[begin : begin + step]]))
            del chunk  # before the next one is loaded
