"""Options of ``simulate sparsity``."""

from __future__ import annotations

import math
from typing import Literal

import pydantic
from pydantic import Field

from stagelens.pipeline.data import thinning
from stagelens.pipeline.data.thinning import COUNTED
from stagelens.pipeline.experiment.option_table import Options

How = Literal[thinning.How, "modality"]
Policy = Literal["absent", "mean", "from"]

SHARES = (100.0, 80.0, 60.0, 40.0, 20.0, 10.0, 5.0)
DEFAULTS: dict[str, tuple[float, ...]] = {
    "per-user": (10.0, 5.0, 3.0, 2.0, 1.0, 0.0),
    "per-item": (10.0, 5.0, 3.0, 2.0, 1.0, 0.0),
    "cold-items": (100.0, 90.0, 75.0, 50.0),
    "cold-users": (100.0, 90.0, 75.0, 50.0),
}
"""Budgets where none are given; other ways have ``SHARES``."""


class SparsityOptions(Options):
    """What is thinned, how far, and what is held meanwhile."""

    how: How = "uniform"
    """uniform, oldest, newest: which share of the training interactions is kept. per-user, per-item: k of each.
    cold-items, cold-users: a share of the items or users keeps all of them, the others lose all. modality: a share of
    the items with a vector keeps it."""
    budgets: tuple[float, ...] = ()
    """Per cent kept, or k with per-user and per-item; empty: the defaults of ``how``. Everything is always measured
    too."""
    order: Literal["random", "oldest", "newest"] = "random"
    """What k of each, cold-items and cold-users keep first; cold-items with oldest makes the newest items cold."""
    draw: int = Field(0, ge=0)
    """Moves what is drawn at random; the study seed never does."""
    tuning: Literal["held", "retuned"] = "retuned"
    """retuned: merge weights are chosen at every budget, with equal trials. held: those chosen with everything kept."""
    policies: tuple[Policy, ...] = ()
    """With ``how = "modality"`` alone: what items without a vector get: nothing (absent), the mean, or what another
    modality predicts (from; each other modality in turn). Empty: all that the data allows."""
    scale: Literal["auto", "log", "linear"] = "auto"
    """Scale of the share kept, for the area under a curve and for crossings; auto: log, linear where a budget leaves
    nothing; with per-user and per-item the logarithm of 1 + the interactions kept of each."""

    @pydantic.model_validator(mode="after")
    def _budgets_are_amounts(self) -> SparsityOptions:
        counted = self.how in COUNTED
        for budget in self.budgets:
            if counted and not (budget >= 0 and math.isfinite(budget) and budget == int(budget)):
                raise ValueError(
                    f"budgets hold {budget:g}; with how = {self.how!r} write whole numbers k from 0 on"
                )
            if not counted and not 0 <= budget <= 100:
                raise ValueError(f"budgets hold {budget:g}; with how = {self.how!r} write per cent, 0 to 100")
        if self.how in ("uniform", "oldest", "newest", "modality") and self.order != "random":
            raise ValueError(
                f"order = {self.order!r} is for k of each and for cold items or users; with how = {self.how!r} "
                "leave it out"
            )
        if self.policies and self.how != "modality":
            raise ValueError(
                f"policies say what items without a vector get; with how = {self.how!r} leave them out, or use "
                "how = 'modality'"
            )
        if self.scale == "log" and 0 in self.budgets:
            raise ValueError("scale = 'log' has no place for budget 0; use scale = 'linear' or leave 0 out")
        return self

    @property
    def amounts(self) -> tuple[float, ...]:
        """The budgets below everything, largest first: shares from 0 to 1, or k."""
        given = sorted(set(self.budgets or DEFAULTS.get(self.how, SHARES)), reverse=True)
        if self.how in COUNTED:
            return tuple(given)
        return tuple(budget / 100 for budget in given if budget < 100)
