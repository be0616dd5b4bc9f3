"""Axes: named patches of a study's options, crossed; every cell is measured on the same split.

    [axes.refit]
    none = { protocol = { refit = "none" } }
    full = { protocol = { refit = "full" } }

With ``stage = "both"`` the cells are compared end to end, because their candidate sets differ; otherwise at the
stage named. The first label of every axis is the baseline.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pydantic

from stagelens.pipeline.core import Dataset
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.experiment.arms import Arm, Builder, Comparison, Plan, chosen_modalities, plan_of
from stagelens.pipeline.experiment.option_table import patched
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.variants import Variant
from stagelens.pipeline.recipe import explain

PATCHED = ("protocol", "recall", "rerank")
"""Tables of options that an axis may change."""
UNCHANGED = ("random", "popular")
"""References that are shown once, in the first cell."""


def cells_of(study: Study) -> dict[str, Study]:
    """Return the study of every cell by its label, the baseline first.

    Raises:
        ConfigError: A patch of anything but protocol, recall or rerank, or one that makes no valid study.
    """
    plain = study.model_dump(mode="json", exclude={"axes"})
    found: dict[str, Study] = {}
    axes = [[(name, label, patch) for label, patch in axis.items()] for name, axis in study.axes.items()]
    for cell in itertools.product(*axes):
        table = plain
        for name, label, patch in cell:
            wrong = [key for key in patch if key not in PATCHED]
            if wrong:
                raise ConfigError(
                    nearest(f"option table in axes.{name}.{label}", wrong[0], PATCHED)
                    + " An axis leaves data, seeds and measures alone: cells share one split."
                )
            table = patched(table, patch)
        label = ", ".join(label for _, label, _ in cell)
        try:
            found[label] = Study.model_validate(table)
        except pydantic.ValidationError as error:
            raise ConfigError(f"axes, cell {label!r}: {explain(error)}") from error
    return found


def plan_of_axes(study: Study, dataset: Dataset) -> Plan:
    """Lay out the arms of every cell, the comparisons inside each, and each cell against the first."""
    arms: dict[tuple[str, str, str], Arm] = {}
    variants: dict[str, Variant] = {}
    comparisons: list[Comparison] = []
    first: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    for label, cell in cells_of(study).items():
        plan = _end_to_end(cell, dataset) if study.stage == "both" else plan_of(cell, dataset)
        variant = ""
        if cell.protocol != study.protocol:
            variant = label
            variants[label] = Variant(cell.protocol)
        keys: dict[tuple[str, str, str], tuple[str, str, str]] = {}
        for arm in plan.arms:
            if arm.name in UNCHANGED and first:
                keys[arm.key] = first[arm.key]
                continue
            name = arm.name if arm.name in UNCHANGED else f"{label}: {arm.name}"
            made = replace(arm, name=name, variant="" if arm.name in UNCHANGED else variant)
            arms[made.key] = made
            keys[arm.key] = made.key
        for one in plan.comparisons:
            copies = tuple(keys[key] for key in one.copies)
            comparisons.append(
                replace(one, baseline=keys[one.baseline], system=keys[one.system], copies=copies)
            )
        if first:
            comparisons += _across(plan, first, keys, arms)
        else:
            first = keys
    return Plan(chosen_modalities(study, dataset), tuple(arms.values()), tuple(comparisons), variants)


def _end_to_end(study: Study, dataset: Dataset) -> Plan:
    modalities = chosen_modalities(study, dataset)
    builder = Builder(study, dataset)
    builder.end_to_end(modalities)
    return Plan(modalities, tuple(builder.arms.values()), tuple(builder.comparisons))


def _across(
    plan: Plan,
    first: Mapping[tuple[str, str, str], tuple[str, str, str]],
    keys: Mapping[tuple[str, str, str], tuple[str, str, str]],
    arms: Mapping[tuple[str, str, str], Arm],
) -> list[Comparison]:
    """Return each learned arm against the same arm in the first cell, where both have the same metric."""
    from stagelens.pipeline.experiment.summary import primary_metric

    found = []
    for arm in plan.arms:
        if arm.key not in first or first[arm.key] == keys[arm.key] or not arm.shown:
            continue
        before, after = arms[first[arm.key]], arms[keys[arm.key]]
        same = before.system == after.system and before.variant == after.variant
        if not same and primary_metric(before) == primary_metric(after):
            found.append(Comparison(before.key, after.key, primary_metric(after), "other"))
    return found
