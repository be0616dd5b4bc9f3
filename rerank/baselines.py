"""The floor and the ceiling of the second stage: keep order, random order, oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Candidates, Features, Float32, Rows
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.rows import hashed
from stagelens.pipeline.seeds import derive


@recipe
class KeepOrder(Recipe):
    """The order in which recall handed the candidates over."""

    role: ClassVar[Role] = "reranker"
    features: ClassVar[tuple[Recipe, ...]] = ()

    def fit(self, rows: Rows, valid_rows: Rows, *, seed: int) -> FittedKeepOrder:
        """Learn nothing."""
        return FittedKeepOrder()

    def load(self, saved: Saved) -> FittedKeepOrder:
        """Read a saved fit back."""
        return FittedKeepOrder()


@dataclass(frozen=True, slots=True)
class FittedKeepOrder:
    """The order of recall."""

    @property
    def parameters(self) -> int:
        """None."""
        return 0

    def score(self, candidates: Candidates, features: Features) -> Float32:
        """Return float32 [Q, K]: minus the place, so that recall's ties stay as they were broken."""
        place = -np.arange(candidates.size, dtype=np.float32)[None, :]
        return np.where(candidates.found, place, np.float32(np.nan))

    def save(self) -> Saved:
        """Return nothing."""
        return Saved()


@recipe
class RandomOrder(Recipe):
    """A seeded random order of every list."""

    role: ClassVar[Role] = "reranker"
    seeded: ClassVar[bool] = True
    features: ClassVar[tuple[Recipe, ...]] = ()

    def fit(self, rows: Rows, valid_rows: Rows, *, seed: int) -> FittedRandomOrder:
        """Keep the seed."""
        return FittedRandomOrder(derive(seed, "RandomOrder"))

    def load(self, saved: Saved) -> FittedRandomOrder:
        """Read a saved fit back."""
        return FittedRandomOrder(int(saved.meta["seed"]))


@dataclass(frozen=True, slots=True)
class FittedRandomOrder:
    """A random order that depends on the seed, the user and the item alone."""

    seed: int

    @property
    def parameters(self) -> int:
        """None."""
        return 0

    def score(self, candidates: Candidates, features: Features) -> Float32:
        """Return float32 [Q, K] in 0..1."""
        number = hashed(self.seed, candidates.user[:, None], candidates.item) >> np.uint64(40)
        return np.where(candidates.found, number.astype(np.float32) / np.float32(1 << 24), np.float32(np.nan))

    def save(self) -> Saved:
        """Return the seed."""
        return Saved(meta={"seed": self.seed})


@recipe
class Oracle(Recipe):
    """Relevant candidates first: what no re-ranker can beat on the same lists."""

    role: ClassVar[Role] = "reranker"
    features: ClassVar[tuple[Recipe, ...]] = ()
    sees_truth: ClassVar[bool] = True
    """Its one feature is ``gain``, the truth; handed over when it is measured, never in training rows."""

    def fit(self, rows: Rows, valid_rows: Rows, *, seed: int) -> FittedOracle:
        """Learn nothing."""
        return FittedOracle()

    def load(self, saved: Saved) -> FittedOracle:
        """Read a saved fit back."""
        return FittedOracle()


@dataclass(frozen=True, slots=True)
class FittedOracle:
    """The order of the truth."""

    @property
    def parameters(self) -> int:
        """None."""
        return 0

    def score(self, candidates: Candidates, features: Features) -> Float32:
        """Return float32 [Q, K]: the ``gain`` column."""
        gain = features.values[..., features.names.index("gain")]
        return np.where(candidates.found, gain, np.float32(np.nan)).astype(np.float32)

    def save(self) -> Saved:
        """Return nothing."""
        return Saved()
