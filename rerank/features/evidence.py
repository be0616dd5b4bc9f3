"""Evidence: what recall knew of each candidate, as ranker columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stagelens.pipeline.core import Candidates, Features, Float32, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe


@recipe
class Evidence(Recipe):
    """Score, rank, reciprocal rank and min-max score of every channel, who found it, and the merged list.

    NaN where a channel did not return the item. Columns with equal names hold equal values whatever the
    options, so that the columns of several re-rankers can be computed once.
    """

    role: ClassVar[Role] = "features"

    hidden: tuple[str, ...] = ()
    """Labels of channels whose columns are absent (and which do not count as finders)."""
    merged: bool = True
    """Include the merged score and the merged rank."""

    def fit(self, data: TrainingData, channels: tuple[str, ...], *, seed: int) -> FittedEvidence:
        """Fix the columns for candidates of these channels; nothing is learned."""
        visible = tuple(name for name in channels if name not in self.hidden)
        hidden = tuple(sorted(set(channels) & set(self.hidden)))
        return FittedEvidence(visible, hidden, self.merged)


@dataclass(frozen=True, slots=True)
class FittedEvidence:
    """Evidence of a fixed set of channels."""

    visible: tuple[str, ...]
    hidden: tuple[str, ...]
    merged: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Four columns a visible channel, the count of finders, and the merged score and rank."""
        parts = ("score", "rank", "reciprocal rank", "min-max score")
        columns = [f"evidence: {channel} {part}" for channel in self.visible for part in parts]
        without = f" without {', '.join(self.hidden)}" if self.hidden else ""
        columns.append(f"evidence: channels found{without}")
        if self.merged:
            columns += ["evidence: merged score", "evidence: merged rank"]
        return tuple(columns)

    def compute(self, queries: Queries, candidates: Candidates) -> Features:
        """Return float32 [Q, K, F]; NaN on padding and where a channel is absent.

        Raises:
            ValueError: The candidates lack the evidence of a visible channel.
        """
        lacking = [name for name in self.visible if name not in candidates.channels]
        if lacking:
            raise ValueError(f"candidates carry {candidates.channels}, not {lacking}; fit on their channels")
        values = np.empty((*candidates.item.shape, len(self.names)), np.float32)
        count = np.zeros(candidates.item.shape, np.float32)
        for place, name in enumerate(self.visible):
            channel = candidates.channels.index(name)
            score = np.ascontiguousarray(candidates.channel_score[:, :, channel])
            rank = np.ascontiguousarray(candidates.channel_rank[:, :, channel])
            found = rank > 0
            count += found
            known = np.where(found, rank, np.float32(np.nan)).astype(np.float32)
            values[:, :, 4 * place] = score
            values[:, :, 4 * place + 1] = known
            values[:, :, 4 * place + 2] = np.float32(1) / known
            values[:, :, 4 * place + 3] = scaled(score)
        there = candidates.found
        column = 4 * len(self.visible)
        values[:, :, column] = np.where(there, count, np.float32(np.nan))
        if self.merged:
            place_in_list = np.arange(1, candidates.size + 1, dtype=np.float32)[None, :]
            values[:, :, column + 1] = np.where(there, candidates.score, np.float32(np.nan))
            values[:, :, column + 2] = np.where(there, place_in_list, np.float32(np.nan))
        return Features(self.names, values)


def scaled(score: Float32) -> Float32:
    """Return float32 [Q, K] scores scaled to 0..1 within each list; NaN stays, a constant list is 1."""
    low = np.fmin.reduce(score, axis=1, keepdims=True, initial=np.inf)
    high = np.fmax.reduce(score, axis=1, keepdims=True, initial=-np.inf)
    span = np.where(high > low, high - low, np.float32(1))
    flat = (high <= low).astype(np.float32)
    result: Float32 = ((score - low) / span + flat).astype(np.float32)
    return result
