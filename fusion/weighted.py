"""The weighted sum of normalised scores: weights tuned on valid, or given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, NonNegativeFloat, PositiveInt, field_validator

from stagelens.fusion.normalise import Normalise
from stagelens.fusion.rules import alphabetical, members, summed
from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Candidates, Float32, Float64, Int64
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.metrics import Metric, measure
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.merge import WEIGHT_TRIALS, search_weights
from stagelens.pipeline.recipe import Recipe, Role, recipe


def _pairs(value: Any) -> Any:
    """A table of weights becomes pairs sorted by label: a recipe is a value, and hashes."""
    return tuple(sorted(value.items())) if isinstance(value, Mapping) else value


Weights = Annotated[
    Literal["valid", "equal"] | tuple[NonNegativeFloat, ...] | tuple[tuple[str, NonNegativeFloat], ...],
    BeforeValidator(_pairs),
]


@recipe
class WeightedSum(Recipe):
    """The sum of weight x normalised score over the members that scored the item.

    A member of weight 0 is no member: what only such members scored has no score, and in a union no place. Weights are
    searched from {0, .1, .25, .5, 1} as merge weights are: coordinate ascent from equal weights, then from seeded
    points of the grid, weightings that differ by a factor counting once, a tie going to the one tried first.

    References:
        Bartell, Cottrell & Belew 1994, SIGIR (linear combinations tuned on data); variant: a grid, no gradient.
    """

    role: ClassVar[Role] = "ensemble"
    seeded: ClassVar[bool] = True

    normalise: Normalise = "min-max"
    """Unit of the scores: ``raw``, ``min-max``, ``z-score`` or ``rank``, within each list."""
    weights: Weights = "valid"
    """Chosen on valid; all 1; one a member in the order given; or a table label = weight."""
    metric: str | None = None
    """What weights are chosen by; None: recall@size in a union, ndcg@10 in a blend."""
    trials: PositiveInt = WEIGHT_TRIALS
    """Weightings tried on valid (fewer only where the grid is smaller)."""

    @field_validator("metric")
    @classmethod
    def _is_metric(cls, value: str | None) -> str | None:
        return None if value is None else str(Metric.parse(value))

    @field_validator("weights")
    @classmethod
    def _not_all_zero(cls, value: Any) -> Any:
        if not isinstance(value, str) and not any(_number(weight) for weight in value):
            raise ValueError(f"weights = {value}: at least one must be above 0")
        return value

    @property
    def label(self) -> str:
        """``WeightedSum(min-max, valid)``."""
        weights = self.weights
        told = weights if isinstance(weights, str) else ":".join(f"{_number(w):g}" for w in weights)
        return f"WeightedSum({self.normalise}, {told})"

    @property
    def learns(self) -> frozenset[str]:
        """``valid`` where weights are tuned, else nothing."""
        return frozenset({"valid"}) if self.weights == "valid" else frozenset()

    def check(self, labels: tuple[str, ...]) -> None:
        """Verify that the weights fit these members.

        Raises:
            ValueError: Another number of weights, or labels that are not those of the members.
        """
        if isinstance(self.weights, str):
            return
        given = [w[0] for w in self.weights if isinstance(w, tuple)]
        if not given and len(self.weights) != len(labels):
            raise ValueError(
                f"weights = {self.weights}: {len(self.weights)} weights for {len(labels)} members; give one a member"
            )
        if given and sorted(given) != sorted(labels):
            raise ValueError(f"weights are given for {sorted(given)}, the members are {sorted(labels)}")

    def fit(
        self,
        candidates: Candidates,
        truth: Truth,
        valid_candidates: Candidates,
        valid_truth: Truth,
        *,
        seed: int,
    ) -> FittedWeightedSum:
        """Choose the weights on valid, or take those given.

        Valid lists must stand in an order that tells nothing (the seeded one): it breaks their ties.

        Raises:
            ConfigError: The weights do not fit the members, or ``metric`` is left open.
        """
        labels = valid_candidates.channels
        try:
            self.check(labels)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if self.weights == "valid":
            return self._tuned(valid_candidates, valid_truth, seed)
        if self.weights == "equal":
            chosen = dict.fromkeys(labels, 1.0)
        else:
            pairs = [
                w if isinstance(w, tuple) else (label, w)
                for label, w in zip(labels, self.weights, strict=True)
            ]
            chosen = dict(pairs)
        return FittedWeightedSum(self.normalise, chosen, None, 0)

    def _tuned(self, lists: Candidates, truth: Truth, seed: int) -> FittedWeightedSum:
        if self.metric is None:
            raise ConfigError(
                "WeightedSum: metric = None is filled in by a union or a blend; outside of them name one, "
                "for instance metric = 'ndcg@10'"
            )
        order = alphabetical(lists)
        labels = tuple(lists.channels[c] for c in order)
        place = truth.ranks(lists)
        rows, listed = truth.pair_row, np.flatnonzero(place)
        worth = partial(
            _value,
            np.ascontiguousarray(members(lists, self.normalise)),
            rows[listed].astype(np.int64),
            place[listed].astype(np.int64) - 1,
            listed,
            truth,
            Metric.parse(self.metric),
        )
        weights, value, trials = search_weights(labels, worth, seed=seed, trials=self.trials)
        return FittedWeightedSum(self.normalise, dict(zip(labels, weights, strict=True)), value, trials)

    def load(self, saved: Saved) -> FittedWeightedSum:
        """Read a saved fit back."""
        meta = saved.meta
        value = meta["valid"]
        return FittedWeightedSum(
            meta["normalise"],
            {label: float(weight) for label, weight in meta["weights"].items()},
            None if value is None else float(value),
            int(meta["trials"]),
        )


def _number(weight: Any) -> float:
    return float(weight[1] if isinstance(weight, tuple) else weight)


def _value(
    values: Float64,
    row: Int64,
    place: Int64,
    listed: Int64,
    truth: Truth,
    metric: Metric,
    weights: tuple[float, ...],
) -> float:
    """Return the mean metric of one weighting; what a union would fill in by popularity does not count."""
    from stagelens.fusion.rank_kernels import pair_ranks

    ranks = np.zeros(truth.pairs, dtype=np.int32)
    ranks[listed] = pair_ranks(values, np.asarray(weights, dtype=np.float64), row, place)
    return float(measure(ranks, truth, [metric]).mean()) if len(truth) else 0.0


@dataclass(frozen=True, slots=True)
class FittedWeightedSum:
    """A weighted sum with its weights.

    Attributes:
        normalise: Unit of the scores.
        weights: Label of a member -> weight.
        valid: The metric on valid that chose them; None where they were given.
        trials: Weightings tried.
    """

    normalise: Normalise
    weights: Mapping[str, float]
    valid: float | None
    trials: int

    @property
    def parameters(self) -> int:
        """The weights that were tuned."""
        return len(self.weights) if self.trials else 0

    def score(self, candidates: Candidates) -> Float32:
        """Return float32 [Q, K]; NaN where no member of a weight above 0 scored the item.

        Raises:
            ValueError: The candidates carry other members.
        """
        if sorted(candidates.channels) != sorted(self.weights):
            raise ValueError(
                f"candidates carry {candidates.channels}, the weights are of {sorted(self.weights)}"
            )
        weight = np.array([self.weights[candidates.channels[c]] for c in alphabetical(candidates)])
        values = members(candidates, self.normalise)[..., weight > 0]
        known = (~np.isnan(values)).any(axis=2)
        return np.where(known, summed(values * weight[weight > 0]), np.nan).astype(np.float32)

    def save(self) -> Saved:
        """Return the weights and how they were chosen."""
        meta = {
            "normalise": self.normalise,
            "weights": dict(self.weights),
            "valid": self.valid,
            "trials": self.trials,
        }
        return Saved(meta=meta)
