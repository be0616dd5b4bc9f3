"""Candidate sets by ensemble: everything the channels returned is scored by a fitted rule and cut to ``size``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stagelens.pipeline.contracts import FittedEnsemble
from stagelens.pipeline.core import Candidates, Float32, Int32, Lists, Queries
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.recipe import Recipe

POOL_CELLS = 2_000_000
"""Scores in memory at once while pools are cut: queries x items x channels."""


def aimed(rule: Recipe, metric: str) -> Recipe:
    """Return an ensemble with the metric it is tuned by, where it leaves that open."""
    given: Any = rule  # a recipe is a dataclass, which its base cannot say
    return replace(given, metric=metric) if getattr(rule, "metric", "") is None else rule


def pooled(names: tuple[str, ...], item: Int32, score: Float32, queries: Queries) -> Candidates:
    """Return all distinct items of channel lists with their evidence, [Q, C * D].

    They stand in the seeded order of ties, all with score 0: places tell a rule nothing.

    Args:
        names: C channel names.
        item: int32 [C, Q, D], padding -1 at the tail.
        score: float32 [C, Q, D].
        queries: The Q queries.
    """
    from stagelens.pipeline import merge_kernels as kernels

    found, evidence, rank = kernels.pool(item, score, queries.tie)
    level = np.where(found >= 0, 0.0, -np.inf).astype(np.float32)
    return Candidates(queries.user, found, level, names, evidence, rank)


def ensemble_lists(
    rule: FittedEnsemble,
    names: tuple[str, ...],
    item: Int32,
    score: Float32,
    queries: Queries,
    *,
    size: int,
    filler: Int32,
) -> tuple[Candidates, Int32]:
    """Return the ``size`` best of everything the channels returned, short lists filled by popularity.

    Ties go by ``queries.tie``. What the rule gives no score is left out. Filled items carry no evidence and scores
    below every other.

    Args:
        rule: The fitted rule; its members are the channels.
        names: C channel names.
        item: int32 [C, Q, D], padding -1 at the tail.
        score: float32 [C, Q, D].
        queries: The Q queries.
        size: K.
        filler: int32 [I] the catalogue in fill order.

    Returns:
        The candidates and int32 [Q], how many places of each list were filled.
    """
    step = max(1, POOL_CELLS // max(1, item.shape[0] ** 2 * item.shape[2]))
    starts = range(0, max(len(queries), 1), step)
    parts = []
    for start in starts:
        rows = slice(start, start + step)
        asked = queries.rows(np.arange(len(queries))[rows])
        pool = pooled(names, item[:, rows], score[:, rows], asked)
        parts.append(_filled(_cut(pool, rule.score(pool), size), asked, filler))
    filled: Int32 = np.concatenate([short for _, short in parts])
    return stacked([lists for lists, _ in parts]), filled


def _cut(pool: Candidates, score: Float32, size: int) -> Candidates:
    """Return the best ``size`` of pools in tie order; what has no finite score becomes padding."""
    key = np.where(pool.found & np.isfinite(score), score, -np.inf).astype(np.float32)
    order = np.argsort(-key, axis=1, kind="stable")[:, :size]
    key = np.take_along_axis(key, order, axis=1)
    kept = np.isfinite(key)
    item = np.where(kept, np.take_along_axis(pool.item, order, axis=1), -1).astype(np.int32)
    there, places = kept[..., None], order[..., None]
    evidence = np.where(there, np.take_along_axis(pool.channel_score, places, axis=1), np.nan)
    rank = np.where(there, np.take_along_axis(pool.channel_rank, places, axis=1), 0)
    short = max(0, size - item.shape[1])

    def padded(values: np.ndarray, fill: float) -> np.ndarray:
        width = [(0, 0), (0, short), *[(0, 0)] * (values.ndim - 2)]
        return np.pad(values, width, constant_values=fill)

    return Candidates(
        pool.user,
        padded(item, -1),
        padded(key, -np.inf),
        pool.channels,
        padded(evidence.astype(np.float32), np.nan),
        padded(rank.astype(np.int32), 0),
    )


def _filled(lists: Candidates, queries: Queries, filler: Int32) -> tuple[Candidates, Int32]:
    from stagelens.pipeline import merge_kernels as kernels

    item, score, seen = lists.item.copy(), lists.score.copy(), queries.seen
    filled = kernels.fill(item, score, queries.tie, filler, seen.indptr, seen.items)
    return replace(lists, item=item, score=score), filled


def scored_by(rule: FittedEnsemble, candidates: Candidates, tie: Int32) -> Candidates:
    """Return candidates in the order of a rule; what it gives no score stands below the rest."""
    score = rule.score(candidates)
    known = np.isfinite(score)
    floor = np.min(np.where(known, score, 0.0), axis=1, keepdims=True, initial=0.0) - 1.0
    return candidates.rescored(np.where(known, score, floor).astype(np.float32), tie)


def stacked(parts: Sequence[Candidates]) -> Candidates:
    """Return the lists of several blocks as one; all have one size and the same channels."""
    if len(parts) == 1:
        return parts[0]
    return Candidates(
        np.concatenate([part.user for part in parts]),
        np.concatenate([part.item for part in parts]),
        np.concatenate([part.score for part in parts]),
        parts[0].channels,
        np.concatenate([part.channel_score for part in parts]),
        np.concatenate([part.channel_rank for part in parts]),
    )


def joined_lists(
    parts: Sequence[tuple[Candidates, Truth]], channels: tuple[str, ...]
) -> tuple[Candidates, Truth]:
    """Return lists and what they are judged by as one table; a user may stand in several parts (folds).

    Args:
        parts: Lists with their truth, row by row; none: no list.
        channels: The members.
    """
    if not parts:
        empty = np.zeros((0, 1, len(channels)), dtype=np.float32)
        none = np.zeros((0, 1), dtype=np.float32)
        user = np.zeros(0, dtype=np.int32)
        lists = Candidates(user, none.astype(np.int32), none, channels, empty, empty.astype(np.int32))
        return lists, Truth(user, Lists(np.zeros(1, dtype=np.int64), user), np.zeros(0, dtype=np.float32))
    truths = [truth for _, truth in parts]
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([truth.count for truth in truths]))])
    items: Int32 = np.concatenate([truth.pair_item for truth in truths])
    whole = Truth(
        np.concatenate([truth.user for truth in truths]),
        Lists(indptr.astype(np.int64), items),
        np.concatenate([truth.value for truth in truths]),
    )
    return stacked([lists for lists, _ in parts]), whole
