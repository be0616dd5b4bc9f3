"""Worlds whose right answer is known: checkerboard, planted topics, second implementations in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions, ModalityTable, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import Dense, ItemKNN, Popular, PureSVD, Random


def random_window(seed: int, users: int, items: int, events: int) -> Interactions:
    rng = generator(seed, "recall-known-answers")
    return Interactions.of(
        rng.integers(0, users, events),
        (rng.random(events) ** 2 * items).astype(int),
        n_users=users,
        n_items=items,
        time=rng.integers(0, 1000, events),
        value=rng.integers(1, 4, events),
    )


def ask(window: Interactions, seed: int = 0) -> Queries:
    return Queries.of(np.arange(window.n_users), window, window, tie_order(seed, window.n_items))


@pytest.mark.parametrize(
    "channel",
    [
        ItemKNN(shrink=0),
        ItemKNN(),
        ItemKNN(weighting="tf-idf"),
        ItemKNN(weighting="bm25", similarity="dot"),
        Dense(vectors=PureSVD(factors=2)),
    ],
    ids=lambda recipe: f"{recipe.label} {getattr(recipe, 'weighting', '')}",
)
def test_checkerboard_the_withheld_cell_comes_first(channel: ItemKNN | Dense) -> None:
    n = 30
    user, item = np.nonzero((np.add.outer(np.arange(n), np.arange(n)) % 2 == 0) & ~np.eye(n, dtype=bool))
    window = Interactions.of(user, item, n_users=n, n_items=n)
    found = channel.fit(TrainingData(window), seed=0).retrieve(ask(window), 3)
    np.testing.assert_array_equal(found.item[:, 0], np.arange(n))


def test_planted_topics_win_and_fall_to_chance_under_permutation() -> None:
    rng = generator(0, "planted-topics")
    topics, per_topic, users = 10, 40, 200
    topic = np.repeat(np.arange(topics), per_topic)
    values = rng.normal(size=(topics, 16))[topic] + 0.5 * rng.normal(size=(len(topic), 16))
    taste = rng.integers(0, topics, users)
    picks = np.stack([rng.permutation(per_topic)[:10] + per_topic * t for t in taste])
    window = Interactions.of(
        np.repeat(np.arange(users), 5), picks[:, :5].ravel(), n_users=users, n_items=len(topic)
    )

    def share(values: np.ndarray) -> float:
        data = TrainingData(window, {"text": ModalityTable.of("text", values.astype(np.float32))})
        found = Dense(modality="text").fit(data, seed=0).retrieve(ask(window), 35)
        return float(np.mean([np.isin(picks[u, 5:], found.item[u]).mean() for u in range(users)]))

    assert share(values) > 0.95
    assert share(rng.permutation(values)) == pytest.approx(35 / (len(topic) - 5), abs=0.03)


@pytest.mark.parametrize("shrink", [0.0, 3.0])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_item_knn_is_what_its_docstring_says(shrink: float, similarity: str) -> None:
    window = random_window(1, 40, 30, 300)
    recipe = ItemKNN(neighbours=7, shrink=shrink, similarity=similarity)
    had = window.matrix().toarray().astype(np.float64)
    both = had.T @ had
    if similarity == "cosine":
        norm = np.sqrt(np.diag(both))
        with np.errstate(invalid="ignore", divide="ignore"):
            both = np.nan_to_num(both / (np.outer(norm, norm) + shrink))
    np.fill_diagonal(both, 0.0)
    order = np.lexsort((np.broadcast_to(tie_order(0, 30), both.shape), -np.round(both, 6)), axis=1)
    kept = np.zeros_like(both, dtype=bool)
    np.put_along_axis(kept, order[:, :7], True, axis=1)
    expected = had @ np.where(kept, both, 0.0)
    items = np.ascontiguousarray(np.broadcast_to(np.arange(30, dtype=np.int32), (40, 30)))
    score = recipe.fit(TrainingData(window), seed=0).score(ask(window), items)
    np.testing.assert_allclose(np.nan_to_num(score), expected, rtol=1e-5)
    assert (np.isnan(score) == (expected == 0)).all()


def test_more_neighbours_than_items_are_refused_and_the_default_fits_all() -> None:
    data = TrainingData(random_window(1, 40, 30, 300))
    with pytest.raises(ConfigError, match="neighbours = 30 of 30 items: an item has at most 29 neighbours"):
        ItemKNN(neighbours=30).fit(data, seed=0)
    whole = ItemKNN(neighbours=29).fit(data, seed=0).save()
    default = ItemKNN().fit(data, seed=0).save()
    for name, array in whole.arrays.items():
        assert array.tobytes() == default.arrays[name].tobytes()


def test_item_knn_in_small_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from stagelens.recall.interaction import products

    window = random_window(2, 60, 50, 600)
    whole = ItemKNN().fit(TrainingData(window), seed=0).save()
    monkeypatch.setattr(products, "BLOCK", 7)
    blocks = ItemKNN().fit(TrainingData(window), seed=0).save()
    for name, array in whole.arrays.items():
        assert array.tobytes() == blocks.arrays[name].tobytes()


def test_weights_change_what_counts() -> None:
    window = random_window(3, 60, 50, 600)
    plain = ItemKNN(similarity="dot", shrink=0).fit(TrainingData(window), seed=0)
    for weighting in ("tf-idf", "bm25"):
        weighted = ItemKNN(similarity="dot", shrink=0, weighting=weighting).fit(TrainingData(window), seed=0)
        assert not np.array_equal(
            plain.retrieve(ask(window), 10).item, weighted.retrieve(ask(window), 10).item
        )


def test_puresvd_is_the_truncated_projection() -> None:
    window = random_window(4, 70, 40, 700)
    fitted = PureSVD(factors=6).fit(TrainingData(window), seed=0)
    had = window.matrix().toarray().astype(np.float64)
    _, _, right = np.linalg.svd(had, full_matrices=False)
    expected = had @ right[:6].T @ right[:6]
    vectors, owner = fitted.query(ask(window))
    np.testing.assert_allclose(vectors @ fitted.item.T, expected[owner], atol=1e-4)
    again = PureSVD(factors=6).fit(TrainingData(window), seed=99)
    assert again.item.tobytes() == fitted.item.tobytes(), "the seed plays no part"


def test_puresvd_serves_users_outside_its_window() -> None:
    window = random_window(5, 50, 40, 600)
    inside = window.where(window.user != 7)
    channel = Dense(vectors=PureSVD(factors=6)).fit(TrainingData(inside), seed=0)
    found = channel.retrieve(Queries.of(np.array([7]), window, inside, tie_order(0, 40)), 10)
    assert found.found.all()
    hidden = channel.retrieve(Queries.of(np.array([7]), inside, inside, tie_order(0, 40)), 10)
    assert not hidden.found.any(), "no vector of a user is stored"


def test_popular_counts_its_window() -> None:
    window = Interactions.of([0, 0, 1, 2, 2], [3, 1, 3, 3, 1], n_users=4, n_items=6)
    fitted = Popular().fit(TrainingData(window), seed=0)
    found = fitted.retrieve(ask(window), 4)
    np.testing.assert_array_equal(found.item, [[-1] * 4, [1, -1, -1, -1], [-1] * 4, [3, 1, -1, -1]])
    score = fitted.score(ask(window), np.array([[3, 1, 0, -1]] * 4, np.int32))
    np.testing.assert_allclose(score[0], [np.log(4), np.log(3), np.nan, np.nan], rtol=1e-6)


def test_popular_lately() -> None:
    day = 86_400
    now = 1_700_000_000
    window = Interactions.of(
        [0, 1, 2, 3], [0, 0, 0, 1], n_users=5, n_items=2, time=[now - 20 * day] * 3 + [now]
    )
    recent = Popular(half_life_days=10).fit(TrainingData(window), seed=0)
    score = recent.score(ask(window), np.array([[0, 1]] * 5, np.int32))
    np.testing.assert_allclose(score[0], np.log1p([3 * 0.25, 1.0]), rtol=1e-6)
    assert recent.retrieve(ask(window), 1).item[4, 0] == 1
    assert Popular().fit(TrainingData(window), seed=0).retrieve(ask(window), 1).item[4, 0] == 0
    positions = Interactions.of([0, 0], [0, 1], n_users=1, n_items=2, time=[1, 2])
    with pytest.raises(ConfigError, match="real clock"):
        Popular(half_life_days=10).fit(TrainingData(positions), seed=0)


def test_popular_ties_follow_the_seeded_order_not_the_codes() -> None:
    n = 200
    window = Interactions.of(np.zeros(n, int), np.arange(n), n_users=2, n_items=n)
    for seed in range(3):
        tie = tie_order(seed, n)
        found = Popular().fit(TrainingData(window), seed=0).retrieve(ask(window, seed), 20)
        np.testing.assert_array_equal(found.item[1], np.argsort(tie)[:20])


@pytest.mark.parametrize("items", [1, 2, 3, 5, 64, 65, 1000])
def test_random_is_a_permutation_and_knows_the_way_back(items: int) -> None:
    window = Interactions.of([0], [0], n_users=50, n_items=items)
    queries = Queries.of(np.arange(50), window, window.where([]), tie_order(0, items))
    fitted = Random().fit(TrainingData(window), seed=4)
    found = fitted.retrieve(queries, items)
    np.testing.assert_array_equal(np.sort(found.item, axis=1), np.broadcast_to(np.arange(items), (50, items)))
    np.testing.assert_array_equal(fitted.score(queries, found.item), found.score)
    assert (np.diff(found.score, axis=1) < 0).all()


def test_random_is_uniform_and_differs_by_user_and_seed() -> None:
    users, items, depth = 6000, 37, 5
    window = Interactions.of([0], [0], n_users=users, n_items=items)
    queries = Queries.of(np.arange(users), window, window.where([]), tie_order(0, items))
    found = Random().fit(TrainingData(window), seed=1).retrieve(queries, depth).item
    for place in range(depth):
        count = np.bincount(found[:, place], minlength=items)
        expected = users / items
        chi_square = ((count - expected) ** 2 / expected).sum()
        assert chi_square < 36 + 5 * np.sqrt(72), "about five standard deviations"
    pairs = np.bincount(found[:, 0] * items + found[:, 1], minlength=items * items)
    assert pairs.max() < 25, "the second item does not follow from the first (4.5 expected)"
    other = Random().fit(TrainingData(window), seed=2).retrieve(queries, depth).item
    assert np.mean(found == other) == pytest.approx(1 / items, abs=0.01)
