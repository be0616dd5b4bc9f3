"""Several interest vectors of one history: seeded clustering of its items, compiled.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from stagelens.pipeline.core import Float32, Int32, Lists
from stagelens.recall.threads import over_rows

ROUNDS = 8
"""Rounds of assignment; small histories settle in two or three."""


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
    width = table.shape[1]
    longest = 0
    for row in range(lo, hi):
        longest = max(longest, indptr[row + 1] - indptr[row])
    met = np.full(len(position), -1, np.int64)
    place = np.empty(longest, np.int64)
    owner = np.empty(longest, np.int64)
    nearest = np.empty(longest, np.float64)
    centre = np.empty((n, width), np.float64)
    size = np.empty(n, np.int64)
    for row in range(lo, hi):
        count = 0
        for at in range(indptr[row + 1] - 1, indptr[row] - 1, -1):
            p = position[items[at]]
            if p >= 0 and met[items[at]] != row and (limit < 0 or count < limit):
                met[items[at]] = row
                place[count] = p
                count += 1
        parts = min(n, count)
        if count == 0:
            used[row] = 0
            continue
        # Farthest point first: the newest item opens, then always the item least like any opener.
        nearest[:count] = np.inf
        chosen = 0
        made = 0
        while made < parts:
            for d in range(width):
                centre[made, d] = table[place[chosen], d]
            farthest = 0.0
            following = -1
            for x in range(count):
                gap = 0.0
                for d in range(width):
                    gap += (table[place[x], d] - centre[made, d]) ** 2
                nearest[x] = min(nearest[x], gap)
                if nearest[x] > farthest:
                    farthest, following = nearest[x], x
            made += 1
            if following < 0:  # every item equals an opener: fewer interests
                break
            chosen = following
        owner[:count] = -1
        for _ in range(ROUNDS):
            moved = False
            for x in range(count):
                best, to = np.inf, 0
                for c in range(made):
                    gap = 0.0
                    for d in range(width):
                        gap += (table[place[x], d] - centre[c, d]) ** 2
                    if gap < best:
                        best, to = gap, c
                moved = moved or to != owner[x]
                owner[x] = to
            if not moved:
                break
            size[:made] = 0
            for x in range(count):
                size[owner[x]] += 1
            for c in range(made):
                if size[c] > 0:
                    centre[c, :] = 0.0
            for x in range(count):
                for d in range(width):
                    centre[owner[x], d] += table[place[x], d]
            for c in range(made):
                if size[c] > 0:
                    for d in range(width):
                        centre[c, d] /= size[c]
        used[row] = made
        for c in range(made):
            for d in range(width):
                out[row, c, d] = centre[c, d]


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
