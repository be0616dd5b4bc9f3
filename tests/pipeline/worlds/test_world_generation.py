"""The embedded world: fixed by its seed, quick, skewed, and with signal where it says."""

import time

import numpy as np
import pytest

from stagelens.pipeline.core import Dataset, Interactions, Split
from stagelens.pipeline.data.check import check_dataset
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.data.write import write_dataset
from stagelens.pipeline.errors import ConfigError, DataError
from stagelens.pipeline.recipe import dump, load
from stagelens.pipeline.worlds.world import World, open_dataset

SMALL = {"users": 300, "items": 400, "activity": 20.0}


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return open_dataset("world:ecommerce", item_columns=("category", "price"), user_columns=("country",))


@pytest.fixture(scope="module")
def windows(shop) -> Split:
    return split(shop)


def test_the_preset_has_its_size_and_shape_in_seconds():
    started = time.perf_counter()
    data = open_dataset("world:ecommerce")
    assert time.perf_counter() - started < 5
    assert (data.n_users, data.n_items) == (2000, 3000)
    assert 48_000 <= len(data.interactions) <= 57_000
    assert {name: table.width for name, table in data.modalities.items()} == {"text": 64, "image": 64}
    assert data.modalities["text"].present.all()
    assert data.modalities["image"].present.mean() == pytest.approx(0.9)
    assert data.clock == "real"
    assert data.name == data.source == "world:ecommerce"
    assert data.item_columns == {}


def test_a_seed_fixes_every_byte():
    one, two, other = World(**SMALL).generate(5), World(**SMALL).generate(5), World(**SMALL).generate(6)
    assert one.hashes() == two.hashes()
    assert one.items.tobytes() == two.items.tobytes()
    assert one.item_columns["price"].tobytes() == two.item_columns["price"].tobytes()
    assert not set(one.hashes().values()) & set(other.hashes().values())


def test_another_modality_moves_nothing_else():
    text = {"text": {"width": 32, "signal": 0.53}}  # half of a factor: its other part goes to audio
    one = World(**SMALL, modalities=text).generate(1)
    two = World(**SMALL, modalities={**text, "audio": {"width": 16, "signal": 0.3}}).generate(1)
    assert one.hashes()["interactions"] == two.hashes()["interactions"]
    assert one.hashes()["text"] == two.hashes()["text"]


def test_every_event_follows_arrival_and_joining_and_no_pair_repeats():
    made = World(**SMALL).truth(3)
    log = made.dataset.interactions
    start = 1_672_531_200
    day = (log.time - start) / 86_400
    assert (day >= np.floor(made.items["arrival_day"][log.item] * 86_400) / 86_400 - 1e-9).all()
    assert (day >= np.floor(made.users["joined_day"][log.user] * 86_400) / 86_400 - 1e-9).all()
    assert day.min() >= 0
    assert day.max() <= 365
    assert len(np.unique(log.user * np.int64(log.n_items) + log.item)) == len(log)


def test_choices_follow_the_match():
    made = World(**SMALL, focus=2.0, popularity=0.0).truth(3)
    log = made.dataset.interactions
    assert made.preference.match(log.user, log.item).mean() > 1.0
    chance = World(**SMALL, focus=0.0, popularity=0.0).truth(3)
    log = chance.dataset.interactions
    assert abs(chance.preference.match(log.user, log.item).mean()) < 0.05


def test_first_choices_follow_relevance():
    """With every item there from the start, the first choice picks items in proportion to their relevance."""
    world = World(
        users=40_000, items=4, factors=2, categories=2, focus=0.0, popularity=1.0, fewest=0.5, activity=1,
        activity_spread=0.0, catalogue_at_start=1.0, joining=0.0,
        category_share=0.0, modalities={},
    )  # fmt: skip
    made = world.truth(0)
    log = made.dataset.interactions
    first = log.item[np.flatnonzero(np.diff(log.user, prepend=-1))]
    share = made.preference.appeal / made.preference.appeal.sum()
    np.testing.assert_allclose(np.bincount(first, minlength=4) / len(first), share, atol=0.015)


def test_popularity_is_skewed_and_codes_do_not_follow_it(shop):
    degree = shop.interactions.item_degree()
    top = np.sort(degree)[::-1][: len(degree) // 10].sum() / degree.sum()
    assert 0.35 < top < 0.65
    assert abs(np.corrcoef(np.arange(len(degree)), degree)[0, 1]) < 0.06


def recall_at_20(scores, train: Interactions, test: Interactions) -> float:
    lists, truth, found = train.lists(), test.lists(), []
    for user in test.users():
        score = scores(user, lists[user]).astype(float)
        score[lists[user]] = -np.inf
        top = np.argpartition(-score, 20)[:20]
        found.append(np.isin(truth[user], top).mean())
    return float(np.mean(found))


def test_co_occurrence_beats_popularity_beats_text_beats_image_beats_chance(shop, windows):
    train, test = windows.train, windows.test
    items, degree = np.arange(shop.n_items), train.item_degree()
    rng = np.random.default_rng(0)
    matrix = train.lists().matrix(shop.n_items)
    together = (matrix.T @ matrix).toarray()
    np.fill_diagonal(together, 0)
    cosine = (
        together
        / np.sqrt(np.outer(np.maximum(degree, 1), np.maximum(degree, 1)))
        * together
        / (together + 10)
    )

    def content(name, rows):
        table = shop.modalities[name]
        vectors = table.rows(rows) - table.rows(np.flatnonzero(table.present)).mean(axis=0)
        vectors[~table.present[rows]] = 0
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return recall_at_20(lambda user, history: vectors @ vectors[history].sum(axis=0), train, test)

    chance = recall_at_20(lambda user, history: rng.random(shop.n_items), train, test)
    popular = recall_at_20(lambda user, history: degree + 0.1 * rng.random(shop.n_items), train, test)
    neighbours = recall_at_20(lambda user, history: cosine[history].sum(axis=0), train, test)
    text, image = content("text", items), content("image", items)
    shuffled = content("text", rng.permutation(items))
    assert neighbours > 1.3 * popular > 1.3 * text > 1.3 * 1.3 * image > 3 * chance
    assert shuffled < 2 * chance


def test_the_last_window_holds_items_that_training_hardly_knows(windows):
    degree = windows.train.item_degree()[windows.test.item]
    assert 0.02 < (degree == 0).mean() < 0.1
    assert (degree < 5).mean() > 0.05


def test_columns_are_features_only_where_they_are_named(shop):
    assert list(shop.item_columns) == ["category", "price"]
    assert len(np.unique(shop.item_columns["category"])) == 40
    counts = np.bincount(shop.item_columns["category"].astype(int))
    assert (np.diff(counts) <= 0).all()
    assert list(shop.user_columns) == ["country"]


def test_a_world_has_no_surprises_for_the_checker(shop, windows):
    assert [fault for fault in check_dataset(shop, windows) if fault.severity != "note"] == []


def test_a_world_written_as_a_folder_is_the_same_data(tmp_path):
    made = World(**SMALL).truth(2)
    write_dataset(made.dataset, tmp_path / "world", items=made.items, users=made.users)
    back = load_dataset(
        str(tmp_path / "world"), item_columns=("category", "price"), user_columns=("country",)
    )
    assert back.hashes() == made.dataset.hashes()
    np.testing.assert_array_equal(back.item_columns["category"], made.dataset.item_columns["category"])
    np.testing.assert_array_equal(back.user_columns["country"], made.dataset.user_columns["country"])
    assert back.clock == "real"


def test_a_world_is_a_recipe():
    world = World(**SMALL, modalities={"video": {"signal": 0.1}})
    assert load(dump(world)) == world
    assert world.modalities["video"]["signal"] == 0.1
    assert world.modalities["video"]["width"] == 64


def test_wrong_names_and_options_are_answered():
    with pytest.raises(
        ConfigError,
        match=r"Unknown world 'world:ecomerce'\. Did you mean 'world:ecommerce'\? Known: world:ecommerce",
    ):
        open_dataset("world:ecomerce")
    with pytest.raises(ConfigError, match=r"positive = 3 with world:ecommerce: a world has positives only"):
        open_dataset("world:ecommerce", positive=3)
    with pytest.raises(ConfigError, match=r"weight = True with world:ecommerce"):
        open_dataset("world:ecommerce", weight=True)
    with pytest.raises(
        ConfigError, match=r"item_columns of world:ecommerce: Unknown column 'prize'\. Did you mean 'price'"
    ):
        open_dataset("world:ecommerce", item_columns=("prize",))
    with pytest.raises(ConfigError, match=r"No folder 'ecommerce'\. Did you mean 'world:ecommerce'\?"):
        open_dataset("ecommerce")
    with pytest.raises(DataError, match="does not exist; a data set is a folder"):
        open_dataset("nowhere")
