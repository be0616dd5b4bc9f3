"""Learned projections: they find the informative signal, and nothing but the seed moves them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stagelens.fusion import PCA, Concat, Projected
from stagelens.pipeline.core import Interactions, ModalityTable, Queries, TrainingData
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.recipe import Recipe
from stagelens.pipeline.seeds import tie_order
from stagelens.recall import Dense, PureSVD

pytest.importorskip("torch", reason="needs torch (extra: neural)")

USERS, ITEMS, TASTES = 400, 300, 6


def planted(rng: np.random.Generator) -> tuple[TrainingData, Interactions]:
    """Users keep to one taste; ``useful`` tells it in two of its 12 axes, ``noise`` tells nothing."""
    taste = rng.integers(0, TASTES, ITEMS)
    useful = rng.normal(size=(ITEMS, 12))
    angle = 2 * np.pi * taste / TASTES
    useful[:, 0] += 1.5 * np.cos(angle)
    useful[:, 1] += 1.5 * np.sin(angle)
    noise = rng.normal(size=(ITEMS, 20))
    user, item = [], []
    for code in range(USERS):
        own = np.flatnonzero(taste == rng.integers(0, TASTES))
        chosen = rng.choice(own, 9, replace=False)
        user += [code] * 9
        item += chosen.tolist()
    everything = Interactions.of(user, item, n_users=USERS, n_items=ITEMS)
    held = np.tile([False] * 6 + [True] * 3, USERS)
    tables = {"useful": useful, "noise": noise}
    modalities = {name: ModalityTable.of(name, rows.astype(np.float32)) for name, rows in tables.items()}
    return TrainingData(everything.where(~held), modalities), everything.where(held)


@pytest.fixture(scope="module")
def world() -> tuple[TrainingData, Interactions]:
    return planted(np.random.default_rng(0))


def recall(recipe: Recipe, data: TrainingData, held: Interactions, k: int = 20) -> float:
    truth = Truth.of(held)
    asked = Queries.of(truth.user, data.interactions, data.interactions, tie_order(0, ITEMS))
    found = Dense(vectors=recipe).fit(data, seed=0).retrieve(asked, k)
    return float(((truth.gains(found) > 0).sum(axis=1) / truth.count).mean())


OF = ("noise", "useful")
LEARNED = Projected(of=OF, width=8, epochs=10, batch=256)


def test_a_learned_projection_finds_the_informative_axes(world: tuple[TrainingData, Interactions]) -> None:
    data, held = world
    learned = recall(LEARNED, data, held)
    assert learned > 1.3 * recall(Concat(of=OF), data, held)
    assert learned > 1.3 * recall(PCA(of=OF, width=8), data, held)
    weight = np.abs(projection(LEARNED, data))
    assert weight[20:22].mean() > 2 * weight[:20].mean()


def projection(recipe: Projected, data: TrainingData) -> np.ndarray:
    """The projection, solved from the fitted vectors and the scaled signals they are made of."""
    rows = Concat(of=recipe.of).fit(data, seed=0).item.astype(np.float64)
    return np.linalg.lstsq(rows, recipe.fit(data, seed=0).item, rcond=None)[0]


def test_without_information_nothing_is_found(world: tuple[TrainingData, Interactions]) -> None:
    data, held = world
    rng = np.random.default_rng(1)
    tables = {
        name: ModalityTable.of(name, rng.permutation(np.asarray(table.values)))
        for name, table in data.modalities.items()
    }
    useless = recall(LEARNED, TrainingData(data.interactions, tables), held)
    assert useless < 0.5 * recall(LEARNED, data, held)


def test_item_vectors_are_one_linear_map_of_the_signals(world: tuple[TrainingData, Interactions]) -> None:
    data, _ = world
    rows = Concat(of=OF).fit(data, seed=0).item.astype(np.float64)
    fitted = LEARNED.fit(data, seed=0)
    np.testing.assert_allclose(rows @ projection(LEARNED, data), fitted.item, atol=1e-3)
    assert fitted.parameters == (12 + 20) * 8


def test_the_same_seed_gives_the_same_bytes(world: tuple[TrainingData, Interactions]) -> None:
    import torch

    data, _ = world
    recipe = Projected(of=OF, width=8, epochs=2, batch=256)
    assert recipe.seeded
    first = recipe.fit(data, seed=3).item.tobytes()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if before > 1 else 2)
        assert recipe.fit(data, seed=3).item.tobytes() == first
    finally:
        torch.set_num_threads(before)
    assert recipe.fit(data, seed=4).item.tobytes() != first
    turned = Projected(of=OF[::-1], width=8, epochs=2, batch=256)
    assert turned.fit(data, seed=3).item.tobytes() == first


def test_the_loss_is_the_corrected_batch_softmax_without_the_positive() -> None:
    """Two users, worked out pair by pair."""
    import torch
    from scipy.sparse import csr_array

    from stagelens.fusion.nn.projection import _loss

    rng = np.random.default_rng(2)
    rows, weight = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(3, 2)).astype(np.float32)
    histories = [[0, 1, 2], [1, 3]]
    matrix = csr_array(np.array([[1, 1, 1, 0], [0, 1, 0, 1]], np.float32))
    user, item = np.array([0, 1, 1]), np.array([1, 3, 1])
    log_share = np.log(np.array([0.2, 0.4, 0.2, 0.2], np.float32))
    z = rows @ weight
    losses = []
    for u, i in zip(user, item, strict=True):
        mean = z[[other for other in histories[u] if other != i]].mean(axis=0)
        others = [j for place, j in enumerate(item) if j != i]
        score = {j: mean @ z[j] - log_share[j] for j in {i, *others}}
        total = np.exp(score[i]) + sum(np.exp(score[j]) for j in others)
        losses.append(-np.log(np.exp(score[i]) / total))
    got = _loss(torch.from_numpy(weight), rows, matrix, user, item, log_share)
    assert float(got) == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_gradient_reaches_every_projection() -> None:
    import torch
    from scipy.sparse import csr_array

    from stagelens.fusion.nn.projection import _loss

    rng = np.random.default_rng(6)
    rows = rng.normal(size=(5, 3)).astype(np.float32)
    matrix = csr_array(np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]], np.float32))
    user, item, log_share = np.array([0, 1]), np.array([2, 4]), np.zeros(5, np.float32)
    weight = torch.from_numpy(rng.normal(size=(3, 2)).astype(np.float32)).requires_grad_(True)

    def loss(at: Any) -> Any:
        return _loss(at, rows, matrix, user, item, log_share)

    loss(weight).backward()
    step = 1e-2
    for d in range(3):
        for k in range(2):
            up, down = weight.detach().clone(), weight.detach().clone()
            up[d, k] += step
            down[d, k] -= step
            slope = (float(loss(up)) - float(loss(down))) / (2 * step)
            assert float(weight.grad[d, k]) == pytest.approx(slope, abs=2e-3)


def test_without_pairs_it_is_where_it_starts(world: tuple[TrainingData, Interactions]) -> None:
    data, _ = world
    first = data.interactions.where(np.unique(data.interactions.user, return_index=True)[1])  # one item each
    alone = TrainingData(first, data.modalities)
    learned, start = (recipe.fit(alone, seed=0).item for recipe in (LEARNED, PCA(of=OF, width=8)))
    np.testing.assert_array_equal(learned, start)


def test_interaction_and_content_in_one_space(world: tuple[TrainingData, Interactions]) -> None:
    data, held = world
    recipe = Projected(of=("useful", PureSVD(factors=8)), width=8, epochs=2)
    fitted = recipe.fit(data, seed=0)
    learned = (12 + 8) * 8 + 8 * int((data.interactions.item_degree() > 0).sum())
    assert fitted.parameters == learned
    assert recall(recipe, data, held) > 2 * 20 / ITEMS
