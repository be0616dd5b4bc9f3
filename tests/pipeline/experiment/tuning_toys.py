"""Channels with a search space whose best values are known: popularity spoiled by noise."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Candidates, Float32, Int32, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import generator
from stagelens.pipeline.space import Choice, Real, Space, Whole


@dataclass(frozen=True)
class FittedSpoiled:
    name: str
    strength: Float32
    is_exact: bool = True
    index_bytes: int = 0
    parameters: int = 0

    def retrieve(self, queries: Queries, depth: int) -> Candidates:
        item = np.full((len(queries), depth), -1, np.int32)
        score = np.full((len(queries), depth), -np.inf, np.float32)
        order = np.lexsort((queries.tie, -self.strength))
        for row in range(len(queries)):
            free = order[~np.isin(order, queries.seen[row])][:depth]
            item[row, : len(free)], score[row, : len(free)] = free, self.strength[free]
        return Candidates.from_channel(self.name, queries.user, item, score)

    def score(self, queries: Queries, items: Int32) -> Float32:
        return np.where(items >= 0, self.strength[items], np.nan).astype(np.float32)

    def save(self) -> Saved:
        return Saved({"strength": self.strength})


@recipe
class Spoiled(Recipe):
    """Best where ``noise`` is 0; sign -1 is unpopularity; more than 300 steps are refused."""

    role: ClassVar[Role] = "channel"
    space: ClassVar[Space] = {
        "noise": Real(0.0, 4.0),
        "steps": Whole(1, 1000, log=True),
        "sign": Choice((1, -1)),
    }

    noise: float = 2.0
    """Standard deviation of noise on the log of popularity."""
    steps: int = 10
    """Does nothing."""
    sign: int = 1
    """Direction."""
    pause: float = 0.0
    """Seconds that a fit sleeps."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedSpoiled:
        time.sleep(self.pause)
        if self.steps > 300:
            raise ConfigError(f"steps = {self.steps}: at most 300")
        degree = np.log1p(data.interactions.item_degree())
        noise = generator(0, "spoiled").normal(size=len(degree)) * self.noise
        return FittedSpoiled(self.label, (self.sign * (degree + noise)).astype(np.float32))

    def load(self, saved: Saved) -> FittedSpoiled:
        return FittedSpoiled(self.label, saved.arrays["strength"])

    def exact(self) -> Spoiled:
        return self


@recipe
class Coin(Spoiled):
    """Two recipes in all."""

    space: ClassVar[Space] = {"sign": Choice((1, -1))}


@recipe
class Refused(Spoiled):
    """Never fits."""

    steps: int = 301
    space: ClassVar[Space] = {"noise": Real(0.0, 1.0)}


START = 0.6
"""Seconds of the first fit of ``Cold`` in a process, as kernels take that are loaded."""
FITS: list[int] = []
"""Items of every window that ``Cold`` was fitted on in this process."""


@recipe
class Cold(Spoiled):
    """Slow the first time, like what loads and compiles."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedSpoiled:
        if not FITS:
            time.sleep(START)
        FITS.append(data.interactions.n_items)
        return Spoiled.fit(self, data, seed=seed)
