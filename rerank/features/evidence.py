"""Evidence: what recall knew of each candidate, as ranker columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stagelens.pipeline.core import Bool, Candidates, Features, Float32, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe


@recipe
class Evidence(Recipe):
    """Rank and scaled score of every channel, who found the candidate, and its place in the merged list.

    NaN where a channel did not return the item. Scores are scaled within each list: raw scores grow with the
    window a channel was fitted on, and training rows come from smaller windows than the lists that are served
    (with them LambdaMART fell below recall's own order on movielens1m). Columns with equal names hold equal
    values whatever the options, so that the columns of several re-rankers can be computed once.
    """

    role: ClassVar[Role] = "features"

    hidden: tuple[str, ...] = ()
    """Labels of channels whose columns are absent (and which do not count as finders)."""
    merged: bool = True
    """Include the merged score and the merged rank."""
    raw: bool = False
    """Include unscaled scores; they mean the same at training and serving only with ``refit = none``."""

    def fit(self, data: TrainingData, channels: tuple[str, ...], *, seed: int) -> FittedEvidence:
        """Fix the columns for candidates of these channels; nothing is learned."""
        visible = tuple(name for name in channels if name not in self.hidden)
        hidden = tuple(sorted(set(channels) & set(self.hidden)))
        return FittedEvidence(visible, hidden, self.merged, self.raw)


@dataclass(frozen=True, slots=True)
class FittedEvidence:
    """Evidence of a fixed set of channels."""

    visible: tuple[str, ...]
    hidden: tuple[str, ...]
    merged: bool
    raw: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of each visible channel, the count of finders, and the merged score and rank."""
        parts = ("rank", "reciprocal rank", "min-max score", "standard score") + ("raw score",) * self.raw
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
        column = 0
        for name in self.visible:
            channel = candidates.channels.index(name)
            score = np.ascontiguousarray(candidates.channel_score[:, :, channel])
            rank = np.ascontiguousarray(candidates.channel_rank[:, :, channel])
            found = rank > 0
            count += found
            known = np.where(found, rank, np.float32(np.nan)).astype(np.float32)
            parts = [known, np.float32(1) / known, scaled(score), standardised(score, found)]
            for part in parts + [score] * self.raw:
                values[:, :, column] = part
                column += 1
        there = candidates.found
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


def standardised(score: Float32, found: Bool) -> Float32:
    """Return float32 [Q, K]: scores less the mean of those found in the list, over their deviation.

    NaN stays; a constant list is 0.
    """
    count = np.maximum(found.sum(axis=1, keepdims=True), 1)
    mean = np.where(found, score, np.float32(0)).sum(axis=1, keepdims=True, dtype=np.float64) / count
    offset = score - mean.astype(np.float32)  # exact for a constant list
    known = np.where(found, offset, np.float32(0))
    deviation = np.sqrt(np.einsum("qk,qk->q", known, known)[:, None] / count).astype(np.float32)
    result: Float32 = offset / np.where(deviation > 0, deviation, np.float32(1))
    return result
