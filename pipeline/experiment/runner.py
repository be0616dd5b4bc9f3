"""Runs a study: everything is chosen on valid, then test is opened once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Dataset, Int64, ModalityTable, Split
from stagelens.pipeline.data.describe import describe
from stagelens.pipeline.data.knockout import varies
from stagelens.pipeline.data.splits import split as make_split
from stagelens.pipeline.errors import ConfigError, DataError
from stagelens.pipeline.evaluate.cost import Phases, resident_bytes
from stagelens.pipeline.evaluate.metrics import measure
from stagelens.pipeline.evaluate.slices import slices
from stagelens.pipeline.experiment.arms import Arm, Plan, with_permuted
from stagelens.pipeline.experiment.costs import cost_of, importance_of
from stagelens.pipeline.experiment.estimate import estimate_seconds
from stagelens.pipeline.experiment.fitting import fit_arms, ranks_of
from stagelens.pipeline.experiment.kinds import KINDS, Kind
from stagelens.pipeline.experiment.measure import CandidateSet
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.outputs import (
    RunFolder,
    count_opening,
    default_store,
    manifest_of,
    study_fingerprint,
)
from stagelens.pipeline.experiment.protocols import told, warnings_of
from stagelens.pipeline.experiment.references import warnings_of_values
from stagelens.pipeline.experiment.summary import (
    IN_SUMMARY,
    JUDGED_EPOCH,
    Finished,
    Measured,
    comparison_records,
    margin_of,
    primary_metric,
    system_record,
)
from stagelens.pipeline.experiment.variants import Variant, laid_out, under
from stagelens.pipeline.experiment.world_truth import TRUTH_EPOCH, check_truth, truth_of_world
from stagelens.pipeline.native import release_memory
from stagelens.pipeline.progress import Progress, Silent
from stagelens.pipeline.recipe import fingerprint
from stagelens.pipeline.store import Store
from stagelens.pipeline.workbench import Workbench

Key = tuple[str, str, str]
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Result:
    """What a run left behind.

    Attributes:
        folder: The run folder (design: output contract).
        summary: ``summary.json``.
        manifest: ``manifest.json``.
    """

    folder: Path
    summary: dict[str, Any]
    manifest: dict[str, Any]


def simulate(
    study: Study, *, out: Path | None = None, progress: Progress | None = None, store: Path | None = None
) -> Result:
    """Run the two-stage pipeline of a study and write its folder.

    Args:
        study: What to run.
        out: The run folder; by default ``runs/<name>-<short fingerprint>``.
        progress: Shown while it runs.
        store: Where artefacts are kept between runs; by default ``runs/.store``.

    Raises:
        ConfigError: A wrong name or option.
        DataError: Data that does not fit the contract.
        OSError: The folder or the store cannot be written.
    """
    if len(study.seeds) == 2:
        raise ConfigError(
            "Two seeds give no usable interval over seeds: run one, for these fitted systems, or three or more"
        )
    kind = KINDS[study.kind]
    phases, artefacts = Phases(), Store(store or default_store())
    progress = progress or Silent()
    with phases("load"):
        dataset = study.data.opened()
        split = make_split(dataset, study.data.split, seed=study.data.split_seed)
        if study.measure.truth:
            check_truth(study, split)
        plan = kind.plan(study, dataset)
        key = study_fingerprint(study, plan, dataset, split)
        folder = RunFolder.of(out, study.name, key)
    flat = [name for name in plan.modalities if not varies(dataset.modalities[name])]
    for note in (
        *dataset.notes,
        *split.notes,
        *warnings_of(study),
        *warnings_of_values(study, dataset, split),
        *(f"{name}: all vectors are equal; no permuted copy can differ" for name in flat),
    ):
        progress.note(note)
    seconds = estimate_seconds(study, plan, dataset, split)
    if seconds > 2:
        progress.note(f"{len(plan.arms)} systems, about {seconds:.0f} s if nothing is in the store yet")
    run = Run(study, dataset, split, plan, progress, phases, artefacts)
    return run.finish(kind, key, folder, seconds)


@dataclass
class Run:
    """A study at work: chooses and fits on train and valid, then measures and judges on its test window.

    Attributes:
        study: Its options.
        dataset: Untreated.
        split: Its windows.
        plan: As laid out; once ``settled``, as chosen.
        progress: Shown while it works.
        phases: What each part took.
        store: Where artefacts are kept.
    """

    study: Study
    dataset: Dataset
    split: Split
    plan: Plan
    progress: Progress
    phases: Phases
    store: Store
    benches: dict[tuple[str, int], Workbench] = field(default_factory=dict)
    """By variant and seed."""
    tables: dict[tuple[str, str, int], ModalityTable] = field(default_factory=dict)
    """Treated tables by modality, treatment and seed."""
    loaded_bytes: int = 0
    """Resident memory once the data set and its windows are there, before any stage works."""

    def bench(self, variant: str, seed: int) -> Workbench:
        """Return the workbench of a variant, made when first asked for."""
        place = (variant, seed)
        if place not in self.benches:
            conditions = self.plan.variants.get(variant, Variant())
            if variant:
                own = self.bench("", seed)
                laid = self._laid_out(own.dataset, conditions, seed) if conditions.relaid else own
                self.benches[place] = under(conditions, own, laid, self.tables)
            else:
                train = self.dataset.training(self.split.train)
                dataset = with_permuted(self.dataset, train, self.plan, seed=seed)
                self.benches[place] = self._laid_out(dataset, conditions, seed)
        return self.benches[place]

    def _laid_out(self, dataset: Dataset, conditions: Variant, seed: int) -> Workbench:
        parts = (self.study, dataset, self.split, conditions)
        return laid_out(*parts, seed=seed, store=self.store, progress=self.progress)

    def arms_of(self, variant: str) -> list[Arm]:
        """Return the arms under a variant."""
        return [arm for arm in self.plan.arms if arm.variant == variant]

    @property
    def variants(self) -> list[str]:
        """The variants that arms name, in order."""
        return list(dict.fromkeys(arm.variant for arm in self.plan.arms))

    def finish(self, kind: Kind, key: str, folder: RunFolder, seconds: float) -> Result:
        """Choose and fit, open test, judge, write."""
        means = self.settled(kind)
        opened = count_opening(self.store, self.split, key)
        finished, said = self.examined(kind, key, means)
        return self.written(finished, said, key, folder, opened=opened, seconds=seconds)

    def settled(self, kind: Kind) -> dict[Key, float]:
        """Choose and fit; return what margins refer to: the mean on valid of every arm asked there."""
        plan = self.plan
        if kind.choose is not None:
            with self.phases("choice"):
                plan = self.plan = kind.choose(self.study, plan, self.values, self.progress)
        valid: dict[Key, list[float]] = {}
        for seed in self.study.seeds:
            for variant in self.variants:
                bench = self.bench(variant, seed)
                if not self.loaded_bytes:
                    bench.windows.complete()
                    release_memory()
                    self.loaded_bytes = resident_bytes()
                arms = self.arms_of(variant)
                try:
                    fit_arms(bench, arms, self.phases)
                except DataError as error:
                    raise DataError(f"{variant}: {error}" if variant else str(error)) from error
                with self.phases("valid"):
                    window = bench.windows.valid
                    asked = [arm for arm in arms if arm.key in plan.asked_on_valid()]
                    for arm_key, (ranks, _, _) in ranks_of(bench, asked, window).items():
                        value = float(
                            measure(ranks, window.truth, [primary_metric(plan.arm(arm_key))]).mean()
                        )
                        valid.setdefault(arm_key, []).append(value)
        return {key: float(np.mean(values)) for key, values in valid.items()}

    def examined(self, kind: Kind, key: str, means: dict[Key, float]) -> tuple[Finished, dict[str, Any]]:
        """Measure on test and judge; return everything, and the systems and blocks of the summary."""
        study, plan, dataset, split = self.study, self.plan, self.dataset, self.split
        margins = {key: margin_of(study.measure.margin, mean) for key, mean in means.items()}
        measured = self.measure()
        truth = self.bench(self.variants[0], study.seeds[0]).windows.test.truth
        with self.phases("judge"):
            degree = split.train.item_degree()
            present = {name: table.present for name, table in dataset.modalities.items()}
            parts = slices(truth, split.train.user_degree(), degree, present)
            parts += kind.slices(study, plan, split, truth) if kind.slices else []
            finished = Finished(study, dataset, plan, measured, means, margins, truth, parts, [])
            said = fingerprint("judged", JUDGED_EPOCH, key, [astuple(one) for one in plan.comparisons])
            judged = self.store.saved(
                "judged", study.name, said, lambda: _judged(finished, degree, kind)
            ).meta
            shown = [one for one in measured.values() if one.arm.shown]
            systems = [
                {**record, "cost": dict(one.cost)}
                for record, one in zip(judged["systems"], shown, strict=True)
            ]
        records = [dict(record) for record in judged["records"]]
        blocks = {**judged["blocks"], **self.truth_of(records, said)}
        if kind.served is not None:
            with self.phases("served"):
                blocks |= kind.served(study, plan, self.bench)
        return replace(finished, records=records), {"systems": systems, "blocks": blocks}

    def truth_of(self, records: list[dict[str, Any]], key: str) -> dict[str, Any]:
        """Return the block ``world_truth``, where it is asked for."""
        study, plan = self.study, self.plan
        if not study.measure.truth:
            return {}

        def told() -> Saved:
            rows = truth_of_world(study, self.split, plan.comparisons, records, plan.arms, self.bench)
            return Saved({}, {"rows": json.loads(json.dumps(rows))})

        with self.phases("truth"):
            rows = self.store.saved("truth", study.name, fingerprint("truth", TRUTH_EPOCH, key), told).meta[
                "rows"
            ]
        return {"world_truth": rows}

    def written(
        self,
        finished: Finished,
        said: Mapping[str, Any],
        key: str,
        folder: RunFolder,
        *,
        opened: int,
        seconds: float,
    ) -> Result:
        """Write the run folder."""
        study, dataset, split = self.study, self.dataset, self.split
        summary = {
            "schema_version": SCHEMA_VERSION,
            "name": study.name,
            "kind": study.kind,
            "fingerprint": key,
            "dataset": said_of(dataset, split),
            "systems": said["systems"],
            "comparisons": [{name: record[name] for name in IN_SUMMARY} for record in finished.records],
            "protocol": told(study),
            "warnings": [*warnings_of(study), *warnings_of_values(study, dataset, split)],
            **said["blocks"],
            "manifest": str(folder.path / "manifest.json"),
        }
        manifest = manifest_of(finished, split, self.benches, opened, self.phases, self.store, seconds)
        manifest |= {name: summary[name] for name in ("protocol", "warnings")}
        manifest["loaded_bytes"] = self.loaded_bytes
        with self.phases("write"):
            folder.write(finished, summary, manifest, split, self.benches, self.progress)
        return Result(folder.path, summary, manifest)

    # ------------------------------------------------------------ fitting, on train and valid

    def values(self, arms: Sequence[Arm], on_test: bool = False) -> list[float]:
        """Return the primary metric of arms for the first seed, on valid; names may repeat.

        ``on_test`` is the published confound of selecting on test; nothing but a confounded twin may ask for it.
        """
        found: dict[int, float] = {}
        for variant in dict.fromkeys(arm.variant for arm in arms):
            bench = self.bench(variant, self.study.seeds[0])
            window = bench.windows.test if on_test else bench.windows.valid
            own = [replace(arm, name=str(place)) for place, arm in enumerate(arms) if arm.variant == variant]
            fit_arms(bench, own, self.phases)
            for arm, (ranks, _, _) in zip(own, ranks_of(bench, own, window).values(), strict=True):
                found[int(arm.name)] = float(measure(ranks, window.truth, [primary_metric(arm)]).mean())
        return [found[place] for place in range(len(arms))]

    # ------------------------------------------------------------ measuring

    def measure(self) -> dict[Key, Measured]:
        """Open test and measure every arm for every seed."""
        by_seed = []
        for seed in self.study.seeds:
            found: dict[Key, tuple[Any, CandidateSet, Any]] = {}
            with self.phases("test"):
                for variant in self.variants:
                    bench = self.bench(variant, seed)
                    found |= ranks_of(bench, self.arms_of(variant), bench.windows.test)
            by_seed.append(found)
        first = self.study.seeds[0]
        with self.phases("costs"):
            queries = self.study.measure.latency_queries
            costs = {
                arm.key: cost_of(self.bench(arm.variant, first), arm, queries, self.phases, self.loaded_bytes)
                for arm in self.plan.arms
            }
        with self.phases("importance"):
            leaned = {
                arm.key: importance_of(self.bench(arm.variant, first), arm, self.plan)
                if self.study.measure.importance and self.study.kind == "stages"
                else []
                for arm in self.plan.arms
            }
        return {
            arm.key: Measured(
                arm,
                np.stack([found[arm.key][0] for found in by_seed]),
                tuple(found[arm.key][1] for found in by_seed),
                np.stack([found[arm.key][2] for found in by_seed]),
                costs[arm.key],
                leaned[arm.key],
            )
            for arm in self.plan.arms
        }


def said_of(dataset: Dataset, split: Split) -> dict[str, Any]:
    """Return the entry ``dataset`` of a summary."""
    return {
        "name": dataset.name,
        "hashes": {**dataset.hashes(), "split": split.fingerprint()},
        "statistics": describe(dataset, split),
        "notes": [*dataset.notes, *split.notes],
    }


def _judged(finished: Finished, degree: Int64, kind: Kind) -> Saved:
    """Return everything said about the systems and comparisons: it follows from the study alone, so it is kept."""
    study, truth, parts = finished.study, finished.truth, finished.parts
    measured = finished.measured
    systems = [
        system_record(one, truth, study.measure, degree, parts) for one in measured.values() if one.arm.shown
    ]
    records = comparison_records(finished.plan, measured, finished.margins, truth, study.measure, parts)
    blocks = kind.blocks(replace(finished, records=records)) if kind.blocks else {}
    said = {"systems": systems, "records": records, "blocks": blocks}
    return Saved({}, json.loads(json.dumps(said)))
