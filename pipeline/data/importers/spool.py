"""Events on their way: ids become codes at once, and the rest waits on disk, some 13 to 29 bytes an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.data.events import WINDOWS
from stagelens.pipeline.data.importers.vocabulary import Vocabulary
from stagelens.pipeline.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("timestamp", "seq", "split", "value")
_TYPES = {"split": "i1", "value": "f8"}
"""Of the others: integers until a fraction is met, so that nanoseconds stay exact."""
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Spool:
    """Events as codes, memory-mapped.

    Attributes:
        user: int32 [N], code in the vocabulary of users.
        item: int32 [N], likewise of items.
        columns: ``timestamp`` and ``seq`` (int64 or float64), ``split`` (int8, place in ``train | valid | test``)
            and ``value`` (float64), each [N], where the source has them.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.user)


def ids_of(table: pa.Table, column: str, what: str, before: int) -> pa.Array:
    """Return the ids of a block.

    Raises:
        DataError: One is missing or empty; ``what`` and ``before``, the rows handed over earlier, say where.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = table.column(column).combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = pa.concat_arrays(ids.chunks)
    missing = pc.is_null(ids, nan_is_null=True)
    if pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type):
        missing = pc.or_(missing, pc.equal(ids, "").fill_null(True))
    if pc.any(missing).as_py():
        row = before + int(np.flatnonzero(np.asarray(missing))[0])
        raise DataError(f"{what} {row + 1} has no {column}. Allowed: an integer or text in every row.")
    return ids


def spool_events(blocks: Iterable[pa.Table], folder: Path, users: Vocabulary, items: Vocabulary) -> Spool:
    """Take all events in; ``users`` and ``items`` learn their ids.

    Raises:
        DataError: An id, a time or a window is missing or wrong, or there is no event.
    """
    streams: dict[str, IO[bytes]] = {}
    types: dict[str, str] = {}
    taken = 0
    with ExitStack() as opened:  # all are closed, though the disk is full at the first
        for block in blocks:
            if not taken:
                names = [name for name in _COLUMNS if name in block.column_names]
                types = {name: _TYPES.get(name, "i8") for name in names}
                for name in ("user", "item", *names):
                    streams[name] = opened.enter_context((folder / f"{name}.spool").open("wb"))
            if {*block.column_names} - {"user_id", "item_id"} != {*streams} - {"user", "item"}:
                raise TypeError(
                    f"a block of events with {block.column_names}, after others with {list(streams)}"
                )
            for side, known in (("user", users), ("item", items)):
                codes = known.encode(ids_of(block, f"{side}_id", "event", taken))
                streams[side].write(codes.tobytes())
            for name in [*streams][2:]:
                numbers = _numbers(block.column(name), name, taken)
                if numbers.dtype.kind == "f" and types[name] == "i8":
                    types[name] = "f8"
                    _turn_to_floats(streams[name])
                streams[name].write(numbers.astype(types[name]).tobytes())
            taken += block.num_rows
    if not taken:
        raise DataError("The source holds no events. Look at the options and at the files.")
    user, item = (np.memmap(folder / f"{side}.spool", np.int32, "r") for side in ("user", "item"))
    columns = {name: np.memmap(folder / f"{name}.spool", kind, "r") for name, kind in types.items()}
    return Spool(user, item, columns)


def _numbers(column: Any, name: str, before: int) -> NDArray[Any]:
    """Return a column as numbers, times that are all whole as integers; only a value may be missing (NaN)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers: NDArray[Any]
    if name == "split":
        numbers = np.asarray(pc.index_in(column, value_set=pa.array(WINDOWS)).fill_null(-1))
        wrong = numbers < 0
    elif name != "value" and pa.types.is_integer(column.type):
        numbers = np.asarray(column.cast(pa.int64()).fill_null(0))
        wrong = np.asarray(column.is_null())
    else:
        numbers = np.asarray(column.cast(pa.float64(), safe=False).fill_null(np.nan))
        wrong = np.zeros(len(numbers), dtype=bool) if name == "value" else ~np.isfinite(numbers)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        allowed = ", ".join(WINDOWS) if name == "split" else "a finite number"
        raise DataError(f"event {before + row + 1}: {name} is {column[row].as_py()!r}. Allowed: {allowed}.")
    if name not in _TYPES and numbers.dtype.kind == "f":
        whole = (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)
        return numbers.astype(np.int64) if whole.all() else numbers
    return numbers


def _turn_to_floats(stream: IO[bytes]) -> None:
    """Write the integers of a file again as float64, which takes as much room."""
    stream.flush()
    if stream.tell():
        integers = np.memmap(stream.name, np.int64, "r+")
        floats = integers.view(np.float64)
        for start in range(0, len(integers), _BLOCK):
            floats[start : start + _BLOCK] = integers[start : start + _BLOCK].astype(np.float64)
