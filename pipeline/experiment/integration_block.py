"""The block ``integration`` of the summary: who was tried with what, who was best, and what confounds manufacture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from stagelens.pipeline.core import Float64
from stagelens.pipeline.evaluate.metrics import contributions
from stagelens.pipeline.evaluate.significance import Judgement, Paired, judge
from stagelens.pipeline.experiment.integration_parts import (
    KINDS,
    REFERENCES,
    VIEWS,
    ComparePlan,
    Key,
    Twin,
    known,
)
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.experiment.summary import Finished, margin_of
from stagelens.pipeline.recipe import Recipe

Record = dict[str, Any]

AT: dict[Stage, str] = {"recall": "At recall", "rerank": "At re-rank", "both": "End to end"}
BETTER = {"helps": "the ensemble is better", "hurts": "the fusion is better"}
"""What a verdict on ensemble minus fusion says; the other verdicts say it themselves."""


def integration_block(finished: Finished) -> dict[str, Any]:
    """Return the block, under its name.

    Raises:
        TypeError: The plan is of another kind of study.
    """
    plan = finished.plan
    if not isinstance(plan, ComparePlan):
        raise TypeError(f"integration_block takes a study with a ComparePlan, not {type(plan).__name__}")
    return {
        "integration": {
            "answer": {
                stage: answer(finished, plan, stage) for stage in VIEWS if (stage, "fusion") in plan.best
            },
            "signals": {
                name: source.label if isinstance(source, Recipe) else source
                for name, source in plan.signals.items()
            },
            "best": {
                stage: {kind: plan.best[stage, kind][2] for kind in KINDS}
                for stage in VIEWS
                if (stage, "fusion") in plan.best
            },
            "arms": [_arm_record(finished, plan, key) for key in _held(plan)],
            "trials": [
                {
                    "system": trial.method.name,
                    "stage": trial.arm.stage,
                    "integration": trial.method.kind,
                    "setting": trial.setting.text,
                    "trials": trial.setting.trials,
                    "valid": trial.valid,
                    "chosen": trial.chosen,
                }
                for trial in plan.trials
            ],
            "confounds": list(_confounds(finished, plan)),
            "notes": list(plan.notes),
            "warnings": list(plan.warnings),
        }
    }


def _held(plan: ComparePlan) -> list[Key]:
    """Return the keys of the honest systems of both kinds."""
    twins = {twin.arm.key for twin in plan.twins if twin.arm is not None}
    return [arm.key for arm in plan.arms if arm.integration in KINDS and arm.key not in twins]


def _arm_record(finished: Finished, plan: ComparePlan, key: Key) -> Record:
    arm = plan.arm(key)
    named = [trial for trial in plan.trials if trial.method.name == arm.name]
    if arm.stage == "both":  # one method, or the best of a kind: then every trial of the kind had a say
        own = named or [trial for trial in plan.trials if trial.method.kind == arm.integration]
        behind = [max((t for t in own if t.arm.stage == stage), key=known) for stage in ("recall", "rerank")]
        setting = ", then ".join(f"{trial.method.name} ({trial.setting.text})" for trial in behind)
    else:
        own = [trial for trial in named if trial.arm.stage == arm.stage]
        setting = next(trial.setting.text for trial in own if trial.chosen)
    return {
        "system": arm.name,
        "stage": arm.stage,
        "integration": arm.integration,
        "parameters": finished.measured[key].cost.get("parameters"),
        "trials": sum(trial.setting.trials for trial in own),
        "setting": setting,
        "valid": plan.valid.get(key),
    }


# ---------------------------------------------------------------- answers


def answer(finished: Finished, plan: ComparePlan, stage: Stage) -> str:
    """Return one line: is the ensemble or the fusion better at a stage, and is either better than the references?"""
    fusion, ensemble = (plan.best[stage, kind] for kind in KINDS)
    judged = _records(finished, "primary")
    found = judged[fusion, ensemble]
    word = BETTER.get(found["verdict"], found["verdict"])
    text = f"{AT[stage]}: {word}; {ensemble[2]} minus {fusion[2]}: {figures(found)}."
    for name, words in REFERENCES[stage].items():
        reference = (stage, VIEWS[stage], name)
        said = [
            f"{kind} {judged[reference, key]['verdict']}"
            for kind, key in zip(KINDS, (fusion, ensemble), strict=True)
            if (reference, key) in judged
        ]
        text += f" Against {words}: {', '.join(said)}." if said else ""
    return text


def figures(record: Mapping[str, Any]) -> str:
    """Return metric, difference, interval, margin and adjusted p of a comparison, rounded for reading."""
    values = [record[name] for name in ("difference", "low", "high", "margin", "p_adjusted")]
    mean, low, high, margin, p = (math.nan if value is None else value for value in values)
    return (
        f"{record['metric']} {mean:+.4f} [{low:+.4f}, {high:+.4f}], margin {margin:.4f}, "
        f"p adj. {'<0.001' if p < 0.001 else f'{p:.3f}'}"
    )


def _records(finished: Finished, family: str) -> dict[tuple[Key, Key], Record]:
    """Return the judged comparisons of a family: (baseline, system) -> record."""
    return {
        ((r["stage"], r["view"], r["baseline"]), (r["stage"], r["view"], r["system"])): r
        for r in finished.records
        if r["family"] == family and r["slice"] is None and r["verdict"] is not None
    }


# ---------------------------------------------------------------- confounds


def _confounds(finished: Finished, plan: ComparePlan) -> Iterator[Record]:
    """Yield every twin against its honest self and against the rival."""
    judged = _records(finished, "confound")
    unnormalised = {id(twin): rows for twin, rows in _unnormalised(finished, plan)}
    for twin in plan.twins:
        for place, against in enumerate(("itself", "rival")):
            baseline = (twin.honest, twin.rival)[place]
            if twin.arm is None:
                found = unnormalised[id(twin)][place]
            else:
                found = judged[baseline, twin.arm.key]
            yield {
                "confound": twin.confound,
                "system": twin.name,
                "baseline": baseline[2],
                "against": against,
                "stage": baseline[0],
                **{name: found[name] for name in ("metric", "difference", "low", "high", "p_adjusted")},
                "margin": found["margin"],
                "verdict": found["verdict"],
            }


def _unnormalised(finished: Finished, plan: ComparePlan) -> Iterator[tuple[Twin, list[Record]]]:
    """Yield the twins whose DCG stands in a column of NDCGs; their comparisons are a family of their own."""
    twins = [twin for twin in plan.twins if twin.arm is None]
    family = [
        Paired(
            _added(finished, twin.honest, "dcg@10") - _added(finished, key, "ndcg@10"),
            _margin(finished, plan, key),
        )
        for twin in twins
        for key in (twin.honest, twin.rival)
    ]
    options = finished.study.measure
    judged = judge(family, finished.truth, alpha=options.alpha, draws=options.draws)
    for place, twin in enumerate(twins):
        yield twin, [_judged_record(one) for one in judged[2 * place : 2 * place + 2]]


def _added(finished: Finished, key: Key, metric: str) -> Float64:
    """Return float64 [S, P]: what every held-out pair adds to a metric of a system."""
    return np.stack([contributions(ranks, finished.truth, metric) for ranks in finished.measured[key].ranks])


def _margin(finished: Finished, plan: ComparePlan, key: Key) -> float:
    if key in finished.margins:
        return finished.margins[key]
    return margin_of(finished.study.measure.margin, plan.valid.get(key, math.nan))


def _judged_record(one: Judgement) -> Record:
    values = {
        name: float(getattr(one, name)) for name in ("difference", "low", "high", "p_adjusted", "margin")
    }
    found: Record = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return {**found, "metric": "dcg@10", "verdict": one.verdict}
