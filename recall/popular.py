"""The most popular items first: the reference that needs no history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import PositiveFloat

from stagelens.pipeline.contracts import FittedChannel, Saved
from stagelens.pipeline.core import Candidates, Float32, Int32, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import Recipe, Role, recipe

DAY_S = 86_400.0
EARLIEST_CLOCK_S = 10_000_000
"""Times below this (April 1970) are positions or nothing, not Unix seconds."""


@recipe
class Popular(Recipe):
    """Items by their interactions in the fit window; items without any are never returned.

    The score is log(1 + count); with ``half_life_days``, an event counts 2^(-age / half_life), its age taken
    from the newest event of the window.
    """

    role: ClassVar[Role] = "channel"

    half_life_days: PositiveFloat | None = None
    """Age at which an event counts half; None: all count the same. Needs a real clock."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Count the window.

        Raises:
            ConfigError: ``half_life_days`` on data whose times are no Unix seconds.
        """
        window = data.interactions
        weight = np.ones(len(window), np.float64)
        if self.half_life_days is not None and len(window):
            if int(window.time.max()) < EARLIEST_CLOCK_S:
                raise ConfigError(
                    f"Popular: half_life_days = {self.half_life_days} needs a real clock; the newest event "
                    f"of this window has time {int(window.time.max())}. Leave half_life_days out."
                )
            age = (window.time.max() - window.time) / DAY_S
            weight = np.exp2(-age / self.half_life_days)
        mass = np.bincount(window.item, weights=weight, minlength=window.n_items)
        known = window.item_degree() > 0
        return FittedPopular(self.label, np.where(known, np.log1p(mass), np.nan).astype(np.float32))

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        return FittedPopular(self.label, saved.arrays["item_score"])

    def exact(self) -> Popular:
        """Return itself: there is no index."""
        return self


@dataclass(frozen=True, slots=True, eq=False)
class FittedPopular:
    """One score an item.

    Attributes:
        name: The channel's label.
        item_score: float32 [I]; NaN: never returned.
    """

    name: str
    item_score: Float32

    @property
    def is_exact(self) -> bool:
        """There is no index."""
        return True

    @property
    def index_bytes(self) -> int:
        """Bytes of the scores."""
        return int(self.item_score.nbytes)

    @property
    def parameters(self) -> int:
        """A count an item."""
        return int(np.isfinite(self.item_score).sum())

    def retrieve(self, queries: Queries, depth: int) -> Candidates:
        """Return the most popular unseen items; queries without history get them too."""
        from stagelens.recall.seen import walk

        known = np.flatnonzero(np.isfinite(self.item_score)).astype(np.int32)
        longest = int(queries.seen.lengths.max(initial=0))
        order = _first(self.item_score[known], queries.tie[known], depth + longest)
        item, score = walk(known[order], self.item_score[known[order]], queries.seen, depth)
        return Candidates.from_channel(self.name, queries.user, item, score)

    def score(self, queries: Queries, items: Int32) -> Float32:
        """Return float32 [Q, K]; NaN for padding and for items without interactions."""
        return np.where(items >= 0, self.item_score[items], np.nan).astype(np.float32)

    def save(self) -> Saved:
        """Return arrays and JSON."""
        return Saved({"item_score": self.item_score})


def _first(score: Float32, tie: Int32, n: int) -> Int32:
    """Return the places of the ``n`` best, ties by ``tie``, without sorting the whole catalogue."""
    if n < len(score):
        edge = np.partition(score, len(score) - n)[len(score) - n]
        within = np.flatnonzero(score >= edge)
    else:
        within = np.arange(len(score))
    return within[np.lexsort((tie[within], -score[within]))].astype(np.int32)
