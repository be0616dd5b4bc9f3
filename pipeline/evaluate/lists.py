"""What the lists show, relevant or not: coverage, popularity, and the value they capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.core import Candidates, Float64, Int32, Int64
from stagelens.pipeline.evaluate.truth import Truth


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """How often each item stands in the first k places, over any number of blocks.

    Counts are whole numbers, so the sum of blocks is the same whatever the blocks were.

    Attributes:
        cuts: T cut-offs.
        shown: int64 [T, I].

    Example:
        >>> import numpy as np
        >>> from stagelens.pipeline.core import Candidates
        >>> item = np.array([[0, 1], [0, -1]], dtype=np.int32)
        >>> score = np.array([[2, 1], [1, -np.inf]], dtype=np.float32)
        >>> lists = Candidates.from_channel("a", np.arange(2, dtype=np.int32), item, score)
        >>> exposure = Exposure.of(lists, n_items=4, cuts=[1, 2])
        >>> exposure.coverage(), exposure.popularity(np.array([9, 3, 0, 0]))
        ({'coverage@1': 0.25, 'coverage@2': 0.5}, {'popularity@1': 9.0, 'popularity@2': 7.0})
    """

    cuts: tuple[int, ...]
    shown: Int64

    @classmethod
    def of(cls, candidates: Candidates, *, n_items: int, cuts: Sequence[int]) -> Exposure:
        """Count one block of lists."""
        shown = np.zeros((len(cuts), n_items), dtype=np.int64)
        for place, k in enumerate(cuts):
            top = candidates.item[:, :k]
            shown[place] = np.bincount(top[top >= 0], minlength=n_items)
        return cls(tuple(cuts), shown)

    def __add__(self, other: Exposure) -> Exposure:
        """Return the counts of both blocks.

        Raises:
            ValueError: Other cut-offs or another catalogue.
        """
        if self.cuts != other.cuts or self.shown.shape != other.shown.shape:
            raise ValueError(
                f"exposures of cut-offs {self.cuts} and {other.cuts}, shapes {self.shown.shape} and "
                f"{other.shown.shape}: count both over the same"
            )
        return Exposure(self.cuts, self.shown + other.shown)

    def coverage(self) -> dict[str, float]:
        """Return ``coverage@k``: distinct items shown over the catalogue."""
        share = (self.shown > 0).mean(axis=1)
        return {f"coverage@{k}": float(value) for k, value in zip(self.cuts, share, strict=True)}

    def popularity(self, degree: Int64) -> dict[str, float]:
        """Return ``popularity@k``: the mean training count of what is shown; NaN if nothing is.

        Args:
            degree: int64 [I]: training interactions of each item.
        """
        return self._mean("popularity", degree.astype(np.float64))

    def log_popularity(self, degree: Int64) -> dict[str, float]:
        """Return ``log_popularity@k``: the mean of ln(1 + training count), ruled less by blockbusters."""
        return self._mean("log_popularity", np.log1p(degree.astype(np.float64)))

    def _mean(self, name: str, weight: Float64) -> dict[str, float]:
        total = self.shown.sum(axis=1)
        sums = (self.shown * weight).sum(axis=1)
        means = np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0)
        return {f"{name}@{k}": float(value) for k, value in zip(self.cuts, means, strict=True)}


def value_hit(ranks: Int32, truth: Truth, k: int) -> Float64:
    """Return float64 [P]: what each pair adds to its user's value-weighted hit.

    The value-weighted hit of a user is the event weight of the relevant items at the ranks 1 .. k over the
    weight of all the user's relevant items: recall@k with euros instead of items.

    Raises:
        ValueError: ``ranks`` does not belong to this truth.
    """
    if ranks.shape != (truth.pairs,):
        raise ValueError(f"ranks have shape {ranks.shape}, expected {(truth.pairs,)}")
    value = truth.value.astype(np.float64)
    total = np.bincount(truth.pair_row, weights=value, minlength=len(truth))
    return np.where((ranks > 0) & (ranks <= k), value / total[truth.pair_row], 0.0)
