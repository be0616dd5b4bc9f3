"""Fitting and ranking the arms of a study, so that arms on one candidate set share its work."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from stagelens.pipeline.blending import member_systems
from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.contracts import Reranker
from stagelens.pipeline.evaluate.cost import Phases
from stagelens.pipeline.experiment.arms import Arm
from stagelens.pipeline.experiment.measure import CandidateSet, candidate_set, final_lists
from stagelens.pipeline.native import limited, threads
from stagelens.pipeline.progress import Task
from stagelens.pipeline.recipe import Recipe, fingerprint
from stagelens.pipeline.windows import Window
from stagelens.pipeline.workbench import Workbench

Key = tuple[str, str, str]


def fit_arms(bench: Workbench, arms: Sequence[Arm], phases: Phases) -> None:
    """Fit every recall and re-ranker, choose weights: nothing here reads test."""
    with phases("recall fits and lists"):
        for arm in arms:
            bench.weights(arm.recall)
            if bench.held is not None and isinstance(arm.system, Union):
                continue  # nothing is chosen, so nobody reads these lists
            for part in arm.recall.parts:
                bench.lists(part, bench.windows.valid, arm.recall.size)
    with phases("re-ranker fits"):
        waiting = [arm for arm in arms if isinstance(arm.system, Then)]
        with bench.progress.task("re-rankers", len(waiting)) as task:
            for group in by_recall(waiting):
                fit_together(bench, [cast(Then, arm.system) for arm in group], all_groups(group), task)


def ranks_of(
    bench: Workbench, wanted: Sequence[Arm], window: Window
) -> dict[Key, tuple[Any, CandidateSet, Any]]:
    """Return for each arm its ranks, the candidate set it ordered, and its exposure, on one window."""
    found: dict[Key, tuple[Any, CandidateSet, Any]] = {}
    for arm in wanted:
        if isinstance(arm.system, Union):
            one = candidate_set(bench, arm.system, window)
            one = one if arm.filled else one.unfilled()
            found[arm.key] = (one.ranks, one, one.exposure)
    for group in by_recall([arm for arm in wanted if isinstance(arm.system, Then)]):
        one = candidate_set(bench, group[0].recall, window)
        lists = final_lists(bench, [cast(Then, arm.system) for arm in group], window)
        for arm, final in zip(group, lists, strict=True):
            found[arm.key] = (final.ranks, one, final.exposure)
    return {arm.key: found[arm.key] for arm in wanted}


def fit_together(bench: Workbench, systems: Sequence[Then], groups: tuple[Recipe, ...], task: Task) -> None:
    """Fit the re-rankers of one union side by side, one thread each: trees of this size keep no two cores busy.

    Members of blends come first, what is made of them last. Models do not depend on the number of threads.
    Rows are built once, before.
    """
    members = list({fingerprint(one): one for system in systems for one in member_systems(system)}.values())
    missing = [system for system in (*members, *systems) if not bench.has_reranker(system)]
    if any(cast(Reranker, system.rerank).features for system in missing):
        bench.training_rows(systems[0].recall, groups)

    def fit(system: Then) -> None:
        with limited(1):
            bench.reranker(system, groups)

    single = [system for system in systems if not member_systems(system)]
    with ThreadPoolExecutor(max_workers=threads()) as pool:
        for done in [pool.submit(fit, member) for member in members]:
            done.result()
        for done in [pool.submit(fit, system) for system in single]:
            done.result()
            task.advance()
    for blend in systems:
        if member_systems(blend):  # its rule reads features through the caches of the bench: one at a time
            bench.reranker(blend, groups)
            task.advance()


def groups_of(arm: Arm) -> tuple[Recipe, ...]:
    """Return the feature groups that an arm's re-ranker reads."""
    rerank = rerank_of(arm)
    return () if rerank is None else cast("tuple[Recipe, ...]", cast(Reranker, rerank).features)


def rerank_of(arm: Arm) -> Recipe | None:
    """Return the re-ranker of an arm; None for a recall stage."""
    return arm.system.rerank if isinstance(arm.system, Then) else None


def by_recall(arms: Sequence[Arm]) -> list[list[Arm]]:
    """Group arms that order the same candidate sets, so that their features are computed once."""
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        groups.setdefault(fingerprint(arm.recall), []).append(arm)
    return list(groups.values())


def all_groups(arms: Sequence[Arm]) -> tuple[Recipe, ...]:
    """Return every feature group that these arms read, once."""
    groups: dict[str, Recipe] = {}
    for arm in arms:
        for group in groups_of(arm):
            groups[fingerprint(group)] = group
    return tuple(groups.values())
