"""Conditions under which some arms of a study are fitted and served; split and test are always the study's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from stagelens.pipeline.contracts import Treatment
from stagelens.pipeline.core import Dataset, ModalityTable, Split
from stagelens.pipeline.data.thinning import Budget, thinned
from stagelens.pipeline.experiment.options import ProtocolOptions, Study
from stagelens.pipeline.progress import Progress
from stagelens.pipeline.recipe import Recipe, fingerprint
from stagelens.pipeline.retrieval import Treated
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.store import Store
from stagelens.pipeline.windows import Windows
from stagelens.pipeline.workbench import Workbench


@dataclass(frozen=True)
class Applied:
    """A treatment of one modality at one stage.

    Attributes:
        stage: Whose recipes read the treated table.
        modality: Which.
        when: ``fit``: in all that is learned or chosen; ``serve``: on test; or ``both``.
        treatment: What is done to the table.
    """

    stage: Literal["recall", "rerank"]
    modality: str
    when: Literal["fit", "serve", "both"]
    treatment: Recipe


@dataclass(frozen=True)
class Variant:
    """Conditions that differ from the study's own.

    Attributes:
        protocol: In place of the study's; None: the study's.
        treatments: Tables that take a modality's place.
        budget: What is kept of the training interactions; None: everything.
        held: Merge weights and the rules of ensembles are those of the study's own conditions, not chosen anew.
    """

    protocol: ProtocolOptions | None = None
    treatments: tuple[Applied, ...] = ()
    budget: Budget | None = None
    held: bool = False

    @property
    def relaid(self) -> bool:
        """Whether the windows differ from the study's own."""
        return self.protocol is not None or self.budget is not None


def laid_out(
    study: Study,
    dataset: Dataset,
    split: Split,
    conditions: Variant,
    *,
    seed: int,
    store: Store,
    progress: Progress,
) -> Workbench:
    """Return a workbench on the windows of some conditions, nothing treated yet."""
    protocol = conditions.protocol or study.protocol
    return Workbench.of(
        dataset,
        split if conditions.budget is None else thinned(split, conditions.budget),
        seed=seed,
        store=store,
        refit=protocol.refit,
        n_folds=protocol.folds,
        fit_on=protocol.fit_on,
        input_on=protocol.input,
        mask=protocol.mask,
        lost=protocol.lost,
        max_rows=protocol.max_rows,
        negatives=protocol.negatives or None,
        block=study.block,
        progress=progress,
        whole=split if conditions.budget is not None else None,
    )


def under(
    conditions: Variant,
    own: Workbench,
    laid: Workbench,
    made: dict[tuple[str, str, int], ModalityTable],
) -> Workbench:
    """Return ``laid`` under some conditions; ``own`` is the workbench of the study's own."""
    treated = treated_tables(own.dataset, own.windows, conditions, made, seed=own.seed)
    return replace(laid, treated=treated, held=own if conditions.held else None)


def treated_tables(
    dataset: Dataset,
    windows: Windows,
    conditions: Variant,
    made: dict[tuple[str, str, int], ModalityTable],
    *,
    seed: int,
) -> tuple[Treated, ...]:
    """Return the tables of a variant, each treatment made on the training data alone and once a seed.

    ``made`` holds the tables by modality, treatment and seed; what is missing is added.

    Raises:
        ConfigError: A treatment changed nothing.
    """
    data = dataset.training(windows.valid.input)
    found = []
    for one in conditions.treatments:
        place = (one.modality, fingerprint(one.treatment), seed)
        if place not in made:
            table = data.modality(one.modality)
            treatment = cast(Treatment, one.treatment)
            made[place] = treatment.apply(
                table, data, seed=derive(seed, "treatment", one.modality, one.treatment.label)
            )
        found.append(Treated(one.stage, one.modality, one.when, made[place]))
    return tuple(found)


def kept_by_budgets(
    variants: Mapping[str, Variant], benches: Mapping[str, Workbench]
) -> dict[str, dict[str, Any]]:
    """Return what every budget keeps, and the hashes of what it shares with the others: mask, valid and test."""
    found: dict[str, dict[str, Any]] = {}
    budgets = {name: one.budget for name, one in variants.items() if one.budget is not None}
    for name, bench in benches.items():
        if name in budgets or (not name and budgets):
            test, valid = bench.windows.test, bench.windows.valid
            shared = {"mask": test.mask, "valid": valid.target, "test": test.target}
            kept = {"interactions": len(valid.input), "train": valid.input.fingerprint()}
            found[name] = kept | {word: window.fingerprint() for word, window in shared.items()}
    return found
