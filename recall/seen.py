"""Exclusion of seen items and the cut to ``depth``, ties by the seeded order: compiled, one row at a time.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stagelens.pipeline.core import PADDING, Float32, Int32, Int64, Lists
from stagelens.pipeline.threads import over_rows


@njit(cache=True, nogil=True)
def _holds(items: Any, lo: Any, hi: Any, item: Any) -> bool:
    """Say whether the increasing ``items[lo:hi]`` hold ``item``."""
    while lo < hi:
        middle = (lo + hi) // 2
        if items[middle] < item:
            lo = middle + 1
        elif items[middle] > item:
            hi = middle
        else:
            return True
    return False


@njit(cache=True, nogil=True)
def _walk(order: Any, score: Any, seen_at: Any, seen: Any, lo: Any, hi: Any, item: Any, out: Any) -> None:
    for row in range(lo, hi):
        count = 0
        for place in range(len(order)):
            if count == item.shape[1]:
                break
            if not _holds(seen, seen_at[row], seen_at[row + 1], order[place]):
                item[row, count] = order[place]
                out[row, count] = score[place]
                count += 1


@njit(cache=True, nogil=True)
def _swap_parts(key: Any, lo: Any, hi: Any) -> tuple[int, int]:
    """Part ``key[lo:hi + 1]`` round a pivot, larger first; return the ends of the lower and the upper part."""
    first, middle, last = key[lo], key[(lo + hi) // 2], key[hi]
    pivot = max(min(first, middle), min(max(first, middle), last))
    left, right = lo, hi
    while left <= right:
        while key[left] > pivot:
            left += 1
        while key[right] < pivot:
            right -= 1
        if left <= right:
            key[left], key[right] = key[right], key[left]
            left += 1
            right -= 1
    return right, left


@njit(cache=True, nogil=True)
def _select(key: Any, size: Any, most: Any) -> None:
    """Bring the ``most`` largest of ``key[:size]`` to the front, in any order."""
    lo, hi = 0, size - 1
    while lo < hi:
        right, left = _swap_parts(key, lo, hi)
        if most - 1 <= right:
            hi = right
        elif most - 1 >= left:
            lo = left
        else:
            return


@njit(cache=True, nogil=True)
def _sort(key: Any, size: Any, ends: Any) -> None:
    """Sort ``key[:size]``, largest first; ``ends`` [128] holds what is still to be parted."""
    ends[0], ends[1] = 0, size - 1
    open_parts = 1
    while open_parts:
        open_parts -= 1
        lo, hi = ends[2 * open_parts], ends[2 * open_parts + 1]
        while hi - lo > 16:
            right, left = _swap_parts(key, lo, hi)
            if right - lo < hi - left:  # the larger part waits, so that few ever do
                ends[2 * open_parts], ends[2 * open_parts + 1] = left, hi
                hi = right
            else:
                ends[2 * open_parts], ends[2 * open_parts + 1] = lo, right
                lo = left
            open_parts += 1
    for at in range(1, size):  # nearly sorted: nothing moves far
        moved, to = key[at], at
        while to > 0 and key[to - 1] < moved:
            key[to] = key[to - 1]
            to -= 1
        key[to] = moved


class Room(NamedTuple):
    """Where one thread keeps what may be among the best of a row. Made outside: arrays in a loop take long to compile.

    Attributes:
        key: uint64 [4 K + 64], the bits of a score, made to rise with it, then the place among ties, falling.
        state: uint64 [2], how many keys stand there and what a further one must reach.
        ends: int64 [128], of no meaning.
    """

    key: NDArray[np.uint64]
    state: NDArray[np.uint64]
    ends: Int64

    @classmethod
    def of(cls, depth: int) -> Room:
        """Return room for lists of ``depth``; the best are parted off when it is full."""
        return cls(np.empty(4 * depth + 64, np.uint64), np.zeros(2, np.uint64), np.empty(128, np.int64))


@njit(cache=True, nogil=True)
def keep(items: Any, bits: Any, seen: Any, tie: Any, depth: Any, key: Any, state: Any) -> None:
    """Put what may be among the best ``depth`` unseen items of a row into its room.

    Args:
        items: int32 [N].
        bits: uint32 [N], of their scores; NaN is left out.
        seen: int32 [S], increasing; at most ``depth`` of them are left out at the end alone.
        tie: int32 [I].
        depth: Items of the list (K).
        key: See ``Room``.
        state: See ``Room``.
    """
    sign, low, infinite = np.uint32(1 << 31), np.uint32(0xFFFFFFFF), np.uint32(0x7F800000)
    half = np.uint64(32)
    late = len(seen) <= depth
    most = depth + len(seen) if late else depth
    size: Any = np.int64(state[0])
    least = state[1]
    least_score = np.uint32(least >> half)
    for at in range(len(items)):
        value = bits[at]
        rising = ~value if value & sign else value | sign
        if value == sign:  # -0 is 0
            rising = sign
        if rising < least_score or (value & ~sign) > infinite:
            continue
        number = (np.uint64(rising) << half) | np.uint64(low - np.uint32(tie[np.uint32(items[at])]))
        if number < least or (not late and _holds(seen, 0, len(seen), items[at])):
            continue
        key[size] = number
        size += 1
        if size == len(key):
            _select(key, size, most)
            size, least = most, key[0]
            for place in range(1, most):
                least = min(least, key[place])
            least_score = np.uint32(least >> half)
    state[0], state[1] = size, least


@njit(cache=True, nogil=True)
def finish(seen: Any, at_tie: Any, key: Any, state: Any, ends: Any, item: Any, out: Any) -> None:
    """Write the best unseen items in order, and empty the room.

    Args:
        seen: As for ``keep``.
        at_tie: int32 [I], the item at every place among ties.
        key: See ``Room``.
        state: See ``Room``.
        ends: See ``Room``.
        item: int32 [K], written.
        out: uint32 [K], written: the bits of the scores.
    """
    sign, low, half = np.uint32(1 << 31), np.uint32(0xFFFFFFFF), np.uint64(32)
    depth = len(item)
    size: Any = np.int64(state[0])
    late = len(seen) <= depth
    most = depth + len(seen) if late else depth
    if size > most:
        _select(key, size, most)
        size = most
    if late:
        kept = 0
        for at in range(size):
            if not _holds(seen, 0, len(seen), at_tie[low - np.uint32(key[at] & np.uint64(low))]):
                key[kept] = key[at]
                kept += 1
        size = min(kept, depth)
        if kept > depth:
            _select(key, kept, depth)
    _sort(key, size, ends)
    for at in range(size):
        rising = np.uint32(key[at] >> half)
        item[at] = at_tie[low - np.uint32(key[at] & np.uint64(low))]
        out[at] = rising ^ sign if rising & sign else ~rising
    state[0], state[1] = 0, 0


@njit(cache=True, nogil=True)
def _top(
    start: Any,
    count: Any,
    items: Any,
    bits: Any,
    seen_at: Any,
    seen: Any,
    tie: Any,
    at_tie: Any,
    lo: Any,
    hi: Any,
    item: Any,
    out: Any,
    key: Any,
    state: Any,
    ends: Any,
) -> None:
    for row in range(lo, hi):
        begin, end = start[row], start[row] + count[row]
        own = seen[seen_at[row] : seen_at[row + 1]]
        keep(items[begin:end], bits[begin:end], own, tie, item.shape[1], key, state)
        finish(own, at_tie, key, state, ends, item[row], out[row])


@njit(cache=True, nogil=True)
def _top_groups(
    vectors_at: Any,
    group: Any,
    score: Any,
    members_at: Any,
    member: Any,
    seen_at: Any,
    seen: Any,
    tie: Any,
    lo: Any,
    hi: Any,
    item: Any,
    out: Any,
) -> None:
    depth = item.shape[1]
    slot = np.full(len(members_at) if len(group) > len(vectors_at) - 1 else 0, -1, np.int32)
    widest = 1
    for row in range(lo, hi):
        widest = max(widest, vectors_at[row + 1] - vectors_at[row])
    found = np.empty(widest * group.shape[1], np.int64)
    value = np.empty(widest * group.shape[1], np.float32)
    for row in range(lo, hi):
        several = vectors_at[row + 1] - vectors_at[row] > 1
        n = 0
        for v in range(vectors_at[row], vectors_at[row + 1]):
            for k in range(group.shape[1]):
                g = group[v, k]
                if g < 0:  # IVF ran out of probes
                    continue
                if several and slot[g] >= 0:
                    value[slot[g]] = max(value[slot[g]], score[v, k])
                    continue
                if several:
                    slot[g] = n
                found[n], value[n] = g, score[v, k]
                n += 1
        size = 0
        for at in range(n):
            if several:
                slot[found[at]] = -1
            s = value[at]
            for place in range(members_at[found[at]], members_at[found[at] + 1]):
                code = member[place]
                full = size == depth
                if full and (
                    s < out[row, depth - 1]
                    or (s == out[row, depth - 1] and tie[code] > tie[item[row, depth - 1]])
                ):
                    break  # members stand in tie order: none of the rest can enter
                if _holds(seen, seen_at[row], seen_at[row + 1], code):
                    continue
                to = depth - 1 if full else size  # nearly sorted already: insertion moves little
                while to > 0 and (
                    out[row, to - 1] < s or (out[row, to - 1] == s and tie[item[row, to - 1]] > tie[code])
                ):
                    out[row, to], item[row, to] = out[row, to - 1], item[row, to - 1]
                    to -= 1
                out[row, to], item[row, to] = s, code
                size = depth if full else size + 1


def blank(rows: int, depth: int) -> tuple[Int32, Float32]:
    """Return padded lists without an item: int32 and float32 [rows, depth]."""
    return np.full((rows, depth), PADDING, np.int32), np.full((rows, depth), -np.inf, np.float32)


def places(tie: Int32) -> Int32:
    """Return int32 [I], the item at every place of the permutation ``tie``."""
    at_tie = np.empty(len(tie), np.int32)
    at_tie[tie] = np.arange(len(tie), dtype=np.int32)
    return at_tie


def walk(order: Int32, score: Float32, seen: Lists, depth: int) -> tuple[Int32, Float32]:
    """Return the first ``depth`` unseen items of one order for every query.

    Args:
        order: int32 [N], items, best first.
        score: float32 [N], their scores.
        seen: Lists with Q rows, each sorted.
        depth: Items a query.

    Returns:
        int32 [Q, depth] and float32 [Q, depth], padded.
    """
    item, out = blank(len(seen), depth)
    over_rows(len(seen), lambda lo, hi: _walk(order, score, seen.indptr, seen.items, lo, hi, item, out))
    return item, out


def top(
    start: Int64,
    count: NDArray[np.integer[Any]],
    items: Int32,
    scores: Float32,
    seen: Lists,
    tie: Int32,
    depth: int,
) -> tuple[Int32, Float32]:
    """Return the best ``depth`` unseen items of ragged rows.

    Args:
        start: int64 [Q]; row q is ``items[start[q]:start[q] + count[q]]``, distinct items in any order.
        count: int [Q].
        items: int32 [N].
        scores: float32 [N]; NaN is never returned.
        seen: Lists with Q rows, each sorted.
        tie: int32 [I], a permutation; lower wins.
        depth: Items a query.

    Returns:
        int32 [Q, depth] and float32 [Q, depth], padded.
    """
    item, out = blank(len(start), depth)
    args = (start, count, items, scores.view(np.uint32), seen.indptr, seen.items, tie, places(tie))
    made = (item, out.view(np.uint32))
    steps = 50.0 + float(count.mean()) if len(count) else 0.0
    over_rows(len(start), lambda lo, hi: _top(*args, lo, hi, *made, *Room.of(depth)), steps=steps)
    return item, out


def top_groups(
    vectors_at: Int64,
    group: Int64,
    score: Float32,
    members_at: Int64,
    member: Int32,
    seen: Lists,
    tie: Int32,
    depth: int,
) -> tuple[Int32, Float32]:
    """Return the best ``depth`` unseen items of searched groups (items that share one vector).

    Args:
        vectors_at: int64 [Q + 1]; query q searched with vectors ``vectors_at[q]:vectors_at[q + 1]``; an item
            found
            by several has its best score.
        group: int64 [V, K], -1 where the index found nothing.
        score: float32 [V, K].
        members_at: int64 [G + 1].
        member: int32 [N]; group g holds ``member[members_at[g]:members_at[g + 1]]``, in tie order.
        seen: Lists with Q rows, each sorted.
        tie: int32 [I]; lower wins.
        depth: Items a query.

    Returns:
        int32 [Q, depth] and float32 [Q, depth], padded.
    """
    rows = len(vectors_at) - 1
    item, out = blank(rows, depth)
    args = (vectors_at, group, score, members_at, member, seen.indptr, seen.items, tie)
    steps = 10.0 * group.size / max(rows, 1)
    over_rows(rows, lambda lo, hi: _top_groups(*args, lo, hi, item, out), steps=steps)
    return item, out
