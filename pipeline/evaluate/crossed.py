"""More groups of held-out pairs: by time, and by user and item degree together."""

from __future__ import annotations

import numpy as np

from stagelens.pipeline.core import Int64, Interactions
from stagelens.pipeline.evaluate.slices import Slice, slices
from stagelens.pipeline.evaluate.truth import Truth

TIME = "test time"
CROSSED = "user x item degree"
QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")


def time_slices(truth: Truth, target: Interactions) -> list[Slice]:
    """Return the quarters of the held-out pairs by the time of their first event; none where all have one time.

    Pairs of one moment stay together, so quarters may be uneven, and empty.

    Args:
        truth: Of the window.
        target: The window's events, with a real clock.
    """
    n_items = max(target.n_items, 1)
    codes, place = np.unique(target.user.astype(np.int64) * n_items + target.item, return_inverse=True)
    first = np.full(len(codes), np.iinfo(np.int64).max)
    np.minimum.at(first, place, target.time)
    pairs = truth.user[truth.pair_row].astype(np.int64) * n_items + truth.pair_item
    time = first[np.searchsorted(codes, pairs)]
    if not len(time) or time.min() == time.max():
        return []
    cuts = np.sort(time)[[len(time) * quarter // 4 for quarter in (1, 2, 3)]]
    quarter = np.searchsorted(cuts, time, side="right")
    return [Slice(TIME, name, quarter == place) for place, name in enumerate(QUARTERS)]


def crossed(truth: Truth, user_degree: Int64, item_degree: Int64) -> list[Slice]:
    """Return every slice of users by degree with every slice of items by degree, empty ones too.

    Args:
        truth: The held-out pairs.
        user_degree: int64 [U]: training interactions of each user.
        item_degree: int64 [I]: training interactions of each item.
    """
    parts = slices(truth, user_degree, item_degree)
    users, items = ([part for part in parts if part.name == f"{side} degree"] for side in ("user", "item"))
    return [
        Slice(CROSSED, f"{user.value} x {item.value}", user.pairs & item.pairs)
        for user in users
        for item in items
    ]
