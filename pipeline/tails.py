"""What enters training lists beside what recall returned: positives that it lost, and exposures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from stagelens.pipeline.core import Candidates, Int32, Interactions, Queries
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.retrieval import masked
from stagelens.pipeline.windows import Window


def extended(
    lost: Literal["drop", "inject", "weight"],
    impressions: Interactions | None,
    window: Window,
    queries: Queries,
    truth: Truth,
    candidates: Candidates,
) -> Candidates:
    """Put lost positives (``inject``) and exposures into the tails of the lists, evidence still to come."""
    extra: list[tuple[Int32, Int32]] = []
    if lost == "inject":
        wanted = (truth.ranks(candidates) == 0) & ~masked(queries, truth)
        extra.append((truth.pair_row[wanted], truth.pair_item[wanted]))
    if impressions is not None:
        shown = impressions
        if len(window.target) and bool(shown.time.any()):
            shown = shown.where(shown.time <= window.target.time.max())
        lists = shown.lists().rows(truth.user).sorted()
        row = np.repeat(np.arange(len(truth.user), dtype=np.int32), lists.lengths)
        n = np.int64(queries.n_items)
        chosen = np.isin(row * n + lists.items, truth.pair_row * n + truth.pair_item)
        extra.append((row[~chosen], lists.items[~chosen]))  # what was chosen later is no negative
    return candidates if not extra else with_tail(candidates, truth, queries, extra)


def with_tail(
    candidates: Candidates, truth: Truth, queries: Queries, extra: Sequence[tuple[Int32, Int32]]
) -> Candidates:
    """Replace the last candidates of each list, positives excepted, by extra items not yet in it."""
    item = candidates.item.copy()
    gains = truth.gains(candidates) > 0
    wanted: dict[int, list[int]] = {}
    for rows, items in extra:
        for row, code in zip(rows.tolist(), items.tolist(), strict=True):
            wanted.setdefault(row, []).append(code)
    for row, codes in wanted.items():
        present = set(item[row].tolist()) | set(queries.seen[row].tolist())
        new = [code for code in dict.fromkeys(codes) if code not in present]
        free = [place for place in range(candidates.size - 1, -1, -1) if not gains[row, place]]
        half = free[: max(len(free) // 2, 1)]  # never more than half of a list
        for place, code in zip(half, new, strict=False):
            item[row, place] = code
    tail = np.argsort(item < 0, axis=1, kind="stable")
    item = np.take_along_axis(item, tail, axis=1)
    shape = candidates.channel_score.shape
    return Candidates(
        candidates.user,
        item,
        np.where(item >= 0, 0.0, -np.inf).astype(np.float32),
        candidates.channels,
        np.full(shape, np.nan, dtype=np.float32),
        np.zeros(shape, dtype=np.int32),
    )
