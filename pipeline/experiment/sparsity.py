"""``simulate sparsity``: how does candidate recall hold as data thins out, and what does content win back?

The same systems at every budget, on one split and one test window: the interaction base, each modality alone, the base
with it, beside popularity and chance. Budgets are nested (``data/thinning``). What a budget withholds is neither fitted
on nor part of a query, yet it stays masked; every test user counts at every budget. Merge weights are chosen at every
budget, or with everything kept and held. A channel alone is measured by what it returns: its short lists stay short,
because what fills lists is popularity, which is interactions.

Comparisons, each family judged together:

- primary: ``worth`` (base + m minus base) at every budget; the area under that curve, which is its mean over the range
  of budgets; and its growth, the area minus the worth with everything kept: is content worth more where data is sparse?
- ``information``: real minus row-permuted, at every budget;
- ``loss``: each system against itself with everything kept;
- ``alone``: the modality alone against the first interaction channel of the base alone (against the base where it has
  none but popularity), whose sign change is the crossing;
- ``chance``: with cold items, the modality alone against a random order, also on the cold items.

Without a modality the primary family is the base against popularity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.core import Dataset, Int64
from stagelens.pipeline.data.splits import split as make_split
from stagelens.pipeline.data.thinning import COLD, COUNTED, Budget, thinned
from stagelens.pipeline.data.withhold import Withhold
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.crossed import CROSSED, TIME
from stagelens.pipeline.evaluate.curves import Axis, area_weights
from stagelens.pipeline.experiment.arms import (
    PERMUTED,
    Arm,
    Builder,
    Comparison,
    Contrast,
    chosen_modalities,
    treated,
)
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.sparsity_curves import Curve, Mark, Part, Point, SparsityPlan
from stagelens.pipeline.experiment.sparsity_options import Policy
from stagelens.pipeline.experiment.variants import Applied, Variant
from stagelens.pipeline.recipe import load

Stage = Literal["recall", "both"]
VIEWS: dict[Stage, Literal["catalogue", "own"]] = {"recall": "catalogue", "both": "own"}
DEGREES = ("user degree", "item degree")
UNPERSONAL = ("recall.Popular", "recall.Random")
"""Channels of the base that have no curve of their own beside the references."""
OPAQUE = {"recall.FromFile", "recall.FileVectors"}
"""Recipes whose files no budget thins."""


def plan_of_sparsity(study: Study, dataset: Dataset) -> SparsityPlan:
    """Lay out every system at every budget.

    Raises:
        ConfigError: Unknown modality, no budget below everything, a stage or protocol that shows nothing of budgets,
            an order in time that the data does not have.
    """
    _check(study, dataset)
    return _Planner(study, dataset).plan()


def _check(study: Study, dataset: Dataset) -> None:
    options, protocol = study.sparsity, study.protocol
    if study.stage == "rerank":
        raise ConfigError(
            "sparsity: stage = 'rerank' orders given candidates, and a budget changes the candidates. Use stage = "
            "recall, or both, which measures final lists too."
        )
    wrong = [name for name in ("fit_on", "input") if getattr(protocol, name) != "train"]
    if wrong:
        raise ConfigError(
            f"sparsity: protocol.{wrong[0]} = 'train+valid' would bring valid interactions in at every budget, and a "
            "cold item would not be cold. Use 'train'."
        )
    if not options.amounts:
        raise ConfigError(
            "sparsity: no budget below 100 % to compare with everything; name some with --budget"
        )
    if options.how == "modality" and not chosen_modalities(study, dataset):
        raise ConfigError(
            f"sparsity: how = 'modality' thins a content modality, and modalities = {list(study.modalities)} of "
            f"{dataset.name} names none. Name one, or 'all'."
        )
    if options.how == "modality" and "from" in options.policies and len(dataset.modalities) < 2:
        raise ConfigError(
            f"sparsity: policy 'from' predicts a modality from another one, and {dataset.name} has "
            f"{', '.join(dataset.modalities)} alone. Leave it out, or add a modality."
        )
    if study.measure.copies > 1:
        raise ConfigError(
            f"sparsity: measure.copies = {study.measure.copies}: further permuted copies serve the rank test of "
            "'simulate', and curves have one a budget. Use 1."
        )


class _Planner:
    def __init__(self, study: Study, dataset: Dataset) -> None:
        self.options = study.sparsity
        self.stages: tuple[Stage, ...] = ("recall", "both") if study.stage == "both" else ("recall",)
        self.builder = Builder(study, dataset)
        self.modalities = chosen_modalities(study, dataset)
        self.dataset = dataset
        self.split = make_split(dataset, study.data.split, seed=study.data.split_seed)
        self.variants: dict[str, Variant] = {}
        self.curves: list[Curve] = []
        self.degrees: dict[str, Int64] = {}
        self.marked: list[Mark] = []
        self.points = tuple(self._points())
        self.thinned = ["", *self.variants] if self.variants else None
        self.axis = self._axis()
        self.metrics = {"recall": f"recall@{study.recall.size}", "both": "ndcg@10"}

    def plan(self) -> SparsityPlan:
        """Return the plan."""
        for stage in self.stages:
            self._systems(stage)
        comparisons = [one for stage in self.stages for one in self._comparisons(stage)]
        return SparsityPlan(
            self.modalities,
            tuple(self.builder.arms.values()),
            tuple(comparisons),
            self.variants,
            points=self.points,
            curves=tuple(self.curves),
            axis=self.axis,
            notes=tuple(self._notes()),
            degrees=self.degrees,
            marked=tuple(self.marked),
        )

    # ------------------------------------------------------------ budgets

    def _points(self) -> Iterator[Point]:
        """Yield the budgets; lay out the variant of each, and what it keeps, where interactions are thinned."""
        options, train = self.options, self.split.train
        counted, whole = options.how in COUNTED, Point("100 %", 1.0)
        if counted:
            whole = replace(whole, label="all")
        yield whole
        for amount in options.amounts:
            label = f"k = {amount:g}" if counted else f"{round(100 * amount, 9):g} %"
            if options.how == "modality":
                yield Point(label, amount)
                continue
            budget = Budget(options.how, amount, options.order, options.draw)
            kept = thinned(self.split, budget).train
            self.variants[label] = Variant(budget=budget, held=options.tuning == "held")
            self.degrees[label] = kept.item_degree()
            if options.how in COLD:
                side: Literal["items", "users"] = "items" if options.how == "cold-items" else "users"
                before, after = (
                    log.item_degree() if side == "items" else log.user_degree() for log in (train, kept)
                )
                self.marked.append(Mark(f"{side} at {label}", "cold", side, (before > 0) & (after == 0)))
                self.marked.append(Mark(f"{side} at {label}", "warm", side, after > 0))
            yield Point(label, len(kept) / len(train) if counted else amount)
        if self.degrees:
            self.degrees[whole.label] = train.item_degree()

    def _axis(self) -> Axis:
        """Return where budgets stand; counts as what is kept of each, so that small k have their weight."""
        asked, smallest = self.options.scale, min(point.share for point in self.points)
        if asked == "log" and smallest == 0:
            raise ConfigError(
                "sparsity.scale = 'log': a budget leaves nothing, which has no place on it; use linear"
            )
        if asked != "auto":
            return Axis(asked)
        if self.options.how in COUNTED:
            train = self.split.train
            degree = train.user_degree() if self.options.how == "per-user" else train.item_degree()
            return Axis("count", len(train) / max(int((degree > 0).sum()), 1))
        return Axis("log" if smallest > 0 else "linear")

    def _notes(self) -> Iterator[str]:
        """Yield what a reader has to know of the budgets and of the base."""
        kept = {label: int(degree.sum()) for label, degree in self.degrees.items()}
        whole = kept.get(self.points[0].label)
        for label, count in list(kept.items()):
            if count == whole and label != self.points[0].label:
                yield f"{label} withholds nothing: its systems are those with everything kept."
        for table in self.builder.study.recall.base:
            uses = {str(table.get("use")), str((table.get("vectors") or {}).get("use"))}
            for name in sorted(uses & OPAQUE):
                yield (
                    f"{name} stands in the base: its file may have been made from interactions that a budget "
                    "withholds, and then it does not lose them."
                )

    # ------------------------------------------------------------ systems

    def _systems(self, stage: Stage) -> None:
        merged, on = self.builder.merged, self.thinned
        self._add(stage, "reference", "random", merged([load({"use": "recall.Random"})]), None)
        self._add(stage, "reference", "popular", merged([load({"use": "recall.Popular"})]), on)
        if stage == "recall":
            for table in self.builder.study.recall.base:
                channel = self.builder.part(table, "recall.base", "channel")
                if table.get("use") not in UNPERSONAL and not channel.reads:
                    self._add(stage, "channel", channel.label, merged([channel]), on)
        self._add(stage, "base", "base", self._system(stage, ()), on)
        if self.options.how == "modality":
            for m in self.modalities:
                self._with_policies(stage, m)
            return
        for m in self.modalities:
            if stage == "recall":
                self._add(stage, "alone", m, self.builder.union((m,), base=False), on, (m,), m)
            self._add(stage, "on", f"base + {m}", self._system(stage, (m,)), on, (m,), m)
            if self.builder.informative(m):
                copy = (treated(m, PERMUTED),)
                self._add(
                    stage, "permuted", f"base + {m} ({PERMUTED})", self._system(stage, copy), on, copy, m
                )
        if len(self.modalities) > 1:
            every = " + ".join(["base", *self.modalities])
            self._add(stage, "on", every, self._system(stage, self.modalities), on, self.modalities)

    def _system(self, stage: Stage, on: tuple[str, ...]) -> Union | Then:
        recall = self.builder.union(on)
        return recall if stage == "recall" else Then(recall=recall, rerank=self.builder.reranker(recall, on))

    def _with_policies(self, stage: Stage, m: str) -> None:
        """Add a modality's systems with the modality thinned, under every policy."""
        for policy, source in self._policies(m):
            said = policy if source is None else f"{policy} {source}"
            name = m if policy == "absent" else f"{m}, {said}"
            variants = [self._withheld(m, point, policy, source, name) for point in self.points]
            if stage == "recall":
                alone = self.builder.union((m,), base=False)
                self._add(stage, "alone", name, alone, variants, (m,), name)
            self._add(stage, "on", f"base + {name}", self._system(stage, (m,)), variants, (m,), name)

    def _policies(self, m: str) -> Iterator[tuple[Policy, str | None]]:
        for policy in dict.fromkeys(self.options.policies or get_args(Policy)):
            if policy == "from":
                yield from ((policy, name) for name in sorted(self.dataset.modalities) if name != m)
            else:
                yield policy, None

    def _withheld(self, m: str, point: Point, policy: Policy, source: str | None, name: str) -> str:
        """Return the variant of a modality at a budget; with every vector there, the study's own."""
        table, variant = self.dataset.modalities[m], f"{name} at {point.label}"
        if point.share == 1 and (policy == "absent" or table.present.all()):
            return ""
        if variant not in self.variants:
            withhold = Withhold(share=point.share, policy=policy, source=source, draw=self.options.draw)
            applied = (Applied("recall", m, "both", withhold), Applied("rerank", m, "both", withhold))
            self.variants[variant] = Variant(treatments=applied, held=self.options.tuning == "held")
            self._mark(m, point)
        return variant

    def _mark(self, m: str, point: Point) -> None:
        """Mark the items that lose their vector at a budget, whatever the policy, and those that keep it."""
        name, table = f"{m} at {point.label}", self.dataset.modalities[m]
        if point.share < 1 and not any(name == known.slice for known in self.marked):
            withhold = Withhold(share=point.share, draw=self.options.draw)
            kept = withhold.apply(table, self.dataset.training(self.split.train), seed=0).present
            self.marked.append(Mark(name, "withheld", "items", table.present & ~kept))
            self.marked.append(Mark(name, "kept", "items", kept))

    def _add(
        self,
        stage: Stage,
        part: Part,
        name: str,
        system: Union | Then,
        variants: Sequence[str] | None,
        on: tuple[str, ...] = (),
        m: str | None = None,
    ) -> None:
        """Add a curve with one variant a budget; None: no budget changes anything, so one arm serves all."""
        several = isinstance(system, Then) or len(system.parts) > 1
        arm = Arm(
            name,
            stage,
            VIEWS[stage],
            system,
            on,
            "ensemble" if on and several else "none",
            filled=part not in ("alone", "channel"),
        )
        arms = [arm] * len(self.points)
        if variants is not None:
            below = zip(self.points, variants, strict=True)
            arms = [replace(arm, name=f"{name} at {point.label}", variant=one) for point, one in below]
        self.curves.append(Curve(name, stage, part, m, tuple(self.builder.add(one) for one in arms)))

    # ------------------------------------------------------------ comparisons

    def _comparisons(self, stage: Stage) -> Iterator[Comparison]:
        curves = [curve for curve in self.curves if curve.stage == stage]
        base = next(curve for curve in curves if curve.part == "base")
        metric = self.metrics[stage]
        if not self.modalities:
            popular = next(curve for curve in curves if curve.system == "popular")
            for low, high in zip(popular.keys, base.keys, strict=True):
                yield Comparison(low, high, metric, "other", slices=DEGREES)
        for curve in curves:
            if curve.part == "on":
                yield from self._worth(base, curve, metric)
        for curve in curves:
            if curve.part == "permuted":
                on = next(one for one in curves if (one.part, one.modality) == ("on", curve.modality))
                yield from _pairs(curve, on, metric, "information", "information")
        for curve in curves:
            if curve.part != "permuted" and len(set(curve.keys)) > 1:
                for key in curve.keys[1:]:
                    yield Comparison(curve.keys[0], key, metric, "other", curve.modality, family="loss")
        for curve in curves:
            if curve.part == "alone":
                rival = next((one for one in curves if one.part == "channel"), base)
                yield from _pairs(rival, curve, metric, "other", "alone")
        if self.options.how == "cold-items":
            yield from self._against_chance(curves, metric)

    def _against_chance(self, curves: list[Curve], metric: str) -> Iterator[Comparison]:
        """Yield every modality alone against a random order, on all items and on the cold ones."""
        [chance] = [curve for curve in curves if curve.system == "random"]
        for curve in curves:
            if curve.part == "alone":
                for point, low, high in list(zip(self.points, chance.keys, curve.keys, strict=True))[1:]:
                    slices = (f"items at {point.label}",)
                    yield Comparison(
                        low, high, metric, "other", curve.modality, family="chance", slices=slices
                    )

    def _worth(self, base: Curve, on: Curve, metric: str) -> Iterator[Comparison]:
        """Yield worth at every budget, the area under it, and its growth."""
        names = (*DEGREES, *sorted(self.dataset.modalities))
        pairs = list(zip(base.keys, on.keys, strict=True))
        for point, (low, high) in zip(self.points, pairs, strict=True):
            subjects = ("items", "users", str(on.modality).partition(",")[0])
            special = (f"{subject} at {point.label}" for subject in subjects)
            yield Comparison(low, high, metric, "worth", on.modality, slices=(*names, *special))
        weights = area_weights(np.array([point.share for point in self.points]), self.axis)
        stage, view, _ = on.keys[0]
        for what, less in (("area", 0.0), ("growth", 1.0)):
            below = [float(weight) for weight in weights]
            below[0] -= less
            terms = tuple((weight, *pair) for weight, pair in zip(below, pairs, strict=True))
            yield Comparison(
                (stage, view, f"{base.system}, {what}"),
                (stage, view, f"{on.system}, {what}"),
                metric,
                "worth",
                on.modality,
                terms=terms,
                slices=(*names, TIME, CROSSED) if what == "area" else (),
            )


def _pairs(low: Curve, high: Curve, metric: str, contrast: Contrast, family: str) -> Iterator[Comparison]:
    """Yield one curve against another, budget by budget, each pair of arms once."""
    for baseline, system in dict.fromkeys(zip(low.keys, high.keys, strict=True)):
        yield Comparison(baseline, system, metric, contrast, high.modality, family=family)
