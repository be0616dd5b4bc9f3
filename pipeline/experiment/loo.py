"""Every held-out item among 99 that its user never had: the sampled protocol, for comparison with papers that use it.

It is not a re-rank measure (nobody recalled these items) and agrees with no metric over the catalogue: its order of
two systems can differ from theirs (Krichene & Rendle). The negatives are drawn evenly, once for all systems and study
seeds.

References:
    Krichene & Rendle 2020, doi:10.1145/3394486.3403226. Floyd's sampling without replacement: Bentley & Floyd 1987,
    doi:10.1145/30401.315746.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stagelens.pipeline.contracts import FittedChannel
from stagelens.pipeline.core import Int32, Int64
from stagelens.pipeline.rows import hashed
from stagelens.pipeline.windows import Window

NEGATIVES = 99
ROWS = 4096
"""Held-out items handled together, at most."""


def negatives_of(window: Window, seed: int, count: int = NEGATIVES, block: int = ROWS) -> Int32:
    """Return int32 [P, count]: for every held-out pair, items that the user neither had nor has held out.

    Distinct within a row and even over what there is; where that is fewer than ``count``, all of it, then -1. A row
    follows from the seed, its user and its item alone.

    Args:
        window: Whose pairs; its mask is what the user had.
        seed: A derived seed.
        count: Items a pair.
        block: Pairs drawn together.
    """
    truth, n_items = window.truth, window.tie.size
    indptr, shift = _taken(window)
    out = np.full((truth.pairs, count), -1, dtype=np.int32)
    for start in range(0, truth.pairs, block):
        row = truth.pair_row[start : start + block].astype(np.int64)
        item = truth.pair_item[start : start + block]
        free = n_items - np.diff(indptr)[row]
        drawn = _floyd(seed, truth.user[row], item, free, count)
        place = row[:, None] * (n_items + 1) + drawn
        skipped = np.searchsorted(shift, place, side="right") - indptr[row][:, None]
        out[start : start + block] = np.where(drawn >= 0, drawn + skipped, -1)
    return out


def _taken(window: Window) -> tuple[Int64, Int64]:
    """Return where each user's items that may not be drawn stand, and, sorted, how far each of them shifts the rest.

    The k-th such item e of a user (from 0) is followed by the free place e - k: what lies at or after it moves by one.
    """
    truth, n_items = window.truth, window.tie.size
    seen = window.mask.lists().rows(truth.user)
    owner = np.repeat(np.arange(len(truth), dtype=np.int64), seen.lengths)
    keys = np.unique(
        np.concatenate(
            [owner * n_items + seen.items, truth.pair_row.astype(np.int64) * n_items + truth.pair_item]
        )
    )
    row, item = np.divmod(keys, n_items)
    indptr = np.zeros(len(truth) + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=len(truth)), out=indptr[1:])
    place = item - (np.arange(len(keys)) - indptr[row])
    return indptr, row * (n_items + 1) + place


def _floyd(seed: int, user: Int32, item: Int32, free: Int64, count: int) -> Int64:
    """Return int64 [P, count]: distinct numbers below ``free`` [P], all of them where there are too few, then -1."""
    wanted = np.minimum(free, count)
    drawn = np.full((len(free), count), -1, dtype=np.int64)
    for step in range(count):
        last = free - wanted + step
        number = hashed(seed, user, item, np.asarray([step])) % np.maximum(last + 1, 1).astype(np.uint64)
        pick: Any = number.astype(np.int64)
        pick = np.where((drawn[:, :step] == pick[:, None]).any(axis=1), last, pick)
        drawn[:, step] = np.where(step < wanted, pick, -1)
    return drawn


def ranks_among(channel: FittedChannel, window: Window, negatives: Int32, block: int = ROWS) -> Int32:
    """Return int32 [P]: the rank of every held-out item among its negatives by the channel's own exact score.

    Ties go by the window's seeded order; what the channel cannot score stands last.

    Args:
        channel: Fitted.
        window: Whose pairs.
        negatives: int32 [P, N], padded with -1.
        block: Pairs scored together.
    """
    truth = window.truth
    ranks = np.zeros(truth.pairs, dtype=np.int32)
    for start in range(0, truth.pairs, block):
        place = slice(start, start + block)
        items = np.column_stack([truth.pair_item[place], negatives[place]]).astype(np.int32)
        queries = window.queries_at(truth.pair_row[place].astype(np.int64))
        score = np.nan_to_num(channel.score(queries, items), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        order = window.tie[items]
        level = (score[:, 1:] == score[:, :1]) & (order[:, 1:] < order[:, :1])
        ahead = ((score[:, 1:] > score[:, :1]) | level) & (items[:, 1:] >= 0)
        ranks[place] = 1 + ahead.sum(axis=1)
    return ranks
