"""History: what kind of user asks, as ranker columns (constant within a list)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stagelens.pipeline.core import Bool, Candidates, Features, Float32, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.rerank.features.popularity import log_popularity, mean_over


@recipe
class History(Recipe):
    """Length of the user's history relative to the average user's, and how popular its items are.

    Everything is read from the history of the query, which never holds the row's own labels.
    """

    role: ClassVar[Role] = "features"

    def fit(self, data: TrainingData, channels: tuple[str, ...], *, seed: int) -> FittedHistory:
        """Count the items of the window; the head is the most popular items that make half of all events."""
        count = data.interactions.item_degree()
        order = np.sort(count)[::-1]
        place = int(np.searchsorted(np.cumsum(order), len(data.interactions) / 2))
        least = order[min(place, len(order) - 1)] if len(order) else 0
        length = len(data.interactions) / max(1, len(data.interactions.users()))
        return FittedHistory(log_popularity(count), (count >= least) & (count > 0), max(1.0, length))


@dataclass(frozen=True, slots=True, eq=False)
class FittedHistory:
    """Popularity of one window.

    Attributes:
        popularity: float32 [I], log count relative to the average item's.
        head: bool [I], the popular items that make half of the window's events.
        length: Mean events of a user in the window, at least 1.
    """

    popularity: Float32
    head: Bool
    length: float

    @property
    def names(self) -> tuple[str, ...]:
        """Four columns."""
        parts = ("relative length", "mean log popularity", "max log popularity", "head share")
        return tuple(f"history: {part}" for part in parts)

    def compute(self, queries: Queries, candidates: Candidates) -> Features:
        """Return float32 [Q, K, 4]; all but the length are NaN for an empty history."""
        history = queries.history
        user = np.full((len(queries), 4), np.nan, np.float32)
        user[:, 0] = history.lengths / self.length
        user[:, 1] = mean_over(self.popularity, history)
        some = np.flatnonzero(history.lengths)
        if len(some):
            user[some, 2] = np.maximum.reduceat(self.popularity[history.items], history.indptr[some])
        user[:, 3] = mean_over(self.head.astype(np.float32), history)
        values = np.where(candidates.found[..., None], user[:, None, :], np.float32(np.nan))
        return Features(self.names, values)
