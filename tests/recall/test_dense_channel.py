"""Dense: brute force, ties, duplicates, absent rows, long histories, blocks, approximate indexes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from pydantic import ValidationError

from stagelens.pipeline.core import Candidates, Interactions, ModalityTable, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import dump, load
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import Dense, Interests, ItemKNN, Mean, PureSVD, devices

faiss = pytest.importorskip("faiss")


def training(values: np.ndarray, window: Interactions) -> TrainingData:
    return TrainingData(window, {"text": ModalityTable.of("text", values.astype(np.float32))})


def random_window(users: int, items: int, events: int, seed: int = 0) -> Interactions:
    rng = generator(seed, "dense-channel")
    user, item = rng.integers(0, users, events), rng.integers(0, items, events)
    return Interactions.of(user, item, n_users=users, n_items=items, time=np.arange(events))


def ask(window: Interactions, seed: int = 0) -> Queries:
    return Queries.of(np.arange(window.n_users), window, window, tie_order(seed, window.n_items))


def bytes_of(found: Candidates) -> bytes:
    return found.item.tobytes() + found.score.tobytes()


def brute(
    values: np.ndarray, present: np.ndarray, queries: Queries, depth: int, *, centre: bool
) -> list[np.ndarray]:
    """Return the expected lists in float64 (random vectors: no ties)."""
    rows = values.astype(np.float64)
    if centre:
        rows = rows - rows[present].mean(axis=0)
    rows[present] /= np.linalg.norm(rows[present], axis=1, keepdims=True)
    lists = []
    for row in range(len(queries)):
        had = np.unique(queries.history[row])
        had = had[present[had]]
        score = rows @ rows[had].mean(axis=0) if len(had) else np.full(len(rows), np.nan)
        score[~present] = np.nan
        score[queries.seen[row]] = np.nan
        order = np.argsort(-score)[: np.isfinite(score).sum()]
        lists.append(order[:depth])
    return lists


@pytest.mark.parametrize("centre", [True, False])
def test_exact_search_is_brute_force(centre: bool) -> None:
    rng = generator(1, "dense-channel")
    values = rng.normal(size=(700, 16)) + 1.5
    present = rng.random(700) < 0.8
    values[~present] = 0.0
    window = random_window(120, 700, 2500)
    window = window.merged(Interactions.of(np.zeros(700, int), np.arange(700), n_users=120, n_items=700))
    queries = ask(window)
    found = Dense(modality="text", centre=centre).fit(training(values, window), seed=0).retrieve(queries, 60)
    for row, expected in enumerate(brute(values, present, queries, 60, centre=centre)):
        np.testing.assert_array_equal(found.item[row][: len(expected)], expected)
        assert (found.item[row][len(expected) :] == -1).all()


def test_the_mean_is_that_of_the_fit_window_alone() -> None:
    rng = generator(2, "dense-channel")
    values = rng.normal(size=(60, 8)) + 3
    window = random_window(20, 40, 200)
    window = Interactions.of(window.user, window.item, n_users=20, n_items=60)  # items 40.. are never met
    fitted = Dense(modality="text").fit(training(values, window), seed=0)
    moved = values.copy()
    moved[40:] += 100.0
    other = Dense(modality="text").fit(training(moved, window), seed=0)
    wanted = np.ascontiguousarray(np.broadcast_to(np.arange(40, dtype=np.int32), (20, 40)))
    np.testing.assert_array_equal(fitted.score(ask(window), wanted), other.score(ask(window), wanted))


@pytest.mark.parametrize("depth", [30, 1000])
@pytest.mark.parametrize("user", [Mean(), Interests(n=3)], ids=["mean", "interests"])
def test_lists_are_the_same_bytes_for_every_block_size(depth: int, user: Mean | Interests) -> None:
    rng = generator(3, "dense-channel")
    topics = rng.normal(size=(12, 24))
    values = topics[rng.integers(0, 12, 900)]  # many exact duplicates
    values[::2] += 1e-7 * rng.normal(size=(450, 24))  # and vectors that differ by less than a product rounds
    values[1::4] *= rng.uniform(
        0.5, 2, size=(225, 1)
    )  # and multiples: equal but for the last bit once scaled
    window = random_window(1100, 900, 9000)
    queries = ask(window)
    fitted = Dense(modality="text", user=user, centre=False).fit(training(values, window), seed=0)
    whole = bytes_of(fitted.retrieve(queries, depth))
    for size in (1, 7, 1000):
        parts = [
            fitted.retrieve(part, depth)
            for part in (queries.rows(np.arange(50)) if size == 1 else queries).blocks(size)
        ]
        item = np.concatenate([part.item for part in parts])
        score = np.concatenate([part.score for part in parts])
        expected = fitted.retrieve(queries.rows(np.arange(50)), depth) if size == 1 else None
        assert item.tobytes() + score.tobytes() == (whole if expected is None else bytes_of(expected))
    head = fitted.retrieve(queries, depth).rows(np.arange(50))
    assert bytes_of(head) == bytes_of(fitted.retrieve(queries.rows(np.arange(50)), depth))


def test_lists_are_exact_by_the_scores_they_show() -> None:
    rng = generator(4, "dense-channel")
    values = rng.normal(size=(1, 16)) + 1e-6 * rng.normal(
        size=(3000, 16)
    )  # all within rounding of each other
    window = random_window(40, 3000, 400)
    queries = ask(window)
    fitted = Dense(modality="text", centre=False).fit(training(values, window), seed=0)
    found = fitted.retrieve(queries, 25)
    items = np.ascontiguousarray(np.broadcast_to(np.arange(3000, dtype=np.int32), (40, 3000)))
    score = fitted.score(queries, items)
    for row in range(40):
        score[row, queries.seen[row]] = -np.inf
        expected = np.lexsort((queries.tie, -score[row]))[:25]
        np.testing.assert_array_equal(
            found.item[row][found.found[row]], expected if found.found[row].any() else []
        )


def test_without_faiss_the_lists_are_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    values = generator(5, "dense-channel").normal(size=(500, 16))
    window = random_window(80, 500, 900)
    data, queries = training(values, window), ask(window)
    recipe = Dense(modality="text")
    expected = bytes_of(recipe.fit(data, seed=0).retrieve(queries, 40))
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(devices, "say_once", lambda text: None)
    monkeypatch.setattr("stagelens.recall.index.say_once", lambda text: None)
    assert bytes_of(recipe.fit(data, seed=0).retrieve(queries, 40)) == expected


def test_duplicates_tie_and_the_seeded_order_decides() -> None:
    rng = generator(6, "dense-channel")
    values = np.repeat(rng.normal(size=(4, 8)), 100, axis=0)
    window = Interactions.of([0], [0], n_users=1, n_items=400)
    fitted = Dense(modality="text", centre=False).fit(training(values, window), seed=0)
    assert dict(fitted.counts) == {"items": 400, "vectors": 4, "duplicates": 396}
    assert fitted.save().meta["counts"]["duplicates"] == 396
    lists = []
    for seed in range(4):
        queries = ask(window, seed)
        found = fitted.retrieve(queries, 50)
        twins = np.arange(1, 100)
        np.testing.assert_array_equal(found.item[0], twins[np.argsort(queries.tie[twins])][:50])
        assert len(np.unique(found.score)) == 1
        lists.append(found.item.tobytes())
    assert len(set(lists)) == 4


def test_a_constant_modality_is_a_tie_not_a_signal() -> None:
    values = np.full((300, 8), 0.3)
    window = random_window(10, 300, 60)
    raw = Dense(modality="text", centre=False).fit(training(values, window), seed=0)
    queries = ask(window, 5)
    found = raw.retrieve(queries, 20)
    for row in range(10):
        free = np.setdiff1d(np.arange(300), queries.seen[row])
        np.testing.assert_array_equal(found.item[row], free[np.argsort(queries.tie[free])][:20])
    centred = Dense(modality="text").fit(training(values, window), seed=0)
    assert not centred.retrieve(queries, 20).found.any(), "without its mean nothing is left"


def test_vectors_that_cancel_make_no_query() -> None:
    values = np.array([[1, 0], [-1, 0], [0, 1], [0.6, 0.8]])
    window = Interactions.of([0, 0, 1], [0, 1, 2], n_users=2, n_items=4)
    for similarity in ("cosine", "dot"):
        recipe = Dense(modality="text", centre=False, similarity=similarity)
        found = recipe.fit(training(values, window), seed=0).retrieve(ask(window), 2)
        assert not found.found[0].any()
        assert found.item[1].tolist()[0] == 3


def test_users_who_have_seen_thousands_still_get_full_lists() -> None:
    rng = generator(7, "dense-channel")
    items = 6000
    values = rng.normal(size=(items, 16))
    heavy = rng.permutation(items)[:5000]
    window = Interactions.of(
        np.concatenate([np.zeros(5000, int), [1, 1], np.full(items, 2)]),
        np.concatenate([heavy, [3, 4], np.arange(items)]),
        n_users=3,
        n_items=items,
    )
    queries = ask(window)
    fitted = Dense(modality="text").fit(training(values, window), seed=0)
    found = fitted.retrieve(queries, 200)
    expected = brute(values, np.ones(items, bool), queries, 200, centre=True)
    assert found.found.sum(axis=1).tolist() == [200, 200, 0]
    np.testing.assert_array_equal(found.item[0], expected[0])
    np.testing.assert_array_equal(found.item[1], expected[1])
    beyond = fitted.retrieve(queries, items + 10)
    assert beyond.found.sum(axis=1).tolist() == [1000, items - 2, 0]
    for row in range(2):
        assert not np.isin(beyond.item[row], queries.seen[row]).any()


def test_several_interests_score_with_the_nearest() -> None:
    rng = generator(8, "dense-channel")
    values = rng.normal(size=(200, 8))
    window = random_window(30, 200, 300)
    queries = ask(window)
    fitted = Dense(modality="text", user=Interests(n=3)).fit(training(values, window), seed=0)
    vectors, owner = fitted.query(queries)
    found = fitted.retrieve(queries, 40)
    table, position = fitted.layout.vectors, fitted.layout.position
    for row in range(30):
        best = (vectors[owner == row] @ table[position].T).max(axis=0)
        np.testing.assert_allclose(found.score[row], best[found.item[row]], rtol=1e-5)
        best[queries.seen[row]] = -np.inf
        np.testing.assert_allclose(found.score[row], np.sort(best)[::-1][:40], rtol=1e-5)


def test_graphs_over_unequal_lengths_are_refused() -> None:
    rng = generator(9, "dense-channel")
    values = (1 + 0.3 * rng.normal(size=(3000, 32))) * rng.lognormal(sigma=0.5, size=(3000, 1))
    window = random_window(100, 3000, 800)
    data, queries = training(values, window), ask(window)
    graph = Dense(modality="text", index="HNSW16", similarity="dot", centre=False, ef_search=64)
    with pytest.raises(ConfigError, match=r"unequal length .* Use similarity = 'cosine'"):
        graph.fit(data, seed=0)

    def share(found: np.ndarray, exact: np.ndarray) -> float:
        return float(np.mean([np.isin(exact[row], found[row]).mean() for row in range(len(exact))]))

    exact = graph.exact().fit(data, seed=0)
    vectors, _ = exact.query(queries)
    naive = faiss.IndexHNSWFlat(32, 16, faiss.METRIC_INNER_PRODUCT)
    naive.hnsw.efSearch = 64
    naive.add(values.astype(np.float32))
    best = np.argsort(-(vectors @ values.T), axis=1)[:, :50]
    assert share(naive.search(vectors, 50)[1], best) < 0.8, "the trap is real"
    cosine = Dense(modality="text", index="HNSW16", ef_search=400)
    found, expected = (
        recipe.fit(data, seed=0).retrieve(queries, 50).item for recipe in (cosine, cosine.exact())
    )
    assert share(found, expected) > 0.95


def test_an_exhausted_ivf_pads_and_never_names_the_last_item() -> None:
    rng = generator(10, "dense-channel")
    values = rng.normal(size=(400, 8))
    window = random_window(50, 400, 100)
    fitted = Dense(modality="text", index="IVF40,Flat", nprobe=1).fit(training(values, window), seed=0)
    found = fitted.retrieve(ask(window), 100)
    found.check()
    full = found.found.sum(axis=1)
    assert 0 < full[full > 0].mean() < 60, "one list of forty holds about ten"
    assert (found.item == 399).any(axis=1).mean() < 0.5


def test_an_approximate_index_is_asked_for_the_seen_ones_too() -> None:
    rng = generator(14, "dense-channel")
    values = rng.normal(size=(2000, 8)) + np.array([2.0] + [0.0] * 7)
    near = np.argsort(-(values / np.linalg.norm(values, axis=1, keepdims=True))[:, 0])[:400]
    window = Interactions.of(np.zeros(400, int), near, n_users=2, n_items=2000)
    fitted = Dense(modality="text", index="HNSW16", centre=False).fit(training(values, window), seed=0)
    found = fitted.retrieve(ask(window), 50)
    assert found.found.sum(axis=1).tolist() == [50, 0]
    assert not np.isin(found.item[0], near).any()


def test_approximate_lists_are_what_the_index_returned() -> None:
    rng = generator(11, "dense-channel")
    values = rng.normal(size=(600, 16))
    window = random_window(60, 600, 200)
    data = training(values, window)
    recipe = Dense(modality="text", index="PQ4x4", centre=False)
    fitted = recipe.fit(data, seed=0)
    queries = Queries(ask(window).user, ask(window).history, window.where([]).lists(), tie_order(0, 600))
    found = fitted.retrieve(queries, 10)
    vectors, owner = fitted.query(queries)
    score, position = fitted.index.cpu.search(vectors, 10)
    for v, row in enumerate(owner):
        last = score[v, -1]
        certain = position[v][score[v] > last]  # those at the edge may tie beyond it
        items = np.flatnonzero(np.isin(fitted.layout.position, certain))
        assert np.isin(items, found.item[row]).all()
    exact = recipe.exact().fit(data, seed=0).retrieve(queries, 10)
    assert found.item.tobytes() != exact.item.tobytes(), "not rescued by the exact scores"


@pytest.mark.parametrize("factory", ["IVF8,Flat", "HNSW8", "IVF8,PQ4x4"])
def test_the_seed_moves_an_approximate_index_and_nothing_else_does(factory: str) -> None:
    values = generator(12, "dense-channel").normal(size=(500, 16))
    window = random_window(40, 500, 200)
    data = training(values, window)
    recipe = Dense(modality="text", index=factory)
    assert recipe.seeded
    one, again, other = (recipe.fit(data, seed=seed).save().arrays["index"] for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()


def test_the_shadow_is_exact_and_otherwise_equal() -> None:
    recipe = Dense(modality="text", index="IVF8,Flat", nprobe=4, user=Interests())
    assert recipe.exact() == Dense(modality="text", user=Interests())
    assert recipe.exact().label == recipe.label == "Dense(text)"
    assert Dense(modality="text").exact() == Dense(modality="text")
    assert not Dense(modality="text").seeded
    assert Dense(vectors=PureSVD(), index="HNSW16").exact().vectors == PureSVD()


def test_names_and_what_is_read() -> None:
    assert Dense(modality="image").reads == {"image"}
    assert Dense(vectors=PureSVD()).label == "Dense(PureSVD)"
    assert Dense(vectors=PureSVD()).reads == frozenset()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "exactly one"),
        ({"modality": "text", "vectors": PureSVD()}, "exactly one"),
        ({"vectors": ItemKNN()}, "is a channel, not vectors"),
        ({"modality": "text", "nprobe": 0}, "nprobe"),
        ({"modality": "text", "device": "tpu"}, "device"),
        ({"modality": "text", "user": PureSVD()}, "user"),
    ],
)
def test_senseless_recipes_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Dense(**fields)
    plain = {key: dump(value) if hasattr(value, "label") else value for key, value in fields.items()}
    with pytest.raises(ConfigError, match=said):
        load({"use": "recall.Dense", **plain})


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Dense(modality="txt"), "Did you mean 'text'"),
        (Dense(modality="text", index="IVFF"), "index = 'IVFF' cannot hold"),
        (Dense(modality="text", index="IVF999,Flat"), "at least as large as number of clusters"),
        (Dense(modality="text", index="PQ5x4"), "multiple of the number"),
        (Dense(modality="text", index="HNSW8", nprobe=4), "nprobe = 4 means nothing to index = 'HNSW8'"),
        (Dense(modality="text", ef_search=4), "ef_search = 4 means nothing to index = 'Flat'"),
    ],
)
def test_what_the_data_or_faiss_cannot_do_is_said(recipe: Dense, said: str) -> None:
    values = generator(13, "dense-channel").normal(size=(100, 8))
    with pytest.raises(ConfigError, match=said):
        recipe.fit(training(values, random_window(10, 100, 50)), seed=0)


def test_a_modality_nobody_has_gives_empty_lists() -> None:
    window = random_window(10, 30, 50)
    fitted = Dense(modality="text").fit(training(np.zeros((30, 4)), window), seed=0)
    assert not fitted.retrieve(ask(window), 5).found.any()
    assert np.isnan(fitted.score(ask(window), np.zeros((10, 2), np.int32))).all()
    assert fitted.index_bytes == 0
    again = Dense(modality="text").load(fitted.save())
    assert not again.retrieve(ask(window), 5).found.any()
