"""History: what kind of user asks, as ranker columns (constant within a list)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stagelens.pipeline.core import Bool, Candidates, Features, Float32, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.rerank.features.popularity import mean_over


@recipe
class History(Recipe):
    """Length of the user's history, and how popular its items are in the fit window.

    Everything is read from the history of the query, which never holds the row's own labels.
    """

    role: ClassVar[Role] = "features"

    def fit(self, data: TrainingData, channels: tuple[str, ...], *, seed: int) -> FittedHistory:
        """Count the items of the window; the head is the most popular items that make half of all events."""
        count = data.interactions.item_degree()
        order = np.sort(count)[::-1]
        place = int(np.searchsorted(np.cumsum(order), len(data.interactions) / 2))
        least = order[min(place, len(order) - 1)] if len(order) else 0
        return FittedHistory(np.log1p(count).astype(np.float32), (count >= least) & (count > 0))


@dataclass(frozen=True, slots=True, eq=False)
class FittedHistory:
    """Popularity of one window.

    Attributes:
        popularity: float32 [I], log(1 + count).
        head: bool [I], the popular items that make half of the window's events.
    """

    popularity: Float32
    head: Bool

    @property
    def names(self) -> tuple[str, ...]:
        """Four columns."""
        parts = ("length", "mean log popularity", "max log popularity", "head share")
        return tuple(f"history: {part}" for part in parts)

    def compute(self, queries: Queries, candidates: Candidates) -> Features:
        """Return float32 [Q, K, 4]; all but the length are NaN for an empty history."""
        history = queries.history
        user = np.full((len(queries), 4), np.nan, np.float32)
        user[:, 0] = history.lengths
        user[:, 1] = mean_over(self.popularity, history)
        some = np.flatnonzero(history.lengths)
        if len(some):
            user[some, 2] = np.maximum.reduceat(self.popularity[history.items], history.indptr[some])
        user[:, 3] = mean_over(self.head.astype(np.float32), history)
        values = np.where(candidates.found[..., None], user[:, None, :], np.float32(np.nan))
        return Features(self.names, values)
