"""Merging channel lists into one candidate set of exactly ``size`` distinct unseen items."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Candidates, Float32, Int32, Int64, Queries
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.seeds import generator

Merge = Literal["rrf", "quota", "round-robin"]
WEIGHT_GRID = (0.0, 0.1, 0.25, 0.5, 1.0)
WEIGHT_TRIALS = 40
"""Merge weights tried for every arm, whatever its number of channels (fewer only where the grid is smaller)."""


def popularity_order(item_degree: Int64, tie: Int32) -> Int32:
    """Return int32 [I]: the whole catalogue from most to least popular, ties (and unseen items) in seeded order."""
    order: Int32 = np.lexsort((tie, -item_degree)).astype(np.int32)
    return order


def _alphabetical(names: Sequence[str]) -> Int64:
    return np.array(sorted(range(len(names)), key=lambda c: names[c]), dtype=np.int64)


def merge_lists(
    names: tuple[str, ...],
    item: Int32,
    score: Float32,
    queries: Queries,
    *,
    weights: Sequence[float],
    size: int,
    filler: Int32,
    how: Merge = "rrf",
    rrf_k: float = 60.0,
) -> tuple[Candidates, Int32]:
    """Merge channel lists, keep the evidence, fill short lists by popularity.

    ``rrf``: sum over channels of weight / (rrf_k + rank) (Cormack, Clarke & Büttcher 2009, weighted). ``quota``: the
    first ``size * weight / sum(weights)`` of each channel come first, by best rank. ``round-robin``: by best rank.
    Filled items carry no evidence and scores below every merged item.

    Args:
        names: C channel names.
        item: int32 [C, Q, D], padding -1 at the tail.
        score: float32 [C, Q, D].
        queries: The Q queries.
        weights: C weights, not negative; a channel of weight 0 brings no item but keeps its evidence.
        size: K.
        filler: int32 [I] the catalogue in fill order.
        how: The merge.
        rrf_k: Constant of reciprocal rank fusion.

    Returns:
        The candidates and int32 [Q], how many places of each list were filled.
    """
    from stagelens.pipeline import merge_kernels as kernels

    weight = np.asarray(weights, dtype=np.float64)
    share = weight / max(math.fsum(weight), 1e-12)
    quota = np.floor(size * share + 1e-9).astype(np.int64)  # a whole number of places survives rounding
    mode = {"rrf": kernels.RRF, "quota": kernels.QUOTA, "round-robin": kernels.ROUND_ROBIN}[how]
    out = kernels.merge(
        item,
        score,
        weight,
        _alphabetical(names),
        mode,
        rrf_k,
        quota,
        queries.tie,
        filler,
        queries.seen.indptr,
        queries.seen.items,
        size,
    )
    merged, merged_score, evidence, rank, filled = out
    return Candidates(queries.user, merged, merged_score, names, evidence, rank), filled


def ranked_within(candidates: Candidates, names: tuple[str, ...], score: Float32, tie: Int32) -> Candidates:
    """Return the candidates, in their order, with these scores as evidence, ranked within each list.

    Args:
        candidates: Lists [Q, K], evidence ignored.
        names: C members.
        score: float32 [Q, K, C], NaN where a member has no score.
        tie: int32 [I].
    """
    found = candidates.found
    place = np.where(found, tie[np.where(found, candidates.item, 0)], np.iinfo(np.int32).max)
    rank = np.zeros(score.shape, dtype=np.int32)
    score = np.where(found[..., None], score, np.nan).astype(np.float32)
    for c in range(len(names)):
        key = np.where(np.isnan(score[..., c]), -np.inf, score[..., c])
        order = np.lexsort((place, -key), axis=1)
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(1, candidates.size + 1)[None, :], axis=1)
        rank[..., c] = np.where(np.isnan(score[..., c]), 0, ranks)
    return Candidates(candidates.user, candidates.item, candidates.score, names, score, rank)


def completed(
    candidates: Candidates, channel_score: Float32, tie: Int32, *, weights: Sequence[float], rrf_k: float
) -> Candidates:
    """Return the candidates with every channel's score for every item, ranked within the list.

    Used where items enter a list that no channel returned (injected positives, exposures): evidence that is absent
    just because a channel was cut at its depth would mark them. The merge score is taken from the ranks within the
    list, in training and in serving alike.

    Args:
        candidates: Lists [Q, K], evidence ignored.
        channel_score: float32 [Q, K, C], NaN where a channel has no score at unlimited depth.
        tie: int32 [I].
        weights: C merge weights.
        rrf_k: Constant of reciprocal rank fusion.
    """
    whole = ranked_within(candidates, candidates.channels, channel_score, tie)
    merged = np.zeros(candidates.item.shape, dtype=np.float64)
    for c in _alphabetical(candidates.channels):
        rank = whole.channel_rank[..., c]
        merged += np.where(rank > 0, weights[c] / (rrf_k + np.maximum(rank, 1)), 0.0)
    return whole.rescored(merged.astype(np.float32), tie)


def search_weights(
    names: Sequence[str],
    value: Callable[[tuple[float, ...]], float],
    *,
    seed: int,
    trials: int = WEIGHT_TRIALS,
) -> tuple[tuple[float, ...], float, int]:
    """Return the best weights found, their value and the number of trials, which is the same for every arm.

    Coordinate ascent over ``WEIGHT_GRID`` from equal weights, restarted from seeded grid points until the trials are
    spent or the grid is exhausted. Weights that differ by a factor count once; a tie goes to those tried first.

    Args:
        names: Labels; their alphabetical order is the order of the search.
        value: What to maximise.
        seed: Of the restarts.
        trials: Distinct weightings tried at most.
    """
    order = _alphabetical(names)
    tried: dict[tuple[float, ...], float] = {}

    def worth(weights: tuple[float, ...]) -> float:
        peak = max(weights)
        key = tuple(round(w / peak, 6) for w in weights)
        if key not in tried:
            tried[key] = value(weights)
        return tried[key]

    starts = [tuple(1.0 for _ in names), *_restarts(order, seed, trials)]
    best, best_value = starts[0], worth(starts[0])
    for start in starts:
        if len(tried) >= trials:
            break
        current, current_value = start, worth(start)
        improved = True
        while improved and len(tried) < trials:
            improved = False
            for channel in order:
                for level in WEIGHT_GRID:
                    trial = (*current[:channel], level, *current[channel + 1 :])
                    if max(trial) > 0 and len(tried) < trials and worth(trial) > current_value:
                        current, current_value, improved = trial, worth(trial), True
        if current_value > best_value:
            best, best_value = current, current_value
    return best, best_value, len(tried)


def _restarts(order: Int64, seed: int, trials: int) -> list[tuple[float, ...]]:
    """Return seeded grid points, dealt by the channels' alphabetical order: the given order has no effect."""
    chance, channels = generator(seed, "merge-weights"), len(order)
    if channels <= 6:
        grid = np.array([p for p in itertools.product(WEIGHT_GRID, repeat=channels) if max(p) > 0])
        grid = grid[chance.permutation(len(grid))]
    else:
        grid = chance.choice(WEIGHT_GRID, size=(4 * trials, channels))
        grid = grid[grid.max(axis=1) > 0]
    points = np.empty_like(grid)
    points[:, order] = grid
    return [tuple(point) for point in points.tolist()]


def choose_weights(
    names: tuple[str, ...],
    item: Int32,
    queries: Queries,
    truth: Truth,
    *,
    size: int,
    filler: Int32,
    rrf_k: float,
    seed: int,
) -> tuple[tuple[float, ...], float, int]:
    """Choose merge weights on valid by recall@size, with the same number of trials for every arm.

    Returns:
        The weights, recall@size on valid, the number of trials.
    """
    from stagelens.pipeline.merge_kernels import merged_ranks

    filler_place = np.empty(len(filler), dtype=np.int32)
    filler_place[filler] = np.arange(len(filler), dtype=np.int32)
    order = _alphabetical(names)
    share = 1.0 / truth.count[truth.pair_row]

    def value(weights: tuple[float, ...]) -> float:
        ranks: NDArray[np.int32] = merged_ranks(
            item,
            np.asarray(weights, dtype=np.float64),
            order,
            rrf_k,
            queries.tie,
            filler_place,
            queries.seen.indptr,
            queries.seen.items,
            truth.relevant.indptr,
            truth.relevant.items,
            size,
        )
        return float(share[ranks > 0].sum() / max(len(truth.count), 1))

    return search_weights(names, value, seed=seed)
