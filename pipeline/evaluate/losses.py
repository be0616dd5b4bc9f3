"""Where the relevant items went: six shares per user that sum to 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Float64, Int32, Int64
from stagelens.pipeline.evaluate.truth import Truth

CLASSES = ("hit", "overflow", "ranked_below", "index", "recall", "unreachable")


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """The loss partition of every user.

    Attributes:
        shares: float64 [Q, 6], columns as in ``CLASSES``; every row sums to 1.
        index_gain: float64 [Q]: share of the relevant items that only the approximate index found; beside the
            sum.
        count: int64 [Q]: R.
        k: The cut-off of ``hit``.
    """

    shares: Float64
    index_gain: Float64
    count: Int64
    k: int

    def mean(self) -> dict[str, float]:
        """Return the mean over users of every class and of ``index_gain``."""
        return self._average(np.ones(len(self.count)))

    def weighted(self) -> dict[str, float]:
        """Return the interaction-weighted mean: every held-out pair counts the same."""
        return self._average(self.count.astype(np.float64))

    def _average(self, weight: Float64) -> dict[str, float]:
        if not len(weight):
            return dict.fromkeys((*CLASSES, "index_gain"), float("nan"))
        columns = np.column_stack([self.shares, self.index_gain])
        means = np.sum(columns * weight[:, None], axis=0) / weight.sum()
        return dict(zip((*CLASSES, "index_gain"), means.tolist(), strict=True))


def partition(
    final: Int32, recalled: Bool, exact_recalled: Bool | None, reachable: Bool, truth: Truth, k: int
) -> Losses:
    """Put each of a user's R relevant items into the first class that fits.

    1. ``hit``: final rank <= k.
    2. ``overflow``: max(0, recalled - k) / R; no order could place these.
    3. ``ranked_below``: the rest of the recalled.
    4. ``unreachable``: outside the catalogue, masked as seen, or without a score from any channel at any
    depth.
    5. ``index``: in the candidate set of the same composition with every index exact.
    6. ``recall``: what is left.

    For the recall stage give ``k`` = size and the ranks in the candidate set as ``final``: ``hit`` is then
    the share recalled, ``overflow`` and ``ranked_below`` are 0.

    Args:
        final: int32 [P]: rank in the final list, 0 where the item is not in it.
        recalled: bool [P]: in the candidate set.
        exact_recalled: bool [P]: in the candidate set with every index exact; None where all are exact
            already.
        reachable: bool [P].
        truth: The held-out pairs.
        k: Cut-off.

    Raises:
        ValueError: A shape is wrong, an item is in the final list and not recalled, or one rank <= k stands
            twice for a user.

    Example:
        One user, R = 5, k = 1: item 2 is first; 3 and 5 are recalled as well, and no order could place all
        three, so overflow = (3 - 1)/5 = .4 and nothing is left for ranked_below; 6 is lost by the index; 8 by
        recall.

        >>> import numpy as np
        >>> from stagelens.pipeline.core import Interactions
        >>> window = Interactions.of(np.zeros(5, int), np.array([2, 3, 5, 6, 8]), n_users=1, n_items=9)
        >>> final = np.array([1, 2, 4, 0, 0], dtype=np.int32)
        >>> exact = np.array([True, True, False, True, False])
        >>> losses = partition(final, final > 0, exact, np.ones(5, bool), Truth.of(window), k=1)
        >>> losses.mean()  # doctest: +NORMALIZE_WHITESPACE
        {'hit': 0.2, 'overflow': 0.4, 'ranked_below': 0.0, 'index': 0.2, 'recall': 0.2, 'unreachable': 0.0,
         'index_gain': 0.2}
    """
    for name, values in (("final", final), ("recalled", recalled), ("reachable", reachable)):
        if values.shape != (truth.pairs,):
            raise ValueError(f"{name} has shape {values.shape}, expected {(truth.pairs,)}")
    exact = recalled if exact_recalled is None else exact_recalled
    if exact.shape != (truth.pairs,):
        raise ValueError(f"exact_recalled has shape {exact.shape}, expected {(truth.pairs,)}")
    if bool(((final > 0) & ~recalled).any()):
        raise ValueError("an item of the final list is not in the candidate set it was ranked from")
    row, count = truth.pair_row, truth.count

    def per_user(mask: NDArray[np.bool_]) -> Int64:
        return np.bincount(row[mask], minlength=len(truth)).astype(np.int64)

    hit, inside = per_user((final > 0) & (final <= k)), per_user(recalled)
    if bool((hit > k).any()):
        raise ValueError(f"a user has more than k = {k} items at the ranks 1..{k}: ranks must be distinct")
    overflow = np.maximum(0, inside - k)
    lost = ~recalled & reachable
    classes = [
        hit,
        overflow,
        inside - hit - overflow,
        per_user(lost & exact),
        per_user(lost & ~exact),
        per_user(~recalled & ~reachable),
    ]
    shares = np.column_stack(classes) / count[:, None]
    return Losses(shares, per_user(recalled & ~exact) / count, count, k)
