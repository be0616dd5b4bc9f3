"""What a study of references says beside its systems and comparisons: recipes, mean ranks, who was left out."""

from __future__ import annotations

import difflib
import math
from typing import Any

import numpy as np

from stagelens.pipeline.evaluate.metrics import measure
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.references import (
    WHERE,
    Reference,
    ReferencePlan,
    recipe_of,
    split_of_values,
)
from stagelens.pipeline.experiment.references_ranks import KINDS, PUBLISHED, agreement, standings
from stagelens.pipeline.experiment.summary import Finished

Record = dict[str, Any]


def references_block(finished: Finished) -> Record:
    """Return ``{"references": ...}``."""
    study, plan = finished.study, finished.plan
    assert isinstance(plan, ReferencePlan)
    ranked = {stage: ranked_metrics(study, stage) for stage, _ in WHERE[study.stage]}
    rows, orders = [], []
    for stage, view in WHERE[study.stage]:
        made, order = _standing(finished, stage, view, ranked[stage])
        rows += made
        orders.append(order)
    left_out = [{"system": name, "reason": reason} for name, reason in plan.left_out.items()]
    block = {
        "baseline": study.references.baseline,
        "ranked": ranked,
        "systems": [_recipe(one) for one in plan.references],
        "left_out": left_out,
        "mean_ranks": rows,
        "published_order": orders,
        "notes": _notes(finished, plan),
    }
    return {"references": block}


def ranked_metrics(study: Study, stage: str) -> list[str]:
    """Return the metrics that mean ranks of a stage are taken over."""
    options, size = study.measure, study.recall.size
    if stage == "recall":
        return [f"recall@{k}" for k in sorted({*options.recall_k, size}) if k <= size]
    return [f"{kind}@{k}" for kind in KINDS for k in sorted(set(options.rank_k)) if k <= size]


def _standing(finished: Finished, stage: str, view: str, names: list[str]) -> tuple[list[Record], Record]:
    means = {}
    for one in finished.measured.values():
        if one.arm.key[:2] == (stage, view):
            values = [measure(ranks, finished.truth, names).mean(axis=0) for ranks in one.ranks]
            means[one.arm.name] = np.mean(values, axis=0)
    cells = [{name: float(own[place]) for name, own in means.items()} for place in range(len(names))]
    found = standings(cells)
    rows = [
        {
            "stage": stage,
            "system": one.system,
            "mean": one.mean,
            "best": one.best,
            "worst": one.worst,
            "n": one.n,
            "published": PUBLISHED.get(one.system),
        }
        for one in found
    ]
    correlation, n = agreement(found)
    known = None if math.isnan(correlation) else correlation
    return rows, {"stage": stage, "spearman": known, "systems": n}


def _recipe(one: Reference) -> Record:
    return {
        "system": one.name,
        "recipe": recipe_of(one),
        "tuned": one.tuned,
        "settings": one.tried,
        "chosen": dict(one.chosen),
        "value": one.value,
    }


def _notes(finished: Finished, plan: ReferencePlan) -> list[str]:
    said = [f"{name} is left out: {reason}" for name, reason in plan.left_out.items()]
    spaced = [one for one in plan.references if one.arm.space]
    plain = [one.name for one in spaced if not one.tuned]
    if tuned := [one.name for one in plan.references if one.tuned]:
        known = split_of_values(finished.study, finished.dataset.name) is not None
        said.append(
            f"Values of references.tuned.{finished.dataset.name} stand in {', '.join(tuned)}; "
            + ("" if known else "on which split they were chosen is not said (its key split is missing); ")
            + "--set 'references.tuned={}' leaves them out"
        )
    if finished.study.references.settings > 1:
        said.append(
            f"{finished.study.references.settings} settings of every system with a search space; one chosen on "
            f"{finished.study.protocol.select_on}"
        )
    elif plain:
        who = "every system" if len(plain) == len(spaced) else ", ".join(plain)
        said.append(
            f"No tuned values for {who} on {finished.dataset.name}: defaults are measured, which understates them. "
            "simulate tune finds better values; references.tuned holds them" + _namesake(finished)
        )
    return said


def _namesake(finished: Finished) -> str:
    """Say which tuned values might have been meant, where their data set is called nearly as this one."""
    name, known = finished.dataset.name, list(finished.study.references.tuned)
    close = [] if name in known else difflib.get_close_matches(name, known, n=1)
    return f", and has some for {close[0]}, a name close to this one" if close else ""
