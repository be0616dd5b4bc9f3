"""Published confounds, each switched on for one system alone: how much advantage does it manufacture?

A twin differs from its honest self in the confound and in nothing else. It is compared with that self (what the
confound manufactures) and with the best of the rival kind, which stays honest (what a paper would print).

- ``fit-on-valid``: at test its recall is fitted on train and valid, and asked with both, while others have train.
- ``mask``: the other choice of whether items of valid may be returned at test.
- ``select-on-test``: the same search over settings, decided on test. Never a result: it shows what the habit does.
- ``unnormalised-ndcg``: its DCG, not divided by the ideal, in a column of NDCGs.

The first two stand at recall and end to end: at re-rank they would change the one fixed list. The last stands where
NDCG is measured.

References:
    Zhou, Zhang, Sun & Shen 2025, arXiv:2508.05377: in the code released with this comparison, ensembles are fitted on
    train and valid, choose their epoch on test, and report a DCG without its ideal, while others are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.arms import Arm
from stagelens.pipeline.experiment.integration_options import Confound
from stagelens.pipeline.experiment.integration_parts import (
    KINDS,
    VIEWS,
    WORDS,
    ComparePlan,
    Key,
    Parts,
    Trial,
    Twin,
    Values,
    best_of,
)
from stagelens.pipeline.experiment.integration_settings import Integration
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.variants import Variant

STAGES_OF: dict[Confound, tuple[Stage, ...]] = {
    "fit-on-valid": ("recall", "both"),
    "mask": ("recall", "both"),
    "select-on-test": ("recall", "rerank", "both"),
    "unnormalised-ndcg": ("rerank", "both"),
}
"""Where each confound means something."""
ON_TEST = (
    "WARNING: select-on-test chose {picked} by its value on TEST. This is the published confound of that name, shown "
    "for its size; nothing of it is a result"
)


def variants_of(study: Study, confounds: Sequence[Confound]) -> dict[str, Variant]:
    """Return the conditions of the confounds that are one: by name, a changed protocol.

    Raises:
        ConfigError: The study's own protocol is already so.
    """
    own, longer = study.protocol, "train+valid"
    changes: dict[Confound, dict[str, str]] = {
        "fit-on-valid": {"fit_on": longer, "input": longer},
        "mask": {"mask": "train" if own.mask == longer else longer},
    }
    if "fit-on-valid" in confounds and (own.fit_on, own.input) == (longer, longer):
        raise ConfigError(
            "compare.confound = fit-on-valid: protocol.fit_on and protocol.input are train+valid for every system "
            "already; a confound is what one system has alone. Set them to train, or leave the confound out"
        )
    return {
        name: Variant(protocol=own.model_copy(update=changes[name])) for name in confounds if name in changes
    }


@dataclass(frozen=True, slots=True)
class _Target:
    """Who is confounded: a kind, or one method of it."""

    kind: Integration
    name: str | None

    @classmethod
    def of(cls, plan: ComparePlan) -> _Target:
        wanted = plan.options.confounded
        if wanted in KINDS:
            return cls(wanted, None)
        kind = next(trial.method.kind for trial in plan.trials if trial.method.name == wanted)
        return cls(kind, wanted)

    @property
    def rival(self) -> Integration:
        return "ensemble" if self.kind == "fusion" else "fusion"


def twins_of(study: Study, parts: Parts, plan: ComparePlan, values: Values) -> ComparePlan:
    """Return the plan with a twin for every confound and stage where it means something."""
    if not plan.options.confound:
        return plan
    target = _Target.of(plan)
    plan, honest = _honest(parts, plan, target)
    twins: list[Twin] = []
    warnings: list[str] = []
    for confound in dict.fromkeys(plan.options.confound):
        picked: Mapping[Stage, Trial] = {}
        if confound == "select-on-test":
            picked = _picked_on_test(plan, target, values)
            warnings += [ON_TEST.format(picked=_told(trial)) for trial in picked.values()]
        made = list(_twins(parts, plan, target, honest, confound, picked))
        if not made:
            stages = " and ".join(WORDS[stage] for stage in STAGES_OF[confound])
            warnings.append(f"{confound} means something at {stages} alone: this study shows nothing of it")
        twins += made
    arms = (*plan.arms, *(twin.arm for twin in twins if twin.arm is not None))
    return replace(plan, arms=arms, twins=tuple(twins), warnings=(*plan.warnings, *warnings))


def _honest(parts: Parts, plan: ComparePlan, target: _Target) -> tuple[ComparePlan, dict[Stage, Key]]:
    """Return the honest self at every stage; one method alone gets a system of both stages, where it has two."""
    if target.name is None:
        return plan, {
            stage: plan.best[stage, target.kind] for stage in VIEWS if (stage, target.kind) in plan.best
        }
    chosen = {t.arm.stage: t for t in plan.trials if t.chosen and t.method.name == target.name}
    found = {stage: trial.arm.key for stage, trial in chosen.items()}
    if "recall" in chosen and "rerank" in chosen:
        arm = parts.whole(chosen["recall"], chosen["rerank"], target.name)
        plan, found["both"] = replace(plan, arms=(*plan.arms, arm)), arm.key
    return plan, found


def _picked_on_test(plan: ComparePlan, target: _Target, values: Values) -> dict[Stage, Trial]:
    rivals = [t for t in plan.trials if t.method.kind == target.kind and target.name in (None, t.method.name)]
    tested = values([trial.arm for trial in rivals], on_test=True)
    found = {stage: best_of(rivals, stage, target.kind, tested) for stage in VIEWS}
    return {stage: trial for stage, trial in found.items() if trial is not None}


def _told(trial: Trial) -> str:
    return f"{trial.method.name} ({trial.setting.text}) at {WORDS[trial.arm.stage]}"


def _twins(
    parts: Parts,
    plan: ComparePlan,
    target: _Target,
    honest: Mapping[Stage, Key],
    confound: Confound,
    picked: Mapping[Stage, Trial],
) -> Iterator[Twin]:
    for stage in STAGES_OF[confound]:
        rival = plan.best.get((stage, target.rival))
        if stage not in honest or rival is None:
            continue
        own = plan.arm(honest[stage])
        name = f"{own.name} ({confound})"
        arm: Arm | None = None
        if confound == "select-on-test":
            if stage == "both":
                arm = parts.whole(picked["recall"], picked["rerank"], name)
            else:
                name = f"{picked[stage].method.name} ({confound})"
                arm = replace(picked[stage].arm, name=name)
        elif confound != "unnormalised-ndcg":
            arm = replace(own, name=name, variant=confound)
        yield Twin(confound, own.key, rival, name, arm)
