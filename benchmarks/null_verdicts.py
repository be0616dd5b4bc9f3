"""False verdicts of the joined pipeline where nothing differs: a modality permuted in two different ways.

Every small seeded world gets two independent row permutations of its text. Both know nothing, so any verdict
but ``no difference`` and ``cannot tell`` is false. ``recall`` compares base + one copy with base + the other
by recall@size; ``rerank`` trains a re-ranker with each copy on the base list and compares ndcg@10. Prints the
share of false verdicts with its Wilson interval, for merge weights chosen on valid (the default, which mostly
refuses both copies) and for equal weights (both copies always merged), and for one training seed and three.

    python benchmarks/null_verdicts.py [--worlds 100] [--stage recall|rerank|both] [--processes 2]
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, cast

import numpy as np

from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.core import Dataset
from stagelens.pipeline.data.knockout import PermuteRows, renamed
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.evaluate.metrics import contributions, measure
from stagelens.pipeline.evaluate.significance import Paired, judge
from stagelens.pipeline.experiment.measure import candidate_set, final_lists
from stagelens.pipeline.experiment.summary import margin_of
from stagelens.pipeline.recipe import Recipe, load
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.windows import Window
from stagelens.pipeline.workbench import Workbench, temporary_store
from stagelens.pipeline.worlds.world import World

SIZE = 20
COPIES = ("text~a", "text~b")
NULL = ("no difference", "cannot tell")


@dataclass(frozen=True)
class Case:
    """One kind of comparison: stage, merge weights, number of training seeds."""

    stage: str
    weights: str
    seeds: int

    def __str__(self) -> str:
        return f"{self.stage:<7} weights {self.weights:<6} {self.seeds} seed{'s' * (self.seeds > 1)}"


CASES = (
    Case("recall", "valid", 1),
    Case("recall", "equal", 1),
    Case("rerank", "valid", 1),
    Case("rerank", "valid", 3),
)


def small_world(seed: int) -> Dataset:
    """Return a world of 200 users and 150 items."""
    modalities: Any = {"text": {"width": 8, "signal": 0.5}}
    return World(users=200, items=150, activity=15, factors=4, categories=5, modalities=modalities).generate(
        seed
    )


def _union(weights: str, *modalities: str) -> Union:
    parts = [load({"use": "recall.Popular"}), load({"use": "recall.ItemKNN"})]
    parts += [load({"use": "recall.Dense", "modality": name, "device": "cpu"}) for name in modalities]
    return Union(parts=tuple(parts), size=SIZE, weights=cast(Any, weights))


def _reranker(modality: str) -> Recipe:
    groups = [{"use": f"rerank.{name}"} for name in ("Evidence", "History", "Popularity")]
    groups.append({"use": "rerank.Similarity", "modality": modality})
    return load(
        {"use": "rerank.LambdaMART", "trees": 30, "min_trees": 10, "min_rows_leaf": 20, "features": groups}
    )


def _with_copies(dataset: Dataset, world: int, seed: int) -> Dataset:
    data = dataset.training(split(dataset).train)
    for name in COPIES:
        made = PermuteRows().apply(dataset.modalities["text"], data, seed=derive(seed, "null", world, name))
        dataset = dataset.with_modality(renamed(made, name))
    return dataset


def null_verdict(case: Case, world: int, names: tuple[str, str] = COPIES) -> dict[str, Any]:
    """Compare one permutation with the other in one world; return verdict, difference and plain p values.

    With ``names = ("text~a", "text")`` the comparison is not null, to see that verdicts are possible.
    """
    dataset = small_world(world)
    store = temporary_store()
    ranks: dict[str, list[Any]] = {name: [] for name in names}
    baseline = []
    metric = f"recall@{SIZE}" if case.stage == "recall" else "ndcg@10"
    try:
        for seed in range(case.seeds):
            bench = Workbench.of(_with_copies(dataset, world, seed), split(dataset), seed=seed, store=store)
            for window in (bench.windows.valid, bench.windows.test):
                found = _ranks(bench, case, window, names)
                if window.name == "valid":
                    baseline.append(measure(found[names[0]], window.truth, [metric]).mean())
                    continue
                for name in names:
                    ranks[name].append(found[name])
    finally:
        shutil.rmtree(store, ignore_errors=True)
    truth = bench.windows.test.truth
    first, second = (np.stack([contributions(one, truth, metric) for one in ranks[name]]) for name in names)
    margin = margin_of("2%", float(np.mean(baseline)))
    one = judge([Paired(second - first, margin)], truth, draws=1999)[0]
    return {
        "verdict": one.verdict,
        "difference": one.difference,
        "differs": bool((first != second).any()),
        "p": one.p,
        "p_user": one.p_user,
    }


def _ranks(bench: Workbench, case: Case, window: Window, names: Sequence[str]) -> dict[str, Any]:
    if case.stage == "recall":
        return {name: candidate_set(bench, _union(case.weights, name), window).ranks for name in names}
    recall = _union(case.weights)
    systems = [Then(recall=recall, rerank=_reranker(name)) for name in names]
    return {name: one.ranks for name, one in zip(names, final_lists(bench, systems, window), strict=True)}


def wilson(count: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    share, spread = count / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return middle - half, middle + half


def _one_thread() -> None:
    from stagelens.pipeline.native import set_threads

    set_threads(1)


def _work(task: tuple[Case, int]) -> dict[str, Any]:
    return null_verdict(*task)


def summary(found: list[dict[str, Any]]) -> str:
    """Return one line: false verdicts with their interval, all verdicts, and how the plain p values did."""
    n, false = len(found), sum(one["verdict"] not in NULL for one in found)
    low, high = wilson(false, n)
    names = (*NULL, "helps", "hurts")
    verdicts = ", ".join(f"{name} {sum(one['verdict'] == name for one in found)}" for name in names)
    p, p_user = (np.array([one[key] for one in found]) for key in ("p", "p_user"))
    return (
        f"{false} of {n} false verdicts ({false / n:.3f} [{low:.3f}, {high:.3f}]); {verdicts}; lists "
        f"differ in {sum(one['differs'] for one in found)}; p < .05 two-way {np.mean(p < 0.05):.3f}, "
        f"users only {np.mean(p_user < 0.05):.3f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=100)
    parser.add_argument("--stage", choices=("recall", "rerank", "both"), default="both")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    os.environ.setdefault("STAGELENS_THREADS", "1")
    cases = [case for case in CASES if given.stage in (case.stage, "both")]
    with ProcessPoolExecutor(given.processes, get_context("spawn"), _one_thread) as pool:
        for case in cases:
            found = list(pool.map(_work, [(case, world) for world in range(given.worlds)]))
            print(f"{case}: {summary(found)}", flush=True)


if __name__ == "__main__":
    main()
