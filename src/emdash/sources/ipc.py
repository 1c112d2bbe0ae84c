"""Arrow's own files (.arrow, .feather, .ipc), read in whole record batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from emdash.sources.arrow import GroupedSource, check_schema, number_type
from emdash.sources.base import FileStamp, library

__all__ = ["IpcSource"]


class IpcSource(GroupedSource):
    """A file of Arrow record batches; travels as its path.

    Parameters
    ----------
    path : str or path-like
        The file, compressed or not. Not the streaming format, which has no index.
    columns : sequence of str or None
        Which to use; None means all.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such file, or a column does not hold real numbers, naming it.
    """

    advice = "write it in smaller record batches"
    copies = 2  # compressed, and not

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        self.name = str(self.path)
        self.stamp = FileStamp.of(self.path)
        with self._file(None) as file:
            self.feature_names = check_schema(file.schema, columns, self.name)
            self.dtype = number_type(file.schema, self.feature_names)
        with self._file(self.feature_names[:1]) as file:  # one column tells the lengths
            batches = range(file.num_record_batches)
            self._set_groups([file.get_batch(i).num_rows for i in batches])

    @contextmanager
    def _file(self, names: Sequence[str] | None) -> Iterator[Any]:
        pyarrow = library("pyarrow", f"reading {self.path}")
        ipc = library("pyarrow.ipc", f"reading {self.path}")
        with pyarrow.OSFile(str(self.path)) as opened:
            try:
                file = ipc.open_file(opened)
                if names is not None:
                    fields = [file.schema.get_field_index(name) for name in names]
                    options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
                    file = ipc.open_file(
                        opened, options=options, memory_pool=pyarrow.default_memory_pool()
                    )
            except (ValueError, OSError) as error:
                advice = "write one with pyarrow.feather.write_feather"
                with suppress(ValueError, OSError):
                    opened.seek(0)
                    ipc.open_stream(opened)
                    advice = (
                        "it is a stream, which has no index: pyarrow.feather.write_feather("
                        f"pyarrow.ipc.open_stream({str(self.path)!r}).read_all(), 'X.feather')"
                    )
                raise ValueError(f"{self.path} is not an Arrow file ({error}); {advice}") from None
            yield file

    @contextmanager
    def opened(self) -> Iterator[Callable[[int], Any]]:
        """Open the file."""
        self.stamp.check()
        with self._file(self.feature_names) as file:
            yield lambda group: [file.get_batch(group)]
