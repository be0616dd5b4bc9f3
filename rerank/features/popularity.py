"""Popularity: how often an item was chosen in the fit window, as ranker columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import (
    Candidates,
    Features,
    Float32,
    Float64,
    Interactions,
    Lists,
    Queries,
    TrainingData,
)
from stagelens.pipeline.recipe import Recipe, Role, recipe

RECENT = 0.1


@recipe
class Popularity(Recipe):
    """Count and log count relative to the average item, percentile, recent log count, and the user's habit.

    All counts are of the fit window alone, and relative, because training rows come from smaller windows than
    the lists that are served. The recent count covers the last tenth of the window by time; it is NaN where
    time does not order events across users (no time, or positions that start together for most users). The
    last column is the candidate's log count less the mean over what the user chose before.
    """

    role: ClassVar[Role] = "features"

    def fit(self, data: TrainingData, channels: tuple[str, ...], *, seed: int) -> FittedPopularity:
        """Count the items of the window."""
        count = data.interactions.item_degree().astype(np.float32)
        ordered = np.sort(count)
        below = np.searchsorted(ordered, count, side="left")
        until = np.searchsorted(ordered, count, side="right")
        percentile = ((below + until) / (2 * len(count))).astype(np.float32)
        share = count / max(1e-12, count.mean())
        item = np.stack([share, log_popularity(count), percentile, recent(data.interactions)], axis=1)
        return FittedPopularity(np.ascontiguousarray(item, dtype=np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class FittedPopularity:
    """Counts of one window.

    Attributes:
        item: float32 [I, 4]: relative count, log count, percentile, recent log count.
    """

    item: Float32

    @property
    def names(self) -> tuple[str, ...]:
        """Five columns."""
        parts = ("relative count", "log count", "percentile", "recent log count", "relative to history")
        return tuple(f"popularity: {part}" for part in parts)

    def compute(self, queries: Queries, candidates: Candidates) -> Features:
        """Return float32 [Q, K, 5]; the last is NaN for a user without history."""
        values = np.empty((*candidates.item.shape, 5), np.float32)
        values[..., :4] = self.item[candidates.item]  # padding reads the last item and is blanked below
        usual = mean_over(self.item[:, 1], queries.history)
        values[..., 4] = values[..., 1] - usual[:, None].astype(np.float32)
        values[~candidates.found] = np.nan
        return Features(self.names, values)


def recent(window: Interactions) -> Float32:
    """Return float32 [I]: log popularity in the last tenth of the window, NaN where time says nothing.

    Positions and missing times are told from a clock by the users' first events: on a clock they seldom
    coincide. The rule holds on a fold of the window too, so the column means the same at training and at
    serving.
    """
    unknown = np.full(window.n_items, np.nan, np.float32)
    if len(window) == 0:
        return unknown
    first = window.time[np.flatnonzero(np.diff(window.user, prepend=-1))]
    if np.unique(first, return_counts=True)[1].max() * 2 >= len(first):
        return unknown
    last = np.partition(window.time, int(len(window) * (1 - RECENT)))[int(len(window) * (1 - RECENT))]
    count = np.bincount(window.item[window.time >= last], minlength=window.n_items)
    return log_popularity(count)


def log_popularity(count: NDArray[Any]) -> Float32:
    """Return float32 [I]: log(1 + count / mean count); the same for a window of twice the events."""
    relative: Float32 = np.log1p(count / max(1e-12, float(count.mean()))).astype(np.float32)
    return relative


def mean_over(value: Float32, history: Lists) -> Float64:
    """Return float64 [Q]: the mean of an item value over each list, NaN for an empty one."""
    lengths = history.lengths
    owner = np.repeat(np.arange(len(history)), lengths)
    total = np.bincount(owner, weights=value[history.items], minlength=len(history))
    mean: Float64 = np.where(lengths > 0, total / np.maximum(lengths, 1), np.nan)
    return mean
