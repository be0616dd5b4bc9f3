"""True metrics of fitted systems: means over fresh logs, which a world makes as often as it is asked.

The lists of a fitted system do not depend on what is held out. So its ranks are asked once, for the pairs of all logs
together, and every log selects its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.core import Float64, Int32, Int64, Interactions
from stagelens.pipeline.evaluate.metrics import contributions
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.arms import Comparison

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Fresh:
    """Logs of one span, and the pairs that any of them holds.

    Attributes:
        logs: Of one world and span.
        pairs: int64 [P], increasing: user * I + item.
    """

    logs: tuple[Interactions, ...]
    pairs: Int64

    @classmethod
    def of(cls, logs: Sequence[Interactions]) -> Fresh:
        """Return the logs with their pairs."""
        keys = [log.user.astype(np.int64) * log.n_items + log.item for log in logs]
        return cls(tuple(logs), np.unique(np.concatenate(keys)))

    @property
    def asked(self) -> Interactions:
        """All pairs as one log: what a window asks systems to rank."""
        first = self.logs[0]
        user, item = np.divmod(self.pairs, first.n_items)
        return Interactions.of(user, item, n_users=first.n_users, n_items=first.n_items)

    def places(self, truth: Truth) -> Int64:
        """Return int64: where the pairs of a log's truth stand among all pairs."""
        key = truth.user[truth.pair_row].astype(np.int64) * self.logs[0].n_items + truth.pair_item
        place: Int64 = np.searchsorted(self.pairs, key)
        return place

    def values(self, ranks: Mapping[Key, Int32], metrics: Mapping[Key, str], log: Interactions) -> Float64:
        """Return float64 [arms]: each system's metric on one log, the mean over its users.

        Args:
            ranks: int32 [P] by arm, in the order of the result.
            metrics: Of every arm.
            log: One of the logs.
        """
        truth = Truth.of(log)
        places = self.places(truth)
        sums = [contributions(one[places], truth, metrics[key]).sum() for key, one in ranks.items()]
        return np.array(sums) / len(truth)

    def true_values(
        self,
        ranks: Mapping[Key, Int32],
        metrics: Mapping[Key, str],
        logs: Sequence[Interactions] | None = None,
    ) -> Float64:
        """Return float64 [logs, arms]; the mean over logs is each system's true metric."""
        return np.stack([self.values(ranks, metrics, log) for log in (self.logs if logs is None else logs)])


def keys_of(comparisons: Sequence[Comparison]) -> list[Key]:
    """Return the arms that comparisons are about, each once."""
    return list(dict.fromkeys(key for one in comparisons for _, *pair in one.sum for key in pair))


def contrasts(keys: Sequence[Key], comparisons: Sequence[Comparison]) -> Float64:
    """Return float64 [arms, comparisons]: values of arms times this are the differences."""
    weights = np.zeros((len(keys), len(comparisons)))
    for place, comparison in enumerate(comparisons):
        for weight, baseline, system in comparison.sum:
            weights[keys.index(system), place] += weight
            weights[keys.index(baseline), place] -= weight
    return weights
