"""Item-KNN: what the neighbours of a user's items are."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from stagelens.pipeline.contracts import FittedChannel, Saved
from stagelens.pipeline.core import TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import tie_order
from stagelens.pipeline.space import Choice, Space
from stagelens.recall.interaction.neighbours import NEIGHBOURS, NeighbourTable, each_other, possible
from stagelens.recall.interaction.similarity import (
    SPACE,
    Similarity,
    Weighed,
    Weighting,
    divisor,
    entry_weights,
    squared,
    weighted,
)


@recipe
class ItemKNN(Recipe):
    """Item-based nearest neighbours: a candidate's score is the sum of its similarity to the user's items.

    Every item keeps its most similar items; an item that is nobody's neighbour in the history is never
    returned.

    References:
        Deshpande & Karypis 2004, doi:10.1145/963770.963776 (the model keeps k neighbours of every item a user
        has; rows are normalised on request); similarities, weights and shrinkage as in Ferrari Dacrema et al.
        2021, doi:10.1145/3434185 (there with ``weighed = "everything"``, and k neighbours of every candidate).
    """

    role: ClassVar[Role] = "channel"
    space: ClassVar[Space] = {**SPACE, "normalise": Choice((False, True))}

    neighbours: PositiveInt = NEIGHBOURS
    """Neighbours kept of every item. Of smaller catalogues the default takes all; another number is refused there."""
    shrink: NonNegativeFloat = 50.0
    """Added to what divides the product: similarities that rest on few users count less. Not of ``dot``."""
    weighting: Weighting = "none"
    """``none``: a user has an item or not; else event weights count, and users of many items less."""
    weighed: Weighed = "similarity"
    """Where weights count: in the ``similarity`` alone, or in the sum as well (``everything``: with bm25 items of many
    users count less in a history; with tf-idf all items of a user weigh alike)."""
    similarity: Similarity = "cosine"
    """Of the items' user columns; ``dot``: their plain product (co-occurrence counts). Sets of users are compared by
    ``jaccard``, ``dice`` and ``tversky``."""
    alpha: NonNegativeFloat = 0.5
    """``asymmetric``: exponent of the item that the user has, 1/2 is the cosine. ``tversky``: weight of the users that
    only this one has. No part in the others."""
    beta: NonNegativeFloat = 0.5
    """``tversky``: weight of the users that only the neighbour has. No part in the others."""
    normalise: bool = False
    """Make the similarities of every item to its neighbours sum to 1, so that each item of a history counts alike."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Build the neighbour table.

        Raises:
            ConfigError: More neighbours are asked for than an item can have.
        """
        from stagelens.recall.interaction.products import Sparse, top_products

        window = data.interactions
        most = possible(self.label, self.neighbours, window.n_items, "item")
        by_user = weighted(window.matrix(weighted=self.weighting != "none"), self.weighting)
        by_item = by_user.T.tocsr()
        size = squared(by_item)
        by = divisor(self.similarity, size, size, shrink=self.shrink, alpha=self.alpha, beta=self.beta)
        # A fixed order, not the seed's: the fit is the same for every seed, and ties do not follow item
        # codes.
        tie = tie_order(0, window.n_items)
        sides = (Sparse.of(by_item), Sparse.of(by_user))
        item, score = top_products(*sides, by, each_other(window.n_items), tie, most, rising=True)
        weight = None
        if self.weighed == "everything" and self.weighting == "bm25":
            length = np.diff(by_item.indptr).astype(np.float64)
            once, mean = np.ones(len(length)), length[length > 0].mean() if length.any() else 1.0
            weight = entry_weights(once, length / mean, once, "bm25")
        return NeighbourTable.of_rows(self.label, item, score, normalise=self.normalise, weight=weight)

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        return NeighbourTable.load(self.label, saved)

    def exact(self) -> ItemKNN:
        """Return itself: the neighbour table is the model, not an index of it."""
        return self
