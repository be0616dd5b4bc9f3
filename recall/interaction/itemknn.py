"""Item-KNN: what the neighbours of a user's items are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveInt

from stagelens.pipeline.contracts import FittedChannel, Saved
from stagelens.pipeline.core import (
    Candidates,
    Float32,
    Int32,
    Int64,
    Interactions,
    Lists,
    Queries,
    TrainingData,
)
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import tie_order

if TYPE_CHECKING:
    from stagelens.recall.interaction.products import Sparse

NEIGHBOURS = 100
BM25_K1, BM25_B = 1.2, 0.75
"""Saturation and length normalisation of Robertson & Zaragoza 2009."""


@recipe
class ItemKNN(Recipe):
    """Item-based nearest neighbours: a candidate's score is the sum of its similarity to the user's items.

    Every item keeps its most similar items; an item that is nobody's neighbour in the history is never
    returned.

    References:
        Deshpande & Karypis 2004, doi:10.1145/963770.963776 (the model keeps k neighbours of every item a user
        has; rows are not normalised); shrinkage as in Ferrari Dacrema et al. 2021, doi:10.1145/3434185.
    """

    role: ClassVar[Role] = "channel"

    neighbours: PositiveInt = NEIGHBOURS
    """Neighbours kept of every item. Of smaller catalogues the default takes all; another number is refused there."""
    shrink: NonNegativeFloat = 50.0
    """Added to the product of the norms: similarities that rest on few users count less."""
    weighting: Literal["none", "tf-idf", "bm25"] = "none"
    """``none``: a user has an item or not; else event weights count, and users of many items less."""
    similarity: Literal["cosine", "dot"] = "cosine"
    """``cosine`` of the items' user columns, or their plain product (``dot``: co-occurrence counts)."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Build the neighbour table.

        Raises:
            ConfigError: More neighbours are asked for than an item can have.
        """
        from stagelens.recall.interaction.products import Sparse, top_products

        window = data.interactions
        most = max(window.n_items - 1, 1)
        if self.neighbours > most and self.neighbours != NEIGHBOURS:
            raise ConfigError(
                f"{self.label}: neighbours = {self.neighbours} of {window.n_items} items: an item has at most {most} "
                f"neighbours. Set neighbours to {most} or less, or leave it out"
            )
        by_user = _weighted(window, self.weighting)
        by_item = by_user.T.tocsr()
        norm = np.ones(window.n_items, np.float32)
        if self.similarity == "cosine":
            norm = np.sqrt(np.asarray(by_item.multiply(by_item).sum(axis=1)).ravel()).astype(np.float32)
        own = np.arange(window.n_items + 1, dtype=np.int64)
        diagonal = Lists(own, own[:-1].astype(np.int32))
        shrink = self.shrink if self.similarity == "cosine" else 0.0
        table = (Sparse.of(by_item), Sparse.of(by_user), norm, norm)
        # A fixed order, not the seed's: the fit is the same for every seed, and ties do not follow item
        # codes.
        tie = tie_order(0, window.n_items)
        item, score = top_products(*table, shrink, diagonal, tie, min(self.neighbours, most))
        kept = (item >= 0) & (score > 0)
        indptr = np.zeros(window.n_items + 1, np.int64)
        np.cumsum(kept.sum(axis=1), out=indptr[1:])
        return FittedItemKNN(self.label, indptr, item[kept], score[kept])

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        arrays = saved.arrays
        return FittedItemKNN(self.label, arrays["indptr"], arrays["neighbour"], arrays["similarity"])

    def exact(self) -> ItemKNN:
        """Return itself: the neighbour table is the model, not an index of it."""
        return self


def _weighted(window: Interactions, weighting: str) -> Any:
    """Return the weighted CSR [U, I], float32."""
    matrix = window.matrix(weighted=weighting != "none")
    if weighting == "none" or not matrix.nnz:
        return matrix
    degree = np.bincount(matrix.indices, minlength=window.n_items)
    user = np.repeat(np.arange(window.n_users), np.diff(matrix.indptr))
    rarity = np.log((1.0 + window.n_items) / (1.0 + np.diff(matrix.indptr)))[user]
    value = matrix.data.astype(np.float64)
    if weighting == "tf-idf":
        value = np.sqrt(value)
    else:
        length = degree[matrix.indices] / degree[degree > 0].mean()
        value = value * (BM25_K1 + 1) / (value + BM25_K1 * (1 - BM25_B + BM25_B * length))
    matrix.data = (value * rarity).astype(np.float32)
    return matrix


@dataclass(frozen=True, slots=True, eq=False)
class FittedItemKNN:
    """The neighbour table.

    Attributes:
        name: The channel's label.
        indptr: int64 [I + 1].
        neighbour: int32 [N], best first.
        similarity: float32 [N], positive.
    """

    name: str
    indptr: Int64
    neighbour: Int32
    similarity: Float32

    @property
    def is_exact(self) -> bool:
        """There is no index."""
        return True

    @property
    def index_bytes(self) -> int:
        """Bytes of the neighbour table."""
        return int(self.indptr.nbytes + self.neighbour.nbytes + self.similarity.nbytes)

    @property
    def parameters(self) -> int:
        """Similarities kept."""
        return len(self.similarity)

    def _sides(self, queries: Queries) -> tuple[Sparse, Sparse]:
        from stagelens.recall.interaction.products import Sparse

        history = queries.history.sorted()
        ones: NDArray[np.float32] = np.ones(len(history.items), np.float32)
        return Sparse(history.indptr, history.items, ones), Sparse(
            self.indptr, self.neighbour, self.similarity
        )

    def retrieve(self, queries: Queries, depth: int) -> Candidates:
        """Return the unseen items with the highest summed similarity."""
        from stagelens.recall.interaction.products import top_products

        left = np.ones(len(queries), np.float32)
        right = np.ones(queries.n_items, np.float32)
        item, score = top_products(*self._sides(queries), left, right, 0.0, queries.seen, queries.tie, depth)
        return Candidates.from_channel(self.name, queries.user, item, score)

    def score(self, queries: Queries, items: Int32) -> Float32:
        """Return float32 [Q, K]; NaN where the item is no neighbour of any item of the history."""
        from stagelens.recall.interaction.products import products_at

        return products_at(*self._sides(queries), queries.n_items, items)

    def save(self) -> Saved:
        """Return arrays."""
        return Saved({"indptr": self.indptr, "neighbour": self.neighbour, "similarity": self.similarity})
