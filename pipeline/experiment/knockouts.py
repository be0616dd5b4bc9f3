"""Knock-outs: is a modality used at all, and at which stage?

The intact system (base and all modalities, both stages) is compared with the same system, at the same capacity, in
which modalities are treated: replaced by a constant, by noise, by the vectors of other items. A treatment stands at
recall, at re-rank, or both; in everything learned or chosen (``fit``), on test (``serve``), or both. ``whole`` treats
all modalities, ``single`` one and leaves the others real, ``alone`` all but one. Ye et al. ask the first question
("do they help as a whole?") and the third ("is each useful when used alone?"); with two modalities ``single`` and
``alone`` are the same systems.

A treatment at re-rank alone reaches the content features; the evidence that recall hands over stays real. One at recall
alone reaches the channel, and its evidence with it. ``drop`` is no treatment but another composition: off at recall is
the channel, off at re-rank the content features and the evidence of the channel.

Contrasts: ``information`` for whole permutations that hold at fit and at serving, ``worth`` for drop (on minus absent),
``other`` for the rest: constants and noise move the scale of what a model reads as well as its information.

References:
    Ye, Fu, Song, Zheng & Jose 2026, arXiv:2508.07399 (theirs are treated at fit and at serving, on full rankings).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.core import Dataset
from stagelens.pipeline.data.impute import Impute
from stagelens.pipeline.data.knockout import Availability, Dosed, PermuteRows, varies
from stagelens.pipeline.data.replacement import Constant, Noise
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.arms import Arm, Builder, Comparison, Contrast, Plan, chosen_modalities
from stagelens.pipeline.experiment.knockout_options import KnockoutOptions, When
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.variants import Applied, Variant
from stagelens.pipeline.recipe import Recipe, load

Key = tuple[str, str, str]
FINAL_METRIC = "ndcg@10"


@dataclass(frozen=True)
class _Target:
    """Modalities treated together.

    Attributes:
        name: Shown: the modality, ``all``, or ``all but`` one.
        modalities: Which.
        modality: The one in question, where it is one.
    """

    name: str
    modalities: tuple[str, ...]
    modality: str | None


def plan_of_knockouts(study: Study, dataset: Dataset) -> Plan:
    """Lay out the intact system, its knock-outs, and the comparisons of each with it.

    The study's ``stage`` says what is measured: ``both`` end to end and the candidate sets beside it, ``recall``
    candidate sets alone, ``rerank`` the order of the intact system's candidates alone.

    Raises:
        ConfigError: No content modality, one whose vectors are all equal, a part that is no treatment, two that read
            the same, or no stage left to treat.
    """
    options = study.knockouts
    modalities = chosen_modalities(study, dataset)
    if not modalities:
        raise ConfigError(
            f"knock-outs treat content modalities; modalities = {list(study.modalities)} of {dataset.name} "
            f"names none. Allowed: all, {', '.join(sorted(dataset.modalities)) or '(the data set has none)'}."
        )
    planner = _Planner(study, dataset, options, modalities)
    for target in _targets(options, modalities):
        for treatment in planner.treatments:
            for when in dict.fromkeys(options.when):
                planner.treated(target, treatment, when)
        if options.drop:
            planner.dropped(target)
    arms = tuple(planner.builder.arms.values())
    named = {arm.variant for arm in arms}
    variants = {name: variant for name, variant in planner.variants.items() if name in named}
    return Plan(modalities, arms, tuple(planner.builder.comparisons), variants)


def _targets(options: KnockoutOptions, modalities: tuple[str, ...]) -> Iterator[_Target]:
    """Yield what is treated together, each set once."""
    done: set[frozenset[str]] = set()
    for setting in options.settings:
        if setting == "whole":
            name = "all" if len(modalities) > 1 else modalities[0]
            found = [_Target(name, modalities, None if len(modalities) > 1 else modalities[0])]
        elif setting == "single":
            found = [_Target(name, (name,), name) for name in modalities]
        else:
            rests = [(name, tuple(other for other in modalities if other != name)) for name in modalities]
            found = [
                _Target(rest[0], rest, rest[0]) if len(rest) == 1 else _Target(f"all but {name}", rest, None)
                for name, rest in rests
                if rest
            ]
        for target in found:
            if frozenset(target.modalities) not in done:
                done.add(frozenset(target.modalities))
                yield target


class _Planner:
    def __init__(
        self, study: Study, dataset: Dataset, options: KnockoutOptions, modalities: tuple[str, ...]
    ) -> None:
        self.stage = study.stage
        self.builder = Builder(study, dataset)
        self.modalities = modalities
        self.variants: dict[str, Variant] = {}
        self.candidate_metric = f"recall@{study.recall.size}"
        allowed = {"both": ("recall", "rerank", "both"), "recall": ("recall", "both"), "rerank": ("rerank",)}
        self.stages = [stage for stage in dict.fromkeys(options.stages) if stage in allowed[study.stage]]
        if not self.stages:
            raise ConfigError(
                f"stage = {study.stage!r} shows nothing of knock-outs at {', '.join(options.stages)}; there "
                f"knockouts.stages may hold {', '.join(allowed[study.stage])}. Or measure both stages."
            )
        self.treatments = self._treatments(options, dataset)
        self.recall = self.builder.union(modalities)
        self.system = Then(recall=self.recall, rerank=self.builder.reranker(self.recall, modalities))
        self.name = _plus(modalities)
        self._references()
        self.candidates = self._candidates(self.name, self.recall, modalities)
        self.final = self._final(self.name, self.system, modalities)

    def _treatments(self, options: KnockoutOptions, dataset: Dataset) -> list[Recipe]:
        made = [self.builder.part(table, "knockouts.treatments", "treatment") for table in options.treatments]
        names = [name_of_treatment(one) for one in made]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ConfigError(f"knockouts.treatments: {', '.join(doubled)} stands there twice; write it once")
        flat = [name for name in self.modalities if not varies(dataset.modalities[name])]
        if made and flat:
            raise ConfigError(
                f"{dataset.name}: all vectors of {', '.join(flat)} are equal, so a knock-out shows nothing. "
                "Choose other modalities with --modality, or drop them only, with knockouts.treatments = []."
            )
        return made

    # ------------------------------------------------------------ arms

    def _references(self) -> None:
        """Interaction alone, and below it random and popular or, on a given list, its own order."""
        base = self.builder.union(())
        if self.stage == "rerank":
            self._final("keep order", Then(recall=self.recall, rerank=load({"use": "rerank.KeepOrder"})), ())
            base = self.recall
        else:
            for name in ("random", "popular"):
                one = self.builder.merged([load({"use": f"recall.{name.capitalize()}"})])
                self._candidates(name, one, ())
                self._final(name, one, ())
            self._candidates("base", base, ())
        self._final("base", Then(recall=base, rerank=self.builder.reranker(base, ())), ())

    def _candidates(self, name: str, recall: Union, on: tuple[str, ...], variant: str = "") -> Key | None:
        """Add a recall stage, where candidate sets are measured."""
        if self.stage == "rerank":
            return None
        integration: Literal["ensemble", "none"] = "ensemble" if on else "none"
        return self.builder.add(Arm(name, "recall", "catalogue", recall, on, integration, variant=variant))

    def _final(self, name: str, system: Union | Then, on: tuple[str, ...], variant: str = "") -> Key | None:
        """Add a system, where final lists are measured: end to end, or on the intact system's candidates."""
        if self.stage == "recall":
            return None
        if self.stage == "rerank":
            integration: Literal["fusion", "none"] = "fusion" if on else "none"
            return self.builder.add(
                Arm(name, "rerank", "reference", system, on, integration, variant=variant)
            )
        return self.builder.add(
            Arm(name, "both", "own", system, on, "ensemble" if on else "none", variant=variant)
        )

    def treated(self, target: _Target, treatment: Recipe, when: When) -> None:
        """Add the intact system under one treatment, for every stage that it may stand at."""
        whole = not isinstance(treatment, Dosed) or treatment.dose == 1
        permuted = isinstance(treatment, PermuteRows) and whole and when == "both"
        contrast: Contrast = "information" if permuted else "other"
        what = f"{target.name} {name_of_treatment(treatment)}" + (f" at {when}" if when != "both" else "")
        for stage in self.stages:
            variant = what + (f", {stage} only" if stage != "both" else "")
            parts: tuple[Literal["recall", "rerank"], ...] = (
                ("recall", "rerank") if stage == "both" else (stage,)
            )
            self.variants[variant] = Variant(
                treatments=tuple(
                    Applied(part, name, when, treatment) for part in parts for name in target.modalities
                )
            )
            name = f"{self.name} ({variant})"
            self._compare(self._final(name, self.system, self.modalities, variant), target, contrast)
        if reached := [stage for stage in self.stages if stage != "rerank"]:
            # At recall alone or at both, the candidates are the same; the first variant serves.
            variant = what + (f", {reached[0]} only" if reached[0] != "both" else "")
            key = self._candidates(f"{self.name} ({what})", self.recall, self.modalities, variant)
            self._compare(key, target, contrast)

    def dropped(self, target: _Target) -> None:
        """Add the systems that leave the modalities out at recall, at re-rank, or both."""
        rest = tuple(name for name in self.modalities if name not in target.modalities)
        for stage in self.stages:
            recall = self.recall if stage == "rerank" else self.builder.union(rest)
            read = self.modalities if stage == "recall" else rest
            system = Then(recall=recall, rerank=self.builder.reranker(recall, read))
            plain = stage == self.stage or stage == "both"
            name = _plus(rest) if plain else f"{self.name} ({target.name} dropped, {stage} only)"
            self._compare(self._final(name, system, rest if plain else self.modalities), target, "worth")
        if any(stage != "rerank" for stage in self.stages):
            key = self._candidates(_plus(rest), self.builder.union(rest), rest)
            self._compare(key, target, "worth")

    def _compare(self, treated: Key | None, target: _Target, contrast: Contrast) -> None:
        if treated is None:
            return
        recall = treated[0] == "recall"
        intact = self.candidates if recall else self.final
        metric = self.candidate_metric if recall else FINAL_METRIC
        self.builder.comparisons.append(
            Comparison(treated, cast(Key, intact), metric, contrast, target.modality)
        )


def name_of_treatment(treatment: Recipe) -> str:
    """Return how a treatment is called in the names of systems."""
    match treatment:
        case Constant():
            name = str(treatment.value)
        case Noise():
            name = f"{treatment.kind} noise"
        case PermuteRows():
            name = "permuted" + (f" within {treatment.within}" if treatment.within else "")
            name += f" ({treatment.classes} classes)" if treatment.classes else ""
        case Availability():
            name = "withheld"
        case Impute():
            name = "imputed mean" if treatment.source is None else f"imputed from {treatment.source}"
        case _:
            return repr(treatment)
    return name if treatment.dose == 1 else f"{name}, dose {treatment.dose:g}"


def _plus(modalities: tuple[str, ...]) -> str:
    return " + ".join(["base", *modalities])
