"""From query vectors to lists: correct over-fetch, exact scores, a proof that the list is complete.

Import this module inside functions only: it loads compiled loops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.core import PADDING, Bool, Float32, Float64, Int32, Int64, Lists
from stagelens.pipeline.gather import dots
from stagelens.recall.index import Index
from stagelens.recall.layout import Layout
from stagelens.recall.seen import top_groups

MARGIN = 8
"""Vectors fetched beyond the need, so that rounding at the edge seldom asks for a second search."""
LEAST_EXTRA = 32
"""Smallest allowance for seen items: few distinct depths keep the batches large."""
ENTRIES = 1 << 24
"""Results held at once (12 bytes each)."""


def over_fetch(seen: Int64, depth: int) -> Int64:
    """Return int64 [Q]: what to ask the index for, so that ``depth`` are left without the seen ones.

    The allowance is the power of two at or above the number of seen items: the query's own, so that its list
    does not depend on the block, and coarse, so that queries can be searched together.
    """
    allowance = np.maximum(seen, LEAST_EXTRA)
    return depth + np.left_shift(np.int64(1), np.ceil(np.log2(allowance)).astype(np.int64))


def unseen(
    index: Index,
    layout: Layout,
    vectors: Float32,
    owner: Int32,
    seen: Lists,
    tie: Int32,
    depth: int,
) -> tuple[Int32, Float32]:
    """Return the best ``depth`` unseen items of every query.

    An exact index's results are scored anew from the two vectors alone, because the rounding of a matrix
    product depends on the shape of the batch. A list stands only when its last score is above everything the
    index can have left out; otherwise the search goes deeper. So the list is the exact one, whatever the
    block or the library. An approximate index is not rescued: the list is what it returned, its choice by its
    own scores.

    Args:
        index: Over the rows of ``layout.vectors``.
        layout: Vectors and items.
        vectors: float32 [V, D].
        owner: int32 [V], increasing: the query row of each vector.
        seen: Lists with Q rows, each sorted.
        tie: int32 [I]; lower wins.
        depth: Items a query.

    Returns:
        int32 [Q, depth] and float32 [Q, depth], padded; an approximate index's scores are its own.
    """
    queries = len(seen)
    item = np.full((queries, depth), PADDING, np.int32)
    score = np.full((queries, depth), -np.inf, np.float32)
    total = len(layout.vectors)
    if not total or not len(vectors):
        return item, score
    at = np.searchsorted(owner, np.arange(queries + 1)).astype(np.int64)
    asking = _Asking(
        index, layout, vectors, at, _rounding(layout, vectors), seen, tie, layout.in_tie_order(tie)
    )
    fetch = over_fetch(seen.lengths, depth) + (MARGIN if index.exact else 0)
    rows = np.flatnonzero(np.diff(at) > 0)
    while len(rows):
        again = [np.zeros(0, np.int64)]
        asked = np.minimum(fetch[rows], total)
        for k in np.unique(asked).tolist():
            together = rows[asked == k]
            step = max(1, ENTRIES // (k * int(np.diff(at).max())))
            for start in range(0, len(together), step):
                part = together[start : start + step]
                item[part], score[part], stands = asking.once(part, k, depth)
                again.append(part[~stands])
        rows = np.sort(np.concatenate(again))
        fetch[rows] *= 2
    return item, score


@dataclass(frozen=True, slots=True)
class _Asking:
    """A block of queries in search."""

    index: Index
    layout: Layout
    vectors: Float32
    at: Int64
    rounding: Float64
    seen: Lists
    tie: Int32
    member: Int32

    def once(self, rows: Int64, k: int, depth: int) -> tuple[Int32, Float32, Bool]:
        """Return the lists of these queries from ``k`` results a vector, and whether each list stands."""
        local = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(self.at[rows + 1] - self.at[rows], out=local[1:])
        used = np.repeat(self.at[rows] - local[:-1], np.diff(local)) + np.arange(local[-1])
        group, value = self.index.search(self.vectors[used], k)
        edge = value[:, -1] + self.rounding[used]
        if self.index.exact:
            value = dots(self.vectors[used], self.layout.vectors, group)
        members = (self.layout.members_at, self.member)
        item, score = top_groups(local, group, value, *members, self.seen.rows(rows), self.tie, depth)
        if not self.index.exact or k == len(self.layout.vectors):
            return item, score, np.ones(len(rows), bool)
        return item, score, score[:, -1] > np.maximum.reduceat(edge, local[:-1])


def _rounding(layout: Layout, vectors: Float32) -> Float64:
    """Return float64 [V]: how far two ways to compute an inner product may differ.

    Four times the probabilistic bound sqrt(D) u |x| |y| for either (Higham & Mary 2019,
    doi:10.1137/18M1226312).
    """
    length: Float64 = np.sqrt(np.einsum("vd,vd->v", vectors, vectors, dtype=np.float64))
    return np.asarray(8.0 * np.sqrt(vectors.shape[1]) * 2.0**-24 * layout.longest * length)
