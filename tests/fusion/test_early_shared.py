"""One fit of vectors serves both stages of a study; fused vectors on real data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagelens.fusion import Concat, Projected
from stagelens.pipeline.core import Dataset, Queries, Split
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.seeds import tie_order
from stagelens.recall import Dense, Popular, PureSVD, Random
from stagelens.rerank import Evidence, LambdaMART, Similarity

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "tiktok"


def test_recall_and_rerank_share_one_fit_a_window(
    tiny: Dataset, tiny_split: Split, make_bench: Any, quick_trees: dict[str, Any]
) -> None:
    pytest.importorskip("torch", reason="needs torch (extra: neural)")
    svd = PureSVD(factors=8)
    space = Projected(of=("text", svd), width=8, epochs=1)
    bench = make_bench(tiny, tiny_split, refit="full")
    groups = (Evidence(), Similarity(vectors=space), Similarity(vectors=svd))
    system = (Popular() | Dense(vectors=space)) >> LambdaMART(features=groups, **quick_trees)
    bench.reranker(system)
    made = [entry for entry in bench.store.ledger.values() if entry.kind == "vectors"]
    windows = {window.fit_key for window in (*bench.windows.rows, bench.windows.valid)}
    assert len(windows) == 2
    assert len(made) == len(windows) * 2  # the projections, and the factors they are made of
    assert all(entry.made for entry in made)
    window = bench.windows.valid
    channel: Any = bench.fitted(system.recall.parts[1], window)
    group: Any = bench.group(groups[1], system.recall, window)
    unit = channel.source.item / np.maximum(np.linalg.norm(channel.source.item, axis=1, keepdims=True), 1e-30)
    np.testing.assert_allclose(group.vectors, unit, atol=1e-6)


def test_a_seed_moves_only_what_is_learned(tiny: Dataset, tiny_split: Split, make_bench: Any) -> None:
    pytest.importorskip("torch", reason="needs torch (extra: neural)")
    benches = [make_bench(tiny, tiny_split, refit="full", seed=seed) for seed in (0, 1)]
    fixed, moved = (
        Concat(of=("text", PureSVD(factors=8))),
        Projected(of=("text", PureSVD(factors=8)), epochs=1),
    )
    for recipe, same in ((fixed, True), (moved, False)):
        first, second = (b.vectors(b.windows.valid, "recall", recipe).item.tobytes() for b in benches)
        assert (first == second) is same


@pytest.mark.data
def test_fused_vectors_find_more_than_chance_on_short_videos() -> None:
    if not REAL.is_dir():
        pytest.skip(f"{REAL.name}: not here")
    dataset = load_dataset(REAL)
    windows = split(dataset)
    data, truth = dataset.training(windows.train), Truth.of(windows.valid)
    asked = Queries.of(truth.user, windows.train, windows.train, tie_order(0, dataset.n_items))

    def recall(channel: Any) -> float:
        found = channel.fit(data, seed=0).retrieve(asked, 20)
        return float(((truth.gains(found) > 0).sum(axis=1) / truth.count).mean())

    of = tuple(sorted(dataset.modalities))
    chance = recall(Random())
    fused = recall(Dense(vectors=Concat(of=of)))
    assert fused > 3 * chance
    pytest.importorskip("torch", reason="needs torch (extra: neural)")
    assert recall(Dense(vectors=Projected(of=of))) > 1.2 * fused
