"""References: how far do interactions alone get, and which classical system is the one to beat?

Every system is one recall channel, measured by what it returns itself: its short lists are not filled. At ``stage =
both`` the same list is also judged as the final one: a one-stage ranker of the whole catalogue, without candidates.
What it does not return, it does not rank. All are compared with one baseline, in one family.

A system that the data or the machine refuses is left out with the reason. With ``references.settings`` above 1 each
system gets that many settings, its own and draws from its search space, and one is chosen on valid;
``protocol.select_on = test`` chooses on test, the published confound.

References:
    McElfresh, Khandagale, Valverde, Dickerson & White 2022, arXiv:2206.11886 (the systems and their names; theirs rank
    items that a user had, too).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stagelens.pipeline.compose import Union
from stagelens.pipeline.core import Dataset, Split
from stagelens.pipeline.errors import ConfigError, MissingExtra, require
from stagelens.pipeline.experiment.arms import Arm, Builder, Comparison, Plan, View
from stagelens.pipeline.experiment.integration_parts import Values
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.references_options import SPLIT, with_values
from stagelens.pipeline.experiment.serving import SEARCH, served
from stagelens.pipeline.experiment.summary import primary_metric
from stagelens.pipeline.experiment.tuning_search import FAULTS
from stagelens.pipeline.experiment.tuning_space import Searched, Value, space_of
from stagelens.pipeline.experiment.tuning_trials import Trial, next_parameters
from stagelens.pipeline.progress import Progress, Task
from stagelens.pipeline.recipe import Recipe, dump, load
from stagelens.pipeline.seeds import derive

REFUSALS = (*FAULTS, MissingExtra)
"""What leaves one system out, with the reason, and lets the others go on."""
Where = tuple[Literal["recall", "both"], View]
WHERE: dict[str, tuple[Where, ...]] = {
    "recall": (("recall", "catalogue"),),
    "both": (("recall", "catalogue"), ("both", "own")),
}


@dataclass(frozen=True)
class Reference:
    """One interaction-only system.

    Attributes:
        arm: Its recipe as configured, and what may be moved of it.
        tuned: Whether values that were tuned on this data set stand in it.
        tried: Settings that were measured.
        value: Of the chosen one, on what chose it; None before the choice.
        chosen: Values that differ from the configured ones; empty where those were best.
    """

    arm: Searched
    tuned: bool
    tried: int = 0
    value: float | None = None
    chosen: Mapping[str, Value] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Shown."""
        return self.arm.name

    @property
    def channel(self) -> Recipe:
        """The chosen recipe."""
        return self.arm.recipe(self.chosen) if self.chosen else self.arm.start


@dataclass(frozen=True)
class ReferencePlan(Plan):
    """A plan of references.

    Attributes:
        references: Those that run.
        left_out: Name -> why.
    """

    references: tuple[Reference, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def plan_of_references(study: Study, dataset: Dataset) -> ReferencePlan:
    """Lay out every reference, and its comparison with the baseline.

    Raises:
        ConfigError: A part that is no channel, one that reads content, or modalities asked of interaction-only systems.
    """
    if wanted := [name for name in study.modalities if name not in ("all", "interaction")]:
        raise ConfigError(
            f"references read interactions alone; modalities = {wanted} have no place. Leave --modality out, or run "
            "another study"
        )
    builder = Builder(study, dataset)
    tuned = study.references.tuned.get(dataset.name, {})
    references = [
        _reference(study, table, tuned.get(str(table["name"]), {})) for table in study.references.systems
    ]
    size = {"users": dataset.n_users, "items": dataset.n_items}
    references = [replace(one, arm=one.arm.within(**size)) for one in references]
    for one in references:
        union = builder.merged([one.channel])
        for stage, view in WHERE[study.stage]:
            builder.add(Arm(one.name, stage, view, union, filled=False))
    plan = Plan((), tuple(builder.arms.values()), ())
    return _compared(study, plan, references, {})


def split_of_values(study: Study, name: str) -> str | None:
    """Return the fingerprint of the split that the tuned values for the data set ``name`` were chosen on."""
    found: str | None = study.references.tuned.get(name, {}).get(SPLIT)
    return found


def warnings_of_values(study: Study, dataset: Dataset, split: Split) -> list[str]:
    """Return a line where tuned values that stand in this study were chosen on another split than its own."""
    tuned = study.references.tuned.get(dataset.name, {})
    there = [str(table["name"]) for table in study.references.systems if tuned.get(table["name"])]
    theirs, own = split_of_values(study, dataset.name), split.fingerprint()
    if study.kind != "references" or not there or theirs is None or own.startswith(theirs):
        return []
    return [
        f"WARNING: references.tuned.{dataset.name}: the values of {', '.join(there)} were chosen on another split "
        f"({theirs[:8]}) than this run's ({own[:8]}) and may have seen what is test here. "
        "--set 'references.tuned={}' leaves them out; simulate tune finds values on this split"
    ]


def named_references(study: Study) -> list[Mapping[str, Any]]:
    """Return the systems that ``simulate tune`` is about: all, or those of ``tune.channels`` by name or recipe.

    Empty for another kind of study, for re-rankers, and where a channel is none of the systems.
    """
    if study.kind != "references" or study.tune.rerankers:
        return []
    systems, words = study.references.systems, study.tune.channels
    names = [(one["name"], one["use"], str(one["use"]).removeprefix("recall.")) for one in systems]
    if not all(any(word in own for own in names) for word in words):
        return []
    return [
        one
        for one, own in zip(systems, names, strict=True)
        if not words or any(word in own for word in words)
    ]


def searched_references(study: Study) -> list[Searched]:
    """Return the named references that have a search space, as arms of ``simulate tune``; tuned values are set aside.

    Raises:
        ConfigError: A channel names a system without one, or no system has one.
    """
    arms = [_reference(study, table, {}).arm for table in named_references(study)]
    found = [arm for arm in arms if arm.space]
    if not found or (study.tune.channels and len(found) < len(arms)):
        plain = ", ".join(arm.name for arm in arms if not arm.space)
        raise ConfigError(
            f"references.systems: {plain}: nothing to tune: no search space, or every field of it is held. Name a "
            "system that has one with --channel"
        )
    return found


def _reference(study: Study, table: Mapping[str, Any], tuned: Mapping[str, Any]) -> Reference:
    """Return a reference with its tuned values; vectors are served by ``recall.Dense``. What its table sets is held."""
    name = str(table["name"])
    where = f"references.systems.{name}"
    held, fields = (served(with_values(table, values)) for values in ({}, tuned))
    if fields.get("use") == SEARCH:
        fields.setdefault("device", study.device)
    made = load(fields, where=where)
    if made.role != "channel":
        raise ConfigError(
            f"{where}: {fields['use']} is a {made.role or 'recipe'}, expected a channel or vectors"
        )
    if made.reads:
        raise ConfigError(
            f"{where}: {made.label} reads {', '.join(sorted(made.reads))}; references read interactions"
        )
    return Reference(Searched(name, fields, made, space_of(made, held)), bool(tuned))


def _compared(
    study: Study, plan: Plan, references: list[Reference], left_out: Mapping[str, str]
) -> ReferencePlan:
    """Return the plan of these references, each arm with its chosen recipe and compared with the baseline."""
    channels = {one.name: one.channel for one in references}
    arms = tuple(_serving(arm, channels[arm.name]) for arm in plan.arms if arm.name in channels)
    comparisons = []
    for stage, view in WHERE[study.stage]:
        baseline = (stage, view, study.references.baseline)
        comparisons += [
            Comparison(baseline, arm.key, primary_metric(arm), "other")
            for arm in arms
            if arm.key[:2] == baseline[:2] and arm.key != baseline
        ]
    return ReferencePlan((), arms, tuple(comparisons), {}, tuple(references), dict(left_out))


def _serving(arm: Arm, channel: Recipe) -> Arm:
    assert isinstance(arm.system, Union)
    return replace(arm, system=replace(arm.system, parts=(channel,)))


def choose_references(study: Study, plan: Plan, values: Values, progress: Progress) -> Plan:
    """Choose the setting of every reference, and leave out those that are refused.

    Raises:
        ConfigError: The baseline is refused, or every other system.
        MissingExtra: Several settings are asked for and Optuna is not installed.
    """
    assert isinstance(plan, ReferencePlan)
    if study.references.settings > 1:
        require("optuna", "tune")
    kept: list[Reference] = []
    left_out: dict[str, str] = {}
    stage, view = WHERE[study.stage][-1]
    total = sum(_count(study, one) for one in plan.references)
    with progress.task("settings of references on valid", total) as task:
        for one in plan.references:
            found = _chosen(study, one, plan.arm((stage, view, one.name)), values, task)
            if isinstance(found, str):
                left_out[one.name] = found
            else:
                kept.append(found)
    if reason := left_out.get(study.references.baseline):
        raise ConfigError(
            f"references.baseline = {study.references.baseline!r} cannot run: {reason}. Name another system as baseline"
        )
    return _compared(study, plan, kept, left_out)


def _chosen(study: Study, one: Reference, arm: Arm, values: Values, task: Task) -> Reference | str:
    """Return the reference with its best setting, or why none can run."""
    on_test = study.protocol.select_on == "test"
    best: Reference | None = None
    reason = ""
    tried = 0
    for parameters, answer in _settings(study, one, task):
        try:
            made = replace(one, chosen=parameters)
            [value] = values([_serving(arm, made.channel)], on_test)
        except REFUSALS as fault:
            reason = reason or " ".join(str(fault).split()) or type(fault).__name__
            continue
        tried += 1
        answer.append(value)
        if best is None or best.value is None or value > best.value:
            best = replace(made, value=value)
    return reason if best is None else replace(best, tried=tried)


def _count(study: Study, one: Reference) -> int:
    return study.references.settings if one.arm.space else 1


def _settings(study: Study, one: Reference, task: Task) -> Iterator[tuple[Mapping[str, Value], list[float]]]:
    """Yield the values of every setting, the configured ones (as none) first; the caller puts its value in the list."""
    trials: list[Trial] = []
    seed = derive(study.seeds[0], "references", one.name)
    for number in range(_count(study, one)):
        parameters = next_parameters(one.arm, trials, "random", seed)
        answer: list[float] = []
        repeated = any(dict(trial.parameters) == parameters for trial in trials)
        if not repeated:
            yield (parameters if number else {}), answer
        trials.append(Trial(number, parameters, answer[0] if answer else None, 0.0, "complete"))
        task.advance()


def recipe_of(one: Reference) -> dict[str, Any]:
    """Return the recipe of a reference as plain data, every field."""
    return dump(one.channel)
