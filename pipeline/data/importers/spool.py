"""Events on their way: ids become codes at once, and the rest waits on disk, some 13 to 29 bytes an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
    try:
        for block in blocks:
            if not taken:
                names = [name for name in _COLUMNS if name in block.column_names]
                types = {name: _type(name, block.column(name).type) for name in names}
                streams |= {name: (folder / f"{name}.spool").open("wb") for name in ("user", "item", *names)}
            if {*block.column_names} - {"user_id", "item_id"} != {*streams} - {"user", "item"}:
                raise TypeError(
                    f"a block of events with {block.column_names}, after others with {list(streams)}"
                )
            for side, known in (("user", users), ("item", items)):
                codes = known.encode(ids_of(block, f"{side}_id", "event", taken))
                streams[side].write(codes.tobytes())
            for name in [*streams][2:]:
                streams[name].write(_numbers(block.column(name), name, types[name], taken).tobytes())
            taken += block.num_rows
    finally:
        for stream in streams.values():
            stream.close()
    if not taken:
        raise DataError("The source holds no events. Look at the options and at the files.")
    user, item = (np.memmap(folder / f"{side}.spool", np.int32, "r") for side in ("user", "item"))
    columns = {name: _opened(folder / f"{name}.spool", name, types[name]) for name in types}
    return Spool(user, item, columns)


def _type(name: str, kind: pa.DataType) -> str:
    """Return how a column is spooled: times as they are, so that nanoseconds stay exact."""
    import pyarrow as pa

    if name == "split":
        return "i1"
    return "i8" if name != "value" and pa.types.is_integer(kind) else "f8"


def _numbers(column: Any, name: str, kind: str, before: int) -> NDArray[Any]:
    """Return a column as numbers; only a value may be missing (NaN)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers: NDArray[Any]
    if name == "split":
        numbers = np.asarray(pc.index_in(column, value_set=pa.array(WINDOWS)).fill_null(-1))
        wrong = numbers < 0
    elif kind == "i8":
        numbers = np.asarray(column.cast(pa.int64()).fill_null(0))
        wrong = np.asarray(column.is_null())
    else:
        numbers = np.asarray(column.cast(pa.float64(), safe=False).fill_null(np.nan))
        wrong = np.zeros(len(numbers), dtype=bool) if name == "value" else ~np.isfinite(numbers)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        allowed = ", ".join(WINDOWS) if name == "split" else "a finite number"
        raise DataError(f"event {before + row + 1}: {name} is {column[row].as_py()!r}. Allowed: {allowed}.")
    return numbers.astype(kind)


def _opened(path: Path, name: str, kind: str) -> NDArray[Any]:
    """Return a spooled column; times that are all whole become integers."""
    values: NDArray[Any] = np.memmap(path, kind, "r")
    if kind == "f8" and name != "value" and _each(values, _whole):
        whole = path.with_suffix(".whole")
        with whole.open("wb") as stream:
            for start in range(0, len(values), _BLOCK):
                stream.write(values[start : start + _BLOCK].astype(np.int64).tobytes())
        path.unlink()
        return np.memmap(whole, np.int64, "r")
    return values


def _whole(values: NDArray[Any]) -> NDArray[np.bool_]:
    held: NDArray[np.bool_] = (values == np.floor(values)) & (np.abs(values) < 2**53)
    return held


def _each(values: NDArray[Any], holds: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> bool:
    return all(holds(values[start : start + _BLOCK]).all() for start in range(0, len(values), _BLOCK))
