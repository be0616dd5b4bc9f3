"""Tables written in groups of one size, whatever the blocks they come in."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 1 << 17
"""Rows written together: the same rows give the same bytes, however they were handed over."""


class Rows:
    """A Parquet file whose columns its first block decides; a later block may lack some.

    It is there once something was written, and complete once it is closed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._waiting: list[pa.Table] = []
        self._count = 0

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        try:
            if kind is None:
                self._flush(0)
        finally:
            self._writer.close()

    def write(self, block: pa.Table) -> None:
        """Take rows in."""
        import pyarrow as pa
        from pyarrow import parquet

        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._path, block.schema.remove_metadata())
        schema = self._writer.schema
        for field in schema:
            if field.name not in block.column_names:
                block = block.append_column(field, pa.nulls(block.num_rows, field.type))
        self._waiting.append(block.select(schema.names).cast(schema))
        self._count += block.num_rows
        if self._count >= GROUP:
            self._flush(GROUP)

    def _flush(self, least: int) -> None:
        """Write whole groups until fewer rows than this wait."""
        import pyarrow as pa

        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting)
        start = 0
        while rows.num_rows - start >= max(least, 1):
            group = rows.slice(start, GROUP).combine_chunks()
            self._writer.write_table(group, row_group_size=GROUP)
            start += group.num_rows
        self._waiting = [rows.slice(start)] if start < rows.num_rows else []
        self._count = rows.num_rows - start
