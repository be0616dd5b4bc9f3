"""Stacking: a model that learns from the label window how far to trust each member, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from stagelens.fusion.logistic import Logistic
from stagelens.fusion.normalise import min_max, z_score
from stagelens.fusion.rules import alphabetical, reciprocal_ranks, scored
from stagelens.pipeline.contracts import FittedReranker, Reranker, Saved
from stagelens.pipeline.core import Candidates, Features, Float32, Rows
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.recipe import Recipe, Role, load, recipe
from stagelens.pipeline.rows import joined, no_rows, rows_of
from stagelens.pipeline.seeds import derive

COLUMNS = ("min-max score", "standard score", "reciprocal rank", "present")
RRF_K = 60.0
VALID_LISTS = 2_000
"""Valid lists, all of each, that choose the number of trees, at most."""


@recipe
class Stacking(Recipe):
    """A logistic regression or boosted trees on what the members say of an item.

    Of each member: its score in two units (min-max and z-score, within the list), 1 / (60 + rank), and whether it
    scored the item at all. Absence is NaN in the first three for trees, and 0 beside the fourth for the regression.
    It learns from lists of the label window (or out-of-fold lists) that hold a relevant and another item: all
    relevant items and a seeded sample of the others.

    References:
        Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1; variant: the members are fitted on another window (channels),
        or on the same one (re-rankers in a blend: they look better there than they are).
    """

    role: ClassVar[Role] = "ensemble"
    seeded: ClassVar[bool] = True

    model: Literal["logistic", "lightgbm"] = "logistic"
    """A regression with a ridge, or LightGBM's trees, the number of trees chosen on valid."""
    objective: Literal["binary", "lambdarank"] = "lambdarank"
    """What trees are trained on: single items, or lists."""
    negatives: int = Field(30, ge=1)
    """Items that are not relevant kept of each list."""
    l2: float = Field(1.0, gt=0)
    """Ridge of the regression, on standardised columns."""
    trees: int = Field(100, ge=1)
    """Trees at most."""
    leaves: int = Field(7, ge=2, le=1024)
    """Leaves of a tree at most."""
    min_rows_leaf: int = Field(50, ge=1)
    """Rows in a leaf at least."""

    @property
    def label(self) -> str:
        """``Stacking(logistic)``."""
        return f"Stacking({self.model})"

    @property
    def learns(self) -> frozenset[str]:
        """``rows``; with trees ``valid`` too, for their number."""
        return frozenset({"rows"} if self.model == "logistic" else {"rows", "valid"})

    def fit(
        self,
        candidates: Candidates,
        truth: Truth,
        valid_candidates: Candidates,
        valid_truth: Truth,
        *,
        seed: int,
    ) -> FittedStacking:
        """Learn on the label window; valid only says how many trees.

        Raises:
            DataError: No list holds both a relevant and another item.
            MissingExtra: LightGBM is asked for and cannot be loaded.
        """
        rows = self._rows(candidates, truth, derive(seed, "rows"), self.negatives)
        if not len(rows.group):
            raise DataError(
                f"{self.label}: 0 of {len(candidates)} lists of the label window hold a relevant and another item; "
                "at least 1 is needed. Raise size, or take a rule that learns nothing, such as CombSUM"
            )
        if self.model == "logistic":
            return FittedStacking(Logistic.fit(rows.names, rows.values, rows.label, l2=self.l2))
        few = np.unique(np.linspace(0, max(len(valid_truth) - 1, 0), VALID_LISTS).astype(int))[
            : len(valid_truth)
        ]
        held, judged = valid_candidates.rows(few), valid_truth.rows(few)
        valid = self._rows(held, judged, derive(seed, "valid rows"), None)
        return FittedStacking(cast(Reranker, self._trees()).fit(rows, valid, seed=derive(seed, "trees")))

    def _rows(self, lists: Candidates, truth: Truth, seed: int, negatives: int | None) -> Rows:
        parts, step = [], max(1, 1_000_000 // max(1, lists.size))
        for start in range(0, len(lists), step):
            places = np.arange(start, min(start + step, len(lists)))
            part = lists.rows(places)
            gains = truth.rows(places).gains(part)
            parts.append(rows_of(part, columns(part), gains, seed=seed, negatives=negatives))
        if not parts:
            return no_rows(columns(lists).names)
        return joined(parts)

    def _trees(self) -> Recipe:
        """Return the recipe of the trees, reached by its name: integration stands below the re-rank room."""
        fields = {
            "objective": self.objective,
            "trees": self.trees,
            "leaves": self.leaves,
            "min_rows_leaf": self.min_rows_leaf,
        }
        return load({"use": "rerank.LambdaMART", **fields})

    def load(self, saved: Saved) -> FittedStacking:
        """Read a saved fit back."""
        if self.model == "logistic":
            return FittedStacking(Logistic.load(saved))
        return FittedStacking(cast(Reranker, self._trees()).load(saved))


@dataclass(frozen=True, slots=True, eq=False)
class FittedStacking:
    """A fitted model of what the members say.

    Attributes:
        model: Scores candidates from their columns.
    """

    model: FittedReranker

    @property
    def parameters(self) -> int:
        """Coefficients, or leaves and splits."""
        return self.model.parameters

    def score(self, candidates: Candidates) -> Float32:
        """Return float32 [Q, K]; NaN where no member scored the item."""
        known = scored(candidates).any(axis=2)
        score = self.model.score(candidates, columns(candidates))
        return np.where(known, score, np.float32(np.nan))

    def save(self) -> Saved:
        """Return what the model keeps."""
        return self.model.save()


def columns(candidates: Candidates) -> Features:
    """Return float32 [Q, K, 4 C]: what the members say of each candidate, members in alphabetical order."""
    order = alphabetical(candidates)
    score = candidates.channel_score
    there = scored(candidates)[..., order]
    parts = (
        min_max(score)[..., order],
        z_score(score)[..., order],
        reciprocal_ranks(candidates, RRF_K),
        there.astype(np.float64),
    )
    values = np.stack(parts, axis=3).astype(np.float32)
    names = tuple(f"{candidates.channels[c]} {column}" for c in order for column in COLUMNS)
    return Features(names, values.reshape(*candidates.item.shape, len(names)))
