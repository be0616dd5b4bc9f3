"""Worth with fewer interactions, as ``simulate sparsity`` judges it: at every budget, its area and its growth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from stagelens.pipeline.certify.laboratory import Key, arm_of, key_of
from stagelens.pipeline.data.thinning import Budget
from stagelens.pipeline.evaluate.curves import Axis, area_weights
from stagelens.pipeline.experiment.arms import Arm, Builder, Comparison
from stagelens.pipeline.experiment.summary import primary_metric
from stagelens.pipeline.experiment.variants import Variant

BUDGETS = (1.0, 0.25)
"""Shares of the training interactions that are kept, uniformly drawn; a study's default has seven."""
THINNED = "25 %"
VARIANTS = {THINNED: Variant(budget=Budget("uniform", BUDGETS[1]), held=True)}
AXIS = Axis("log")


def thinned_arm(builder: Builder, modality: str | None) -> Arm:
    """Return a recall arm under the smaller budget."""
    arm = arm_of(builder, "recall", modality)
    return replace(arm, name=f"{arm.name} at {THINNED}", variant=THINNED)


def thinned_key(modality: str | None) -> Key:
    """Return the key of ``thinned_arm``."""
    stage, view, name = key_of("recall", modality)
    return stage, view, f"{name} at {THINNED}"


def thinned_family(
    builder: Builder, pairs: Sequence[tuple[str | None, str | None]], name: str
) -> Iterator[Comparison]:
    """Yield the family that a sparsity study judges together: both budgets, area and growth of every pair."""
    weights = [float(weight) for weight in area_weights(np.array(BUDGETS), AXIS)]
    for one, other in pairs:
        whole, thin = ((key(one), key(other)) for key in (_whole, thinned_key))
        metric = primary_metric(arm_of(builder, "recall", other))
        for baseline, system in (whole, thin):
            yield Comparison(baseline, system, metric, "other", family=name)
        for what, less in (("area", 0.0), ("growth", 1.0)):
            terms = ((weights[0] - less, *whole), (weights[1], *thin))
            low, high = ((stage, view, f"{said}, {what}") for stage, view, said in whole)
            yield Comparison(low, high, metric, "other", family=name, terms=terms)


def _whole(modality: str | None) -> Key:
    return key_of("recall", modality)
