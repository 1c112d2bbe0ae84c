"""A :class:`pyarrow.dataset.Dataset`: any number of files, anywhere, partitioned and filtered.

Read in order, once per pass, with the threads of Arrow, but one row group of Parquet after the
other: Arrow's own scan reads a file far ahead of who takes the rows, 480 MB of 480 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emdash.sources.arrow import check_schema, number_type, to_rows
from emdash.sources.base import FileStamp, library, refuse_memory, rows_per_chunk
from emdash.sources.stream import StreamSource

__all__ = ["DatasetSource"]

KEPT = 16_000_000
"""Bytes that Arrow keeps, whatever it reads."""

TEXT = 32_000_000
"""Bytes that Arrow reads ahead of files without an index (CSV, JSON), in blocks of its own."""

AHEAD = 16
"""Record batches of a file of Arrow that it reads ahead, whatever it is told."""


class DatasetSource(StreamSource):
    """A dataset of pyarrow; travels as its description.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset
        Of any format that pyarrow reads.
    columns : sequence of str or None
        Which to use; None means all, those that directories are named by included.

    Raises
    ------
    ValueError
        If a column does not hold real numbers, naming it.
    """

    name = "the Arrow dataset X"

    def __init__(self, dataset: Any, columns: Sequence[str] | None = None) -> None:
        super().__init__()
        self.dataset = dataset
        self.filter = getattr(dataset, "_scan_options", {}).get("filter")
        self.feature_names = check_schema(dataset.schema, columns, self.name)
        self.n_features = len(self.feature_names)
        self.dtype = number_type(dataset.schema, self.feature_names)
        self._rows = rows_per_chunk(self.n_features, self.dtype)
        # pyarrow remembers where in a file its groups were
        files = [Path(name) for name in getattr(dataset, "files", ())]
        self.stamps = [FileStamp.of(path) for path in files if path.is_file()]

    def limited(self, memory: int) -> DatasetSource:
        """Return the same dataset, read in batches that are as large as memory allows.

        Raises
        ------
        MemoryError
            If what its files store together, or Arrow reads together, is larger than that.
        """
        source = super().limited(memory)
        assert isinstance(source, DatasetSource)
        source._rows = rows_per_chunk(self.n_features, self.dtype, memory)
        source.chunk_memory = 8 * self.n_features * source._rows
        files = (piece for piece in self._pieces() if hasattr(piece, "path"))  # not in memory
        largest, path = max(((self._size(file), file.path) for file in files), default=(0, ""))
        source.chunk_memory += largest
        if source.chunk_memory > memory:
            what = f"what Arrow reads together of {path or self.name}"
            advice = "write it with smaller row groups or record batches"
            refuse_memory(what, source.chunk_memory, memory, advice)
        return source

    def _pieces(self) -> Iterator[Any]:
        """Yield what is read whole: row groups of Parquet files, and other files."""
        # without the underscore it refuses a filtered dataset, because fragments are not filtered
        for fragment in self.dataset._get_fragments(self.filter):
            if hasattr(fragment, "split_by_row_group"):
                yield from fragment.split_by_row_group(self.filter, self.dataset.schema)
            else:
                yield fragment

    def _size(self, piece: Any) -> int:
        """Return the bytes that reading a piece takes."""
        if hasattr(piece, "row_groups"):
            rows = 2 * sum(group.num_rows for group in piece.row_groups)
        elif type(piece.format).__name__ == "IpcFileFormat":
            ipc = library("pyarrow.ipc", "reading a dataset")
            file = ipc.open_file(piece.open())  # its batches are as long as the first
            rows = AHEAD * file.get_batch(0).num_rows if file.num_record_batches else 0
        else:
            return KEPT + TEXT
        return int(KEPT + 8 * self.n_features * rows)

    def _batches(self) -> Iterator[Any]:
        for stamp in self.stamps:
            stamp.check()
        names = list(self.feature_names or ())
        for piece in self._pieces():
            batches = piece.to_batches(
                self.dataset.schema,
                columns=names,
                filter=self.filter,
                batch_size=self._rows,
                batch_readahead=0,
                fragment_readahead=0,
            )
            for batch in batches:
                yield to_rows(batch, names, self.dtype)
                del batch
