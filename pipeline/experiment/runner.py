"""Runs a study: everything is chosen on valid, then test is opened once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.contracts import Reranker
from stagelens.pipeline.core import Dataset, Split
from stagelens.pipeline.data.describe import describe
from stagelens.pipeline.data.splits import split as make_split
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.cost import Latency, Phases, resident_bytes
from stagelens.pipeline.evaluate.metrics import measure
from stagelens.pipeline.evaluate.slices import slices
from stagelens.pipeline.experiment.arms import Arm, Plan, plan_of, with_permuted
from stagelens.pipeline.experiment.estimate import estimate_seconds
from stagelens.pipeline.experiment.measure import (
    CandidateSet,
    candidate_set,
    final_lists,
    importance,
    latency,
)
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.outputs import (
    RunFolder,
    count_opening,
    default_store,
    manifest_of,
    study_fingerprint,
)
from stagelens.pipeline.experiment.summary import (
    IN_SUMMARY,
    Measured,
    comparison_records,
    margin_of,
    primary_metric,
    system_record,
)
from stagelens.pipeline.native import limited, release_memory, threads
from stagelens.pipeline.progress import Progress, Silent, Task
from stagelens.pipeline.recipe import Recipe, fingerprint
from stagelens.pipeline.store import Store
from stagelens.pipeline.windows import Window
from stagelens.pipeline.workbench import Workbench
from stagelens.pipeline.worlds.world import open_dataset

Key = tuple[str, str, str]
SCHEMA_VERSION = 1
IMPORTANCE_ROWS = 20_000


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
    run = _Run(study, progress or Silent(), Phases(), Store(store or default_store()))
    with run.phases("load"):
        dataset = open_dataset(
            study.data.path,
            positive=study.data.positive,
            weight=study.data.weight,
            columns=study.data.columns,
            item_columns=study.data.item_columns,
            user_columns=study.data.user_columns,
        )
        split = make_split(dataset, study.data.split, seed=study.data.split_seed)
        plan = plan_of(study, dataset)
        key = study_fingerprint(study, plan, dataset, split)
        folder = RunFolder.of(out, study.name, key)
    for note in (*dataset.notes, *split.notes):
        run.progress.note(note)
    seconds = estimate_seconds(study, plan, dataset, split)
    if seconds > 2:
        run.progress.note(f"{len(plan.arms)} systems, about {seconds:.0f} s if nothing is in the store yet")
    return run.finish(dataset, split, plan, key, folder, seconds)


@dataclass
class _Run:
    study: Study
    progress: Progress
    phases: Phases
    store: Store
    loaded_bytes: int = 0
    """Resident memory once the data set and its windows are there, before any stage works."""

    def bench(self, dataset: Dataset, split: Split, plan: Plan, seed: int) -> Workbench:
        protocol = self.study.protocol
        treated = with_permuted(dataset, dataset.training(split.train), plan, seed=seed)
        return Workbench.of(
            treated,
            split,
            seed=seed,
            store=self.store,
            refit=protocol.refit,
            n_folds=protocol.folds,
            fit_on=protocol.fit_on,
            input_on=protocol.input,
            mask=protocol.mask,
            lost=protocol.lost,
            max_rows=protocol.max_rows,
            negatives=protocol.negatives or None,
            block=self.study.block,
            progress=self.progress,
        )

    def finish(
        self, dataset: Dataset, split: Split, plan: Plan, key: str, folder: RunFolder, seconds: float
    ) -> Result:
        """Fit and choose, fix margins, open test, judge, write."""
        benches = []
        valid: dict[Key, list[float]] = {}
        for seed in self.study.seeds:
            bench = self.bench(dataset, split, plan, seed)
            benches.append(bench)
            if not self.loaded_bytes:
                release_memory()
                self.loaded_bytes = resident_bytes()
            self.fit(bench, plan)
            with self.phases("valid"):
                for arm_key, (ranks, _, _) in self.ranks(bench, plan, bench.windows.valid, True).items():
                    truth = bench.windows.valid.truth
                    value = float(measure(ranks, truth, [primary_metric(plan.arm(arm_key))]).mean())
                    valid.setdefault(arm_key, []).append(value)
        means = {key: float(np.mean(values)) for key, values in valid.items()}
        margins = {key: margin_of(self.study.measure.margin, mean) for key, mean in means.items()}
        opened = count_opening(self.store, split, key)
        measured = self.measure(benches, plan)
        truth = benches[0].windows.test.truth
        with self.phases("judge"):
            degree = split.train.item_degree()
            present = {name: table.present for name, table in dataset.modalities.items()}
            parts = slices(truth, split.train.user_degree(), degree, present)
            systems = [
                system_record(one, truth, self.study.measure, degree, parts)
                for one in measured.values()
                if one.arm.shown
            ]
            records = comparison_records(plan, measured, margins, truth, self.study.measure, parts)
        statistics = describe(dataset, split)
        summary = {
            "schema_version": SCHEMA_VERSION,
            "name": self.study.name,
            "fingerprint": key,
            "dataset": {
                "name": dataset.name,
                "hashes": {**dataset.hashes(), "split": split.fingerprint()},
                "statistics": statistics,
                "notes": [*dataset.notes, *split.notes],
            },
            "systems": systems,
            "comparisons": [{name: record[name] for name in IN_SUMMARY} for record in records],
            "manifest": str(folder.path / "manifest.json"),
        }
        manifest = manifest_of(
            self.study,
            dataset,
            split,
            plan,
            benches,
            measured,
            means,
            margins,
            opened,
            self.phases,
            self.store,
            seconds,
        )
        manifest["loaded_bytes"] = self.loaded_bytes
        with self.phases("write"):
            folder.write(
                self.study,
                summary,
                manifest,
                records,
                measured,
                truth,
                dataset,
                split,
                benches[0],
                self.progress,
            )
        return Result(folder.path, summary, manifest)

    # ------------------------------------------------------------ fitting, on train and valid

    def fit(self, bench: Workbench, plan: Plan) -> None:
        """Fit every recall and re-ranker, choose weights: nothing here reads test."""
        with self.phases("recall fits and lists"):
            for arm in plan.arms:
                bench.weights(arm.recall)
                for part in arm.recall.parts:
                    bench.lists(part, bench.windows.valid, arm.recall.size)
        with self.phases("re-ranker fits"):
            waiting = [arm for arm in plan.arms if isinstance(arm.system, Then)]
            with self.progress.task("re-rankers", len(waiting)) as task:
                for group in _by_recall(waiting):
                    fit_together(bench, [cast(Then, arm.system) for arm in group], _all_groups(group), task)

    # ------------------------------------------------------------ measuring

    def ranks(
        self, bench: Workbench, plan: Plan, window: Window, on_valid: bool
    ) -> dict[Key, tuple[Any, CandidateSet, Any]]:
        """Return for each arm its ranks, the candidate set it ordered, and its exposure, on one window."""
        wanted = [arm for arm in plan.arms if not on_valid or arm.key in plan.asked_on_valid()]
        found: dict[Key, tuple[Any, CandidateSet, Any]] = {}
        for arm in wanted:
            if isinstance(arm.system, Union):
                one = candidate_set(bench, arm.system, window)
                found[arm.key] = (one.ranks, one, one.exposure)
        for group in _by_recall([arm for arm in wanted if isinstance(arm.system, Then)]):
            one = candidate_set(bench, group[0].recall, window)
            lists = final_lists(bench, [cast(Then, arm.system) for arm in group], window)
            for arm, final in zip(group, lists, strict=True):
                found[arm.key] = (final.ranks, one, final.exposure)
        return {arm.key: found[arm.key] for arm in wanted}

    def measure(self, benches: Sequence[Workbench], plan: Plan) -> dict[Key, Measured]:
        """Open test and measure every arm for every seed."""
        by_seed = []
        for bench in benches:
            with self.phases("test"):
                by_seed.append(self.ranks(bench, plan, bench.windows.test, False))
        with self.phases("costs"):
            costs = {arm.key: self.cost(benches[0], arm) for arm in plan.arms}
        with self.phases("importance"):
            leaned = {arm.key: self.importance(benches[0], arm, plan) for arm in plan.arms}
        return {
            arm.key: Measured(
                arm,
                np.stack([found[arm.key][0] for found in by_seed]),
                tuple(found[arm.key][1] for found in by_seed),
                np.stack([found[arm.key][2] for found in by_seed]),
                costs[arm.key],
                leaned[arm.key],
            )
            for arm in plan.arms
        }

    def cost(self, bench: Workbench, arm: Arm) -> dict[str, Any]:
        """Return the cost record of an arm, first seed."""
        window = bench.windows.test
        fits = [bench.fitted(part, window) for part in arm.recall.parts]
        fit_s = sum(bench.fit_seconds[bench.fit_key(part, window)] for part in arm.recall.parts)
        parameters = sum(fit.parameters for fit in fits)
        if isinstance(arm.system, Then):
            model = bench.reranker(arm.system)
            own = bench.fit_seconds[bench.reranker_key(arm.system)]
            fit_s = own if arm.stage == "rerank" else fit_s + own
            parameters = model.parameters if arm.stage == "rerank" else parameters + model.parameters
        single = None
        if self.study.measure.latency_queries and not getattr(_rerank_of(arm), "sees_truth", False):
            recall_ms, rerank_ms = latency(bench, arm.system, window, self.study.measure.latency_queries)
            if arm.stage == "both" and rerank_ms:
                samples = [a + b for a, b in zip(recall_ms, rerank_ms, strict=True)]
            else:
                samples = rerank_ms if arm.stage == "rerank" else recall_ms
            one = Latency.of(samples)
            single = {"p50": one.p50, "p95": one.p95, "p99": one.p99}
        stage = {"recall": ("recall fits and lists",), "rerank": ("re-ranker fits",), "both": ("test",)}[
            arm.stage
        ]
        peaks = [phase.peak_bytes for phase in self.phases.done if phase.name in (*stage, "test")]
        return {
            "fit_s": fit_s,
            "latency_ms": single,
            "peak_bytes": max(0, max(peaks) - self.loaded_bytes) if peaks else None,
            "index_bytes": sum(fit.index_bytes for fit in fits),
            "parameters": parameters,
        }

    def importance(self, bench: Workbench, arm: Arm, plan: Plan) -> list[dict[str, Any]]:
        """Return gain and grouped permutation importance on valid, for the re-rankers that read the most."""
        rivals = [other for other in plan.arms if other.stage == "rerank" and other.view == arm.view]
        most = max((len(other.modalities) for other in rivals), default=0)
        real = set(arm.modalities) <= set(plan.modalities)
        wanted = arm.stage == "rerank" and len(arm.modalities) == most and real and bool(_groups_of(arm))
        if not (self.study.measure.importance and wanted):
            return []
        return importance(bench, cast(Then, arm.system), IMPORTANCE_ROWS)


def fit_together(bench: Workbench, systems: Sequence[Then], groups: tuple[Recipe, ...], task: Task) -> None:
    """Fit the re-rankers of one union side by side, one thread each: trees of this size keep no two cores busy.

    Models do not depend on the number of threads. Rows are built once, before.
    """
    missing = [system for system in systems if not bench.has_reranker(system)]
    if any(cast(Reranker, system.rerank).features for system in missing):
        bench.training_rows(systems[0].recall, groups)

    def fit(system: Then) -> None:
        with limited(1):
            bench.reranker(system, groups)

    with ThreadPoolExecutor(max_workers=threads()) as pool:
        for done in [pool.submit(fit, system) for system in systems]:
            done.result()
            task.advance()


def _groups_of(arm: Arm) -> tuple[Recipe, ...]:
    rerank = _rerank_of(arm)
    return () if rerank is None else cast("tuple[Recipe, ...]", cast(Reranker, rerank).features)


def _rerank_of(arm: Arm) -> Recipe | None:
    return arm.system.rerank if isinstance(arm.system, Then) else None


def _by_recall(arms: Sequence[Arm]) -> list[list[Arm]]:
    """Group arms that order the same candidate sets, so that their features are computed once."""
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        groups.setdefault(fingerprint(arm.recall), []).append(arm)
    return list(groups.values())


def _all_groups(arms: Sequence[Arm]) -> tuple[Recipe, ...]:
    groups: dict[str, Recipe] = {}
    for arm in arms:
        for group in _groups_of(arm):
            groups[fingerprint(group)] = group
    return tuple(groups.values())
