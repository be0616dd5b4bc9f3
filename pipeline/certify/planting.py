"""Effects of known size: a modality served to a share of the users, and the stage difference of a factorial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from stagelens.pipeline.certify.broken import unpaired
from stagelens.pipeline.certify.laboratory import Laboratory, key_of
from stagelens.pipeline.certify.worlds import study
from stagelens.pipeline.core import Dataset, Int32, Interactions
from stagelens.pipeline.evaluate.shapley import stage_weights
from stagelens.pipeline.evaluate.significance import Judgement
from stagelens.pipeline.experiment.arms import Arm, Comparison
from stagelens.pipeline.experiment.attribution import attribution_block, plan_of_attribution
from stagelens.pipeline.experiment.factorial import Factorial
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.summary import Finished, primary_metric
from stagelens.pipeline.seeds import generator

Found = dict[str, Any]
LeftOut = Literal["too weak", "too strong", "no meeting"]
REASONS: tuple[LeftOut, ...] = ("too strong", "no meeting", "too weak")
"""Why nothing could be planted; of two modalities the first of these counts."""
TIMES = (1, 2)
"""Effects of this many times the pilot's ``detectable`` are planted."""
LOOKS = 12
"""Looks at the pilot for one share, at most."""
NEAR = 0.01
"""Share of the effect by which it may miss what was to be planted."""
FEWEST = 0.15
"""Share of the users that are served the modality, at least: of fewer, no standard error is known."""


def planted(
    lab: Laboratory,
    stage: Stage,
    names: Sequence[str],
    pilot: Interactions,
    full: Mapping[str, float],
    number: int,
) -> Found:
    """Plant effects of exactly what a pilot calls detectable, and examine the observed log.

    A system serves one modality's lists to each user with a chance, drawn anew for every log, and the base
    lists otherwise: its true effect is that chance times the full one. What the pilot reports as detectable grows
    with the chance too, about with its root, and the two meet at one chance. The pilot is a fresh log, the study's
    own log is another, and the truth comes from others again. Both judge the system in a family with the other
    modality, so that the simultaneous critical value counts.

    Args:
        lab: The world.
        stage: Where.
        names: The modality that is planted if it can be, and the other one, planted otherwise.
        pilot: A fresh log.
        full: True effect of each modality when everybody is served.
        number: Of the world.
    """
    found: Found = {}
    for times in TIMES:
        found[f"times {times}"] = None
        reasons: set[LeftOut] = set()
        for name, other in (names, reversed(names)):
            shared = Shared(lab, stage, name, other, number)
            chance = meeting(full[name], partial(shared.detectable, pilot, "pilot"), times)
            if isinstance(chance, str):
                reasons.add(chance)
            else:
                said = shared.judged(lab.observed, "observed", chance)
                found[f"times {times}"] = {
                    "chance": chance,
                    "true": chance * full[name],
                    "pilot": shared.detectable(pilot, "pilot", chance),
                    **{key: said[key] for key in ("difference", "se", "detectable", "verdict")},
                }
                break
        else:
            found[f"left out {times}"] = next(reason for reason in REASONS if reason in reasons)
    found["unpaired"] = None
    for name, other in (names, reversed(names)):
        shared = Shared(lab, stage, name, other, number)
        chance = meeting(full[name], partial(shared.detectable_unpaired, pilot, "pilot"), 1)
        if not isinstance(chance, str):
            found["unpaired"] = {"verdict": shared.unpaired(lab.observed, "observed", chance).verdict}
            break
    return found


@dataclass(frozen=True, eq=False)
class Shared:
    """A system that serves a modality's lists to each user with a chance, and the family it is judged in."""

    lab: Laboratory
    stage: Stage
    modality: str
    other: str
    number: int

    def judged(self, log: Interactions, name: str, chance: float) -> dict[str, Any]:
        """Return what the instrument says on a log; the name of the log moves the coins."""
        lab, base, on = self.lab, key_of(self.stage, None), key_of(self.stage, self.modality)
        ranks, arm = self.ranks(name, chance), lab.arms[on]
        served = Arm(f"{arm.name}, for a share", arm.stage, arm.view, arm.system, arm.modalities)
        family = [
            Comparison(base, key, primary_metric(arm), "other", family="planted")
            for key in (served.key, key_of(self.stage, self.other))
        ]
        return lab.with_ranks(served, ranks).records(log, family)[0]

    def ranks(self, name: str, chance: float) -> Int32:
        """Return int32 [P]: the ranks of the system under the coins of a log."""
        lab, base, on = self.lab, key_of(self.stage, None), key_of(self.stage, self.modality)
        user = lab.pairs // lab.dataset.n_items
        coin = generator(self.number, "certify", "coin", self.stage, name).random(lab.dataset.n_users)
        return np.where(coin[user] < chance, lab.ranks[on], lab.ranks[base]).astype(np.int32)

    def unpaired(self, log: Interactions, name: str, chance: float) -> Judgement:
        """Return what an instrument says that sees no pairs."""
        lab, base = self.lab, key_of(self.stage, None)
        metric = primary_metric(lab.arms[base])
        return unpaired(lab, log, lab.ranks[base], self.ranks(name, chance), metric)

    def detectable_unpaired(self, log: Interactions, name: str, chance: float) -> float:
        """Return what such an instrument calls detectable on a log."""
        return self.unpaired(log, name, chance).detectable

    def detectable(self, log: Interactions, name: str, chance: float) -> float:
        """Return what the instrument calls detectable on a log."""
        return float(self.judged(log, name, chance)["detectable"])


def meeting(full: float, detectable: Callable[[float], float], times: int) -> float | LeftOut:
    """Return the chance at which ``chance * full`` is ``times`` what the pilot calls detectable there, or why none is.

    ``too weak``: even everybody is not enough; ``too strong``: too few are; ``no meeting``: the two do not meet
    within ``NEAR``. Nothing here sees the log that is judged.
    """
    if not full > times * detectable(1.0):
        return "too weak"
    chance = 1.0
    for _ in range(LOOKS):
        wanted = times * detectable(chance)
        if abs(chance * full / wanted - 1) <= NEAR:
            return chance
        chance = wanted / full
        if chance < FEWEST:
            return "too strong"
    return "no meeting"


@dataclass(frozen=True, eq=False)
class Stages:
    """One modality on and off at each stage, as ``attribute`` lays it out."""

    study: Study
    dataset: Dataset
    factorial: Factorial
    plan: Any
    arms: list[Arm]

    def judged(self, lab: Laboratory, draws: Sequence[Interactions]) -> Found:
        """Return what ``attribute`` says of the stage difference on the observed log, and the true one."""
        cells = [cell.key for cell in self.factorial.cells()]
        truth, measured = lab.measured(lab.observed, cells)
        margins = {key: lab.margins[key] for key in cells}
        finished = Finished(self.study, self.dataset, self.plan, measured, {}, margins, truth, (), [])
        said = attribution_block(finished)["attribution"]["stage_difference"][0]
        values = lab.true_values(cells, draws).mean(axis=0)
        weights = stage_weights(self.factorial.players)
        place = [name.kind for name in weights.names].index("stage_difference")
        true = float(weights.combined(iter(values))[place])
        return {key: said[key] for key in ("difference", "low", "high", "detectable", "verdict")} | {
            "true": true
        }


def order_of_stages(dataset: Dataset, modality: str, number: int) -> Stages:
    """Lay out the factorial of one modality."""
    options = study("planted", number, kind="attribute", modalities=[modality])
    plan = plan_of_attribution(options, dataset)
    factorial = Factorial.of(options, (modality,))
    keys = {cell.key for cell in factorial.cells()}
    return Stages(options, dataset, factorial, plan, [arm for arm in plan.arms if arm.key in keys])
