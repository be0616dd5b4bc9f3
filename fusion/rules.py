"""Late integration by rule: one score for an item from the scores that several members gave it.

The members are the channels of the candidates. All rules share three conventions. A member that did not score an item
adds nothing (``Borda`` says what it adds instead). The score is NaN only where no member scored the item. Members are
added in the alphabetical order of their labels, so the order in which they are given changes no bit.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from stagelens.fusion.normalise import Normalise, normalised
from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Bool, Candidates, Float32, Float64
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.recipe import Recipe, Role, recipe


class FixedRule(Recipe):
    """Base of the rules that learn nothing: ``fit`` returns the rule itself, ready to score."""

    role: ClassVar[Role] = "ensemble"
    learns: ClassVar[frozenset[str]] = frozenset()
    """Which lists ``fit`` reads, of ``rows`` and ``valid``: what is not read need not be made."""

    @abstractmethod
    def combined(self, candidates: Candidates) -> Float64:
        """Return float64 [Q, K]; what stands where no member scored the item is not looked at."""

    def fit(
        self,
        candidates: Candidates,
        truth: Truth,
        valid_candidates: Candidates,
        valid_truth: Truth,
        *,
        seed: int,
    ) -> FittedRule:
        """Learn nothing."""
        return FittedRule(self)

    def load(self, saved: Saved) -> FittedRule:
        """Read a saved fit back."""
        return FittedRule(self)


@dataclass(frozen=True, slots=True)
class FittedRule:
    """A rule without learned numbers.

    Attributes:
        rule: Its recipe.
    """

    rule: FixedRule

    @property
    def parameters(self) -> int:
        """None."""
        return 0

    def score(self, candidates: Candidates) -> Float32:
        """Return float32 [Q, K]; NaN where no member scored the item."""
        known = scored(candidates).any(axis=2)
        return np.where(known, self.rule.combined(candidates), np.nan).astype(np.float32)

    def save(self) -> Saved:
        """Return nothing: the recipe says it all."""
        return Saved()


@recipe
class CombSUM(FixedRule):
    """The sum of the normalised scores of the members that scored the item.

    References:
        Fox & Shaw 1993, TREC-2 (NIST SP 500-215), pp. 243-252.
    """

    normalise: Normalise = "min-max"
    """Unit of the scores: ``raw``, ``min-max``, ``z-score`` or ``rank``, within each list."""

    @property
    def label(self) -> str:
        """``CombSUM(min-max)``."""
        return f"CombSUM({self.normalise})"

    def combined(self, candidates: Candidates) -> Float64:
        """Return float64 [Q, K]."""
        return summed(members(candidates, self.normalise))


@recipe
class CombMNZ(FixedRule):
    """CombSUM times the number of members that scored the item, a normalised score of 0 included.

    References:
        Fox & Shaw 1993, TREC-2 (NIST SP 500-215), pp. 243-252; Lee 1997, doi:10.1145/258525.258587.
    """

    normalise: Normalise = "min-max"
    """Unit of the scores: ``raw``, ``min-max``, ``z-score`` or ``rank``, within each list."""

    @property
    def label(self) -> str:
        """``CombMNZ(min-max)``."""
        return f"CombMNZ({self.normalise})"

    def combined(self, candidates: Candidates) -> Float64:
        """Return float64 [Q, K]."""
        counted: Float64 = summed(members(candidates, self.normalise)) * scored(candidates).sum(axis=2)
        return counted


@recipe
class ReciprocalRank(FixedRule):
    """The sum of 1 / (rrf_k + rank) over the members that scored the item.

    References:
        Cormack, Clarke & Büttcher 2009, doi:10.1145/1571941.1572114.
    """

    rrf_k: float = Field(60.0, gt=0)
    """Damps the first places."""

    def combined(self, candidates: Candidates) -> Float64:
        """Return float64 [Q, K]."""
        return summed(reciprocal_ranks(candidates, self.rrf_k))


@recipe
class Borda(FixedRule):
    """Every member deals points: the first of N items gets N, the next N - 1, and so on.

    N is the number of items that any member scored (at least the deepest rank, where a list was cut). A member that
    scored n of them deals the N - n points that are left in equal parts: (N - n + 1) / 2 to each item it does not know.

    References:
        Aslam & Montague 2001, doi:10.1145/383952.384007 (Borda-fuse).
    """

    def combined(self, candidates: Candidates) -> Float64:
        """Return float64 [Q, K]."""
        rank = candidates.channel_rank[..., alphabetical(candidates)]
        there = scored(candidates)[..., alphabetical(candidates)]
        deepest = rank.max(axis=(1, 2), initial=0)
        pool = np.maximum(there.any(axis=2).sum(axis=1), deepest)[:, None, None]
        left = (pool - there.sum(axis=1, keepdims=True) + 1) / 2
        return summed(np.where(there, pool - rank + 1.0, left))


def scored(candidates: Candidates) -> Bool:
    """Return bool [Q, K, C]: the member scored the item."""
    return ~np.isnan(candidates.channel_score)


def alphabetical(candidates: Candidates) -> list[int]:
    """Return the places of the channels in the alphabetical order of their labels."""
    return sorted(range(len(candidates.channels)), key=lambda c: candidates.channels[c])


def members(candidates: Candidates, how: Normalise) -> Float64:
    """Return float64 [Q, K, C]: normalised scores, members in alphabetical order, NaN where absent."""
    return normalised(candidates.channel_score, candidates.channel_rank, how)[..., alphabetical(candidates)]


def reciprocal_ranks(candidates: Candidates, rrf_k: float) -> Float64:
    """Return float64 [Q, K, C]: 1 / (rrf_k + rank), members in alphabetical order, NaN where absent."""
    rank = candidates.channel_rank[..., alphabetical(candidates)]
    return np.where(rank > 0, 1.0 / (rrf_k + np.maximum(rank, 1)), np.nan)


def summed(values: Float64) -> Float64:
    """Return float64 [Q, K]: the sum over the last axis, NaN counting nothing, added from first to last."""
    total = np.zeros(values.shape[:2])
    for member in range(values.shape[2]):  # a reduction may add in another order for another shape
        total += np.nan_to_num(values[..., member], nan=0.0, posinf=np.inf, neginf=-np.inf)
    return total
