"""A :class:`pyarrow.dataset.Dataset`: any number of files, anywhere, partitioned and filtered.

It is scanned in order, once per pass, with the threads of Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emdash.sources.arrow import check_schema, number_type, to_rows
from emdash.sources.base import FileStamp, rows_per_chunk
from emdash.sources.stream import StreamSource

__all__ = ["DatasetSource"]


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
        self.feature_names = check_schema(dataset.schema, columns, self.name)
        self.n_features = len(self.feature_names)
        self.dtype = number_type(dataset.schema, self.feature_names)
        self._rows = rows_per_chunk(self.n_features, self.dtype)
        # pyarrow remembers where in a file its groups were
        files = [Path(name) for name in getattr(dataset, "files", ())]
        self.stamps = [FileStamp.of(path) for path in files if path.is_file()]

    def limited(self, memory: int) -> DatasetSource:
        """Return the same dataset, scanned in batches that are as large as memory allows."""
        source = super().limited(memory)
        assert isinstance(source, DatasetSource)
        source._rows = rows_per_chunk(self.n_features, self.dtype, memory)
        return source

    def _batches(self) -> Iterator[Any]:
        for stamp in self.stamps:
            stamp.check()
        names = self.feature_names or ()
        scan = self.dataset.to_batches(
            columns=list(names), batch_size=self._rows, batch_readahead=1, fragment_readahead=1
        )
        for batch in scan:
            yield to_rows(batch, names, self.dtype)
