"""``simulate attribute``: every modality on and off at each stage, and what each is worth there.

The factorial has one player for each modality and stage, 2^n cells for n players, each a whole system measured end
to end: recall with the modalities R, then a re-ranker with the modalities S, fitted for that cell. Off means absent
(design: on and off): at recall the channel; at re-rank the modality's feature group, the evidence of every channel
that reads it, and the merged score and rank.

The base system is on in every cell, unless ``interaction`` stands among the study's modalities and is a player too:

- off at recall: of the base channels only ``Popular`` stays, alone or beside the content channels that are on, so
  that every recall stage can fill its lists;
- off at re-rank: the base groups (history, popularity, side columns) and the evidence of every channel that reads no
  content are absent, and so are the merged score and rank; the re-ranker reads the content groups that are on and
  the evidence of their channels alone;
- with nothing on at re-rank there is nothing to learn from: recall's order is kept.

Comparisons beside the effects, all end to end: ``worth`` of a player, everything on against everything but it;
``information``, everything on against the same with the player's modality replaced by its row-permuted copy at that
stage (one permutation a seed and modality, whichever stage reads it). The copy takes the place of what the stage itself
reads, at equal capacity: at recall the channel, whose evidence the re-ranker reads as before; at re-rank the feature
group, while the evidence that recall hands over stays real in both systems.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.core import Dataset, Float64
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.metrics import contributions
from stagelens.pipeline.evaluate.shapley import (
    ALL,
    ANSWERS,
    INTERACTION,
    Name,
    Weights,
    name_of_total,
    share_of,
    stage_weights,
)
from stagelens.pipeline.evaluate.significance import Judgement, Paired, interval, judge
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.arms import Arm, Builder, Comparison, Plan, chosen_modalities
from stagelens.pipeline.experiment.factorial import Cell, Factorial
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.summary import SECONDARY, Finished, Measured
from stagelens.pipeline.recipe import Recipe, load

Key = tuple[str, str, str]
Record = dict[str, Any]

PRIMARY = "ndcg@10"


def plan_of_attribution(study: Study, dataset: Dataset) -> Plan:
    """Lay out the cells of the factorial and the comparisons beside the effects.

    ``interaction`` among the study's modalities makes it a player.

    Raises:
        ConfigError: Unknown modality or recipe, no player, too many, or a base without interaction channels.
    """
    content = chosen_modalities(study, dataset)
    factorial = Factorial.of(study, content)
    builder = Builder(study, dataset)
    for name in ("random", "popular"):
        channel = load({"use": f"recall.{name.capitalize()}"})
        builder.add(Arm(name, "both", "own", builder.merged([channel])))
    for cell in factorial.cells():
        builder.add(_arm(builder, cell))
    full = factorial.full
    for player in factorial.players:
        baseline = full.without(player).key
        builder.comparisons.append(Comparison(baseline, full.key, PRIMARY, "worth", player.modality))
    for player in factorial.players:
        if player.modality != INTERACTION and builder.informative(player.modality):
            copy = builder.add(_arm(builder, full.permuted(player)))
            builder.comparisons.append(Comparison(copy, full.key, PRIMARY, "information", player.modality))
    return Plan(content, tuple(builder.arms.values()), tuple(builder.comparisons))


def _arm(builder: Builder, cell: Cell) -> Arm:
    recall = _recall(builder, cell)
    system = Then(recall=recall, rerank=_reranker(builder, recall, cell))
    on = tuple(sorted({*cell.recall, *cell.rerank} - {INTERACTION}))
    listed = any(name != INTERACTION for name in cell.recall)
    integration: Literal["fusion", "ensemble", "none"] = "ensemble" if listed else "fusion" if on else "none"
    return Arm(cell.name, "both", "own", system, on, integration)


def _recall(builder: Builder, cell: Cell) -> Union:
    tables = builder.study.recall.base
    popular = [table for table in tables if table.get("use") == "recall.Popular"]
    if cell.interaction and len(popular) == len(tables):
        raise ConfigError(
            "attribute: interaction is no player at recall, because recall.base holds nothing beside "
            "recall.Popular; add an interaction channel such as recall.ItemKNN"
        )
    if cell.interaction and INTERACTION not in cell.recall:
        tables = tuple(popular) or ({"use": "recall.Popular"},)
    base = [builder.part(table, "recall.base", "channel") for table in tables]
    content = [builder.channel(name) for name in cell.recall if name != INTERACTION]
    return builder.merged([*base, *content])


def _reranker(builder: Builder, recall: Union, cell: Cell) -> Recipe:
    """Return the cell's re-ranker; evidence of a channel follows the modality, real or copied, that it reads."""
    options = builder.study.rerank
    base = not cell.interaction or INTERACTION in cell.rerank
    content = [name for name in cell.rerank if name != INTERACTION]
    if not (base or content):
        return load({"use": "rerank.KeepOrder"})
    on = {_source(name) for name in content}
    seen = [part for part in recall.parts if ({_source(m) for m in part.reads} <= on if part.reads else base)]
    hidden = tuple(part.label for part in recall.parts if part not in seen)
    groups = []
    for table in options.groups:
        evidence = table.get("use") == "rerank.Evidence"
        if base or (evidence and seen):
            off = {"hidden": hidden, "merged": False} if evidence and hidden else {}
            groups.append(builder.part(table, "rerank.groups", "features", **off))
    groups += [builder.part(options.content, "rerank.content", "features", modality=name) for name in content]
    return builder.part(builder.study.reranker, "rerank.reranker", "reranker", features=tuple(groups))


def _source(modality: str) -> str:
    return modality.partition("~")[0]


# ---------------------------------------------------------------- block


def attribution_block(finished: Finished) -> dict[str, Any]:
    """Return the block ``attribution`` of the summary.

    The family judged together holds every effect, the total, every stage difference and every stage interaction, on
    ndcg@10, with the margin of the cell in which everything is off. hit@10 stands beside it: each figure by itself,
    with an interval and no verdict.
    """
    study, truth = finished.study, finished.truth
    factorial = Factorial.of(study, finished.plan.modalities)
    cells = list(factorial.cells())
    options = study.measure
    weights, judged = judged_effects(finished)
    rows = _rows(weights, PRIMARY, [_stated(one) for one in judged], factorial, options.information)
    answer = _answer(rows, factorial)
    combined = weights.combined(_values(finished.measured, cells, truth, SECONDARY["both"]))
    beside = [interval(difference, truth, options.alpha) for difference in combined]
    stated = [
        {**_UNJUDGED, "value": one.mean, "low": one.low, "high": one.high, "n": one.n} for one in beside
    ]
    more = _rows(weights, SECONDARY["both"], stated, factorial, options.information)
    return {
        "attribution": {
            "answer": answer,
            **{kind: rows[kind] + more[kind] for kind in rows},
            "cells": _cells(finished, cells),
        }
    }


def judged_effects(finished: Finished) -> tuple[Weights, list[Judgement]]:
    """Return what every effect is in terms of cells, and the family of them judged on ndcg@10."""
    options = finished.study.measure
    factorial = Factorial.of(finished.study, finished.plan.modalities)
    weights = stage_weights(factorial.players)
    cells = list(factorial.cells())
    margin = finished.margins[cells[0].key]
    combined = weights.combined(_values(finished.measured, cells, finished.truth, PRIMARY))
    family = [Paired(difference, margin) for difference in combined]
    return weights, judge(family, finished.truth, alpha=options.alpha, draws=options.draws)


def _values(
    measured: Mapping[Key, Measured], cells: list[Cell], truth: Truth, metric: str
) -> Iterator[Float64]:
    """Yield contributions float64 [S, P] of one cell after the other."""
    for cell in cells:
        yield np.stack([contributions(ranks, truth, metric) for ranks in measured[cell.key].ranks])


_UNJUDGED: Record = {"p": None, "p_adjusted": None, "margin": None, "detectable": None, "verdict": None}


def _stated(one: Judgement) -> Record:
    return {
        "value": one.difference,
        "low": one.low,
        "high": one.high,
        "n": one.n,
        "p": one.p,
        "p_adjusted": one.p_adjusted,
        "margin": one.margin,
        "detectable": one.detectable,
        "verdict": one.verdict,
    }


def _rows(
    weights: Weights, metric: str, stated: list[Record], factorial: Factorial, permuted: bool
) -> dict[str, list[Record]]:
    """Return the records of every kind of effect, in the order of the weights."""
    total = stated[weights.total]
    rows: dict[str, list[Record]] = {"effects": [], "stage_difference": [], "interaction": []}
    for name, one in zip(weights.names, stated, strict=True):
        known = {key: _known(one[key]) for key in ("low", "high", "p_adjusted")}
        more = {"n": one["n"], **{key: _known(one[key]) for key in ("p", "margin", "detectable")}}
        verdict = {"verdict": one["verdict"]}
        if name.kind == "effect":
            share = share_of(one["value"], total["value"], total["low"], total["high"])
            record: Record = {"modality": name.modality, "stage": name.stage, "metric": metric}
            record |= {"effect": _known(one["value"]), **known, "share": share, **verdict, **more}
            rows["effects"].append(record | _against(name, factorial, permuted))
        elif name.kind == "stage_difference":
            record = {"modality": name.modality, "metric": metric, "difference": _known(one["value"])}
            rows["stage_difference"].append(record | known | verdict | more)
        else:
            record = {"modality": name.modality, "metric": metric, "effect": _known(one["value"])}
            rows["interaction"].append(record | known | {"n": one["n"], "p": more["p"]})
    return rows


def _against(name: Name, factorial: Factorial, permuted: bool) -> Record:
    """Return the baselines of a player's comparisons with the full cell, by name."""
    player = next((p for p in factorial.players if p == (name.modality, name.stage)), None)
    if player is None:
        return {"without": None, "permuted": None}
    copied = permuted and player.modality != INTERACTION
    return {
        "without": factorial.full.without(player).name,
        "permuted": factorial.full.permuted(player).name if copied else None,
    }


def _cells(finished: Finished, cells: list[Cell]) -> list[Record]:
    """Return every cell: its system, what is on in it, its means."""
    found = []
    for cell in cells:
        means = {}
        for metric in (PRIMARY, SECONDARY["both"]):
            [values] = _values(finished.measured, [cell], finished.truth, metric)
            means[metric] = float(values.sum(axis=1).mean()) / max(len(finished.truth), 1)
        found.append({"system": cell.name, "recall": [*cell.recall], "rerank": [*cell.rerank], **means})
    return found


def _answer(rows: Mapping[str, list[Record]], factorial: Factorial) -> str:
    """Return one line: does multimodality help recall more than re-ranking here?"""
    content = [name for name in factorial.names if name != INTERACTION]
    subject, who = ("multimodality", ALL) if content else (INTERACTION, INTERACTION)
    effects = {(row["modality"], row["stage"]): row for row in rows["effects"]}
    at = {
        stage: math.fsum(effects[name, stage]["effect"] for name in content or [INTERACTION])
        for stage in ("recall", "rerank")
    }
    gap = next(row for row in rows["stage_difference"] if row["modality"] == who)
    total = effects[name_of_total(factorial.names), "both"]
    within = f" (margin {gap['margin']:.4f})" if gap["verdict"] == "no difference" else ""
    return (
        f"Does {subject} help recall more than re-ranking here? {ANSWERS[gap['verdict']].capitalize()}{within}: "
        f"it is worth {at['recall']:+.4f} {PRIMARY} at recall and {at['rerank']:+.4f} at re-rank, a difference "
        f"of {gap['difference']:+.4f} {_ends(gap)}. Everything together: "
        f"{total['verdict']}, {total['effect']:+.4f} {_ends(total)}."
    )


def _ends(row: Mapping[str, Any]) -> str:
    if row["low"] is None or row["high"] is None:
        return "(no interval)"
    return f"[{row['low']:+.4f}, {row['high']:+.4f}]"


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
