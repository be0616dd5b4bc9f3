"""Vectors as they lie in an index: distinct, in a fixed random order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Float32, Int32, Int64
from stagelens.pipeline.seeds import generator


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Distinct vectors in a fixed random order, and the items that share each.

    Attributes:
        vectors: float32 [G, D], no two equal.
        position: int32 [I], the row of each item in ``vectors``; -1: the item has no vector.
        members_at: int64 [G + 1].
        member: int32 [N], the items of row g: ``member[members_at[g]:members_at[g + 1]]``.
        shared: int64, the places in ``member`` whose row has several items.
        row: int64, the row of each of ``shared``.
        longest: Length of the longest vector.
    """

    vectors: Float32
    position: Int32
    members_at: Int64
    member: Int32
    shared: Int64
    row: Int64
    longest: float

    @classmethod
    def of(cls, vectors: Float32, position: Int32, members_at: Int64, member: Int32) -> Layout:
        """Complete a layout."""
        size = np.diff(members_at)
        owner = np.repeat(np.arange(len(size)), size)
        shared = np.flatnonzero(size[owner] > 1)
        squares = np.einsum("gd,gd->g", vectors, vectors, dtype=np.float64)
        longest = float(np.sqrt(squares.max(initial=0.0)))
        return cls(vectors, position, members_at, member, shared, owner[shared], longest)

    @property
    def duplicates(self) -> int:
        """Items whose vector another item has too, the first of each set not counted."""
        return len(self.member) - len(self.vectors)

    def in_tie_order(self, tie: Int32) -> Int32:
        """Return ``member`` with every shared row in tie order."""
        if not len(self.shared):
            return self.member
        member = self.member.copy()
        members = member[self.shared]
        member[self.shared] = members[np.lexsort((tie[members], self.row))]
        return member


def laid_out(rows: Float32, present: Bool) -> Layout:
    """Collapse equal vectors, so that their ties are exact whatever the index, and shuffle what is left.

    The fixed random order keeps an index from leaning towards low item codes, which often are popular items.
    """
    items = np.flatnonzero(present)
    chosen = np.ascontiguousarray(rows[items]) + np.float32(0.0)  # -0.0 becomes 0.0
    first, group = _distinct(chosen)
    place = generator(0, "layout").permutation(len(first)).astype(np.int64)
    vectors = np.empty((len(first), rows.shape[1]), np.float32)
    vectors[place] = chosen[first]
    group = place[group]
    position = np.full(len(rows), -1, np.int32)
    position[items] = group
    members_at = np.zeros(len(first) + 1, np.int64)
    np.cumsum(np.bincount(group, minlength=len(first)), out=members_at[1:])
    member = items[np.argsort(group, kind="stable")].astype(np.int32)
    return Layout.of(vectors, position, members_at, member)


def _distinct(rows: Float32) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row of every set of equal rows, and the set of every row."""
    if not len(rows) or not rows.shape[1]:
        return np.zeros(min(len(rows), 1), np.int64), np.zeros(len(rows), np.int64)
    as_bytes: Any = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * 4))).ravel()
    _, first, group = np.unique(as_bytes, return_index=True, return_inverse=True)
    return first.astype(np.int64), group.astype(np.int64)
