"""Values of a sparsity study: its budgets, and the curves that its arms form over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from stagelens.pipeline.core import Bool, Int64, Split
from stagelens.pipeline.evaluate.crossed import crossed, time_slices
from stagelens.pipeline.evaluate.curves import Axis
from stagelens.pipeline.evaluate.slices import Slice
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.arms import Plan
from stagelens.pipeline.experiment.options import Study

Key = tuple[str, str, str]
Part = Literal["reference", "channel", "base", "alone", "on", "permuted"]


@dataclass(frozen=True, slots=True)
class Point:
    """One budget.

    Attributes:
        label: ``20 %``, ``k = 5`` or ``all``.
        share: What is kept of what is thinned, 0 to 1; as asked for, or of the training interactions where k is.
    """

    label: str
    share: float


@dataclass(frozen=True, slots=True)
class Curve:
    """One system at every budget, everything kept first.

    Attributes:
        system: Its name, without the budget.
        stage: ``recall`` or ``both``.
        part: What it is in the study.
        modality: The modality in question, or None.
        keys: Of its arms, one a point.
    """

    system: str
    stage: str
    part: Part
    modality: str | None
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """Items or users that a budget marks: those that lost everything, and the others.

    Attributes:
        slice: Name of the slice, with the budget's label behind `` at ``.
        value: ``cold`` or ``warm``, ``withheld`` or ``kept``.
        side: What is marked.
        members: bool [I] or [U].
    """

    slice: str
    value: str
    side: Literal["items", "users"]
    members: Bool

    def part(self, truth: Truth) -> Slice:
        """Return the slice of the pairs of marked items or users."""
        if self.side == "items":
            return Slice(self.slice, self.value, self.members[truth.pair_item])
        return Slice(self.slice, self.value, self.members[truth.user][truth.pair_row])


@dataclass(frozen=True, eq=False)
class SparsityPlan(Plan):
    """A plan with the curves that its arms form.

    Attributes:
        points: Budgets, everything kept first.
        curves: Systems over the budgets.
        axis: Where budgets stand, for areas and crossings.
        degrees: By label: int64 [I], training interactions that are kept of every item; empty where a modality is
            thinned.
        marked: Items and users that budgets mark.
        notes: For the reader.
    """

    points: tuple[Point, ...] = ()
    curves: tuple[Curve, ...] = ()
    axis: Axis = field(default_factory=lambda: Axis("log"))
    degrees: Mapping[str, Int64] = field(default_factory=dict)
    marked: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = ()

    def curve(self, stage: str, part: Part, modality: str | None = None) -> Curve | None:
        """Return the first curve of a part, None where there is none."""
        found = (c for c in self.curves if (c.stage, c.part, c.modality) == (stage, part, modality))
        return next(found, None)


def slices_of_sparsity(study: Study, plan: Plan, split: Split, truth: Truth) -> list[Slice]:
    """Return slices by time, by user and item degree crossed, and of what budgets mark.

    Raises:
        TypeError: A plan of another kind of study.
    """
    if not isinstance(plan, SparsityPlan):
        raise TypeError(f"slices_of_sparsity takes a SparsityPlan, not {type(plan).__name__}")
    found = time_slices(truth, split.test) if split.clock == "real" else []
    found += crossed(truth, split.train.user_degree(), split.train.item_degree())
    return [*found, *(mark.part(truth) for mark in plan.marked)]
