"""User-KNN: what the users most like this one have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from stagelens.pipeline.contracts import FittedChannel, Saved
from stagelens.pipeline.core import Candidates, Float32, Int32, Int64, Lists, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import tie_order
from stagelens.pipeline.space import Space, Whole
from stagelens.recall.interaction.neighbours import NEIGHBOURS, normalised, possible
from stagelens.recall.interaction.similarity import (
    SPACE,
    Similarity,
    Weighed,
    Weighting,
    divisor,
    entry_weights,
    rarity,
    squared,
    weighted,
)

if TYPE_CHECKING:
    from stagelens.recall.interaction.products import Sparse


@recipe
class UserKNN(Recipe):
    """User-based nearest neighbours: a candidate's score is the sum of the similarities of the neighbours who have it.

    The neighbours are found at query time, from the history that the query brings: a user outside the fit window
    is served like any other, and one inside it is never its own neighbour.

    References:
        Herlocker, Konstan, Borchers & Riedl 1999, doi:10.1145/312624.312682, for positives only; similarities,
        weights and shrinkage as in Ferrari Dacrema et al. 2021, doi:10.1145/3434185 (there with ``weighed =
        "everything"``).
    """

    role: ClassVar[Role] = "channel"
    space: ClassVar[Space] = {**SPACE, "neighbours": Whole(5, 1000, fewer_than="users")}

    neighbours: PositiveInt = NEIGHBOURS
    """Neighbours of every query. Of fewer users the default takes all; another number is refused there."""
    shrink: NonNegativeFloat = 50.0
    """Added to what divides the product: similarities that rest on few items count less. Not of ``dot``."""
    weighting: Weighting = "none"
    """``none``: a user has an item or not; else event weights count, and items of many users less (in a query an
    item counts as often as it stands in the history)."""
    weighed: Weighed = "similarity"
    """Where weights count: in the ``similarity`` alone, or in the sum as well (``everything``: the items of a neighbour
    count with their weights, rare ones more)."""
    similarity: Similarity = "cosine"
    """Of the users' item rows; ``dot``: their plain product. Sets of items are compared by ``jaccard``, ``dice`` and
    ``tversky``."""
    alpha: NonNegativeFloat = 0.5
    """``asymmetric``: exponent of the user who asks, 1/2 is the cosine. ``tversky``: weight of the items that only this
    user has. No part in the others."""
    beta: NonNegativeFloat = 0.5
    """``tversky``: weight of the items that only the neighbour has. No part in the others."""
    normalise: bool = False
    """Make the similarities of every query's neighbours sum to 1: a score is then the share of the neighbours that has
    the item. The order of a list stays."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Keep the window, ready to be searched by item.

        Raises:
            ConfigError: More neighbours are asked for than a user can have.
        """
        from stagelens.recall.interaction.products import Sparse

        window = data.interactions
        possible(self.label, self.neighbours, window.n_users, "user")
        by_item = window.matrix(weighted=self.weighting != "none").T.tocsr()
        return FittedUserKNN.of(self, Sparse.of(weighted(by_item, self.weighting)), window.n_users)

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        from stagelens.recall.interaction.products import Sparse

        arrays = saved.arrays
        by_item = Sparse(arrays["indptr"], arrays["user"], arrays["weight"])
        return FittedUserKNN.of(self, by_item, int(saved.meta["users"]))

    def exact(self) -> UserKNN:
        """Return itself: every user is compared, there is no index."""
        return self


@dataclass(frozen=True, slots=True, eq=False)
class FittedUserKNN:
    """The users of the window, by item.

    Attributes:
        recipe: Says how users are compared.
        by_item: I rows of users with the weights of their entries.
        by_user: U rows of items, with what each counts in a sum.
        size: [U], squared norms of the users.
    """

    recipe: UserKNN
    by_item: Sparse
    by_user: Sparse
    size: Float32

    @classmethod
    def of(cls, recipe: UserKNN, by_item: Sparse, n_users: int) -> FittedUserKNN:
        """Derive what is not stored."""
        from scipy.sparse import csr_array

        from stagelens.recall.interaction.products import Sparse

        matrix = csr_array(
            (by_item.value, by_item.column, by_item.indptr), shape=(len(by_item.lengths), n_users)
        )
        across = matrix.T.tocsr()
        size = squared(across).astype(np.float32)
        by_user = Sparse.of(across)
        if recipe.weighed == "similarity":
            by_user = by_user._replace(value=np.ones_like(by_user.value))
        return cls(recipe, by_item, by_user, size)

    @property
    def name(self) -> str:
        """The channel's label."""
        return self.recipe.label

    @property
    def is_exact(self) -> bool:
        """There is no index."""
        return True

    @property
    def index_bytes(self) -> int:
        """Bytes of the window in both directions."""
        parts = (*self.by_item, *self.by_user, self.size)
        return int(sum(part.nbytes for part in parts))

    @property
    def parameters(self) -> int:
        """Entries kept: nothing is learned beyond them."""
        return len(self.by_item.value)

    def _asking(self, history: Lists) -> tuple[Sparse, Float32]:
        """Return the weighted histories and their squared norms."""
        from stagelens.recall.interaction.products import Sparse

        matrix = _counts(history, len(self.by_item.lengths))
        if self.recipe.weighting != "none":
            lengths = self.by_user.lengths
            mean = lengths[lengths > 0].mean() if lengths.any() else 1.0
            own = np.repeat(np.diff(matrix.indptr), np.diff(matrix.indptr)) / mean
            rare = rarity(self.by_item.lengths, len(lengths))[matrix.indices]
            matrix.data = entry_weights(matrix.data.astype(np.float64), own, rare, self.recipe.weighting)
        else:
            matrix.data[:] = 1.0
        return Sparse.of(matrix), squared(matrix).astype(np.float32)

    def _neighbours(self, queries: Queries) -> Sparse:
        """Return the neighbours of every query, best first."""
        from stagelens.recall.interaction.products import Sparse, top_products

        told = self.recipe
        asking, size = self._asking(queries.history)
        by = divisor(told.similarity, size, self.size, shrink=told.shrink, alpha=told.alpha, beta=told.beta)
        themselves = Lists(np.arange(len(queries) + 1, dtype=np.int64), queries.user)
        tie = tie_order(0, len(self.size))
        most = min(told.neighbours, max(len(self.size) - 1, 1))
        user, score = top_products(asking, self.by_item, by, themselves, tie, most, rising=True)
        kept = (user >= 0) & (score > 0)
        indptr: Int64 = np.zeros(len(queries) + 1, np.int64)
        np.cumsum(kept.sum(axis=1), out=indptr[1:])
        weight = score[kept]
        if told.normalise:
            weight = normalised(weight, np.nonzero(kept)[0], len(queries))
        return Sparse(indptr, user[kept], weight)

    def retrieve(self, queries: Queries, depth: int) -> Candidates:
        """Return the unseen items with the highest sum of similarities of the neighbours who have them."""
        from stagelens.recall.interaction.products import Divisor, top_products

        plain = Divisor.one(len(queries), queries.n_items)
        near = self._neighbours(queries)
        item, score = top_products(near, self.by_user, plain, queries.seen, queries.tie, depth, rising=True)
        return Candidates.from_channel(self.name, queries.user, item, score)

    def score(self, queries: Queries, items: Int32) -> Float32:
        """Return float32 [Q, K]; NaN where no neighbour has the item."""
        from stagelens.recall.interaction.products import products_at

        return products_at(self._neighbours(queries), self.by_user, queries.n_items, items)

    def save(self) -> Saved:
        """Return arrays; the rest follows from them."""
        indptr, user, weight = self.by_item
        return Saved({"indptr": indptr, "user": user, "weight": weight}, {"users": len(self.size)})


def _counts(history: Lists, n_items: int) -> Any:
    """Return float32 CSR [Q, I]: how often an item stands in a history."""
    from scipy.sparse import csr_array

    ones = np.ones(len(history.items), np.float32)
    parts = (ones, history.items, history.indptr)
    matrix = csr_array(parts, shape=(len(history), n_items), copy=True)  # adding up is in place
    matrix.sum_duplicates()
    return matrix
