"""The items and the users of an import: the listed ones in their order, then the others, sorted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool
from stagelens.pipeline.data.importers.rows import GROUP, Rows
from stagelens.pipeline.data.importers.spool import ids_of
from stagelens.pipeline.data.importers.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa


class Side(NamedTuple):
    """The items, or the users, that are written.

    Attributes:
        place: int64, row of every code of the vocabulary; -1 where it is not written.
        rows: How many are written.
        repeated: Rows of the source that list an id again; the first counts.
        listed: Whether the source lists them.
    """

    place: NDArray[np.int64]
    rows: int
    repeated: int
    listed: bool


def write_side(
    path: Path, column: str, blocks: Iterable[pa.Table], known: Vocabulary, active: Bool, only_active: bool
) -> Side:
    """Write the table of one side, ``items`` or ``users``, as Parquet.

    Args:
        path: The file.
        column: ``item_id`` or ``user_id``.
        blocks: What the source says of them.
        known: The vocabulary of the events; it learns the ids that have none.
        active: Whether any event is left, for every code known so far.
        only_active: Leave out those without an event, listed or not.
    """
    place = np.full(len(active), -1, dtype=np.int64)
    rows = repeated = seen = 0
    with Rows(path) as writer:
        for block in blocks:
            codes = known.encode(ids_of(block, column, f"row of {path.stem}:", seen), insert=not only_active)
            seen += block.num_rows
            if len(known) > len(place):
                place = np.r_[place, np.full(2 * len(known) - len(place), -1)]
            wanted = codes >= 0
            if only_active:
                wanted[wanted] = active[codes[wanted]]
            chosen = np.flatnonzero(wanted)
            _, first = np.unique(codes[chosen], return_index=True)
            fresh = chosen[np.sort(first)]
            fresh = fresh[place[codes[fresh]] < 0]
            repeated += len(chosen) - len(fresh)
            place[codes[fresh]] = np.arange(rows, rows + len(fresh))
            rows += len(fresh)
            writer.write(_with_text(block, column).take(fresh))
        place = place[: len(known)]
        others = _sorted(known, np.flatnonzero(active & (place[: len(active)] < 0)))
        place[others] = np.arange(rows, rows + len(others))
        for start in range(0, len(others), GROUP):
            writer.write(_bare(known, column, others[start : start + GROUP]))
    if known.whole:
        _as_integers(path, column)
    return Side(place, rows + len(others), repeated, seen > 0)


def _with_text(block: pa.Table, column: str) -> pa.Table:
    """Return a block whose ids are text, first: their type is known only at the end."""
    import pyarrow as pa

    ids = block.column(column)
    if pa.types.is_dictionary(ids.type):
        ids = ids.cast(ids.type.value_type)
    others = block.drop_columns([column])
    return others.add_column(0, column, ids.cast(pa.large_string()))


def _bare(known: Vocabulary, column: str, codes: NDArray[np.int64]) -> pa.Table:
    import pyarrow as pa

    return pa.table({column: known.texts().take(pa.array(codes))})


def _sorted(known: Vocabulary, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return codes by their ids: numbers by size, text by code point."""
    import pyarrow as pa
    import pyarrow.compute as pc

    order = pc.sort_indices(known.ids().take(pa.array(codes)))
    ordered: NDArray[np.int64] = codes[np.asarray(order)]
    return ordered


def _as_integers(path: Path, column: str) -> None:
    """Write a table again with integers as ids."""
    import pyarrow as pa
    from pyarrow import parquet

    if not path.exists():
        return
    text = path.with_suffix(".text")
    path.replace(text)
    with parquet.ParquetFile(text) as file, Rows(path) as writer:
        for batch in file.iter_batches(batch_size=GROUP):
            block = pa.Table.from_batches([batch])
            place = block.column_names.index(column)
            writer.write(block.set_column(place, column, block.column(column).cast(pa.int64())))
    text.unlink()
