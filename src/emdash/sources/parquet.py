"""Parquet files, read in whole row groups."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emdash.sources.arrow import GroupedSource, check_schema, number_type
from emdash.sources.base import FileStamp, library

__all__ = ["ParquetSource"]

PIECE_ROWS = 65_536
"""Rows of a group that are decoded at a time: the rest of it is in memory as numbers, once."""


class ParquetSource(GroupedSource):
    """A Parquet file; travels as its path.

    Parameters
    ----------
    path : str or path-like
        The file.
    columns : sequence of str or None
        Which to use; None means all.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no Parquet file, or a column does not hold real numbers, naming it.
    """

    advice = "write it with a smaller row_group_size"
    kept = 16_000_000

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        self.name = str(self.path)
        self.stamp = FileStamp.of(self.path)
        parquet = library("pyarrow.parquet", f"reading {self.path}")
        try:
            file = parquet.ParquetFile(self.path)
        except (ValueError, OSError) as error:
            raise ValueError(f"{self.path} is not a Parquet file: {error}") from None
        with file:
            schema, metadata = file.schema_arrow, file.metadata
            self.feature_names = check_schema(schema, columns, self.name)
            self.dtype = number_type(schema, self.feature_names)
            groups = range(metadata.num_row_groups)
            self._set_groups([metadata.row_group(i).num_rows for i in groups])

    @contextmanager
    def opened(self) -> Iterator[Callable[[int], Any]]:
        """Open the file."""
        self.stamp.check()
        parquet = library("pyarrow.parquet", f"reading {self.path}")
        with parquet.ParquetFile(self.path) as file:

            def read(group: int) -> Any:
                return file.iter_batches(
                    PIECE_ROWS, row_groups=[group], columns=self.feature_names, use_threads=False
                )

            yield read
