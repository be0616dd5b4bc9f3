"""The channel contract, for every channel that recall makes public; and for its vectors and user queries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import stagelens.recall
from stagelens.pipeline.core import Candidates, Interactions, ModalityTable, Queries, TrainingData
from stagelens.pipeline.recipe import dump, load, name_of, recipes_of
from stagelens.pipeline.seeds import generator, tie_order

USERS, ITEMS, WIDTH = 60, 90, 12
WARM = 80  # items from here on are never interacted with
NO_HISTORY, NO_VECTORS, HEAVY = 57, 58, 59


def of_role(role: str) -> list[str]:
    return [name for name in recipes_of("recall") if getattr(stagelens.recall, name).role == role]


@pytest.fixture(scope="module")
def data() -> TrainingData:
    rng = generator(0, "channel-contract")
    values = rng.normal(size=(ITEMS, WIDTH)).astype(np.float32)
    values[::9] = 0.0  # absent
    values[5:70:13] = values[5]  # duplicates
    user, item = rng.integers(0, NO_HISTORY, 500), (rng.random(500) ** 2 * WARM).astype(int)
    user = np.concatenate([user, [NO_VECTORS] * 3, [HEAVY] * 70])
    item = np.concatenate([item, [0, 9, 27], np.arange(5, 75)])
    window = Interactions.of(user, item, n_users=USERS, n_items=ITEMS, time=rng.integers(0, 10**9, len(user)))
    users = np.array([f"u{code}" for code in range(USERS)])
    return TrainingData(
        window, {"text": ModalityTable.of("text", values)}, users=users, items=np.arange(ITEMS) + 1000
    )


@pytest.fixture(scope="module")
def queries(data: TrainingData) -> Queries:
    window = data.interactions
    return Queries.of(np.arange(USERS), window, window, tie_order(3, ITEMS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data: TrainingData) -> Path:
    folder = tmp_path_factory.mktemp("made-elsewhere")
    rng = generator(1, "channel-contract")
    user, item = rng.integers(0, USERS - 4, 1500), rng.integers(0, ITEMS, 1500)
    score = np.round(rng.normal(size=1500), 1)  # ties
    frame = pd.DataFrame({"user_id": data.users[user], "item_id": data.items[item], "score": score})
    frame.drop_duplicates(["user_id", "item_id"]).to_parquet(folder / "lists.parquet")
    np.save(folder / "vectors.npy", data.modality("text").values)
    np.save(folder / "ids.npy", data.items)
    return folder


CONFIGURED: dict[str, Callable[[Path], dict[str, Any]]] = {
    "Dense": lambda folder: {"modality": "text"},
    "FromFile": lambda folder: {"path": str(folder / "lists.parquet")},
    "FileVectors": lambda folder: {"path": str(folder / "vectors.npy"), "ids": str(folder / "ids.npy")},
}
"""What a recipe needs beyond its defaults."""

VARIANTS: dict[str, Callable[[Any, Path], Any]] = {
    "Popular, recent": lambda room, folder: room.Popular(half_life_days=30.0),
    "ItemKNN, bm25 dot": lambda room, folder: room.ItemKNN(weighting="bm25", similarity="dot", neighbours=5),
    "ItemKNN, tf-idf": lambda room, folder: room.ItemKNN(weighting="tf-idf", shrink=0),
    "ItemKNN, tversky": lambda room, folder: room.ItemKNN(similarity="tversky", alpha=1.5, normalise=True),
    "UserKNN, bm25 asymmetric": lambda room, folder: room.UserKNN(weighting="bm25", similarity="asymmetric"),
    "UserKNN, few": lambda room, folder: room.UserKNN(neighbours=3, shrink=0, normalise=True),
    "EASE, pruned": lambda room, folder: room.EASE(neighbours=5, l2=20),
    "SLIMBPR, two directions": lambda room, folder: room.SLIMBPR(symmetric=False, optimiser="adam", epochs=5),
    "Dense, PureSVD": lambda room, folder: room.Dense(vectors=room.PureSVD(factors=8)),
    "Dense, IALS": lambda room, folder: room.Dense(vectors=room.IALS(factors=8, confidence="log")),
    "Dense, MFBPR": lambda room, folder: room.Dense(vectors=room.MFBPR(factors=8)),
    "Dense, NMF": lambda room, folder: room.Dense(vectors=room.NMF(factors=8)),
    "Dense, IALS by IVF": lambda room, folder: room.Dense(vectors=room.IALS(factors=8), index="IVF4,Flat"),
    "Dense, file": lambda room, folder: room.Dense(vectors=made("FileVectors", folder)),
    "Dense, interests": lambda room, folder: room.Dense(modality="text", user=room.Interests(n=3)),
    "Dense, decayed dot": lambda room, folder: room.Dense(
        modality="text", user=room.Decayed(), similarity="dot"
    ),
    "Dense, raw": lambda room, folder: room.Dense(modality="text", centre=False, user=room.LastN(n=2)),
    "Dense, IVF": lambda room, folder: room.Dense(modality="text", index="IVF4,Flat", nprobe=2),
    "Dense, IVF interests": lambda room, folder: room.Dense(
        modality="text", index="IVF4,Flat", nprobe=1, user=room.Interests()
    ),
    "Dense, HNSW": lambda room, folder: room.Dense(modality="text", index="HNSW8", ef_search=8),
    "Dense, rotated 4-bit codes": lambda room, folder: room.Dense(modality="text", index="PCA8,PQ4x4"),
}


def made(name: str, folder: Path) -> Any:
    cls = getattr(stagelens.recall, name)
    return cls(**CONFIGURED.get(name, lambda folder: {})(folder))


@pytest.fixture(scope="module", params=[*of_role("channel"), *VARIANTS])
def channel(request: pytest.FixtureRequest, folder: Path) -> Any:
    if request.param in VARIANTS:
        return VARIANTS[request.param](stagelens.recall, folder)
    return made(request.param, folder)


@pytest.fixture(scope="module")
def fitted(channel: Any, data: TrainingData) -> Any:
    return channel.fit(data, seed=0)


def same(one: Candidates, other: Candidates) -> bool:
    return one.item.tobytes() == other.item.tobytes() and one.score.tobytes() == other.score.tobytes()


def test_every_public_channel_is_under_test() -> None:
    assert {"Popular", "Random", "ItemKNN", "Dense", "FromFile"} <= set(of_role("channel"))


def test_a_recipe_survives_its_configuration(channel: Any) -> None:
    again = load(dump(channel))
    assert again == channel
    assert again.label == channel.label


def test_the_same_seed_gives_the_same_lists(channel: Any, data: TrainingData, queries: Queries) -> None:
    first, second = (channel.fit(data, seed=7).retrieve(queries, 20) for _ in range(2))
    assert same(first, second)
    assert first.channels == (channel.label,)
    other = channel.fit(data, seed=8).retrieve(queries, 20)
    if not channel.seeded:
        assert same(first, other)


@pytest.mark.parametrize("depth", [1, 10, 40, ITEMS + 30])
def test_lists_are_sound(fitted: Any, queries: Queries, depth: int) -> None:
    found = fitted.retrieve(queries, depth)
    found.check()
    assert found.item.shape == (USERS, depth)
    for row in range(USERS):
        assert not np.isin(found.item[row], queries.seen[row]).any()
    tie = queries.tie[found.item]
    level = found.found[:, 1:] & (found.score[:, 1:] == found.score[:, :-1])
    assert (tie[:, 1:] > tie[:, :-1])[level].all(), "ties go by the seeded order"


def test_scores_agree_with_lists(fitted: Any, queries: Queries) -> None:
    found = fitted.retrieve(queries, 30)
    score = fitted.score(queries, found.item)
    assert score.shape == found.item.shape
    assert score.dtype == np.float32
    np.testing.assert_array_equal(score[found.found], found.score[found.found])
    assert np.isnan(score[~found.found]).all(), "padding has no score"


def test_a_full_exact_list_is_every_unseen_item_with_a_score(
    channel: Any, data: TrainingData, queries: Queries
) -> None:
    fitted = channel.exact().fit(data, seed=0)
    assert fitted.is_exact
    whole = np.broadcast_to(np.arange(ITEMS, dtype=np.int32), (USERS, ITEMS))
    reachable = np.isfinite(fitted.score(queries, np.ascontiguousarray(whole)))
    found = fitted.retrieve(queries, ITEMS)
    for row in range(USERS):
        expected = np.setdiff1d(np.flatnonzero(reachable[row]), queries.seen[row])
        np.testing.assert_array_equal(np.sort(found.item[row][found.found[row]]), expected)


@pytest.mark.parametrize("block", [1, 7, 33])
def test_blocks_change_nothing(fitted: Any, queries: Queries, block: int) -> None:
    whole = fitted.retrieve(queries, 25)
    wanted = np.ascontiguousarray(np.broadcast_to(np.arange(40, dtype=np.int32), (USERS, 40)))
    score = fitted.score(queries, wanted)
    for start, part in zip(range(0, USERS, block), queries.blocks(block), strict=True):
        rows = slice(start, start + block)
        assert same(fitted.retrieve(part, 25), whole.rows(rows))
        assert fitted.score(part, wanted[rows]).tobytes() == score[rows].tobytes()


def test_save_and_load_give_the_same_channel(channel: Any, fitted: Any, queries: Queries) -> None:
    saved = fitted.save()
    assert all(array.dtype != object for array in saved.arrays.values())
    again = channel.load(saved)
    assert same(fitted.retrieve(queries, 20), again.retrieve(queries, 20))
    assert again.name == fitted.name == channel.label
    assert again.index_bytes == fitted.index_bytes
    assert again.parameters == fitted.parameters
    assert again.is_exact == fitted.is_exact


def test_users_without_usable_history(channel: Any, fitted: Any, queries: Queries) -> None:
    found = fitted.retrieve(queries, 20).found
    if name_of(type(channel)) in ("recall.Popular", "recall.Random"):
        assert found[NO_HISTORY].all()
    else:
        assert not found[NO_HISTORY].any()
    if "text" in channel.reads:
        assert not found[NO_VECTORS].any()
    assert found[0].any()


def test_items_without_the_modality_are_never_returned(
    channel: Any, fitted: Any, data: TrainingData, queries: Queries
) -> None:
    absent = ~data.modality("text").present if "text" in channel.reads else np.zeros(ITEMS, bool)
    found = fitted.retrieve(queries, ITEMS)
    assert not absent[found.item[found.found]].any()
    wanted = np.ascontiguousarray(
        np.broadcast_to(np.flatnonzero(absent).astype(np.int32), (USERS, absent.sum()))
    )
    assert np.isnan(fitted.score(queries, wanted)).all()


def test_an_empty_block_is_a_block(fitted: Any, queries: Queries) -> None:
    found = fitted.retrieve(queries.rows(np.arange(0)), 5)
    assert found.item.shape == (0, 5)
    assert fitted.score(queries.rows(np.arange(0)), np.empty((0, 4), np.int32)).shape == (0, 4)


def test_an_empty_window_is_no_fault(channel: Any, data: TrainingData, queries: Queries) -> None:
    nothing = TrainingData(
        data.interactions.where(np.zeros(len(data.interactions), bool)),
        data.modalities,
        users=data.users,
        items=data.items,
    )
    empty = Queries.of(np.arange(USERS), nothing.interactions, nothing.interactions, queries.tie)
    channel.fit(nothing, seed=0).retrieve(empty, 10).check()


@pytest.mark.parametrize("name", of_role("vectors"))
def test_vectors_keep_their_contract(name: str, data: TrainingData, queries: Queries, folder: Path) -> None:
    recipe = made(name, folder)
    assert load(dump(recipe)) == recipe
    fitted = recipe.fit(data, seed=0)
    assert fitted.item.shape[0] == fitted.present.shape[0] == ITEMS
    vectors, owner = fitted.query(queries)
    assert vectors.shape == (len(owner), fitted.item.shape[1])
    assert NO_HISTORY not in owner
    assert (np.diff(owner) >= 0).all()
    again = recipe.load(fitted.save())
    np.testing.assert_array_equal(again.item, fitted.item)
    np.testing.assert_array_equal(again.query(queries)[0], vectors)
    alone, _ = fitted.query(queries.rows(np.array([4])))
    np.testing.assert_array_equal(alone, vectors[owner == 4])


@pytest.mark.parametrize("name", of_role("queries"))
def test_user_vectors_keep_their_contract(name: str, data: TrainingData, queries: Queries) -> None:
    recipe = getattr(stagelens.recall, name)()
    assert load(dump(recipe)) == recipe
    table = data.modality("text")
    position = np.where(table.present, np.arange(ITEMS), -1).astype(np.int32)
    vectors, owner = recipe.vectors(queries.history, table.values, position)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(owner), WIDTH)
    assert (np.diff(owner) >= 0).all()
    assert not np.isin([NO_HISTORY, NO_VECTORS], owner).any()
    for row in (0, 3, HEAVY):
        alone, _ = recipe.vectors(queries.history.rows(np.array([row])), table.values, position)
        assert alone.tobytes() == vectors[owner == row].tobytes()
