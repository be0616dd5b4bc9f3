"""One small world with a study's systems fitted, asked about any log of the test span.

Nothing here measures or judges: arms come from the study's builder, are fitted by ``fit_arms``, ranked by
``ranks_of`` and judged by ``comparison_records``. What a laboratory adds is the truth. The lists of a fitted system
do not depend on what is held out, so ranks are asked once, for the pairs of all logs together, and every log selects
its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stagelens.pipeline.compose import Then
from stagelens.pipeline.core import Dataset, Float64, Int32, Int64, Interactions, Split
from stagelens.pipeline.evaluate.cost import Phases
from stagelens.pipeline.evaluate.metrics import measure
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.arms import Arm, Builder, Comparison, Plan
from stagelens.pipeline.experiment.fitting import fit_arms, ranks_of
from stagelens.pipeline.experiment.fresh import Fresh, contrasts, keys_of
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.summary import Measured, comparison_records, margin_of, primary_metric
from stagelens.pipeline.experiment.variants import Variant, laid_out, under
from stagelens.pipeline.progress import Silent
from stagelens.pipeline.windows import Window, Windows
from stagelens.pipeline.workbench import Workbench, temporary_store

Key = tuple[str, str, str]
Record = dict[str, Any]
VIEWS = {"recall": "catalogue", "rerank": "base", "both": "own"}
BASE = "base"


def arm_of(builder: Builder, stage: Stage, modality: str | None) -> Arm:
    """Return the base system of a stage, or base + one modality, as ``simulate`` lays it out."""
    on = () if modality is None else (modality,)
    name = BASE if modality is None else f"{BASE} + {modality}"
    if stage == "recall":
        return Arm(name, "recall", "catalogue", builder.union(on), on)
    recall = builder.union(on if stage == "both" else ())
    system = Then(recall=recall, rerank=builder.reranker(recall, on))
    return Arm(name, stage, "own" if stage == "both" else "base", system, on)


def key_of(stage: Stage, modality: str | None) -> Key:
    """Return the key of ``arm_of``."""
    return stage, VIEWS[stage], BASE if modality is None else f"{BASE} + {modality}"


@dataclass(frozen=True, eq=False)
class Laboratory:
    """A world, its fitted systems, and the ranks of every pair that any of its logs holds.

    Attributes:
        study: Options of the study that examines the world.
        dataset: The world's data, with treated copies.
        split: Its windows.
        arms: Systems by key.
        ranks: int32 [P] by key, of the pairs of all logs.
        fresh: All logs and their pairs, the observed one first.
        margins: Smallest effect that matters by key: a share of the stage's base system on valid.
    """

    study: Study
    dataset: Dataset
    split: Split
    arms: Mapping[Key, Arm]
    ranks: Mapping[Key, Int32]
    fresh: Fresh
    margins: Mapping[Key, float]

    @property
    def observed(self) -> Interactions:
        """The log that the study sees as test."""
        return self.fresh.logs[0]

    @property
    def draws(self) -> tuple[Interactions, ...]:
        """Fresh logs of the test span, independent of the observed one and of each other."""
        return self.fresh.logs[1:]

    @property
    def pairs(self) -> Int64:
        """int64 [P], increasing: user * I + item."""
        return self.fresh.pairs

    def with_ranks(self, arm: Arm, ranks: Int32) -> Laboratory:
        """Return the laboratory with one more system, known by its ranks."""
        margin = next(value for key, value in self.margins.items() if key[0] == arm.stage)
        return replace(
            self,
            arms={**self.arms, arm.key: arm},
            ranks={**self.ranks, arm.key: ranks},
            margins={**self.margins, arm.key: margin},
        )

    def measured(self, log: Interactions, keys: Sequence[Key]) -> tuple[Truth, dict[Key, Measured]]:
        """Return the truth that a log makes, and every system measured on it."""
        truth = Truth.of(log)
        places = self.fresh.places(truth)
        none = np.zeros((1, 0), dtype=np.int64)
        return truth, {key: Measured(self.arms[key], self.ranks[key][places][None], (), none) for key in keys}

    def records(self, log: Interactions, comparisons: Sequence[Comparison]) -> list[Record]:
        """Return what the instrument says about comparisons on a log; families are judged together."""
        keys = keys_of(comparisons)
        truth, measured = self.measured(log, keys)
        plan = Plan((), tuple(self.arms[key] for key in keys), tuple(comparisons))
        return comparison_records(plan, measured, self.margins, truth, self.study.measure)

    def true_values(self, keys: Sequence[Key], draws: Sequence[Interactions] | None = None) -> Float64:
        """Return float64 [draws, arms]; the mean over draws is each system's true metric."""
        metrics = {key: primary_metric(self.arms[key]) for key in keys}
        ranks = {key: self.ranks[key] for key in keys}
        return self.fresh.true_values(ranks, metrics, self.draws if draws is None else draws)

    def differences(
        self, comparisons: Sequence[Comparison], draws: Sequence[Interactions] | None = None
    ) -> Float64:
        """Return float64 [draws, comparisons]; the mean over draws is the true difference."""
        keys = keys_of(comparisons)
        found: Float64 = self.true_values(keys, draws) @ contrasts(keys, comparisons)
        return found


def leaky(windows: Windows) -> Windows:
    """Return windows whose queries hold what is held out: the confound that a certificate has to notice."""

    def told(window: Window) -> Window:
        return replace(window, input=window.input.merged(window.target))

    rows = tuple(told(window) for window in windows.rows)
    return replace(windows, rows=rows, valid=told(windows.valid), test=told(windows.test))


@contextmanager
def fitted(
    study: Study,
    dataset: Dataset,
    split: Split,
    arms: Sequence[Arm],
    draws: Sequence[Interactions] = (),
    leaks: Sequence[Key] = (),
    variants: Mapping[str, Variant] | None = None,
) -> Iterator[Laboratory]:
    """Fit the arms in a world and rank every pair of the observed and of fresh logs.

    Args:
        study: Its protocol, sizes and margin.
        dataset: The world's data, with treated copies.
        split: Its windows.
        arms: Systems; the first of a stage and variant sets the margin of both.
        draws: Fresh logs of the test span.
        leaks: Arms that are shown the held-out pairs in their queries.
        variants: Conditions that arms name, beside the study's own.
    """
    folder = temporary_store()
    try:
        bench = Workbench.of(dataset, split, seed=study.seeds[0], store=folder)
        observed = bench.windows.test.target
        fresh = Fresh.of([observed, *draws])
        asked = fresh.asked
        honest = [arm for arm in arms if arm.key not in leaks]
        ranks, margins = _ranked(bench, [arm for arm in honest if not arm.variant], asked, study)
        for name, conditions in (variants or {}).items():
            laid = laid_out(
                study, dataset, split, conditions, seed=bench.seed, store=bench.store, progress=Silent()
            )
            arms_under = [arm for arm in honest if arm.variant == name]
            found = _ranked(under(conditions, bench, laid, {}), arms_under, asked, study)
            ranks, margins = ranks | found[0], margins | found[1]
        if leaks:
            spoilt = replace(bench, windows=leaky(bench.windows))
            ranks |= _ranked(spoilt, [arm for arm in arms if arm.key in leaks], asked, study)[0]
        by_key = {arm.key: arm for arm in arms}
        smallest = {key: margins[arm.stage, arm.variant] for key, arm in by_key.items()}
        yield Laboratory(study, dataset, split, by_key, ranks, fresh, smallest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ranked(
    bench: Workbench, arms: Sequence[Arm], asked: Interactions, study: Study
) -> tuple[dict[Key, Int32], dict[tuple[str, str], float]]:
    """Return int32 [P] by key, and by stage and variant the margin from its first arm on valid."""
    fit_arms(bench, arms, Phases())
    test, valid = bench.windows.test, bench.windows.valid
    window = replace(test, target=asked)
    ranks = {key: found[0] for key, found in ranks_of(bench, arms, window).items()}
    first: dict[str, Arm] = {arm.stage: arm for arm in reversed(arms)}
    margins: dict[tuple[str, str], float] = {}
    for key, (found, _, _) in ranks_of(bench, list(first.values()), valid).items():
        mean = float(measure(found, valid.truth, [primary_metric(first[key[0]])]).mean())
        arm = first[key[0]]
        margins[arm.stage, arm.variant] = margin_of(study.measure.margin, mean)
    return ranks, margins
