"""Projected: one learned linear projection a signal, trained on the interactions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from stagelens.fusion.signals import FittedFusion, Fusion
from stagelens.pipeline.core import TrainingData
from stagelens.pipeline.errors import require
from stagelens.pipeline.recipe import recipe


@recipe
class Projected(Fusion):
    """An item is the sum of its scaled signals, each through a linear projection of its own.

    The projections start as the principal axes of ``PCA`` and learn to tell an item of the user from the other
    items of the batch: a user is the mean of the history's item vectors, the item in question left out, scores
    are dot products, and the loss is the batch softmax corrected for how often an item stands in a batch. Items
    beside the pair's own that are the same item do not count as negatives. Training ends after ``epochs``;
    nothing is read but the fit window. Vectors made by a recipe have seen the pairs that teach: the projection
    trusts them more than held-out pairs would justify.

    References:
        Yi et al. 2019, doi:10.1145/3298689.3346996 (batch softmax with correction by the logarithm of the
        sampling share; here the share is the item's in the window, scores are not normalised, and there is no
        temperature).
    """

    seeded: ClassVar[bool] = True

    width: PositiveInt = 64
    """Width of the space."""
    epochs: PositiveInt = 3
    """Passes over the pairs of the window."""
    pairs: PositiveInt = 100_000
    """Pairs of a pass at most, a new draw each time."""
    batch: int = Field(default=1024, ge=2)
    """Pairs trained together: each is told from the items of the others."""
    learning_rate: PositiveFloat = 0.03
    """Step size of Adam."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedFusion:
        """Train the projections.

        Raises:
            ConfigError: No such modality.
            MissingExtra: torch is not installed.
        """
        require("torch", "neural")
        from stagelens.fusion.axes import principal, projected
        from stagelens.fusion.nn.projection import trained

        signals = [signal.scaled() for signal in self.signals(data, seed=seed)]
        rows = np.concatenate([signal.rows for signal in signals], axis=1)
        taught = np.any([signal.taught for signal in signals], axis=0)
        start, _ = principal(rows, taught, self.width)
        matrix = trained(rows, start, data.interactions, self.kept(signals), self, seed=seed)
        return self.fused(projected(rows, matrix), signals, matrix.size)
