"""What is held out: the relevant items of every user, and where a list puts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Candidates, Float32, Int32, Int64, Interactions, Lists, content_hash


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The held-out pairs of the users who have at least one (R >= 1).

    Pairs stand user by user, items increasing; P is their number. Everything measured per user derives from
    one number per pair, its rank, so that is all a run has to keep of a system.

    Attributes:
        user: int32 [Q], increasing.
        relevant: Lists with Q rows, each sorted and free of repeats, none empty.
        value: float32 [P] event weights; the sum where an event repeats.

    Example:
        >>> import numpy as np
        >>> from stagelens.pipeline.core import Interactions
        >>> window = Interactions.of(np.array([2, 0, 2]), np.array([7, 3, 5]), n_users=4, n_items=9)
        >>> truth = Truth.of(window)
        >>> truth.user.tolist(), truth.pair_row.tolist(), truth.pair_item.tolist(), truth.count.tolist()
        ([0, 2], [0, 1, 1], [3, 5, 7], [1, 2])
    """

    user: Int32
    relevant: Lists
    value: Float32

    @classmethod
    def of(cls, window: Interactions) -> Truth:
        """Read the pairs of a window; users without any are not part of the truth."""
        key = window.user.astype(np.int64) * max(window.n_items, 1) + window.item
        unique, place = np.unique(key, return_inverse=True)
        owner, item = np.divmod(unique, max(window.n_items, 1))
        value = np.bincount(place, weights=window.value, minlength=len(unique)).astype(np.float32)
        users, counts = np.unique(owner, return_counts=True)
        return cls(users.astype(np.int32), Lists(_pointers(counts), item.astype(np.int32)), value)

    def __len__(self) -> int:
        """Q, the number of users."""
        return len(self.user)

    @property
    def pairs(self) -> int:
        """P, the number of pairs."""
        return len(self.relevant.items)

    @property
    def count(self) -> Int64:
        """int64 [Q]: R, the relevant items of each user."""
        return self.relevant.lengths

    @property
    def pair_row(self) -> Int32:
        """int32 [P]: the row of ``user`` that each pair belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.count)

    @property
    def pair_item(self) -> Int32:
        """int32 [P]: the item code of each pair."""
        return self.relevant.items

    def rows(self, rows: NDArray[np.integer[Any]]) -> Truth:
        """Return a block of users.

        The ranks of contiguous blocks, put one after the other, are the ranks of the whole.
        """
        rows = np.asarray(rows, dtype=np.int64)
        places = Lists(self.relevant.indptr, np.arange(self.pairs, dtype=np.int32)).rows(rows).items
        return Truth(self.user[rows], self.relevant.rows(rows), self.value[places])

    def where(self, pairs: NDArray[np.bool_]) -> Truth:
        """Return the truth of these pairs only (bool [P]); users left without a pair fall out."""
        if pairs.shape != (self.pairs,):
            raise ValueError(f"the mask has shape {pairs.shape}, the truth has {self.pairs} pairs")
        counts = np.bincount(self.pair_row[pairs], minlength=len(self))
        stay = counts > 0
        items = Lists(_pointers(counts[stay]), self.pair_item[pairs])
        return Truth(self.user[stay], items, self.value[pairs])

    def gains(self, candidates: Candidates) -> Float32:
        """Return float32 [Q, K]: 1 where the candidate is relevant, else 0.

        Raises:
            ValueError: The candidates are not those of this truth's users, in this order.
        """
        ranks = self.ranks(candidates)
        gains = np.zeros(candidates.item.shape, dtype=np.float32)
        listed = ranks > 0
        gains[self.pair_row[listed], ranks[listed] - 1] = 1.0
        return gains

    def ranks(self, candidates: Candidates) -> Int32:
        """Return int32 [P]: the place of every pair's item in its user's list, from 1; 0 where absent.

        Raises:
            ValueError: The candidates are not those of this truth's users, in this order.
        """
        from stagelens.pipeline.evaluate import kernels

        if not np.array_equal(candidates.user, self.user):
            raise ValueError(
                f"candidates of {len(candidates.user)} users against a truth of {len(self.user)}: both must "
                "hold the same users in the same order; take truth.rows(...) of the block first"
            )
        ranks = np.zeros(self.pairs, dtype=np.int32)
        item = np.ascontiguousarray(candidates.item, dtype=np.int32)
        kernels.ranks(item, self.relevant.indptr, self.relevant.items, ranks)
        return ranks

    def oracle(self, recalled: NDArray[np.bool_]) -> Int32:
        """Return int32 [P]: ranks under the perfect order of a candidate set, for ceilings.

        Args:
            recalled: bool [P], True where the candidate set holds the pair's item.
        """
        inside = recalled.astype(np.int64)
        running = np.cumsum(inside)
        before = running[self.relevant.indptr[:-1]] - inside[self.relevant.indptr[:-1]]
        return np.where(recalled, running - before[self.pair_row], 0).astype(np.int32)

    def fingerprint(self) -> str:
        """Return the content hash that arms must share to be compared."""
        return content_hash(self.user, self.relevant.indptr, self.relevant.items, self.value)


def _pointers(counts: NDArray[np.integer[Any]]) -> Int64:
    pointers = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=pointers[1:])
    return pointers
