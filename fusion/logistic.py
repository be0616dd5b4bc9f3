"""Logistic regression with a ridge, by Newton's method: a few columns, so no library is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Candidates, Features, Float32, Float64

STEPS = 50
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Logistic:
    """A fitted regression.

    Attributes:
        names: F columns.
        weight: float64 [F], for columns as they come; NaN counts 0.
        intercept: The constant.
    """

    names: tuple[str, ...]
    weight: Float64
    intercept: float

    @classmethod
    def fit(cls, names: tuple[str, ...], values: Float32, label: Float32, *, l2: float) -> Logistic:
        """Minimise the log loss plus ``l2`` / 2 times the squared weights of the standardised columns.

        Args:
            names: F columns.
            values: float32 [R, F]; NaN counts 0.
            label: float32 [R], 0 or 1.
            l2: The ridge, above 0; the intercept is free of it.
        """
        raw = np.nan_to_num(values.astype(np.float64), nan=0.0)
        mean, scale = raw.mean(axis=0), raw.std(axis=0)
        scale = np.where(scale > 1e-12, scale, 1.0)
        x = np.concatenate([(raw - mean) / scale, np.ones((len(raw), 1))], axis=1)
        ridge = np.append(np.full(len(names), l2), 0.0)
        share = float(np.clip(label.mean(), 1e-6, 1 - 1e-6))
        weight = np.append(np.zeros(len(names)), np.log(share / (1 - share)))
        loss = _loss(x, label, weight, ridge)
        for _ in range(STEPS):
            step = _newton(x, label, weight, ridge)
            length = 1.0
            while (new := _loss(x, label, weight - length * step, ridge)) > loss and length > 1e-6:
                length /= 2
            if new > loss:
                break
            weight, gained, loss = weight - length * step, loss - new, new
            if gained <= TOLERANCE * max(1.0, abs(loss)):
                break
        own = weight[:-1] / scale
        return cls(names, own, float(weight[-1] - np.sum(own * mean)))

    @property
    def parameters(self) -> int:
        """Weights and the intercept."""
        return len(self.weight) + 1

    def score(self, candidates: Candidates, features: Features) -> Float32:
        """Return float32 [Q, K]: the log odds."""
        place = {name: column for column, name in enumerate(features.names)}
        total = np.full(candidates.item.shape, self.intercept)
        for name, weight in zip(self.names, self.weight.tolist(), strict=True):
            total += weight * np.nan_to_num(features.values[..., place[name]].astype(np.float64), nan=0.0)
        return total.astype(np.float32)

    def save(self) -> Saved:
        """Return the weights."""
        return Saved({"weight": self.weight}, {"names": list(self.names), "intercept": self.intercept})

    @classmethod
    def load(cls, saved: Saved) -> Logistic:
        """Read a saved fit back."""
        return cls(tuple(saved.meta["names"]), saved.arrays["weight"], float(saved.meta["intercept"]))


def _loss(x: Float64, label: Float32, weight: Float64, ridge: Float64) -> float:
    odds = np.einsum("rf,f->r", x, weight)
    return float(np.sum(np.logaddexp(0.0, odds) - label * odds) + 0.5 * np.sum(ridge * weight * weight))


def _newton(x: Float64, label: Float32, weight: Float64, ridge: Float64) -> Float64:
    """Return the Newton step; ``einsum`` adds in one order, a matrix product in one that depends on the threads."""
    odds = np.einsum("rf,f->r", x, weight)
    chance = 1.0 / (1.0 + np.exp(-np.clip(odds, -500, 500)))
    gradient = np.einsum("rf,r->f", x, chance - label) + ridge * weight
    curve = np.einsum("rf,rg->fg", x * (chance * (1.0 - chance))[:, None], x) + np.diag(ridge)
    step: Float64 = np.linalg.solve(curve + 1e-9 * np.eye(len(weight)), gradient)
    return step
