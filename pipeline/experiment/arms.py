"""From a study's options to its arms (systems under test) and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stagelens.pipeline.compose import Then, Union, made
from stagelens.pipeline.core import Dataset, TrainingData
from stagelens.pipeline.data.knockout import PermuteRows, renamed, varies
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.serving import TAKEN, served
from stagelens.pipeline.experiment.variants import Variant
from stagelens.pipeline.recipe import Recipe, load, lookup
from stagelens.pipeline.seeds import derive

View = Literal["catalogue", "reference", "base", "own"]
Contrast = Literal["worth", "information", "other"]
PERMUTED, WITHIN = "permuted", "permuted within popularity"


@dataclass(frozen=True)
class Arm:
    """One system at one stage.

    Attributes:
        name: Shown in tables; unique within its stage.
        stage: Where it is measured.
        view: ``catalogue`` (recall), ``reference`` or ``base`` (the fixed list re-ranked), ``own`` (end to end).
        system: The recipe.
        modalities: Content modalities that are on, treated copies under their own name.
        integration: How they are integrated.
        shown: False for further permuted copies, which serve the rank test alone.
        variant: Conditions it is fitted and served under, by name; "": the study's own.
        filled: False where short lists of a recall stage are measured as they are, without the fill.
    """

    name: str
    stage: Stage
    view: View
    system: Union | Then
    modalities: tuple[str, ...] = ()
    integration: Literal["fusion", "ensemble", "none"] = "none"
    shown: bool = True
    variant: str = ""
    filled: bool = True

    @property
    def key(self) -> tuple[str, str, str]:
        """Stage, view and name."""
        return self.stage, self.view, self.name

    @property
    def recall(self) -> Union:
        """The recall stage."""
        return self.system if isinstance(self.system, Union) else self.system.recall


@dataclass(frozen=True)
class Comparison:
    """Two arms of one stage and view, on one primary metric.

    Attributes:
        baseline: Key of an arm.
        system: Key of an arm.
        metric: The stage's primary metric.
        contrast: ``worth`` (on minus absent), ``information`` (real minus permuted) or ``other``.
        modality: The modality in question, or None.
        copies: Keys of further permuted copies, for the exact rank test.
        family: Comparisons of one family are judged together; ``primary`` is the study's first.
        terms: Weight, baseline and system of every term, where the difference is a weighted sum; ``baseline`` and
            ``system`` then name it and need be no arms. Its margin is the weighted mean of theirs.
        slices: Names of the slices in which it is judged too; None: all, of a primary ``worth`` alone.
    """

    baseline: tuple[str, str, str]
    system: tuple[str, str, str]
    metric: str
    contrast: Contrast
    modality: str | None = None
    copies: tuple[tuple[str, str, str], ...] = ()
    family: str = "primary"
    terms: tuple[tuple[float, tuple[str, str, str], tuple[str, str, str]], ...] = ()
    slices: tuple[str, ...] | None = None

    @property
    def sum(self) -> tuple[tuple[float, tuple[str, str, str], tuple[str, str, str]], ...]:
        """Return the terms, one where none is given."""
        return self.terms or ((1.0, self.baseline, self.system),)

    def within(self, part: str) -> bool:
        """Say whether it is judged in a slice of this name."""
        if self.slices is None:
            return self.family == "primary" and self.contrast == "worth"
        return part in self.slices


@dataclass(frozen=True)
class Plan:
    """What a study measures and compares.

    Attributes:
        modalities: Content modalities under test.
        arms: Systems.
        comparisons: In families.
        variants: Conditions that arms name, beside the study's own.
    """

    modalities: tuple[str, ...]
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def arm(self, key: tuple[str, str, str]) -> Arm:
        """Return the arm of a key."""
        return next(arm for arm in self.arms if arm.key == key)

    def asked_on_valid(self) -> set[tuple[str, str, str]]:
        """Return the keys of arms measured on valid: every baseline (for its margin), every interaction-only arm."""
        references = {arm.key for arm in self.arms if self.interaction_only(arm)}
        return references | {baseline for one in self.comparisons for _, baseline, _ in one.sum}

    @staticmethod
    def interaction_only(arm: Arm) -> bool:
        """Say whether an arm reads no content and could be served (the oracle could not)."""
        seeing = isinstance(arm.system, Then) and getattr(arm.system.rerank, "sees_truth", False)
        return not (arm.modalities or arm.recall.reads or seeing)


def chosen_modalities(study: Study, dataset: Dataset) -> tuple[str, ...]:
    """Return the content modalities under test.

    Raises:
        ConfigError: The data set has no such modality.
    """
    wanted: list[str] = []
    for name in study.modalities:
        if name == "all":
            wanted += sorted(dataset.modalities)
        elif name != "interaction":
            if name not in dataset.modalities:
                known = [*dataset.modalities, "interaction", "all"]
                raise ConfigError(nearest(f"modality of {dataset.name}", name, known))
            wanted.append(name)
    return tuple(dict.fromkeys(wanted))


def treated(modality: str, kind: str, copy: int = 0) -> str:
    """Return the name under which a treated copy of a modality stands beside the real one."""
    slug = {PERMUTED: "permuted", WITHIN: "permuted-within"}[kind]
    return f"{modality}~{slug}" + (f"-{copy + 1}" if copy else "")


def with_permuted(dataset: Dataset, data: TrainingData, plan: Plan, *, seed: int) -> Dataset:
    """Return the data set with every permuted copy that the plan reads, one permutation a seed, modality and copy."""
    read = {name for arm in plan.arms for name in arm.system.reads}
    for modality in plan.modalities:
        table = dataset.modalities[modality]
        for kind, treatment in ((PERMUTED, PermuteRows()), (WITHIN, PermuteRows(within="popularity"))):
            copy = 0
            while treated(modality, kind, copy) in read:
                made = treatment.apply(table, data, seed=derive(seed, "treatment", modality, kind, copy))
                dataset = dataset.with_modality(renamed(made, treated(modality, kind, copy)))
                copy += 1
    return dataset


def plan_of(study: Study, dataset: Dataset) -> Plan:
    """Lay out the arms and comparisons of ``simulate``.

    Raises:
        ConfigError: Unknown modality or recipe, or a part of the wrong role.
    """
    modalities = chosen_modalities(study, dataset)
    builder = Builder(study, dataset)
    if study.stage in ("recall", "both"):
        builder.recall_stage(modalities)
    if study.stage == "rerank":
        builder.rerank_stage(modalities, (), "base", information=True)
    if study.stage == "both":
        if modalities:
            builder.rerank_stage(modalities, modalities, "reference", information=False)
        if study.rerank.base_view or not modalities:
            builder.rerank_stage(modalities, (), "base", information=bool(modalities))
        builder.end_to_end(modalities)
    return Plan(modalities, tuple(builder.arms.values()), tuple(builder.comparisons))


class Builder:
    """Makes arms and comparisons from a study's options."""

    def __init__(self, study: Study, dataset: Dataset) -> None:
        self.study = study
        self.dataset = dataset
        self.arms: dict[tuple[str, str, str], Arm] = {}
        self.comparisons: list[Comparison] = []

    # ------------------------------------------------------------ parts

    def part(self, table: Mapping[str, Any], where: str, role: str, **filled: Any) -> Recipe:
        """Return the recipe of a table of options; where it is the channel, vectors are served by ``recall.Dense``.

        Raises:
            ConfigError: Not a recipe of that role.
        """
        if role == "channel" and not filled:
            table = served(table, device=self.study.device)
        found = lookup(str(table["use"])).role if "use" in table else role
        if found == "vectors" != role:
            raise ConfigError(
                f"{where}: {table['use']} makes vectors, expected a {role}. Vectors can stand in {TAKEN}"
            )
        if found != role:
            raise ConfigError(f"{where}: {table['use']} is a {found or 'recipe'}, expected a {role}")
        return load({**table, **filled}, where=where)

    def channel(self, modality: str) -> Recipe:
        """Return the recall channel of a modality."""
        filled: dict[str, Any] = {"modality": modality}
        if self.study.recall.content.get("use") == "recall.Dense":
            filled["device"] = self.study.device
        return self.part(self.study.recall.content, "recall.content", "channel", **filled)

    def union(self, on: Iterable[str], *, base: bool = True) -> Union:
        """Return the recall stage with these modalities on."""
        options = self.study.recall
        parts = [self.part(part, "recall.base", "channel") for part in options.base] if base else []
        return self.merged([*parts, *(self.channel(name) for name in on)])

    def merged(self, parts: list[Recipe]) -> Union:
        """Return these channels as a recall stage."""
        options = self.study.recall
        return made(
            Union,
            parts=tuple(parts),
            size=options.size,
            merge=options.merge,
            rrf_k=options.rrf_k,
            weights=options.weights,
        )

    def reranker(self, recall: Union, on: tuple[str, ...]) -> Recipe:
        """Return the learned re-ranker with these modalities on: what is off is absent, evidence included."""
        hidden = tuple(part.label for part in recall.parts if part.reads - set(on))
        groups: list[Recipe] = []
        for table in self.study.rerank.groups:
            off = (
                {"hidden": hidden, "merged": False}
                if hidden and table.get("use") == "rerank.Evidence"
                else {}
            )
            groups.append(self.part(table, "rerank.groups", "features", **off))
        groups += [
            self.part(self.study.rerank.content, "rerank.content", "features", modality=name) for name in on
        ]
        table = self.study.reranker
        return self.part(table, "rerank.reranker", "reranker", features=tuple(groups))

    def informative(self, modality: str) -> bool:
        """Say whether the study asks for permuted copies of a modality, and one can differ from it."""
        return self.study.measure.information and varies(self.dataset.modalities[modality])

    # ------------------------------------------------------------ stages

    def add(self, arm: Arm) -> tuple[str, str, str]:
        """Keep an arm, once; return its key."""
        self.arms.setdefault(arm.key, arm)
        return arm.key

    def recall_stage(self, modalities: tuple[str, ...]) -> None:
        """References, each modality alone, the base, base + modality, base + all, permuted copies."""

        def arm(
            name: str, system: Union, on: tuple[str, ...] = (), shown: bool = True
        ) -> tuple[str, str, str]:
            integration: Literal["ensemble", "none"] = "ensemble" if on and len(system.parts) > 1 else "none"
            return self.add(Arm(name, "recall", "catalogue", system, on, integration, shown))

        metric = f"recall@{self.study.recall.size}"
        arm("random", self.merged([load({"use": "recall.Random"})]))
        popular = arm("popular", self.merged([load({"use": "recall.Popular"})]))
        base = arm("base", self.union(()))
        if not modalities:
            self.comparisons.append(Comparison(popular, base, metric, "other"))
        for m in modalities:
            alone = arm(m, self.union((m,), base=False), (m,))
            on = arm(f"base + {m}", self.union((m,)), (m,))
            self.comparisons.append(Comparison(base, on, metric, "worth", m))
            self.comparisons.append(Comparison(base, alone, metric, "other", m))
            if self.informative(m):
                self._recall_information(m, on, metric, arm)
        if len(modalities) > 1:
            every = arm(_plus(modalities), self.union(modalities), modalities)
            self.comparisons.append(Comparison(base, every, metric, "worth"))

    def _recall_information(self, m: str, on: tuple[str, str, str], metric: str, arm: Any) -> None:
        for kind in (PERMUTED, WITHIN):
            keys = []
            for copy in range(self.study.measure.copies):
                name = f"base + {m} ({kind}{f' {copy + 1}' if copy else ''})"
                changed = treated(m, kind, copy)
                keys.append(arm(name, self.union((changed,)), (changed,), copy == 0))
            self.comparisons.append(Comparison(keys[0], on, metric, "information", m, tuple(keys)))

    def rerank_stage(
        self, modalities: tuple[str, ...], listed: tuple[str, ...], view: View, *, information: bool
    ) -> None:
        """The learned re-ranker with and without each modality, on one fixed list; floor and ceiling."""
        recall = self.union(listed)
        metric = "ndcg@10"
        second = view == "base" and self.study.stage == "both" and bool(modalities)

        def arm(name: str, rerank: Recipe, on: tuple[str, ...] = ()) -> tuple[str, str, str]:
            integration: Literal["fusion", "none"] = "fusion" if on else "none"
            name = f"{name} [base list]" if second else name
            return self.add(Arm(name, "rerank", view, Then(recall=recall, rerank=rerank), on, integration))

        keep = arm("keep order", load({"use": "rerank.KeepOrder"}))
        arm("random order", load({"use": "rerank.RandomOrder"}))
        arm("oracle", load({"use": "rerank.Oracle"}))
        base = arm("base", self.reranker(recall, ()))
        self.comparisons.append(Comparison(keep, base, metric, "other"))
        for m in modalities:
            on = arm(f"base + {m}", self.reranker(recall, (m,)), (m,))
            self.comparisons.append(Comparison(base, on, metric, "worth", m))
            if information and self.informative(m):
                changed = treated(m, PERMUTED)
                copy = arm(f"base + {m} ({PERMUTED})", self.reranker(recall, (changed,)), (changed,))
                self.comparisons.append(Comparison(copy, on, metric, "information", m))
        if len(modalities) > 1 and not second:
            every = arm(_plus(modalities), self.reranker(recall, modalities), modalities)
            self.comparisons.append(Comparison(base, every, metric, "worth"))

    def end_to_end(self, modalities: tuple[str, ...]) -> None:
        """Recall and re-rank both off, both on; beside them the references, in the order of recall."""

        def arm(name: str, on: tuple[str, ...] = ()) -> tuple[str, str, str]:
            recall = self.union(on)
            system = Then(recall=recall, rerank=self.reranker(recall, on))
            return self.add(Arm(name, "both", "own", system, on, "ensemble" if on else "none"))

        for name in ("random", "popular"):
            channel = load({"use": f"recall.{name.capitalize()}"})
            self.add(Arm(name, "both", "own", self.merged([channel])))
        base = arm("base")
        for m in modalities:
            self.comparisons.append(Comparison(base, arm(f"base + {m}", (m,)), "ndcg@10", "worth", m))
        if len(modalities) > 1:
            every = arm(_plus(modalities), modalities)
            self.comparisons.append(Comparison(base, every, "ndcg@10", "worth"))


def _plus(modalities: tuple[str, ...]) -> str:
    return " + ".join(["base", *modalities])
