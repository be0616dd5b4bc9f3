"""Re-rankers whose scores a rule combines: members are fitted as systems of their own, then the rule on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import numpy as np

from stagelens.pipeline.compose import Then
from stagelens.pipeline.contracts import Ensemble, FittedEnsemble, FittedReranker, Reranker
from stagelens.pipeline.core import Candidates, Float32, Int32
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.merge import ranked_within
from stagelens.pipeline.pooling import aimed, joined_lists
from stagelens.pipeline.recipe import Recipe
from stagelens.pipeline.retrieval import WEIGHT_USERS
from stagelens.pipeline.rows import choose_users
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.windows import Window

if TYPE_CHECKING:
    from stagelens.pipeline.workbench import Workbench


@runtime_checkable
class Blended(Protocol):
    """Recipe of a re-ranker made of re-rankers."""

    @property
    def members(self) -> tuple[Recipe, ...]:
        """The re-rankers."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Their labels, distinct."""
        ...

    @property
    def rule(self) -> Recipe:
        """The ensemble that combines their scores."""
        ...

    def joined(self, members: tuple[FittedReranker, ...], rule: FittedEnsemble, tie: Int32) -> FittedReranker:
        """Return the fitted whole; ``tie`` ranks what a member scores alike."""
        ...


def member_systems(system: Then) -> tuple[Then, ...]:
    """Return the systems that have to be fitted before this one: its members on the same union; of others, none."""
    if not isinstance(system.rerank, Blended):
        return ()
    return tuple(Then(recall=system.recall, rerank=member) for member in system.rerank.members)


def member_lists(
    candidates: Candidates, names: tuple[str, ...], scores: list[Float32], tie: Int32
) -> Candidates:
    """Return the candidates, in their order, with the scores of re-rankers as the evidence, ranked by each."""
    return ranked_within(candidates, names, np.stack(scores, axis=2), tie)


def fit_rule(bench: Workbench, system: Then, members: tuple[FittedReranker, ...]) -> FittedEnsemble:
    """Fit the rule of a blend: learn on the row windows, tune on valid, on the lists of at most ``WEIGHT_USERS`` users.

    Members were trained on rows of the same windows, so what is learned there sees them at their best; valid lists
    were used by them for early stopping alone.
    """
    blend = cast(Blended, system.rerank)
    rule = aimed(blend.rule, "ndcg@10")
    learns = getattr(rule, "learns", frozenset({"rows", "valid"}))
    rows = bench.windows.rows
    taught = [
        part
        for window in rows
        if "rows" in learns
        for part in _lists(bench, system, members, window, WEIGHT_USERS // len(rows))
    ]
    held = (
        list(_lists(bench, system, members, bench.windows.valid, WEIGHT_USERS)) if "valid" in learns else []
    )
    return cast(Ensemble, rule).fit(
        *joined_lists(taught, blend.names),
        *joined_lists(held, blend.names),
        seed=derive(bench.seed, "ensemble", rule.label),
    )


def _lists(
    bench: Workbench, system: Then, members: tuple[FittedReranker, ...], window: Window, limit: int
) -> Iterator[tuple[Candidates, Truth]]:
    """Yield lists of a window with the scores of the members, in an order that tells nothing, and their truth."""
    seed = derive(bench.seed, "row-users", window.name)
    window = window.only(choose_users(window.truth.user, 1, max(limit, 1), seed=seed))
    names = cast(Blended, system.rerank).names
    groups = cast("tuple[Recipe, ...]", cast(Reranker, system.rerank).features)
    for start, stop, queries, _, evidence, features in bench.read(system.recall, groups, window):
        scores = [member.score(evidence, features) for member in members]
        lists = member_lists(evidence, names, scores, queries.tie)
        level = np.where(lists.found, 0.0, -np.inf).astype(np.float32)
        yield lists.rescored(level, queries.tie), window.truth.rows(np.arange(start, stop))
