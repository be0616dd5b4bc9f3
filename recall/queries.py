"""How a history becomes query vectors.

An item counts once, at its latest place; items without a vector are skipped; a user left with none gets no
query vector. A user's vectors never depend on the other users of the block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import PositiveFloat, PositiveInt

from stagelens.pipeline.core import Float32, Int32, Lists
from stagelens.pipeline.recipe import Recipe, Role, recipe


class UserVectors(Recipe, ABC):
    """Base of the recipes that turn histories into query vectors."""

    role: ClassVar[Role] = "queries"

    @abstractmethod
    def vectors(self, history: Lists, table: Float32, position: Int32) -> tuple[Float32, Int32]:
        """Return the query vectors of every history.

        Args:
            history: Lists with Q rows, oldest first.
            table: float32 [G, D], item vectors.
            position: int32 [I], the row of each item in ``table``; -1: the item has no vector.

        Returns:
            float32 [V, D] and int32 [V], the query row of each, increasing.
        """


@recipe
class Mean(UserVectors):
    """The mean of the user's items."""

    def vectors(self, history: Lists, table: Float32, position: Int32) -> tuple[Float32, Int32]:
        """Return one vector a query."""
        from stagelens.pipeline.gather import pooled

        return pooled(history, table, position)


@recipe
class Decayed(UserVectors):
    """The mean of the user's items, newer ones weighing more."""

    half_life: PositiveFloat = 5.0
    """Items after which a weight has halved."""

    def vectors(self, history: Lists, table: Float32, position: Int32) -> tuple[Float32, Int32]:
        """Return one vector a query."""
        from stagelens.pipeline.gather import pooled

        return pooled(history, table, position, decay=0.5 ** (1.0 / self.half_life))


@recipe
class LastN(UserVectors):
    """The mean of the user's newest items."""

    n: PositiveInt = 5
    """Newest distinct items that have a vector."""

    def vectors(self, history: Lists, table: Float32, position: Int32) -> tuple[Float32, Int32]:
        """Return one vector a query."""
        from stagelens.pipeline.gather import pooled

        return pooled(history, table, position, limit=self.n)


@recipe
class Interests(UserVectors):
    """Several vectors a user: the means of clusters of the user's items; an item scores with the nearest one.

    Lloyd's k-means from a farthest-point start that opens with the newest item: no randomness, the same for a
    user in any block.

    References:
        Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5 (farthest-point start); Pal et al. 2020, PinnerSage,
        arXiv:2007.03634 (several interest vectors a user; there Ward clustering and medoids).
    """

    n: PositiveInt = 4
    """Vectors a user at most; users with fewer distinct items have fewer."""
    last: PositiveInt | None = None
    """Newest distinct items that are clustered; None: all."""

    def vectors(self, history: Lists, table: Float32, position: Int32) -> tuple[Float32, Int32]:
        """Return up to ``n`` vectors a query."""
        from stagelens.recall.interests import clustered

        return clustered(history, table, position, n=self.n, limit=-1 if self.last is None else self.last)
