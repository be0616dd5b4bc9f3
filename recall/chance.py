"""Chance: every user gets the whole catalogue in a random order of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stagelens.pipeline.contracts import FittedChannel, Saved
from stagelens.pipeline.core import Candidates, Float32, Int32, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import derive


@recipe
class Random(Recipe):
    """A seeded random order of the whole catalogue for every user; the floor of any recall stage.

    The order depends on the seed and the user alone, not on the block. Scores fall evenly from 1 to 1 / I.
    """

    role: ClassVar[Role] = "channel"
    seeded: ClassVar[bool] = True

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Keep the seed and the size of the catalogue."""
        return FittedRandom(self.label, derive(seed, "order"), data.interactions.n_items)

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        return FittedRandom(self.label, int(saved.meta["seed"]), int(saved.meta["n_items"]))

    def exact(self) -> Random:
        """Return itself: there is no index."""
        return self


@dataclass(frozen=True, slots=True)
class FittedRandom:
    """A seed and a catalogue.

    Attributes:
        name: The channel's label.
        seed: Of the orders.
        n_items: I.
    """

    name: str
    seed: int
    n_items: int

    @property
    def is_exact(self) -> bool:
        """There is no index."""
        return True

    @property
    def index_bytes(self) -> int:
        """Nothing is kept."""
        return 0

    @property
    def parameters(self) -> int:
        """Nothing is learned."""
        return 0

    def retrieve(self, queries: Queries, depth: int) -> Candidates:
        """Return the first unseen items of each user's order; queries without history get them too."""
        from stagelens.recall.feistel import falling, shuffled

        item, place = shuffled(self.seed, queries.user, queries.seen, self.n_items, depth)
        return Candidates.from_channel(self.name, queries.user, item, falling(place, self.n_items, -np.inf))

    def score(self, queries: Queries, items: Int32) -> Float32:
        """Return float32 [Q, K]; NaN for padding."""
        from stagelens.recall.feistel import falling, places

        return falling(places(self.seed, queries.user, items, self.n_items), self.n_items, np.nan)

    def save(self) -> Saved:
        """Return JSON."""
        return Saved(meta={"seed": self.seed, "n_items": self.n_items})
