"""Arrays and a line of JSON in one ``.npz`` file: written whole or not at all, without pickle.

Every array is a member of the archive under its own name, so ``numpy.load(path)[name]`` works
without emdash. Members have a checksum, so damage is noticed.

Must never know: what the arrays mean.
"""

from __future__ import annotations

import json
import os
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

__all__ = [
    "Arrays",
    "Kind",
    "check_apart",
    "check_target",
    "read_archive",
    "write_archive",
    "write_atomically",
]

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of archive, and how errors speak of it.

    Attributes
    ----------
    name : str
        Such as ``"model"``.
    advice : str
        Where such files come from.
    header : str
        Name of the member that holds the line of JSON.
    fields : dict
        What must be in it: names and types.
    """

    name: str
    advice: str
    header: str
    fields: Mapping[str, type]


def check_target(path: str | os.PathLike[str]) -> None:
    """Refuse a path that cannot be written, before any work is done.

    Raises
    ------
    OSError
        If its directory does not exist or cannot be written, or if it is a directory itself.
    """
    if "\0" in os.fspath(path):
        raise ValueError(f"{path!r} is no path: the path of a file has no null character")
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: give the name of a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no directory {path.parent}: create it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"cannot write to the directory {path.parent}")


def check_apart(written: str | os.PathLike[str], *read: str | os.PathLike[str]) -> None:
    """Refuse to write over what is read, before any work is done.

    Parameters
    ----------
    written : str or path-like
        The file, or the directory of a Zarr array, that will be replaced.
    *read : str or path-like
        Files and directories, or ``path::name`` in one, also as a URL. What is elsewhere, such as
        ``s3://bucket``, cannot be replaced.

    Raises
    ------
    ValueError
        If `written` is one of them, by whatever links, lies in it, or holds it.
    """
    target = Path(os.path.realpath(written))
    for name in read:
        for place in _places(os.fspath(name)):
            if any(_same(target, path) for path in (place, *place.parents)):
                raise ValueError(f"writing {written} would replace {name}, which is {USED}")
            if any(_same(folder, place) for folder in target.parents):
                raise ValueError(f"{written} lies in {name}, which is {USED}")


USED = "used, too: give another path to write to"


def _places(read: str) -> set[Path]:
    """Return where on this machine that is, with and without a name in it."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname  # 60 ms to import; only who asks pays

    paths = {read, read.partition("::")[0]}
    local = {
        url2pathname(urlsplit(path).path) if path.startswith(("file://", "local://")) else path
        for path in paths
    }
    return {Path(os.path.realpath(path)) for path in local if "://" not in path}


def _same(one: Path, other: Path) -> bool:
    return one == other or (one.exists() and other.exists() and one.samefile(other))


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that appears under `path` when it is complete, or not at all.

    Parameters
    ----------
    path : str or path-like
        Replaced if it exists; a symbolic link is followed.

    Yields
    ------
    binary file
        A temporary file in the same directory, gone after a failure.
    """
    check_target(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_archive(
    path: str | os.PathLike[str], kind: Kind, header: Mapping[str, Any], arrays: Arrays
) -> None:
    """Write an archive that appears when it is complete; the same input gives the same bytes."""
    members = {kind.header: np.array(json.dumps(header)), **arrays}
    with write_atomically(path) as file, zipfile.ZipFile(file, "w") as archive:
        for member, array in members.items():
            # ZipInfo without a date
            with archive.open(zipfile.ZipInfo(f"{member}.npy"), "w", force_zip64=True) as stream:
                npy_format.write_array(stream, array, allow_pickle=False)


DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises; the last two for bytes that would mean compression or encryption."""


def read_archive(path: Path, kind: Kind) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the header and the other members of an archive.

    Raises
    ------
    ValueError
        If it is no archive of arrays, is damaged, or is of another kind.
    """
    with path.open("rb") as file:
        if file.read(4) not in (b"PK\3\4", b"PK\5\6"):
            raise ValueError(f"{path} is not a .npz file; {kind.advice}")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                names = archive.files
                members = {n: archive[n] for n in names} if kind.header in names else {}
        except (*DAMAGED, OSError, ValueError) as error:
            raise ValueError(
                f"{path} is truncated or damaged ({error}): write or copy it again"
            ) from None
    if kind.header not in members:
        raise ValueError(
            f"{path} is an .npz file, but not a {kind.name} of emdash: it holds "
            f"{', '.join(names[:5]) or 'nothing'}; {kind.advice}"
        )
    return _header(members.pop(kind.header), path, kind), members


def _header(member: NDArray[Any], path: Path, kind: Kind) -> dict[str, Any]:
    try:
        header = json.loads(str(member))
        if all(isinstance(header[name], type_) for name, type_ in kind.fields.items()):
            return dict(header)
    except (ValueError, TypeError, KeyError):
        pass
    raise ValueError(f"{path} is not a {kind.name} of emdash: its header is not one")
