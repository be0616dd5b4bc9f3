"""What a comparison of fusion and ensemble is made of: its plan, its trials, and the recipes of both kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from stagelens.pipeline.compose import Then, Union, made
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.arms import Arm, Plan, View
from stagelens.pipeline.experiment.integration_options import CompareOptions
from stagelens.pipeline.experiment.integration_settings import Integration, Method, Setting
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.recipe import Recipe, load

Key = tuple[str, str, str]
KINDS: tuple[Integration, ...] = ("fusion", "ensemble")
WORDS: dict[Stage, str] = {"recall": "recall", "rerank": "re-rank", "both": "end to end"}
VIEWS: dict[Stage, View] = {"recall": "catalogue", "rerank": "reference", "both": "own"}
REFERENCES: dict[Stage, dict[str, str]] = {
    "recall": {"base": "the base", "interaction": "interactions alone"},
    "rerank": {"base": "the base", "base + interaction": "interactions alone"},
    "both": {"base": "the base"},
}
"""What the best of each kind has to beat: systems by stage, in words. Alone: the interaction signal of both kinds
without content, so that what it brings is not read as the worth of content."""


class Values(Protocol):
    """Gives the primary metric of arms on valid, first seed; or on test, for the confound of that name."""

    def __call__(self, arms: Sequence[Arm], on_test: bool = False) -> list[float]:
        """Return one value an arm; names may repeat. Arms on one union share its rows and features."""
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of one method at one stage.

    Attributes:
        arm: The system, under the method's name.
        method: Whose setting it is.
        setting: Which.
        valid: Primary metric on valid, first seed; None before the choice.
        chosen: Best of its method at this stage.
    """

    arm: Arm
    method: Method
    setting: Setting
    valid: float | None = None
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Twin:
    """A system under a confound beside its honest self and the best of the rival kind.

    Attributes:
        confound: Which.
        honest: Key of its honest self.
        rival: Key of the rival.
        name: Shown.
        arm: The system; None: that of its honest self, measured otherwise.
    """

    confound: str
    honest: Key
    rival: Key
    name: str
    arm: Arm | None


@dataclass(frozen=True)
class ComparePlan(Plan):
    """A plan of fusions and ensembles.

    Attributes:
        options: Of the comparison.
        signals: Name -> a modality's name or a recipe of vectors; interactions first.
        trials: Every setting of every method at every stage; before the choice the plan's arms hold them all.
        best: Stage and kind -> key of the system chosen on valid.
        twins: Confounded systems.
        valid: Key -> primary metric on valid, first seed.
        notes: For the reader.
        warnings: What must not be overlooked.
    """

    options: CompareOptions = field(default_factory=CompareOptions)
    signals: Mapping[str, str | Recipe] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    best: Mapping[tuple[Stage, Integration], Key] = field(default_factory=dict)
    twins: tuple[Twin, ...] = ()
    valid: Mapping[Key, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """Makes the recipes of both kinds from a study's options and the signals."""

    study: Study
    signals: Mapping[str, str | Recipe]

    def channel(self, source: str | Recipe) -> Recipe:
        """Return nearest vectors of a modality or of a recipe of vectors."""
        table = dict(self.study.recall.content)
        if table.get("use") == "recall.Dense":
            table["device"] = self.study.device
        return load({**table, **_source(source)}, where="recall.content")

    def similarity(self, source: str | Recipe) -> Recipe:
        """Return the columns that compare a candidate with the history."""
        return load({**self.study.rerank.content, **_source(source)}, where="rerank.content")

    def groups(self, hidden: tuple[str, ...], *, merged: bool) -> tuple[Recipe, ...]:
        """Return the base feature groups without the evidence of some channels."""
        off = {"hidden": hidden, "merged": merged}
        tables = [
            {**table, **off} if table.get("use") == "rerank.Evidence" else table
            for table in self.study.rerank.groups
        ]
        return tuple(load(table, where="rerank.groups") for table in tables)

    def learned(self, groups: tuple[Recipe, ...], source: str | Recipe) -> Recipe:
        """Return the learned re-ranker on some groups and one source of content."""
        features = (*groups, self.similarity(source))
        return load({**self.study.reranker, "features": features}, where="rerank.reranker")

    def recall(self, kind: Integration, setting: Setting) -> Union:
        """Return a recall stage of one kind."""
        size = self.study.recall.size
        if kind == "fusion":
            return made(Union, parts=(self.channel(_rule(setting)),), size=size, weights="equal")
        channels = tuple(self.channel(source) for source in self.signals.values())
        if setting.rule is None:
            given = {"merge": setting.merge, "rrf_k": self.study.recall.rrf_k, "weights": setting.weights}
            return made(Union, parts=channels, size=size, **given)
        return made(Union, parts=channels, size=size, weights="equal", ensemble=setting.rule)

    def rerank(self, kind: Integration, setting: Setting, groups: tuple[Recipe, ...]) -> Recipe:
        """Return a re-ranker of one kind."""
        if kind == "fusion":
            return self.learned(groups, _rule(setting))
        members = tuple(self.learned(groups, source) for source in self.signals.values())
        return load(
            {"use": "fusion.Blend", "members": members, "rule": setting.rule}, where="compare.ensemble"
        )

    def whole(self, recall: Trial, rerank: Trial, name: str) -> Arm:
        """Return the system of both stages; its re-ranker sees the merged list of its recall, no single channel."""
        union, kind = recall.arm.recall, rerank.method.kind
        groups = self.groups(tuple(part.label for part in union.parts), merged=True)
        system = Then(recall=union, rerank=self.rerank(kind, rerank.setting, groups))
        return Arm(name, "both", "own", system, recall.arm.modalities, kind)


def _source(source: str | Recipe) -> dict[str, Any]:
    if isinstance(source, str):
        return {"modality": source}
    return {"modality": None, "vectors": source}


def _rule(setting: Setting) -> Recipe:
    if setting.rule is None:
        raise ConfigError(f"{setting.text}: a merge is no fusion")
    return setting.rule


def known(trial: Trial) -> float:
    """Return the value on valid of a trial that has been made."""
    return float("-inf") if trial.valid is None else trial.valid


def best_of(
    trials: Sequence[Trial], stage: Stage, kind: Integration, values: Sequence[float]
) -> Trial | None:
    """Return the best trial of a kind at a stage; of equals the one tried first."""
    rivals = [
        (value, trial)
        for value, trial in zip(values, trials, strict=True)
        if trial.arm.stage == stage and trial.method.kind == kind
    ]
    return max(rivals, key=lambda pair: pair[0], default=(0.0, None))[1]


def metric_of(study: Study, stage: Stage) -> str:
    """Return the metric that verdicts at a stage are about."""
    return f"recall@{study.recall.size}" if stage == "recall" else "ndcg@10"
