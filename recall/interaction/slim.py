"""SLIM: sparse linear models of items, by elastic net and by pairwise ranking."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from stagelens.pipeline.contracts import FittedChannel, Saved
from stagelens.pipeline.core import Float64, Int32, Interactions, Lists, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.pipeline.space import Choice, Real, Space, Whole
from stagelens.recall.interaction.neighbours import NEIGHBOURS, NeighbourTable, possible
from stagelens.recall.interaction.square import best_of_rows, mirror, need

INSTEAD = "Use recall.RP3beta or recall.ItemKNN, whose tables are sparse, or fewer items"
SWEEPS = 100


def _present(window: Interactions) -> tuple[Int32, Any]:
    """Return the codes of the items that somebody has and the binary CSR [U, P] of them."""
    present = np.flatnonzero(window.item_degree()).astype(np.int32)
    return present, window.matrix()[:, present]


@recipe
class SLIM(Recipe):
    """Every item's column of the binary matrix as a sparse, positive sum of other items' columns: an elastic net.

    Minimises |X - X W|² / 2 + l2 |W|² / 2 + l1 |W|₁ over W >= 0 with zero diagonal, by cyclic coordinate descent on
    XᵀX; an item that shares l1 users or fewer with another never helps to predict it. A candidate's score is the
    sum of its weights from the history. In the terms of scikit-learn's elastic net on U users (as in Ferrari
    Dacrema et al. 2021, doi:10.1145/3434185), l1 = U alpha l1_ratio and l2 = U alpha (1 - l1_ratio).

    References:
        Ning & Karypis 2011, doi:10.1109/ICDM.2011.134; coordinate descent as in Friedman, Hastie & Tibshirani
        2010, doi:10.18637/jss.v033.i01. McElfresh et al. 2022, arXiv:2206.11886, search alpha and l1_ratio; the ranges
        here are of l1 and l2 themselves and do not grow with U.
    """

    role: ClassVar[Role] = "channel"
    space: ClassVar[Space] = {
        "neighbours": Whole(5, 1000, fewer_than="items"),
        "l1": Real(1e-3, 1e2, log=True),
        "l2": Real(1e-1, 1e4, log=True),
    }

    l1: NonNegativeFloat = 0.1
    """Weight of the sum of the weights: larger, sparser. From 1 on, items that share a single user are
    nothing to each other."""
    l2: NonNegativeFloat = 50.0
    """Weight of the squared weights."""
    neighbours: PositiveInt = NEIGHBOURS
    """Largest weights kept of every predicted item. Of smaller catalogues the default takes all; another number is
    refused there."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Fit one elastic net an item.

        Raises:
            ConfigError: More neighbours are asked for than an item can have, or the Gram matrix does not fit the
                memory.
        """
        from stagelens.recall.interaction.products import Sparse
        from stagelens.recall.interaction.slim_kernel import elastic_net, gram

        window = data.interactions
        keep = possible(self.label, self.neighbours, window.n_items, "item")
        present, matrix = _present(window)
        held = f"pairs of {len(present):,} items"
        square = gram(
            Sparse.of(matrix.T.tocsr()),
            Sparse.of(matrix),
            lambda entries: need(self.label, held, 8 * entries, INSTEAD),
        )
        own = np.bincount(matrix.indices, minlength=len(present)).astype(np.float64)
        tie = tie_order(0, len(present))
        item, weight = elastic_net(square, own, self.l1, self.l2, keep, tie, sweeps=SWEEPS)
        return NeighbourTable.of_targets(self.label, present, item, weight, window.n_items)

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        return NeighbourTable.load(self.label, saved)

    def exact(self) -> SLIM:
        """Return itself: there is no index."""
        return self


@recipe
class SLIMBPR(Recipe):
    """Item-item weights that rank what a user has above what it lacks, learned by stochastic gradient steps.

    One step draws a user, an item of the user's and one that is not, and moves the weights from the user's history
    to both along the BPR criterion. A candidate's score is the sum of its weights from the history. Memory grows
    with I²; what does not fit is refused.

    References:
        Rendle, Freudenthaler, Gantner & Schmidt-Thieme 2009, arXiv:1205.2618 (adaptive k-nearest-neighbours);
        sampling, optimisers and cut as in Ferrari Dacrema et al. 2021, doi:10.1145/3434185, and McElfresh et al.
        2022, arXiv:2206.11886, whose ``lambda_j`` feeds the weights of the drawn negative: here it shrinks them,
        as in Rendle et al.
    """

    role: ClassVar[Role] = "channel"
    seeded: ClassVar[bool] = True
    space: ClassVar[Space] = {
        "neighbours": Whole(5, 1000, fewer_than="items"),
        "symmetric": Choice((True, False)),
        "optimiser": Choice(("sgd", "adagrad", "adam")),
        "lambda_i": Real(1e-5, 1e-2, log=True),
        "lambda_j": Real(1e-5, 1e-2, log=True),
        "learning_rate": Real(1e-4, 1e-1, log=True),
    }

    neighbours: PositiveInt = NEIGHBOURS
    """Highest weights kept of every candidate. Of smaller catalogues the default takes all; another number is refused
    there."""
    symmetric: bool = True
    """One weight for both directions of a pair of items."""
    optimiser: Literal["sgd", "adagrad", "rmsprop", "adam"] = "adagrad"
    """Plain steps, or steps scaled by what an item's gradients were."""
    learning_rate: PositiveFloat = 0.01
    """Length of a step."""
    lambda_i: NonNegativeFloat = 1e-4
    """Weight of the squared weights towards the item that the user has."""
    lambda_j: NonNegativeFloat = 1e-4
    """Weight of the squared weights towards the item that the user lacks."""
    epochs: PositiveInt = 100
    """Of as many draws as there are users."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Learn step by step, on one thread.

        Raises:
            ConfigError: More neighbours are asked for than an item can have, or the weights do not fit the memory.
        """
        from stagelens.recall.interaction.slim_kernel import pairwise_steps

        window = data.interactions
        keep = possible(self.label, self.neighbours, window.n_items, "item")
        present, matrix = _present(window)
        need(self.label, f"{len(present):,} items in float32", 4 * len(present) ** 2, INSTEAD)
        rng = generator(seed, "slim-bpr")

        def draws(number: int) -> Float64:
            return rng.random((number, 3))

        weight = pairwise_steps(
            Lists(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)),
            draws,
            epochs=self.epochs,
            optimiser=self.optimiser,
            symmetric=self.symmetric,
            rate=self.learning_rate,
            lambda_i=self.lambda_i,
            lambda_j=self.lambda_j,
            size=len(present),
        )
        if self.symmetric:
            mirror(weight)
        item, value = best_of_rows(weight, keep, by_size=False)
        return NeighbourTable.of_targets(self.label, present, item, value, window.n_items)

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        return NeighbourTable.load(self.label, saved)

    def exact(self) -> SLIMBPR:
        """Return itself: there is no index."""
        return self
