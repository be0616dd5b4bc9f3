"""Exclusion of seen items and the cut to ``depth``, ties by the seeded order: compiled, one row at a time.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

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
def _sink(score: Any, item: Any, tie: Any, size: Any) -> None:
    """Restore a heap of ``size`` with the last of the order at its root, after the root changed."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        other = child + 1
        if other < size and (
            score[other] < score[child]
            or (score[other] == score[child] and tie[item[other]] > tie[item[child]])
        ):
            child = other
        if score[child] > score[at] or (score[child] == score[at] and tie[item[child]] <= tie[item[at]]):
            return
        score[at], score[child] = score[child], score[at]
        item[at], item[child] = item[child], item[at]
        at = child


@njit(cache=True, nogil=True)
def _rise(score: Any, item: Any, tie: Any, at: Any) -> None:
    """Restore the heap after a new entry at its end."""
    while at > 0:
        up = (at - 1) // 2
        if score[up] < score[at] or (score[up] == score[at] and tie[item[up]] >= tie[item[at]]):
            return
        score[at], score[up] = score[up], score[at]
        item[at], item[up] = item[up], item[at]
        at = up


@njit(cache=True, nogil=True)
def _top(
    start: Any,
    count: Any,
    items: Any,
    scores: Any,
    seen_at: Any,
    seen: Any,
    tie: Any,
    lo: Any,
    hi: Any,
    item: Any,
    out: Any,
) -> None:
    depth = item.shape[1]
    for row in range(lo, hi):
        size = 0
        heap_score, heap_item = out[row], item[row]
        for at in range(start[row], start[row] + count[row]):
            value, code = scores[at], items[at]
            if np.isnan(value):
                continue
            if size == depth and (
                value < heap_score[0] or (value == heap_score[0] and tie[code] > tie[heap_item[0]])
            ):
                continue
            if _holds(seen, seen_at[row], seen_at[row + 1], code):
                continue
            if size < depth:
                heap_score[size], heap_item[size] = value, code
                _rise(heap_score, heap_item, tie, size)
                size += 1
            else:
                heap_score[0], heap_item[0] = value, code
                _sink(heap_score, heap_item, tie, size)
        for end in range(size - 1, 0, -1):  # the root is the last of the list
            heap_score[0], heap_score[end] = heap_score[end], heap_score[0]
            heap_item[0], heap_item[end] = heap_item[end], heap_item[0]
            _sink(heap_score, heap_item, tie, end)


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


def _blank(rows: int, depth: int) -> tuple[Int32, Float32]:
    return np.full((rows, depth), PADDING, np.int32), np.full((rows, depth), -np.inf, np.float32)


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
    item, out = _blank(len(seen), depth)
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
        tie: int32 [I]; lower wins.
        depth: Items a query.

    Returns:
        int32 [Q, depth] and float32 [Q, depth], padded.
    """
    item, out = _blank(len(start), depth)
    args = (start, count, items, scores, seen.indptr, seen.items, tie)
    steps = 50.0 + float(count.mean()) if len(count) else 0.0
    over_rows(len(start), lambda lo, hi: _top(*args, lo, hi, item, out), steps=steps)
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
    item, out = _blank(rows, depth)
    args = (vectors_at, group, score, members_at, member, seen.indptr, seen.items, tie)
    steps = 10.0 * group.size / max(rows, 1)
    over_rows(rows, lambda lo, hi: _top_groups(*args, lo, hi, item, out), steps=steps)
    return item, out
