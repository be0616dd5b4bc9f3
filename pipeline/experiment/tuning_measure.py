"""What a trial of ``simulate tune`` is worth: the mean of a metric on valid, of a channel alone or of a re-ranker.

Nothing of a trial is kept on disk but its figures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np

from stagelens.pipeline.compose import Union
from stagelens.pipeline.contracts import Channel, FittedVectors, Reranker, Vectors
from stagelens.pipeline.core import Int32
from stagelens.pipeline.evaluate.metrics import Metric, measure
from stagelens.pipeline.recipe import Recipe, fingerprint
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.warming import warm
from stagelens.pipeline.workbench import Workbench

EPOCH = 1
"""Raise when trials are drawn or measured another way, so that older ones are not gone on from."""


class Examiner(Protocol):
    """Says what a recipe is worth on valid."""

    def value(self, made: Recipe) -> float:
        """Fit and measure a recipe."""
        ...

    def prepare(self, made: Recipe) -> None:
        """Do what every trial shares and the first would be charged with."""
        ...

    def key(self, start: Recipe) -> str:
        """Return the fingerprint of everything but the recipe's values that ``value`` follows from."""
        ...


@dataclass(frozen=True)
class Alone:
    """A channel alone: its own list of the whole catalogue, short lists as they are.

    Attributes:
        benches: By study seed; a recipe without randomness is fitted for the first alone.
        metric: Its cut-off is what the channel is asked for.
    """

    benches: Mapping[int, Workbench]
    metric: Metric

    def value(self, made: Recipe) -> float:
        """Return the mean over the users of valid, and over the seeds."""
        return float(np.mean([self._value(bench, made) for bench in _asked(self.benches, made)]))

    def prepare(self, made: Recipe) -> None:
        """Load and compile what the channel's class needs."""
        warm(made)

    def _value(self, bench: Workbench, made: Recipe) -> float:
        window = bench.windows.valid

        def share(vectors: Recipe) -> FittedVectors:
            seed = derive(bench.seed, "vectors", vectors.label)
            return cast(Vectors, vectors).fit(data, seed=seed)

        data = replace(bench.data_of(window, "recall"), share=share)
        seed = derive(bench.seed, "recall", made.label)
        fitted = cast(Channel, made).fit(data, seed=seed)
        ranks = []
        for start, stop in window.blocks(bench.block):
            found = fitted.retrieve(window.queries(start, stop), self.metric.k)
            ranks.append(window.truth.rows(np.arange(start, stop)).ranks(found))
        return _mean(ranks, bench, self.metric)

    def key(self, start: Recipe) -> str:
        """Name the windows, and the modalities that the recipe reads."""
        return fingerprint("alone", _windows(self.benches, start, "recall"), str(self.metric))


@dataclass(frozen=True)
class OnLists:
    """A re-ranker on the candidate sets of one recall stage, taught by the same rows every time.

    Attributes:
        benches: By study seed.
        metric: Of the whole list, against all relevant items.
        recall: Whose candidates are ordered.
        groups: Feature groups that the re-rankers read.
    """

    benches: Mapping[int, Workbench]
    metric: Metric
    recall: Union
    groups: tuple[Recipe, ...]

    def value(self, made: Recipe) -> float:
        """Return the mean over the users of valid, and over the seeds."""
        whole: Any = made  # a dataclass with the field ``features``, as the contract says
        system = replace(whole, features=self.groups)
        return float(np.mean([self._value(bench, system) for bench in _asked(self.benches, made)]))

    def prepare(self, made: Recipe) -> None:
        """Make the rows that teach every trial; what cannot be made, the trial says."""
        with contextlib.suppress(Exception):
            for bench in _asked(self.benches, made):
                bench.training_rows(self.recall, self.groups)

    def _value(self, bench: Workbench, made: Recipe) -> float:
        window = bench.windows.valid
        train, valid = bench.training_rows(self.recall, self.groups)
        names = bench.columns(self.groups, self.recall)
        seed = derive(bench.seed, "rerank", made.label)
        fitted = cast(Reranker, made).fit(train.columns(names), valid.columns(names), seed=seed)
        ranks = []
        for start, stop, queries, _, evidence, columns in bench.read(self.recall, self.groups, window):
            ordered = evidence.rescored(fitted.score(evidence, columns), queries.tie)
            ranks.append(window.truth.rows(np.arange(start, stop)).ranks(ordered))
        return _mean(ranks, bench, self.metric)

    def key(self, start: Recipe) -> str:
        """Name the windows, the recall stage with its fits, the groups and the options of training rows."""
        rows = [
            [
                *([window.key for window in bench.windows.rows]),
                *([bench.fit_key(part, bench.windows.valid) for part in self.recall.parts]),
                [bench.hashes(group, bench.windows.valid, "rerank") for group in self.groups],
                [bench.lost, bench.max_rows, bench.negatives],
            ]
            for bench in self.benches.values()
        ]
        where = _windows(self.benches, start, "rerank")
        return fingerprint("on lists", where, str(self.metric), self.recall, self.groups, rows)


def _asked(benches: Mapping[int, Workbench], made: Recipe) -> list[Workbench]:
    every = list(benches.values())
    return every if made.seeded else every[:1]


def _windows(benches: Mapping[int, Workbench], start: Recipe, stage: Any) -> list[Any]:
    return [
        [
            EPOCH,
            seed,
            bench.windows.valid.key,
            bench.hashes(start, bench.windows.valid, stage),
            {name: value for name, value in bench.dataset.hashes().items() if name.endswith("_columns")},
        ]
        for seed, bench in benches.items()
    ]


def _mean(ranks: Sequence[Int32], bench: Workbench, metric: Metric) -> float:
    return float(measure(np.concatenate(ranks), bench.windows.valid.truth, [metric]).mean())
