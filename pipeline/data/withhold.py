"""Modality sparsity: part of the items keep their vectors, and a policy says what the others get."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from stagelens.pipeline.core import ModalityTable, TrainingData
from stagelens.pipeline.data.impute import Impute
from stagelens.pipeline.data.knockout import Availability
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import derive


@recipe
class Withhold(Recipe):
    """Withholds the vectors of all but a share of the items, then fills what is missing by a policy.

    Who keeps a vector is drawn with ``draw`` alone: a smaller share is part of a larger one, policies and study seeds
    share the draw. The policies are those of ``Impute``; they also fill what was missing before.
    """

    role: ClassVar[Role] = "treatment"

    share: float = Field(default=0.5, ge=0, le=1)
    """Share of the items with a vector that keep it."""
    policy: Literal["absent", "mean", "from"] = "absent"
    """absent: the others lack the modality. mean: they get the mean vector. from: predicted from ``source``."""
    source: str | None = None
    """The modality predicted from; with ``policy = "from"`` only."""
    draw: int = 0
    """Moves who keeps a vector."""

    def __post_init__(self) -> None:
        if (self.policy == "from") != (self.source is not None):
            raise ValueError(
                f"policy = {self.policy!r} and source = {self.source!r}: 'from' needs a source, "
                'e.g. source = "text"; the others take none'
            )

    def apply(self, table: ModalityTable, data: TrainingData, *, seed: int) -> ModalityTable:
        """Return the table with fewer vectors, filled where there is one left to fill from; ``seed`` moves nothing.

        Raises:
            ConfigError: The treatment changed nothing.
        """
        fixed = derive(self.draw, "withhold")
        if self.share < 1 or self.policy == "absent":
            table = Availability(dose=1 - self.share).apply(table, data, seed=fixed)
        if self.policy == "absent" or not table.present.any():
            return table
        policy = Impute(policy=self.policy, source=self.source)
        return policy.apply(table, data, seed=fixed)
