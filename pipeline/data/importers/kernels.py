"""Compiled loops of an import: ids to codes, and the peeling of a core.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

TAG = np.uint64(0xFFFFFFFF00000000)
LOW = np.uint64(0xFFFFFFFF)
ONE = np.uint64(1)
NONE = np.uint64(0)
SHIFT = np.uint64(29)


@njit(cache=True, nogil=True)
def _hash(data: Any, start: int, end: int, secret: Any) -> Any:
    value = secret
    for at in range(start, end):
        value = (value ^ np.uint64(data[at])) * secret
        value ^= value >> SHIFT
    return value ^ (value >> SHIFT)


@njit(cache=True, nogil=True)
def _canonical(data: Any, start: int, end: int) -> bool:
    """Say whether bytes are an integer as Python writes it, of at most 18 digits."""
    at = start + 1 if end > start and data[start] == 45 else start
    digits = end - at
    if digits < 1 or digits > 18:
        return False
    if data[at] == 48:
        return digits == 1 and at == start
    for place in range(at, end):
        if data[place] < 48 or data[place] > 57:
            return False
    return True


@njit(cache=True, nogil=True)
def _equal(store: Any, code: int, starts: Any, data: Any, start: int, end: int) -> bool:
    first = starts[code]
    if starts[code + 1] - first != end - start:
        return False
    for at in range(end - start):
        if store[first + at] != data[start + at]:
            return False
    return True


@njit(cache=True, nogil=True)
def encode(
    offsets: Any,
    data: Any,
    table: Any,
    starts: Any,
    store: Any,
    count: Any,
    secret: Any,
    insert: bool,
    out: Any,
) -> tuple[Any, bool]:
    """Fill int32 [N] with the code of every text, -1 where it is not known and not to be.

    Args:
        offsets: int64 [N + 1] of the texts in ``data``.
        data: uint8, their bytes one after another.
        table: uint64 [2**b], open addressing: 32 bits of the hash, then code + 1; 0 is free. At most half full.
        starts: int64, offsets of the known texts in ``store``; room for N more.
        store: uint8, bytes of the known texts; room for ``data``.
        count: Known texts.
        secret: An odd number: nobody outside can make texts that collide.
        insert: Give unknown texts the next codes.
        out: int32 [N].

    Returns:
        Known texts afterwards, and whether all new ones are integers as Python writes them.
    """
    mask = np.uint64(len(table) - 1)
    whole = True
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        hashed = _hash(data, start, end, secret)
        place = hashed & mask
        code: Any = -1
        while table[place] != NONE:
            entry = table[place]
            if (entry & TAG) == (hashed & TAG):
                known = np.int64(entry & LOW) - 1
                if _equal(store, known, starts, data, start, end):
                    code = known
                    break
            place = (place + ONE) & mask
        if code < 0 and insert:
            code = count
            first = starts[count]
            for at in range(end - start):
                store[first + at] = data[start + at]
            starts[count + 1] = first + end - start
            table[place] = (hashed & TAG) | np.uint64(count + 1)
            whole = whole and _canonical(data, start, end)
            count += 1
        out[row] = code
    return count, whole


@njit(cache=True, nogil=True)
def fill_table(table: Any, starts: Any, store: Any, count: Any, secret: Any) -> None:
    """Enter all known texts into an empty table."""
    mask = np.uint64(len(table) - 1)
    for code in range(count):
        hashed = _hash(store, starts[code], starts[code + 1], secret)
        place = hashed & mask
        while table[place] != NONE:
            place = (place + ONE) & mask
        table[place] = (hashed & TAG) | np.uint64(code + 1)


@njit(cache=True, nogil=True)
def peel(
    ends: Any, indptr: Any, edges: Any, degree: Any, least: Any, alive: Any, gone: Any, queue: Any
) -> int:
    """Take away nodes of too few edges until none is left; return the rounds that removed some.

    Args:
        ends: int32 [2, N], both nodes of every edge.
        indptr: int64 [V + 1] of the edges of every node.
        edges: int32 or int64 [2 N], edges by node.
        degree: int32 [V], edges left; changed.
        least: int32 [V], the fewest edges that keep a node.
        alive: bool [N], all true; edges taken away become false.
        gone: bool [V], nodes without an edge; nodes taken away become true.
        queue: int32 [V], scratch.
    """
    end = 0
    for node in range(len(degree)):
        if not gone[node] and degree[node] < least[node]:
            gone[node] = True
            queue[end] = node
            end += 1
    start, rounds = 0, 0
    while start < end:
        level, removed = end, False
        while start < level:
            node = queue[start]
            start += 1
            for at in range(indptr[node], indptr[node + 1]):
                edge = edges[at]
                if not alive[edge]:
                    continue
                alive[edge] = False
                removed = True
                for side in range(2):
                    other = ends[side, edge]
                    degree[other] -= 1
                    if not gone[other] and degree[other] < least[other]:
                        gone[other] = True
                        queue[end] = other
                        end += 1
        rounds += removed
    return rounds
