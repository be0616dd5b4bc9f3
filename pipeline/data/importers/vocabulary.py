"""Ids to codes while they stream by: every id is held once, as bytes."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

_STEP = 1 << 16
_SMALLEST = 1 << 12


class Vocabulary:
    """Distinct ids in order of their first appearance; about 25 bytes each beside the text itself.

    Integers are kept as their decimal text, so that integers and text never fall together by chance.

    Attributes:
        whole: Every id is an integer, or text that is one as Python writes it (``7``, never ``07``).
    """

    def __init__(self) -> None:
        self.whole = True
        self._count = 0
        self._secret = np.uint64(secrets.randbits(64) | 1)  # changes places in the table, never a code
        self._table = np.zeros(_SMALLEST, dtype=np.uint64)
        self._starts = np.zeros(_SMALLEST, dtype=np.int64)
        self._store = np.empty(_SMALLEST, dtype=np.uint8)

    def __len__(self) -> int:
        return self._count

    def encode(self, ids: pa.Array, *, insert: bool = True) -> NDArray[np.int32]:
        """Return the code of every id, int32 [N]; -1 where it is unknown and not to be inserted.

        Args:
            ids: Integers or text, none missing.
            insert: Give unknown ids the next codes.

        Raises:
            TypeError: Another type of id.
        """
        import pyarrow as pa

        kind = ids.type
        if pa.types.is_dictionary(kind):
            ids = ids.cast(kind.value_type)
        elif not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise TypeError(f"ids of type {kind}; an importer hands over integers or text")
        integers = pa.types.is_integer(ids.type)
        texts = (ids.cast(pa.int64()) if integers else ids).cast(pa.large_string())
        found = np.empty(len(texts), dtype=np.int32)
        for start in range(0, len(texts), _STEP):
            part = texts[start : start + _STEP]
            found[start : start + len(part)] = self._encode(part, insert, integers)
        return found

    def _encode(self, texts: pa.Array, insert: bool, integers: bool) -> NDArray[np.int32]:
        from stagelens.pipeline.data.importers.kernels import encode

        _, offsets, data = texts.buffers()
        where = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
        content = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8)
        if insert:
            self._grow(len(texts), int(where[-1] - where[0]))
        out = np.empty(len(texts), dtype=np.int32)
        self._count, whole = encode(
            where, content, self._table, self._starts, self._store, self._count, self._secret, insert, out
        )
        self.whole = self.whole and (whole or integers)
        return out

    def _grow(self, entries: int, size: int) -> None:
        from stagelens.pipeline.data.importers.kernels import fill_table

        if self._count + entries + 1 > len(self._starts):
            self._starts = _larger(self._starts, self._count + entries + 1)
        used = int(self._starts[self._count])
        if used + size > len(self._store):
            self._store = _larger(self._store, used + size)
        if 2 * (self._count + entries) > len(self._table):
            size = 1 << int(4 * (self._count + entries) - 1).bit_length()
            self._table = np.zeros(size, dtype=np.uint64)
            fill_table(self._table, self._starts, self._store, self._count, self._secret)

    def texts(self) -> pa.Array:
        """Return all ids as text, in order of their codes; a copy-free view."""
        import pyarrow as pa

        starts = pa.py_buffer(self._starts[: self._count + 1])
        store = pa.py_buffer(self._store[: int(self._starts[self._count])])
        return pa.LargeStringArray.from_buffers(self._count, starts, store)

    def ids(self) -> pa.Array:
        """Return all ids in order of their codes: int64 where all are integers, else text."""
        import pyarrow as pa

        return self.texts().cast(pa.int64()) if self.whole else self.texts()


def _larger(array: NDArray[Any], least: int) -> NDArray[Any]:
    grown = np.zeros(max(least, len(array) + len(array) // 2), dtype=array.dtype)
    grown[: len(array)] = array
    return grown
