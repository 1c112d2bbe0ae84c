"""CSV files, cut at fixed bytes: a chunk is the lines that begin within its bytes.

So chunks depend on the file alone, any of them can be read without the ones
before, and threads parse at the same time.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from emdash.chunk import Chunk
from emdash.sources import base
from emdash.sources.arrow import to_rows
from emdash.sources.base import FileStamp, Source, library
from emdash.sources.columns import choose, refuse_columns

__all__ = ["CsvSource"]

COPIES = 20
"""Most memory of parsing, in units of the text: a digit and a comma become 8 bytes, twice, and the
C library keeps as much of what was freed. With 10, 8.1 MB were taken of 6 MB.
"""

TEXT_PER_NUMBER = 8
"""Bytes of text that are taken to hold one number, which has 8."""


class CsvSource(Source):
    """A CSV file; travels as its path.

    Parameters
    ----------
    path : str or path-like
        The file, not compressed. Separated by commas, by tabs if it ends in ``.tsv``.
        The first line names the columns, unless all of it is numbers, and perhaps
        missing values. A quoted field must not contain a line break.
    columns : sequence of str or None
        Which to use; None means all.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no CSV file, or a column does not hold real numbers, naming it.
    """

    n_chunks: int
    dtype = np.dtype(np.float64)

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        self.name = str(self.path)
        self.stamp = FileStamp.of(self.path)
        self.delimiter = "\t" if self.path.suffix.lower() == ".tsv" else ","
        self.n_rows = None
        with self.path.open("rb") as file:
            first_line = file.readline()
            self._set_header(first_line)
            self._set_columns(file.read(1 << 20), columns)
        self._plan(None)

    def _set_header(self, line: bytes) -> None:
        if line[:2] == b"\x1f\x8b":
            raise ValueError(f"{self.path} is compressed, which cannot be cut: decompress it")
        csv = library("pyarrow.csv", f"reading {self.path}")
        pyarrow = library("pyarrow", f"reading {self.path}")
        try:
            options = csv.ParseOptions(delimiter=self.delimiter)
            names = csv.read_csv(pyarrow.py_buffer(line), parse_options=options).column_names
        except ValueError as error:
            raise ValueError(f"{self.path} is not a CSV file: {error}") from None
        missing = csv.ConvertOptions().null_values
        numbers = [name for name in names if name not in missing]
        without = bool(numbers) and all(map(_is_number, numbers)) and not _is_of_pandas(names)
        self._begin = 0 if without else len(line)
        self._all = [f"column {j}" for j in range(len(names))] if without else names
        self._named = not without

    def _set_columns(self, sample: bytes, columns: Sequence[str] | None) -> None:
        """Choose the columns; a look at the first lines tells their types."""
        if columns is not None and not self._named:
            raise ValueError(f"{self.path} has no line of names, so columns= cannot choose any")
        self._chosen = choose(self._all, columns, self.name)
        self._booleans: list[str] = []
        whole = sample[: sample.rfind(b"\n") + 1] or sample
        fields = self._parse(whole).schema if whole.strip() else ()
        bad = []
        for field in fields:
            name, kind = field.name, str(field.type)
            if kind == "bool":
                self._booleans.append(name)
            elif kind not in ("int64", "double", "null"):
                bad.append((name, kind))
        other = ",;" if self.delimiter == "\t" else ";\t"
        if bad and len(self._all) == 1 and any(mark in self._all[0] for mark in other):
            raise ValueError(
                f"{self.path} has one column, {self._all[0]!r}: .csv files are separated by "
                "commas, .tsv files by tabs. Convert it, pandas.read_csv(path, sep=...).to_csv(...)"
            )
        refuse_columns(bad, self.name)
        self.n_features = len(self._chosen)
        self.feature_names = self._chosen if self._named else None
        self._known = True

    _known = False

    def _parse(self, text: bytes) -> Any:
        csv = library("pyarrow.csv", f"reading {self.path}")
        pyarrow = library("pyarrow", f"reading {self.path}")
        types = {}
        if self._known:
            types = {
                name: pyarrow.bool_() if name in self._booleans else pyarrow.float64()
                for name in self._chosen
            }
        try:
            return csv.read_csv(
                pyarrow.py_buffer(text),
                read_options=csv.ReadOptions(
                    use_threads=False, column_names=self._all, block_size=max(len(text), 1)
                ),
                parse_options=csv.ParseOptions(delimiter=self.delimiter),
                convert_options=csv.ConvertOptions(
                    include_columns=self._chosen, column_types=types
                ),
                memory_pool=pyarrow.system_memory_pool(),  # Arrow's own keeps what is freed
            )
        except ValueError as error:
            comment = self._all[0].startswith("#")
            advice = f". Remove the first line, {self._all[0]!r}: it is taken for names"
            raise ValueError(f"{self.path}: {error}{advice if comment else ''}") from None

    def _plan(self, memory: int | None) -> None:
        most = base.CHUNK_BYTES if memory is None else min(base.CHUNK_BYTES, memory // 32)
        share = TEXT_PER_NUMBER * len(self._all) / (8 * self.n_features)
        self._bytes = max(1, int(most * min(1.0, share)))
        self.n_chunks = max(1, -(-(self.stamp.size - self._begin) // self._bytes))
        self.chunk_memory = COPIES * min(self._bytes, self.stamp.size)

    def limited(self, memory: int) -> Self:
        """Return the same file in chunks that can be parsed within so much memory."""
        source = copy.copy(self)
        source._plan(memory)
        return source

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
        """Read and parse successive runs of lines."""
        self.stamp.check()
        with self.path.open("rb") as file:
            for index in range(first, self.n_chunks if last is None else last):
                text = self._lines(file, index)
                if text.strip():
                    rows = to_rows(self._parse(text), self._chosen, self.dtype)
                else:
                    rows = np.empty((0, self.n_features))
                del text
                yield Chunk(rows, index, 0 if index == 0 else None)
                del rows  # before the next ones are read

    def _lines(self, file: BinaryIO, index: int) -> bytes:
        """Return the lines that begin within the bytes of a chunk."""
        begin = self._begin + index * self._bytes
        end = begin + self._bytes
        if index:
            file.seek(begin - 1)
            begin += len(file.readline()) - 1  # a line that begins before belongs there
        else:
            file.seek(begin)
        if begin >= end:
            return b""
        text = file.read(end - begin)
        return text if text.endswith(b"\n") else text + file.readline()


def _is_of_pandas(names: Sequence[str]) -> bool:
    """Tell whether pandas wrote these names: of an index without one, and of numbered columns."""
    return list(names) == ["", *map(str, range(len(names) - 1))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
