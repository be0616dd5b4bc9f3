"""Vectors in the order of the catalogue, written while they stream by.

Written with plain writes, not through a memory map: on a full disk a map ends the process without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.data.importers.catalogue import Side
from stagelens.pipeline.data.importers.reading import VectorBlock
from stagelens.pipeline.data.importers.vocabulary import Vocabulary
from stagelens.pipeline.data.layout import RESERVED
from stagelens.pipeline.errors import DataError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_TABLES = ("interactions", "items", "users", "impressions")


class Vectors(NamedTuple):
    """What was written of a modality.

    Attributes:
        width: D.
        dtype: ``float16`` or ``float32``.
        present: Items with a vector that is not all zeros.
        unknown: Rows of items that are not in the catalogue; not written.
        repeated: Rows of an item that has one already; not written.
    """

    width: int
    dtype: str
    present: int
    unknown: int
    repeated: int


def check_name(name: str) -> None:
    """Refuse a modality whose name cannot be a file's.

    Raises:
        DataError: It is reserved, or holds other characters than letters, digits, ``-`` and ``_``.
    """
    if not _NAME.fullmatch(name) or name in (*RESERVED, *_TABLES):
        taken = ", ".join((*RESERVED, *_TABLES))
        raise DataError(
            f"modality {name!r} cannot be written. Allowed: letters, digits, - and _, and none of {taken}. "
            "Rename its file or column."
        )


def write_vectors(path: Path, blocks: Iterable[VectorBlock], known: Vocabulary, items: Side) -> Vectors:
    """Write ``NAME.npy``, float [I, D]; an item without a vector gets a row of zeros.

    Raises:
        DataError: No vector of any item, or blocks of several widths.
    """
    filled = np.zeros(items.rows, dtype=bool)
    width, dtype, offset, present, unknown, repeated = 0, np.dtype(np.float32), 0, 0, 0, 0
    with path.open("wb") as stream:
        for block in blocks:
            if not width:
                width, dtype = block.values.shape[1], _stored(block.values.dtype)
                offset = _start(stream, (items.rows, width), dtype)
            if block.values.shape[1] != width:
                raise DataError(
                    f"{path.stem}: a vector of {block.values.shape[1]} numbers after others of {width}. "
                    "Allowed: one width."
                )
            rows = _places(block.ids, known, items)
            unknown += int((rows < 0).sum())
            chosen = np.flatnonzero(rows >= 0)
            _, first = np.unique(rows[chosen], return_index=True)
            fresh = chosen[first]
            fresh = fresh[~filled[rows[fresh]]]
            repeated += len(chosen) - len(fresh)
            filled[rows[fresh]] = True
            with np.errstate(over="ignore"):
                values = np.ascontiguousarray(block.values[fresh], dtype=dtype)
            present += int((values != 0).any(axis=1).sum())
            _put(stream, offset, rows[fresh], values)
    if not present:
        raise DataError(f"{path.stem}: no item has a vector. Do its ids name items of the events?")
    return Vectors(width, str(dtype), present, unknown, repeated)


def _stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype("<f2" if dtype == np.float16 else "<f4")


def _start(stream: IO[bytes], shape: tuple[int, int], dtype: np.dtype[Any]) -> int:
    """Write the header, make the file as long as it will be, and return where row 0 begins."""
    said = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, said)
    offset = stream.tell()
    stream.truncate(offset + shape[0] * shape[1] * dtype.itemsize)
    return offset


def _places(ids: NDArray[Any], known: Vocabulary, items: Side) -> NDArray[np.int64]:
    import pyarrow as pa

    texts = pa.array(ids) if ids.dtype.kind in "iu" else pa.array(ids.astype(object), pa.large_string())
    codes = known.encode(texts, insert=False)
    return np.where(codes >= 0, items.place[codes], -1)


def _put(stream: IO[bytes], offset: int, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Write rows at their places (increasing), neighbours together."""
    size = values.shape[1] * values.dtype.itemsize
    for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
        if len(run):
            stream.seek(offset + int(rows[run[0]]) * size)
            stream.write(values[run[0] : run[-1] + 1].tobytes())
