from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from stagelens.pipeline.core import (
    Candidates,
    Features,
    Float32,
    Interactions,
    ModalityTable,
    Queries,
    Rows,
    TrainingData,
)
from stagelens.pipeline.rows import rows_of
from stagelens.pipeline.seeds import tie_order

USERS, ITEMS, SIZE = 60, 120, 25
CHANNELS = ("Popular", "ItemKNN", "Dense(text)")


@dataclass(frozen=True)
class Small:
    """User 0 has no history, user 1 has one item; lists end in padding; items lack modalities."""

    data: TrainingData
    queries: Queries
    candidates: Candidates
    gains: Float32


def _candidates(rng: np.random.Generator) -> Candidates:
    item = np.stack([rng.permutation(ITEMS)[:SIZE] for _ in range(USERS)]).astype(np.int32)
    length = rng.integers(SIZE // 2, SIZE + 1, USERS)
    length[2] = 0
    padding = np.arange(SIZE) >= length[:, None]
    item[padding] = -1
    score = -np.sort(-rng.random((USERS, SIZE)).astype(np.float32), axis=1)
    score[padding] = -np.inf
    found = (rng.random((USERS, SIZE, 3)) < 0.6) & ~padding[..., None]
    rank = np.where(found, rng.integers(1, SIZE + 1, found.shape), 0).astype(np.int32)
    channel_score = np.where(found, rng.standard_normal(found.shape), np.nan).astype(np.float32)
    return Candidates(np.arange(USERS, dtype=np.int32), item, score, CHANNELS, channel_score, rank)


@pytest.fixture(scope="session")
def small() -> Small:
    rng = np.random.default_rng(3)
    user = np.repeat(np.arange(2, USERS), rng.integers(3, 30, USERS - 2))
    user = np.concatenate([[1], user])
    item = (ITEMS * rng.random(len(user)) ** 2).astype(np.int64)
    time = rng.integers(1_600_000_000, 1_700_000_000, len(user))
    window = Interactions.of(user, item, n_users=USERS, n_items=ITEMS, time=time)
    text = rng.standard_normal((ITEMS, 10)).astype(np.float32) + 2
    text[::9] = 0
    tables = {
        "text": ModalityTable.of("text", text.astype(np.float16)),
        "visual": ModalityTable.of("visual", rng.standard_normal((ITEMS, 7)).astype(np.float32)),
    }
    data = TrainingData(
        window,
        tables,
        {"price": rng.random(ITEMS).astype(np.float32)},
        {"age": rng.random(USERS).astype(np.float32)},
    )
    nothing = window.where(np.zeros(0, dtype=np.int64))
    queries = Queries.of(np.arange(USERS), window, nothing, tie_order(0, ITEMS))
    candidates = _candidates(rng)
    gains = ((rng.random((USERS, SIZE)) < 0.1) & candidates.found).astype(np.float32)
    return Small(data, queries, candidates, gains)


@dataclass(frozen=True)
class Planted:
    """Lists whose column ``signal`` orders the relevant items, ``weak`` a little, ``noise`` not at all."""

    candidates: Candidates
    features: Features
    gains: Float32

    def part(self, start: int, stop: int) -> Planted:
        rows = slice(start, stop)
        features = Features(self.features.names, self.features.values[rows])
        return Planted(self.candidates.rows(rows), features, self.gains[rows])

    def rows(self, seed: int = 0) -> Rows:
        return rows_of(self.candidates, self.features, self.gains, seed=seed)

    def relabelled(self, seed: int) -> Planted:
        """Permute the labels within each list."""
        rng = np.random.default_rng(seed)
        return Planted(self.candidates, self.features, rng.permuted(self.gains, axis=1))


def planted(lists: int = 400, size: int = 30, seed: int = 0) -> Planted:
    rng = np.random.default_rng(seed)
    signal, weak, noise = rng.standard_normal((3, lists, size))
    relevant = 2.5 * signal + 0.7 * weak + rng.gumbel(size=signal.shape)
    gains = (relevant >= np.sort(relevant, axis=1)[:, -3:-2]).astype(np.float32)
    values = np.stack([signal, weak, noise, np.exp(noise)], axis=2).astype(np.float32)
    item = np.stack([rng.permutation(500)[:size] for _ in range(lists)]).astype(np.int32)
    score = np.tile(-np.arange(size, dtype=np.float32), (lists, 1))
    none = np.zeros((lists, size, 0))
    user = np.arange(lists, dtype=np.int32)
    candidates = Candidates(user, item, score, (), none.astype(np.float32), none.astype(np.int32))
    return Planted(candidates, Features(("signal", "weak", "noise", "more noise"), values), gains)


@pytest.fixture(scope="session")
def lists() -> Planted:
    return planted()


def list_ndcg(order: Candidates, truth: Candidates, gains: Float32, k: int = 10) -> NDArray[np.float64]:
    """Return float64 [Q]: ndcg@k by plain arithmetic, against the relevant items of the list."""
    result = []
    for q in range(len(order)):
        relevant = set(truth.item[q][gains[q] > 0].tolist())
        hits = [1 / np.log2(p + 2) for p, item in enumerate(order.item[q][:k].tolist()) if item in relevant]
        best = sum(1 / np.log2(p + 2) for p in range(min(k, len(relevant))))
        result.append(sum(hits) / best)
    return np.array(result)


@pytest.fixture(scope="session")
def ndcg():
    return list_ndcg
