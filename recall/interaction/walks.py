"""Random walks of three steps, from an item over its users to the items they have: P3alpha and RP3beta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from stagelens.pipeline.contracts import FittedChannel, Saved
from stagelens.pipeline.core import Interactions, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import tie_order
from stagelens.pipeline.space import Choice, Real, Space, Whole
from stagelens.recall.interaction.neighbours import NEIGHBOURS, NeighbourTable, each_other, possible

if TYPE_CHECKING:
    from stagelens.recall.interaction.products import Sparse

SPACE: Space = {
    "neighbours": Whole(5, 1000, fewer_than="items"),
    "alpha": Real(0.0, 2.0),
    "normalise": Choice((False, True)),
}
"""Ranges of McElfresh et al. 2022, arXiv 2206.11886."""


@recipe
class P3alpha(Recipe):
    """Walk from the user's items to a user of theirs and on to an item; a candidate's score is how likely it is met.

    Transition probabilities (1 over the degree) are raised to the power ``alpha``. The walk from every item is cut
    to its likeliest items, as in Ferrari Dacrema et al. 2021, doi:10.1145/3434185 (there every
    candidate's are cut as well).

    References:
        Cooper, Lee, Radzik & Siantos 2014, doi:10.1145/2567948.2579244.
    """

    role: ClassVar[Role] = "channel"
    space: ClassVar[Space] = SPACE

    neighbours: PositiveInt = NEIGHBOURS
    """Items kept of every walk. Of smaller catalogues the default takes all; another number is refused there."""
    alpha: NonNegativeFloat = 1.0
    """Exponent of the probabilities; below 1, walks over busy users and items lose less."""
    normalise: bool = False
    """Make what is kept of every walk sum to 1."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Walk from every item.

        Raises:
            ConfigError: More neighbours are asked for than an item can have.
        """
        window = data.interactions
        most = possible(self.label, self.neighbours, window.n_items, "item")
        return _walked(self.label, window, most, self.alpha, 0.0, normalise=self.normalise)

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        return NeighbourTable.load(self.label, saved)

    def exact(self) -> P3alpha:
        """Return itself: there is no index."""
        return self


@recipe
class RP3beta(Recipe):
    """P3alpha whose items are then divided by their popularity to the power ``beta``.

    References:
        Paudel, Christoffel, Newell & Bernstein 2017, doi:10.1145/2955101; the walk as in ``P3alpha``, divided
        before the cut to the neighbours.
    """

    role: ClassVar[Role] = "channel"
    space: ClassVar[Space] = {**SPACE, "beta": Real(0.0, 2.0)}

    neighbours: PositiveInt = NEIGHBOURS
    """Items kept of every walk. Of smaller catalogues the default takes all; another number is refused there."""
    alpha: NonNegativeFloat = 1.0
    """Exponent of the probabilities; below 1, walks over busy users and items lose less."""
    beta: NonNegativeFloat = 0.4
    """Exponent of the popularity; 0 is P3alpha."""
    normalise: bool = False
    """Make what is kept of every walk sum to 1."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Walk from every item.

        Raises:
            ConfigError: More neighbours are asked for than an item can have.
        """
        window = data.interactions
        most = possible(self.label, self.neighbours, window.n_items, "item")
        return _walked(self.label, window, most, self.alpha, self.beta, normalise=self.normalise)

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        return NeighbourTable.load(self.label, saved)

    def exact(self) -> RP3beta:
        """Return itself: there is no index."""
        return self


def _walked(
    name: str, window: Interactions, neighbours: int, alpha: float, beta: float, *, normalise: bool
) -> NeighbourTable:
    """Return the table of (item to user)^alpha @ (user to item)^alpha / popularity^beta."""
    from stagelens.recall.interaction.products import Divisor, top_products

    had = window.matrix()
    to_user, to_item = _steps(had.T.tocsr(), alpha), _steps(had, alpha)
    popularity = np.maximum(to_user.lengths, 1).astype(np.float64)
    by = Divisor(np.ones(window.n_items, np.float32), (popularity**beta).astype(np.float32))
    tie = tie_order(0, window.n_items)  # as in Item-KNN: the same for every seed, and not the codes
    item, score = top_products(to_user, to_item, by, each_other(window.n_items), tie, neighbours, rising=True)
    return NeighbourTable.of_rows(name, item, score, normalise=normalise)


def _steps(matrix: Any, alpha: float) -> Sparse:
    """Return the transition probabilities of every row of a binary CSR, to the power ``alpha``."""
    from stagelens.recall.interaction.products import Sparse

    degree = np.diff(matrix.indptr).astype(np.float64)
    step = np.repeat(np.maximum(degree, 1.0) ** -alpha, np.diff(matrix.indptr))
    return Sparse.of(matrix)._replace(value=step.astype(np.float32))
