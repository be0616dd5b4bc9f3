"""The canaries as functions of the feature groups, and a group that cheats, so that each canary is seen to fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.core import Dataset, Features, Interactions, Split
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.evaluate.metrics import contributions
from stagelens.pipeline.evaluate.significance import interval
from stagelens.pipeline.experiment.measure import final_lists
from stagelens.pipeline.recipe import Recipe, Role, load, recipe
from stagelens.pipeline.windows import Window
from stagelens.pipeline.workbench import Workbench, temporary_store

SIZE = 20
PEEKED: dict[str, set[tuple[int, int]]] = {"pairs": set()}


@recipe
class Peek(Recipe):
    """A feature group that cheats: it reads held-out pairs around the contract, through a closure."""

    role: ClassVar[Role] = "features"

    def fit(self, data: Any, channels: tuple[str, ...], *, seed: int) -> FittedPeek:
        """Learn nothing; the answers are there already."""
        return FittedPeek()


@dataclass(frozen=True, slots=True)
class FittedPeek:
    """Whether the candidate is held out for the user."""

    names: tuple[str, ...] = ("peek",)

    def compute(self, queries: Any, candidates: Any) -> Features:
        """float32 [Q, K, 1]."""
        known = PEEKED["pairs"]
        told = [
            [(user, item) in known for item in row]
            for user, row in zip(candidates.user.tolist(), candidates.item.tolist(), strict=True)
        ]
        return Features(self.names, np.array(told, dtype=np.float32)[..., None])


def pairs(window: Interactions) -> set[tuple[int, int]]:
    return set(zip(window.user.tolist(), window.item.tolist(), strict=True))


def peek_at(*windows: Interactions) -> None:
    """Let the cheat see these pairs."""
    PEEKED["pairs"] = set().union(*(pairs(window) for window in windows))


def groups_of(leaky: bool) -> tuple[Recipe, ...]:
    uses = [{"use": f"rerank.{name}"} for name in ("Evidence", "History", "Popularity")]
    uses.append({"use": "rerank.Similarity", "modality": "text"})
    return (*(load(use) for use in uses), *((Peek(),) if leaky else ()))


def union() -> Union:
    parts = [load({"use": f"recall.{name}"}) for name in ("Popular", "ItemKNN")]
    parts.append(load({"use": "recall.Dense", "modality": "text", "device": "cpu"}))
    return Union(parts=tuple(parts), size=SIZE, weights="equal")


def relabelled(bench: Workbench, window: Window, rng: np.random.Generator) -> Window:
    """Permute the labels within each list: as many of its candidates are relevant as before, but random ones."""
    truth = window.truth
    candidates, _ = bench.candidates(union(), window, 0, len(window))
    recalled = np.bincount(truth.pair_row, truth.ranks(candidates) > 0, minlength=len(truth)).astype(int)
    chosen = [
        rng.choice(row[row >= 0], count, replace=False)
        for row, count in zip(candidates.item, recalled, strict=True)
    ]
    user = np.repeat(truth.user, recalled)
    kept = Interactions.of(
        user,
        np.concatenate(chosen),
        n_users=window.target.n_users,
        n_items=window.target.n_items,
        time=np.full(len(user), window.target.time.max()),
    )
    return replace(window, target=kept)


@dataclass(frozen=True)
class Chance:
    """What the first canary found: the interval of the re-ranker and the value of the random order."""

    low: float
    high: float
    random: float

    @property
    def sings(self) -> bool:
        """Whether the interval covers chance."""
        return self.low <= self.random <= self.high


def by_chance(ranks: Any, truth: Any) -> float:
    """Expected ndcg@10 of a random order of lists of SIZE, by plain arithmetic."""
    gain = sum(1 / np.log2(place + 2) for place in range(10)) / SIZE
    ideal = np.cumsum(1 / np.log2(np.arange(10) + 2))
    recalled = np.bincount(truth.pair_row, ranks > 0, minlength=len(truth))
    return float((recalled * gain / ideal[np.minimum(truth.count, 10) - 1]).mean())


def permuted_labels(
    dataset: Dataset,
    windows: Split,
    *,
    leaky: bool,
    permute: bool,
    trees: Any,
    refit: Any = "full",
    times: int = 5,
) -> Chance:
    """Train on labels permuted within each list (train and valid) several times, measure on the true test."""
    store, ranks = temporary_store(), []
    for seed in range(times):
        rng = np.random.default_rng(seed)
        bench = Workbench.of(dataset, windows, seed=seed, store=store, refit=refit, n_folds=3)
        if permute:
            twin = Workbench.of(dataset, windows, seed=seed, store=store, refit=refit, n_folds=3)
            bench.windows = replace(
                twin.windows,
                rows=tuple(relabelled(twin, window, rng) for window in twin.windows.rows),
                valid=relabelled(twin, twin.windows.valid, rng),
            )
        now = bench.windows
        peek_at(*(window.target for window in (*now.rows, now.valid, now.test)))
        reranker = load({"use": "rerank.LambdaMART", **trees})
        system = Then(recall=union(), rerank=replace(reranker, features=groups_of(leaky)))
        (found,) = final_lists(bench, [system], now.test)
        ranks.append(found.ranks)
    shutil.rmtree(store, ignore_errors=True)
    truth = now.test.truth
    told = interval(np.stack([contributions(one, truth, "ndcg@10") for one in ranks]), truth)
    return Chance(told.low, told.high, by_chance(ranks[0], truth))


def random_pairs(window: Interactions, rng: np.random.Generator) -> Interactions:
    """Replace every pair by a random one at the same moments."""
    users, items = rng.integers(0, window.n_users, len(window)), rng.integers(0, window.n_items, len(window))
    return Interactions.of(
        users, items, n_users=window.n_users, n_items=window.n_items, time=window.time, value=window.value
    )


def same_bytes(first: Any, second: Any) -> bool:
    """Whether two values (arrays, tables, artefacts) are equal byte for byte."""
    if isinstance(first, np.ndarray):
        return (
            first.dtype == second.dtype
            and first.shape == second.shape
            and first.tobytes() == second.tobytes()
        )
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same_bytes(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same_bytes, first, second))
    return bool(first == second)


def before_stopping(bench: Workbench, *, leaky: bool) -> dict[str, Any]:
    """Everything made before early stopping: recall fits, training rows, and features of the training lists."""
    recall, groups = union(), groups_of(leaky)
    fits = {}
    for window in (*bench.windows.rows, bench.windows.valid, bench.windows.test):
        for part in recall.parts:
            saved = bench.fitted(part, window).save()
            fits[f"{part.label} for {window.name}"] = (dict(saved.arrays), dict(saved.meta))
    rows, _ = bench.training_rows(recall, groups)
    table = {name: getattr(rows, name) for name in ("names", "values", "label", "group", "user", "item")}
    features = {window.name: list_features(bench, window, leaky=leaky) for window in bench.windows.rows}
    return {"fits": fits, "rows": table, "features": features}


def list_features(bench: Workbench, window: Window, *, leaky: bool, users: Any = None) -> dict[str, Any]:
    """Candidates and features of a window's lists, labels left out."""
    if users is not None:
        window = window.only(users)
    recall = union()
    queries = window.queries(0, len(window))
    candidates, _ = bench.candidates(recall, window, 0, len(window))
    evidence = bench.evidence(recall, window, queries, candidates)
    made = bench.features(groups_of(leaky), recall, window, queries, evidence)
    return {"user": candidates.user, "item": candidates.item, "names": made.names, "values": made.values}


@dataclass(frozen=True)
class Canaries:
    """What the tests use."""

    union: Callable[[], Union]
    permuted_labels: Callable[..., Chance]
    random_pairs: Callable[..., Interactions]
    same_bytes: Callable[[Any, Any], bool]
    before_stopping: Callable[..., dict[str, Any]]
    list_features: Callable[..., dict[str, Any]]
    peek_at: Callable[..., None]
    groups_of: Callable[[bool], tuple[Recipe, ...]]


@pytest.fixture(scope="session")
def canary() -> Canaries:
    return Canaries(
        union, permuted_labels, random_pairs, same_bytes, before_stopping, list_features, peek_at, groups_of
    )


@pytest.fixture(scope="session")
def mine(make_world: Callable[..., Dataset]) -> tuple[Dataset, Split]:
    """A tiny world with enough users that the re-ranker clearly beats chance."""
    dataset = make_world(4, users=400, focus=3.0)
    return dataset, split(dataset)
