"""Trials: one world of a kind, examined; what was found as plain numbers, one JSON line a world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from stagelens.pipeline.certify.broken import unpaired
from stagelens.pipeline.certify.laboratory import Laboratory, arm_of, fitted, key_of
from stagelens.pipeline.certify.logs import Logs
from stagelens.pipeline.certify.planting import order_of_stages, planted
from stagelens.pipeline.certify.sparse import VARIANTS, thinned_arm, thinned_family
from stagelens.pipeline.certify.worlds import MODALITIES, SETTINGS, Kind, strong, study, weak, world
from stagelens.pipeline.core import Dataset, Float64, Interactions, Split
from stagelens.pipeline.data.knockout import PermuteRows, renamed
from stagelens.pipeline.data.splits import split as make_split
from stagelens.pipeline.experiment.arms import Arm, Builder, Comparison
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.summary import primary_metric
from stagelens.pipeline.experiment.variants import Variant
from stagelens.pipeline.seeds import derive

Found = dict[str, Any]
STAGES: tuple[Stage, ...] = ("recall", "rerank", "both")
COPIES = tuple(f"text~{letter}" for letter in "abcd")
HARM_EVERY = 4
"""The true harm of a modality that carries nothing is computed in every fourth null world."""


def examine(kind: Kind, number: int, stages: Sequence[Stage] = STAGES) -> Found:
    """Return what the instrument says in one world, and what is true there."""
    made = world(kind, number).truth(number)
    options = study(kind, number)
    windows = make_split(made.dataset, options.data.split)
    policy, draws = Logs.of(made, windows), SETTINGS[kind].draws
    if kind == "null":
        harm = number % HARM_EVERY == 0
        fresh = [policy.draw(draw) for draw in range(draws if harm else 0)]
        found = _null(options, made.dataset, windows, number, stages, fresh)
    elif kind == "leaky":
        found = _leaky(options, made.dataset, windows, number, stages)
    elif kind == "planted":
        fresh = [policy.draw(draw) for draw in range(draws + 1)]  # the first is the pilot
        found = _planted(options, made.dataset, windows, number, stages, fresh)
    else:
        fresh = [policy.draw(draw) for draw in range(draws)]
        even = Logs.even(made, windows) if kind == "exposed" else None
        logs = [] if even is None else [even.draw(draw) for draw in range(draws)]
        found = _signal(options, made.dataset, windows, stages, fresh, logs)
    return {"kind": kind, "world": number, **found}


# ---------------------------------------------------------------- null


def with_copies(dataset: Dataset, windows: Split, number: int, names: Sequence[str]) -> Dataset:
    """Return the data set with independent row permutations of its text."""
    data = dataset.training(windows.train)
    for name in names:
        made = PermuteRows().apply(
            dataset.modalities["text"], data, seed=derive(number, "certify", "copy", name)
        )
        dataset = dataset.with_modality(renamed(made, name))
    return dataset


def _null(
    options: Study,
    dataset: Dataset,
    windows: Split,
    number: int,
    stages: Sequence[Stage],
    fresh: Sequence[Interactions],
) -> Found:
    dataset = with_copies(dataset, windows, number, COPIES)
    builder = Builder(options, dataset)
    arms = [arm_of(builder, stage, name) for stage in stages for name in (None, "text", *COPIES)]
    thin = [thinned_arm(builder, name) for name in (None, *COPIES)] if "recall" in stages else []
    found: Found = {}
    with fitted(options, dataset, windows, [*arms, *thin], fresh, variants=_variants(thin)) as lab:
        pairs = [
            _comparison(lab, stage, one, other, "copies " + stage)
            for stage in stages
            for one, other in combinations(COPIES, 2)
        ]
        worth = [_comparison(lab, stage, None, "text", "worth " + stage) for stage in stages]
        said = lab.records(lab.observed, [*pairs, *worth])
        true = lab.differences(worth) if fresh else None
        for place, stage in enumerate(stages):
            family = [one for one in said if one["family"] == "copies " + stage]
            [on] = [one for one in said if one["family"] == "worth " + stage]
            found[stage] = {
                "helps": any(one["verdict"] == "helps" for one in family),
                "hurts": any(one["verdict"] == "hurts" for one in family),
                "alone": {  # as if each comparison were the only one
                    "helps": any(
                        one["p"] < options.measure.alpha and one["difference"] > 0 for one in family
                    ),
                    "hurts": any(
                        one["p"] < options.measure.alpha and one["difference"] < 0 for one in family
                    ),
                },
                "on": _said(on) | ({} if true is None else {"true": _mean(true[:, place])}),
            }
        if thin:
            said = lab.records(
                lab.observed, list(thinned_family(builder, list(combinations(COPIES, 2)), "sparsity"))
            )
            found["recall"]["sparsity"] = {
                verdict: any(one["verdict"] == verdict for one in said) for verdict in ("helps", "hurts")
            }
    return found


def _leaky(options: Study, dataset: Dataset, windows: Split, number: int, stages: Sequence[Stage]) -> Found:
    dataset = with_copies(dataset, windows, number, COPIES[:2])
    builder = Builder(options, dataset)
    arms = [arm_of(builder, stage, name) for stage in stages for name in COPIES[:2]]
    leaks = [key_of(stage, COPIES[1]) for stage in stages]
    with fitted(options, dataset, windows, arms, leaks=leaks) as lab:
        asked = [_comparison(lab, stage, COPIES[0], COPIES[1], stage) for stage in stages]
        said = lab.records(lab.observed, asked)
    return {stage: _said(one) for stage, one in zip(stages, said, strict=True)}


# ---------------------------------------------------------------- signal


def _signal(
    options: Study,
    dataset: Dataset,
    windows: Split,
    stages: Sequence[Stage],
    fresh: Sequence[Interactions],
    even: Sequence[Interactions],
) -> Found:
    builder = Builder(options, dataset)
    arms = [arm_of(builder, stage, name) for stage in stages for name in (None, *MODALITIES)]
    thin = [thinned_arm(builder, name) for name in (None, *MODALITIES)] if _sparse(stages, even) else []
    found: Found = {stage: {} for stage in stages}
    with fitted(options, dataset, windows, [*arms, *thin], [*fresh, *even], variants=_variants(thin)) as lab:
        asked = [_comparison(lab, stage, None, name, stage) for stage in stages for name in MODALITIES]
        said = lab.records(lab.observed, asked)
        draws = lab.draws[: len(fresh)]
        true = lab.differences(asked, draws)
        free = lab.differences(asked, lab.draws[len(fresh) :]) if even else None
        for place, (one, comparison) in enumerate(zip(said, asked, strict=True)):
            entry = _said(one) | {"true": _mean(true[:, place]), "true_error": _error(true[:, place])}
            if place % len(MODALITIES) == 0:
                entry["unpaired"] = _unpaired(lab, comparison)
            if free is not None:
                entry |= {"free": _mean(free[:, place]), "free_error": _error(free[:, place])}
            found[one["stage"]][MODALITIES[place % len(MODALITIES)]] = entry
        if thin:
            asked = list(thinned_family(builder, [(None, name) for name in MODALITIES], "sparsity"))
            truths = lab.differences(asked, draws).mean(axis=0)
            found["recall"]["sparsity"] = [
                _said(one) | {"true": float(true)}
                for one, true in zip(lab.records(lab.observed, asked), truths, strict=True)
            ]
    return found


def _sparse(stages: Sequence[Stage], even: Sequence[Interactions]) -> bool:
    """Say whether fewer interactions are examined too: not where exposure is the question."""
    return "recall" in stages and not even


def _variants(thin: Sequence[Arm]) -> Mapping[str, Variant]:
    return VARIANTS if thin else {}


# ---------------------------------------------------------------- planted


def _planted(
    options: Study,
    dataset: Dataset,
    windows: Split,
    number: int,
    stages: Sequence[Stage],
    fresh: Sequence[Interactions],
) -> Found:
    builder = Builder(options, dataset)
    names = (strong(number), weak(number))
    arms = [arm_of(builder, stage, name) for stage in stages for name in (None, *names)]
    cells: list[Arm] = []
    stages_in_one = order_of_stages(dataset, names[0], number) if "both" in stages else None
    if stages_in_one is not None:
        cells = stages_in_one.arms
    found: Found = {}
    with fitted(options, dataset, windows, [*arms, *cells], fresh) as lab:
        pilot, draws = lab.draws[0], lab.draws[1:]
        asked = [_comparison(lab, stage, names[1], names[0], stage) for stage in stages]
        said = lab.records(lab.observed, asked)
        true = lab.differences(asked, draws)
        worth = {
            name: lab.differences([_comparison(lab, stage, None, name, stage) for stage in stages], draws)
            for name in names
        }
        for place, stage in enumerate(stages):
            order = _said(said[place]) | {"true": _mean(true[:, place])}
            full = {name: _mean(worth[name][:, place]) for name in names}
            found[stage] = {"order": order, **planted(lab, stage, names, pilot, full, number)}
        if stages_in_one is not None:
            found["both"]["stages"] = stages_in_one.judged(lab, draws)
    return found


# ---------------------------------------------------------------- parts


def _comparison(
    lab: Laboratory, stage: Stage, baseline: str | None, system: str | None, family: str
) -> Comparison:
    first, second = key_of(stage, baseline), key_of(stage, system)
    return Comparison(first, second, primary_metric(lab.arms[second]), "other", family=family)


def _said(record: dict[str, Any]) -> Found:
    names = ("difference", "se", "low", "high", "detectable", "verdict")
    return {name: record[name] for name in names}


def _unpaired(lab: Laboratory, comparison: Comparison) -> Found:
    baseline, system = lab.ranks[comparison.baseline], lab.ranks[comparison.system]
    one = unpaired(lab, lab.observed, baseline, system, comparison.metric)
    return {"low": one.low, "high": one.high}


def _mean(values: Float64) -> float:
    return float(np.mean(values))


def _error(values: Float64) -> float:
    """Return the Monte-Carlo error of the truth."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
