"""A blend: separate re-rankers whose scores a rule combines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from pydantic import Field, field_validator

from stagelens.pipeline.blending import member_lists
from stagelens.pipeline.contracts import FittedEnsemble, FittedReranker, Reranker, Saved
from stagelens.pipeline.core import Candidates, Features, Float32, Int32, Rows
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import Recipe, Role, fingerprint, recipe


@recipe
class Blend(Recipe):
    """Late integration at the re-rank stage: each member is trained on its own, a rule makes one score of theirs.

    A composition fits it: the members as systems of their own (a member that also stands alone is fitted once), then
    the rule on their scores, learned over the lists of the label window and tuned on valid lists.
    """

    role: ClassVar[Role] = "reranker"
    seeded: ClassVar[bool] = True

    members: tuple[Recipe, ...] = Field(min_length=2)
    """Re-rankers, each with the features it may read."""
    rule: Recipe
    """The ensemble that combines their scores."""

    @field_validator("members")
    @classmethod
    def _are_rerankers(cls, value: tuple[Recipe, ...]) -> tuple[Recipe, ...]:
        for part in value:
            if part.role != "reranker":
                raise ValueError(f"{part.label} is a {part.role or 'recipe'}, a blend takes re-rankers")
            if getattr(part, "sees_truth", False):
                raise ValueError(f"{part.label} reads the truth and cannot be a member")
        if len({fingerprint(part) for part in value}) < len(value):
            raise ValueError("a member occurs twice; weight it instead")
        return value

    @field_validator("rule")
    @classmethod
    def _is_ensemble(cls, value: Recipe) -> Recipe:
        if value.role != "ensemble":
            raise ValueError(f"{value.label} is a {value.role or 'recipe'}, expected an ensemble")
        return value

    def __post_init__(self) -> None:
        check = getattr(self.rule, "check", None)
        if check is not None:
            check(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The members' labels with what they read, ``LambdaMART(text)``; a short fingerprint where these are equal."""
        plain = [
            f"{part.label}({', '.join(sorted(part.reads))})" if part.reads else part.label
            for part in self.members
        ]
        count = Counter(plain)
        return tuple(
            name if count[name] == 1 else f"{name} #{fingerprint(part)[:6]}"
            for name, part in zip(plain, self.members, strict=True)
        )

    @property
    def label(self) -> str:
        """The rule and its members."""
        return f"{self.rule.label} of {' + '.join(sorted(self.names))}"

    @property
    def features(self) -> tuple[Recipe, ...]:
        """Every group that a member reads, once."""
        groups = [
            group
            for part in self.members
            for group in cast("tuple[Recipe, ...]", cast(Reranker, part).features)
        ]
        return tuple({fingerprint(group): group for group in groups}.values())

    def fit(self, rows: Rows, valid_rows: Rows, *, seed: int) -> FittedReranker:
        """Refuse: rows do not say which member reads which column.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"{self.label} is fitted by its composition: write (channels >> Blend(...)).fit(...)"
        )

    def load(self, saved: Saved) -> FittedReranker:
        """Refuse: what is saved is the rule, the members are saved on their own.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"{self.label} is read back by its composition: write (channels >> Blend(...)).fit(...)"
        )

    def joined(self, members: tuple[FittedReranker, ...], rule: FittedEnsemble, tie: Int32) -> FittedBlend:
        """Return the fitted whole.

        Args:
            members: In the order of ``members``.
            rule: Fitted on their scores.
            tie: int32 [I], the seeded order that ranks what a member scores alike.
        """
        return FittedBlend(self.names, members, rule, tie)


@dataclass(frozen=True, slots=True, eq=False)
class FittedBlend:
    """Fitted members and their rule.

    Attributes:
        names: Labels of the members.
        members: Fitted re-rankers.
        rule: The fitted rule.
        tie: int32 [I], the seeded order of ties.
    """

    names: tuple[str, ...]
    members: tuple[FittedReranker, ...]
    rule: FittedEnsemble
    tie: Int32

    @property
    def parameters(self) -> int:
        """Learned numbers of all members and of the rule."""
        return sum(member.parameters for member in self.members) + self.rule.parameters

    def score(self, candidates: Candidates, features: Features) -> Float32:
        """Return float32 [Q, K], NaN on padding and where no member has a score."""
        scores = [member.score(candidates, features) for member in self.members]
        lists = member_lists(candidates, self.names, scores, self.tie)
        return np.where(candidates.found, self.rule.score(lists), np.float32(np.nan))

    def save(self) -> Saved:
        """Return the rule; the members are saved on their own."""
        return self.rule.save()
