"""Several interest vectors of one history: seeded clustering of its items, compiled.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from stagelens.pipeline.core import Float32, Int32, Lists
from stagelens.pipeline.threads import over_rows

ROUNDS = 8
"""Rounds of assignment; small histories settle in two or three."""


@njit(cache=True, nogil=True)
def _gap(table: Any, place: Any, centre: Any) -> Any:
    """Return the squared distance between a row and a centre."""
    total = 0.0
    for d in range(table.shape[1]):
        total += (table[place, d] - centre[d]) ** 2
    return total


@njit(cache=True, nogil=True)
def _open(table: Any, place: Any, parts: Any, nearest: Any, centre: Any) -> Any:
    """Fill ``centre`` farthest point first: the newest item, then always the one least like any so far."""
    nearest[:] = np.inf
    chosen = 0
    for made in range(parts):
        centre[made] = table[place[chosen]]
        farthest, following = 0.0, -1
        for x in range(len(place)):
            nearest[x] = min(nearest[x], _gap(table, place[x], centre[made]))
            if nearest[x] > farthest:
                farthest, following = nearest[x], x
        if following < 0:  # every item equals a centre: fewer interests
            return made + 1
        chosen = following
    return parts


@njit(cache=True, nogil=True)
def _settle(table: Any, place: Any, owner: Any, centre: Any, size: Any) -> None:
    """Move centres to the means of the items nearest to them, until no item moves."""
    owner[:] = -1
    for _ in range(ROUNDS):
        moved = False
        for x in range(len(place)):
            best, to = np.inf, 0
            for c in range(len(centre)):
                gap = _gap(table, place[x], centre[c])
                if gap < best:
                    best, to = gap, c
            moved = moved or to != owner[x]
            owner[x] = to
        if not moved:
            return
        size[:] = 0
        for x in range(len(place)):
            size[owner[x]] += 1
        for c in range(len(centre)):
            if size[c] > 0:  # a centre that lost its items stays where it was
                centre[c] = 0.0
        for x in range(len(place)):
            for d in range(table.shape[1]):
                centre[owner[x], d] += table[place[x], d] / size[owner[x]]


@njit(cache=True, nogil=True)
def _cluster(
    indptr: Any,
    items: Any,
    position: Any,
    table: Any,
    n: Any,
    limit: Any,
    lo: Any,
    hi: Any,
    out: Any,
    used: Any,
) -> None:
    longest = 0
    for row in range(lo, hi):
        longest = max(longest, indptr[row + 1] - indptr[row])
    met = np.full(len(position), -1, np.int64)
    place, owner, nearest = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest)
    centre, size = np.empty((n, table.shape[1])), np.empty(n, np.int64)
    for row in range(lo, hi):
        count = 0
        for at in range(indptr[row + 1] - 1, indptr[row] - 1, -1):  # newest first
            item = items[at]
            if position[item] >= 0 and met[item] != row and (limit < 0 or count < limit):
                met[item] = row
                place[count] = position[item]
                count += 1
        made = _open(table, place[:count], min(n, count), nearest[:count], centre)
        _settle(table, place[:count], owner[:count], centre[:made], size[:made])
        used[row] = made
        out[row, :made] = centre[:made]


def clustered(
    history: Lists, table: Float32, position: Int32, *, n: int, limit: int = -1
) -> tuple[Float32, Int32]:
    """Return up to ``n`` cluster means of every history.

    Args:
        history: Lists with Q rows, oldest first.
        table: float32 [G, D].
        position: int32 [I], the row of each item in ``table``; -1: no vector, skipped.
        n: Clusters at most.
        limit: Newest distinct items taken; -1: all.

    Returns:
        float32 [V, D] and int32 [V], the query row of each, increasing.
    """
    rows = len(history)
    out = np.empty((rows, n, table.shape[1]), np.float32)
    used = np.empty(rows, np.int32)
    args = (history.indptr, history.items, position, table, n, limit)
    steps = 3.0 * n * table.shape[1] * len(history.items) / max(rows, 1)
    over_rows(rows, lambda lo, hi: _cluster(*args, lo, hi, out, used), steps=steps)
    kept = np.arange(n) < used[:, None]
    return out[kept], np.nonzero(kept)[0].astype(np.int32)
