"""``simulate compare``: fusion against ensemble, from the same base signals, on equal terms.

The signals are vectors of interactions and every chosen content modality. Each fusion makes one space of them, each
ensemble combines the scores of separate parts, one a signal:

- recall: a fusion is one channel, nearest vectors in its space; an ensemble is one channel a signal, and its rule
  takes the best ``size`` of what they return. Both hand over exactly ``size``.
- re-rank: one fixed list, that of the base and all modalities, with the evidence of content channels hidden. A fusion
  is one learned re-ranker that reads the base groups and similarity in its space; an ensemble is one such re-ranker a
  signal, on the same base groups, and a rule.
- end to end: of each kind the recall stage and the re-ranker that were best on valid. What a re-ranker sees of recall
  is the place and score in the one list that recall made, for both kinds; the evidence of single channels is hidden.

Everything has at most ``compare.trials`` settings, and both kinds the same number of trials: fusions and weighted
ensembles the weight of content against
interactions, other ensembles what they have. The setting is chosen on valid with the first seed, then held for every
seed. Confounds: ``integration_confounds``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.core import Dataset
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.experiment.arms import Arm, Builder, Comparison, Plan, chosen_modalities
from stagelens.pipeline.experiment.integration_confounds import twins_of, variants_of
from stagelens.pipeline.experiment.integration_options import CompareOptions
from stagelens.pipeline.experiment.integration_parts import (
    KINDS,
    REFERENCES,
    VIEWS,
    WORDS,
    ComparePlan,
    Parts,
    Trial,
    Values,
    best_of,
    known,
    metric_of,
)
from stagelens.pipeline.experiment.integration_settings import INTERACTION, Method, levelled, methods_of
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.progress import Progress
from stagelens.pipeline.recipe import Recipe, load


def plan_of_comparison(study: Study, dataset: Dataset) -> ComparePlan:
    """Lay out every setting of every fusion and ensemble, beside the references.

    Raises:
        ConfigError: No content modality, or a wrong name, recipe or confound.
    """
    options = study.compare
    modalities = tuple(sorted(chosen_modalities(study, dataset)))
    if not modalities:
        raise ConfigError(
            f"compare: fusion and ensemble integrate content with interactions; modalities = "
            f"{list(study.modalities)} of {dataset.name} leaves none. Name one, or 'all'"
        )
    builder = Builder(study, dataset)
    vectors = builder.part(options.interaction, "compare.interaction", "vectors")
    signals: dict[str, str | Recipe] = {INTERACTION: vectors, **{name: name for name in modalities}}
    methods, notes = methods_of(options, signals)
    methods, said = levelled(methods)
    notes += said
    _check_confounded(options, methods)
    parts = Parts(study, signals)
    trials: list[Trial] = []
    if study.stage in ("recall", "both"):
        _recall_references(builder, parts, modalities)
        trials += _recall_trials(parts, methods)
    if study.stage in ("rerank", "both"):
        listed = builder.union(modalities)
        _rerank_references(builder, parts, listed, modalities)
        merges = [method.name for method in methods if method.settings[0].rule is None]
        if len(merges) == sum(method.kind == "ensemble" for method in methods):
            raise ConfigError(
                f"compare.ensemble: {', '.join(merges)} can only merge candidates, and stage = {study.stage!r} needs "
                'an ensemble of re-rankers; add one, e.g. {use = "fusion.CombSUM"}, or measure recall alone'
            )
        notes += [f"{name} merges candidates: it stands at recall alone" for name in merges]
        trials += _rerank_trials(parts, methods, listed)
    if study.stage == "both":
        base = builder.union(())
        builder.add(Arm("base", "both", "own", Then(recall=base, rerank=builder.reranker(base, ()))))
    notes += _uneven(trials)
    every = [replace(trial.arm, name=f"{trial.arm.name}, {trial.setting.text}") for trial in trials]
    return ComparePlan(
        modalities,
        (*builder.arms.values(), *every),
        (),
        variants_of(study, options.confound),
        options=options,
        signals=signals,
        trials=tuple(trials),
        notes=tuple(notes),
    )


def _uneven(trials: Sequence[Trial]) -> Iterator[str]:
    """Say where the best of one kind is chosen among more settings than the best of the other."""
    for stage in VIEWS:
        tried = [
            sum(t.setting.trials for t in trials if t.arm.stage == stage and t.method.kind == kind)
            for kind in KINDS
        ]
        if tried[0] != tried[1]:
            yield (
                f"the best fusion at {WORDS[stage]} is chosen among {tried[0]} trials, the best ensemble among "
                f"{tried[1]}"
            )


def _check_confounded(options: CompareOptions, methods: Sequence[Method]) -> None:
    names = [*KINDS, *(method.name for method in methods)]
    if options.confound and options.confounded not in names:
        raise ConfigError(nearest("system of compare.confounded", options.confounded, names))


# ---------------------------------------------------------------- stages


def _recall_references(builder: Builder, parts: Parts, modalities: tuple[str, ...]) -> None:
    for name in ("random", "popular"):
        channel = load({"use": f"recall.{name.capitalize()}"})
        builder.add(Arm(name, "recall", "catalogue", builder.merged([channel])))
    builder.add(Arm("base", "recall", "catalogue", builder.union(())))
    for name, source in parts.signals.items():
        on = (name,) if name in modalities else ()
        builder.add(Arm(name, "recall", "catalogue", builder.merged([parts.channel(source)]), on))


def _recall_trials(parts: Parts, methods: Sequence[Method]) -> Iterator[Trial]:
    on = tuple(name for name in parts.signals if name != INTERACTION)
    for method in methods:
        for setting in method.settings:
            system = parts.recall(method.kind, setting)
            yield Trial(Arm(method.name, "recall", "catalogue", system, on, method.kind), method, setting)


def _hidden(listed: Union) -> tuple[str, ...]:
    """Return the content channels of the fixed list: what they found is no base signal."""
    return tuple(part.label for part in listed.parts if part.reads)


def _rerank_references(builder: Builder, parts: Parts, listed: Union, modalities: tuple[str, ...]) -> None:
    def add(name: str, rerank: Recipe, on: tuple[str, ...] = ()) -> None:
        builder.add(Arm(name, "rerank", "reference", Then(recall=listed, rerank=rerank), on))

    add("keep order", load({"use": "rerank.KeepOrder"}))
    add("random order", load({"use": "rerank.RandomOrder"}))
    add("oracle", load({"use": "rerank.Oracle"}))
    add("base", builder.reranker(listed, ()))
    groups = parts.groups(_hidden(listed), merged=False)
    for name, source in parts.signals.items():
        add(f"base + {name}", parts.learned(groups, source), (name,) if name in modalities else ())


def _rerank_trials(parts: Parts, methods: Sequence[Method], listed: Union) -> Iterator[Trial]:
    on = tuple(name for name in parts.signals if name != INTERACTION)
    groups = parts.groups(_hidden(listed), merged=False)
    for method in methods:
        for setting in method.settings:
            if setting.rule is not None:
                system = Then(recall=listed, rerank=parts.rerank(method.kind, setting, groups))
                yield Trial(Arm(method.name, "rerank", "reference", system, on, method.kind), method, setting)


# ---------------------------------------------------------------- choice


def choose_settings(study: Study, plan: Plan, values: Values, progress: Progress) -> ComparePlan:
    """Choose every setting and the best of each kind on valid, add the systems of both stages and the twins.

    Raises:
        TypeError: A plan of another kind of study.
    """
    if not isinstance(plan, ComparePlan):
        raise TypeError(f"choose_settings takes a ComparePlan, not {type(plan).__name__}")
    progress.note(f"{len(plan.trials)} settings are tried on valid")
    tried = values([trial.arm for trial in plan.trials])
    trials = _chosen([replace(trial, valid=one) for trial, one in zip(plan.trials, tried, strict=True)])
    references = plan.arms[: len(plan.arms) - len(trials)]
    winners = {(t.arm.stage, t.method.name): t for t in trials if t.chosen}
    arms = {arm.key: arm for arm in (*references, *(trial.arm for trial in winners.values()))}
    valid = {trial.arm.key: known(trial) for trial in winners.values()}
    best = {
        (stage, kind): t for stage in VIEWS for kind in KINDS if (t := best_of(trials, stage, kind, tried))
    }
    keys = {place: trial.arm.key for place, trial in best.items()}
    parts = Parts(study, plan.signals)
    if study.stage == "both":
        for kind in KINDS:
            if ("recall", kind) in best and ("rerank", kind) in best:
                arm = parts.whole(best["recall", kind], best["rerank", kind], kind)
                [valid[arm.key]] = values([arm])
                arms[arm.key], keys["both", kind] = arm, arm.key
    laid = replace(
        plan, arms=tuple(arms.values()), trials=tuple(trials), best=keys, valid=valid, comparisons=()
    )
    laid = twins_of(study, parts, laid, values)
    return replace(laid, comparisons=tuple(_comparisons(study, laid)))


def _chosen(trials: Sequence[Trial]) -> list[Trial]:
    """Mark the best setting of every method at every stage; of equals the one tried first."""
    top: dict[tuple[Stage, str], Trial] = {}
    for trial in trials:
        place = (trial.arm.stage, trial.method.name)
        if place not in top or known(trial) > known(top[place]):
            top[place] = trial
    winners = {id(trial) for trial in top.values()}
    return [replace(trial, chosen=id(trial) in winners) for trial in trials]


def _comparisons(study: Study, plan: ComparePlan) -> Iterator[Comparison]:
    """Yield the primary family, all pairs of methods at a stage, and the twins."""
    held = {arm.key for arm in plan.arms}
    for stage, view in VIEWS.items():
        metric = metric_of(study, stage)
        best = [plan.best[stage, kind] for kind in KINDS if (stage, kind) in plan.best]
        if len(best) == len(KINDS):
            yield Comparison(best[0], best[1], metric, "other")
        for reference in REFERENCES[stage]:
            for key in best:
                if (stage, view, reference) in held:
                    yield Comparison((stage, view, reference), key, metric, "other")
    for stage in ("recall", "rerank"):
        metric = metric_of(study, stage)
        keys = list(dict.fromkeys(trial.arm.key for trial in plan.trials if trial.arm.stage == stage))
        for first, second in combinations(keys, 2):
            yield Comparison(first, second, metric, "other", family="pairs")
    for twin in plan.twins:
        if twin.arm is not None:
            metric = metric_of(study, twin.arm.stage)
            for baseline in (twin.honest, twin.rival):
                yield Comparison(baseline, twin.arm.key, metric, "other", family="confound")
