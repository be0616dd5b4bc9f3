"""The hot loops of merging channel lists (numba; imported only inside functions)."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

RRF, QUOTA, ROUND_ROBIN = 0, 1, 2


@njit(cache=True, nogil=True)
def _merged_scores(
    item: Any,
    q: int,
    weight: Any,
    order: Any,
    mode: int,
    rrf_k: float,
    quota: Any,
    slot: Any,
    found: Any,
    value: Any,
) -> int:
    """Collect the distinct items of query ``q`` with their merge score; return how many there are.

    ``order`` is the channels' alphabetical order, so that the sum does not depend on how they were given.
    """
    count = 0
    for c in order:
        if weight[c] <= 0.0:
            continue
        for k in range(item.shape[2]):
            code = item[c, q, k]
            if code < 0:
                break
            place = slot[code]
            if place < 0:
                place = count
                slot[code] = place
                found[place] = code
                value[place] = 0.0 if mode == 0 else -1.0e18
                count += 1
            if mode == 0:
                value[place] += weight[c] / (rrf_k + k + 1)
            else:
                bonus = 1.0e9 if (mode == 1 and k < quota[c]) else 0.0
                value[place] = max(value[place], bonus - (k + 1))
    return count


@njit(cache=True, nogil=True)
def _sort(found: Any, value: Any, tie: Any, count: int) -> None:
    """Put items in the order of falling value, ties by ``tie``, in place.

    Shell's sort with gaps by Ciura: a few hundred items a list, and it compiles in a tenth of the time of a sort of
    NumPy's.
    """
    for gap in (301, 132, 57, 23, 10, 4, 1):
        for start in range(gap, count):
            code, score = found[start], value[start]
            place = start
            while place >= gap:
                other = value[place - gap]
                if other > score or (other == score and tie[found[place - gap]] < tie[code]):
                    break
                found[place], value[place] = found[place - gap], other
                place -= gap
            found[place], value[place] = code, score


@njit(cache=True, nogil=True)
def _fill(item: Any, score: Any, taken: int, below: float, slot: Any, filler: Any, seen: Any) -> int:
    """Fill the places of one list from ``taken`` on, scores below ``below``; return how many were filled.

    ``slot`` is not negative at the items that stand in the list.
    """
    size = len(item)
    for code in seen:
        slot[code] = size
    last = taken
    for code in filler:
        if last == size:
            break
        if slot[code] < 0:
            item[last] = code
            score[last] = below - (last - taken + 1.0)
            last += 1
    for code in seen:
        slot[code] = -1
    return last - taken


@njit(cache=True, nogil=True)
def fill(item: Any, score: Any, tie: Any, filler: Any, seen_indptr: Any, seen_items: Any) -> Any:
    """Fill the padding [Q, K] of lists in place; return the number of filled places [Q]."""
    filled = np.zeros(len(item), np.int32)
    slot = np.full(len(tie), -1, np.int32)
    for q in range(len(item)):
        taken = 0
        while taken < item.shape[1] and item[q, taken] >= 0:
            slot[item[q, taken]] = taken
            taken += 1
        if taken < item.shape[1]:
            below = min(score[q, taken - 1], 0.0) if taken > 0 else 0.0
            seen = seen_items[seen_indptr[q] : seen_indptr[q + 1]]
            filled[q] = _fill(item[q], score[q], taken, below, slot, filler, seen)
        for place in range(taken):
            slot[item[q, place]] = -1
    return filled


@njit(cache=True, nogil=True)
def pool(item: Any, channel_score: Any, tie: Any) -> tuple[Any, Any, Any]:
    """Collect the distinct items of lists [C, Q, D] in the order of ``tie``: item [Q, C * D], evidence, rank."""
    n_channels, n_queries, depth = item.shape
    size = n_channels * depth
    out_item = np.full((n_queries, size), -1, np.int32)
    out_evidence = np.full((n_queries, size, n_channels), np.nan, np.float32)
    out_rank = np.zeros((n_queries, size, n_channels), np.int32)
    slot = np.full(len(tie), -1, np.int32)
    level = np.zeros(size, np.float64)
    for q in range(n_queries):
        count = 0
        for c in range(n_channels):
            for k in range(depth):
                code = item[c, q, k]
                if code < 0:
                    break
                if slot[code] < 0:
                    slot[code] = count
                    out_item[q, count] = code
                    count += 1
        _sort(out_item[q], level, tie, count)
        for place in range(count):
            slot[out_item[q, place]] = place
        for c in range(n_channels):
            for k in range(depth):
                code = item[c, q, k]
                if code < 0:
                    break
                out_evidence[q, slot[code], c] = channel_score[c, q, k]
                out_rank[q, slot[code], c] = k + 1
        for place in range(count):
            slot[out_item[q, place]] = -1
    return out_item, out_evidence, out_rank


@njit(cache=True, nogil=True)
def merge(
    item: Any,
    channel_score: Any,
    weight: Any,
    order: Any,
    mode: int,
    rrf_k: float,
    quota: Any,
    tie: Any,
    filler: Any,
    seen_indptr: Any,
    seen_items: Any,
    size: int,
) -> tuple[Any, Any, Any, Any, Any]:
    """Merge lists [C, Q, D] into [Q, size] with evidence; return also the number of filled places [Q]."""
    n_channels, n_queries, depth = item.shape
    out_item = np.full((n_queries, size), -1, np.int32)
    out_score = np.full((n_queries, size), -np.inf, np.float32)
    out_evidence = np.full((n_queries, size, n_channels), np.nan, np.float32)
    out_rank = np.zeros((n_queries, size, n_channels), np.int32)
    filled = np.zeros(n_queries, np.int32)
    slot = np.full(len(tie), -1, np.int32)
    found = np.empty(n_channels * depth, np.int32)
    value = np.empty(n_channels * depth, np.float64)
    for q in range(n_queries):
        count = _merged_scores(item, q, weight, order, mode, rrf_k, quota, slot, found, value)
        _sort(found, value, tie, count)
        for place in range(count):
            slot[found[place]] = -1
        taken = min(count, size)
        for place in range(taken):
            code = found[place]
            out_item[q, place] = code
            out_score[q, place] = value[place]
            slot[code] = place
        for c in range(n_channels):
            for k in range(depth):
                code = item[c, q, k]
                if code < 0:
                    break
                place = slot[code]
                if place >= 0:
                    out_evidence[q, place, c] = channel_score[c, q, k]
                    out_rank[q, place, c] = k + 1
        if taken < size:
            # ranks as scores are negative: keep the fill below them
            below = min(out_score[q, taken - 1], 0.0) if mode != 0 and taken > 0 else 0.0
            seen = seen_items[seen_indptr[q] : seen_indptr[q + 1]]
            filled[q] = _fill(out_item[q], out_score[q], taken, below, slot, filler, seen)
        for place in range(taken):
            slot[out_item[q, place]] = -1
    return out_item, out_score, out_evidence, out_rank, filled


@njit(cache=True, nogil=True)
def merged_ranks(
    item: Any,
    weight: Any,
    order: Any,
    rrf_k: float,
    tie: Any,
    filler_place: Any,
    seen_indptr: Any,
    seen_items: Any,
    pair_indptr: Any,
    pair_item: Any,
    size: int,
) -> Any:
    """Rank of every relevant pair in the reciprocal-rank merge of size ``size``, without building the lists."""
    n_channels, n_queries, depth = item.shape
    ranks = np.zeros(len(pair_item), np.int32)
    slot = np.full(len(tie), -1, np.int32)
    found = np.empty(n_channels * depth, np.int32)
    value = np.empty(n_channels * depth, np.float64)
    quota = np.zeros(n_channels, np.int64)
    for q in range(n_queries):
        count = _merged_scores(item, q, weight, order, 0, rrf_k, quota, slot, found, value)
        for p in range(pair_indptr[q], pair_indptr[q + 1]):
            code = pair_item[p]
            place = slot[code]
            if place >= 0:
                ahead = 0
                for other in range(count):
                    if value[other] > value[place] or (
                        value[other] == value[place] and tie[found[other]] < tie[code]
                    ):
                        ahead += 1
                if ahead < size:
                    ranks[p] = ahead + 1
            elif count < size:
                seen = False
                ahead = filler_place[code]
                for s in range(seen_indptr[q], seen_indptr[q + 1]):
                    if seen_items[s] == code:
                        seen = True
                        break
                    if filler_place[seen_items[s]] < filler_place[code]:
                        ahead -= 1
                for other in range(count):
                    if filler_place[found[other]] < filler_place[code]:
                        ahead -= 1
                if not seen and count + ahead < size:
                    ranks[p] = count + ahead + 1
        for place in range(count):
            slot[found[place]] = -1
    return ranks
