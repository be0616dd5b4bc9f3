"""A fitted table of weights between items, served by the user's history: what the channels around it share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Candidates, Float32, Int32, Int64, Lists, Queries
from stagelens.pipeline.errors import ConfigError

if TYPE_CHECKING:
    from stagelens.recall.interaction.products import Sparse

NEIGHBOURS = 100
"""The default; of smaller catalogues it takes all."""


def possible(label: str, neighbours: int, of: int, what: str) -> int:
    """Return how many neighbours are kept of one of ``of`` things.

    Raises:
        ConfigError: More are asked for than there can be, and it is not the default.
    """
    most = max(of - 1, 1)
    if neighbours > most and neighbours != NEIGHBOURS:
        article = "an" if what == "item" else "a"
        raise ConfigError(
            f"{label}: neighbours = {neighbours} of {of} {what}s: {article} {what} has at most {most} "
            f"neighbours. Set neighbours to {most} or less, or leave it out"
        )
    return min(neighbours, most)


def each_other(n: int) -> Lists:
    """Return lists that leave out the diagonal: row i holds i."""
    own = np.arange(n + 1, dtype=np.int64)
    return Lists(own, own[:-1].astype(np.int32))


def normalised(score: Float32, owner: NDArray[Any], rows: int) -> Float32:
    """Return the scores of every row over their sum.

    Args:
        score: float32 [N], positive.
        owner: int [N], the row of each.
        rows: Number of rows.
    """
    total = np.bincount(owner, weights=score, minlength=rows)
    share: Float32 = (score / total[owner]).astype(np.float32)
    return share


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourTable:
    """Weights from every item to the items it speaks for.

    Attributes:
        name: The channel's label.
        indptr: int64 [I + 1].
        neighbour: int32 [N], distinct in a row.
        similarity: float32 [N], never 0.
    """

    name: str
    indptr: Int64
    neighbour: Int32
    similarity: Float32

    @classmethod
    def of_rows(
        cls, name: str, item: Int32, score: Float32, *, normalise: bool, weight: Float32 | None = None
    ) -> NeighbourTable:
        """Wrap the best neighbours of every item.

        Args:
            name: The channel's label.
            item: int32 [I, K], best first, padded.
            score: float32 [I, K]; what is not positive is left out.
            normalise: Make the similarities of a row sum to 1.
            weight: float32 [I]: what every item of a history counts; None: all alike.
        """
        kept = (item >= 0) & (score > 0)
        indptr = np.zeros(len(item) + 1, np.int64)
        np.cumsum(kept.sum(axis=1), out=indptr[1:])
        near, owner = score[kept], np.nonzero(kept)[0]
        if normalise:
            near = normalised(near, owner, len(item))
        return cls(name, indptr, item[kept], near if weight is None else near * weight[owner])

    @classmethod
    def of_targets(
        cls, name: str, present: Int32, item: Int32, score: Float32, n_items: int
    ) -> NeighbourTable:
        """Wrap what predicts every item.

        Args:
            name: The channel's label.
            present: int32 [P], codes of the items that have a place.
            item: int32 [P, K], places of the items that predict the one at this place, padded.
            score: float32 [P, K]; what is 0 is left out.
            n_items: I.
        """
        from scipy.sparse import csr_array

        place, column = np.nonzero((item >= 0) & (score != 0) & np.isfinite(score))
        parts = (score[place, column], (present[item[place, column]], present[place]))
        matrix = csr_array(parts, shape=(n_items, n_items))
        indptr = matrix.indptr.astype(np.int64)
        return cls(name, indptr, matrix.indices.astype(np.int32), matrix.data.astype(np.float32))

    @classmethod
    def load(cls, name: str, saved: Saved) -> NeighbourTable:
        """Read a saved table back."""
        arrays = saved.arrays
        return cls(name, arrays["indptr"], arrays["neighbour"], arrays["similarity"])

    @property
    def is_exact(self) -> bool:
        """There is no index."""
        return True

    @property
    def index_bytes(self) -> int:
        """Bytes of the table."""
        return int(self.indptr.nbytes + self.neighbour.nbytes + self.similarity.nbytes)

    @property
    def parameters(self) -> int:
        """Weights kept."""
        return len(self.similarity)

    def _sides(self, queries: Queries) -> tuple[Sparse, Sparse]:
        from stagelens.recall.interaction.products import Sparse

        history = queries.history.sorted()
        ones: NDArray[np.float32] = np.ones(len(history.items), np.float32)
        return Sparse(history.indptr, history.items, ones), Sparse(
            self.indptr, self.neighbour, self.similarity
        )

    def retrieve(self, queries: Queries, depth: int) -> Candidates:
        """Return the unseen items with the highest sum of weights."""
        from stagelens.recall.interaction.products import Divisor, top_products

        plain = Divisor.one(len(queries), queries.n_items)
        item, score = top_products(*self._sides(queries), plain, queries.seen, queries.tie, depth)
        return Candidates.from_channel(self.name, queries.user, item, score)

    def score(self, queries: Queries, items: Int32) -> Float32:
        """Return float32 [Q, K]; NaN where the item is no neighbour of any item of the history."""
        from stagelens.recall.interaction.products import products_at

        return products_at(*self._sides(queries), queries.n_items, items)

    def save(self) -> Saved:
        """Return arrays."""
        return Saved({"indptr": self.indptr, "neighbour": self.neighbour, "similarity": self.similarity})
