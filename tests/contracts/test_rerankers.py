"""What every public re-ranker and feature group keeps to; a new one is tested by being public."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from stagelens import rerank
from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Candidates, Features, Interactions, ModalityTable, Queries, TrainingData
from stagelens.pipeline.recipe import dump, field_docs, load, recipes_of
from stagelens.pipeline.rows import rows_of
from stagelens.pipeline.seeds import tie_order

USERS, ITEMS, K = 80, 150, 20
CHANNELS = ("Popular", "Dense(text)")
PUBLIC = [getattr(rerank, name) for name in recipes_of("rerank")]
RERANKERS = [cls for cls in PUBLIC if cls.role == "reranker"]
GROUPS = [cls for cls in PUBLIC if cls.role == "features"]


def test_every_public_recipe_has_a_contract():
    assert len(RERANKERS) + len(GROUPS) == len(PUBLIC) > 0


@pytest.fixture(scope="module")
def world():
    """User 0 has no history, user 1 an empty list, lists end in padding, every seventh item lacks text."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(1, USERS), rng.integers(1, 15, USERS - 1))
    item = rng.integers(0, ITEMS, len(user))
    time = rng.integers(1_500_000_000, 1_600_000_000, len(user))
    window = Interactions.of(user, item, n_users=USERS, n_items=ITEMS, time=time)
    text = rng.standard_normal((ITEMS, 6)).astype(np.float32)
    text[::7] = 0
    columns = {"price": rng.random(ITEMS).astype(np.float32)}
    data = TrainingData(window, {"text": ModalityTable.of("text", text)}, columns)
    queries = Queries.of(np.arange(USERS), window, window.where(np.zeros(0, int)), tie_order(0, ITEMS))
    item = np.stack([rng.permutation(ITEMS)[:K] for _ in range(USERS)]).astype(np.int32)
    padding = np.arange(K) >= rng.integers(5, K + 1, USERS)[:, None]
    padding[1] = True
    item[padding] = -1
    score = np.where(padding, -np.inf, -np.sort(rng.random((USERS, K)), axis=1)).astype(np.float32)
    found = (rng.random((USERS, K, 2)) < 0.7) & ~padding[..., None]
    channel_score = np.where(found, rng.random((USERS, K, 2)), np.nan).astype(np.float32)
    rank = np.where(found, rng.integers(1, K, (USERS, K, 2)), 0).astype(np.int32)
    candidates = Candidates(np.arange(USERS, dtype=np.int32), item, score, CHANNELS, channel_score, rank)
    gains = ((rng.random((USERS, K)) < 0.2) & ~padding).astype(np.float32)
    values = rng.standard_normal((USERS, K, 3)).astype(np.float32)
    values[padding] = np.nan
    features = Features(("a", "b", "c"), values)
    return SimpleNamespace(data=data, queries=queries, candidates=candidates, gains=gains, features=features)


def same(first, second):
    return np.array_equal(first, second, equal_nan=True)


@pytest.fixture(params=RERANKERS, ids=lambda cls: cls.__name__)
def reranker(request, world):
    recipe = request.param()
    seen = Features(("gain",), world.gains[..., None]) if getattr(recipe, "sees_truth", False) else None
    rows = rows_of(world.candidates, world.features, world.gains, seed=0)

    def fit(seed=0):
        return recipe.fit(rows, rows, seed=seed)

    return SimpleNamespace(recipe=recipe, fit=fit, fitted=fit(), features=seen or world.features)


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_a_recipe_equals_its_configuration(cls):
    recipe = cls()
    again = load(json.loads(json.dumps(dump(recipe))))
    assert again == recipe
    assert isinstance(recipe.label, str)
    assert recipe.reads == again.reads
    fields = {field.name for field in dataclasses.fields(cls)}
    assert fields <= field_docs(cls).keys()
    assert cls.__doc__


def test_the_score_is_a_rectangle_with_nan_on_padding_alone(reranker, world):
    score = reranker.fitted.score(world.candidates, reranker.features)
    assert score.dtype == np.float32
    assert np.array_equal(np.isnan(score), ~world.candidates.found)
    ordered = world.candidates.rescored(score, world.queries.tie)
    ordered.check()
    assert np.array_equal(np.sort(ordered.item, axis=1), np.sort(world.candidates.item, axis=1))
    assert reranker.fitted.parameters >= 0


def test_a_score_does_not_depend_on_the_block(reranker, world):
    whole = reranker.fitted.score(world.candidates, reranker.features)
    for row in range(0, USERS, 7):
        one = world.candidates.rows(slice(row, row + 1))
        features = Features(reranker.features.names, reranker.features.values[row : row + 1])
        assert same(reranker.fitted.score(one, features), whole[row : row + 1])


def test_a_score_does_not_depend_on_the_order_of_the_list(reranker, world):
    if isinstance(reranker.recipe, rerank.KeepOrder):
        pytest.skip("recall's order is what it keeps")
    full = np.flatnonzero(world.candidates.found.all(axis=1))
    assert len(full)
    part = world.candidates.rows(full)
    turned = dataclasses.replace(part, item=part.item[:, ::-1])
    values = reranker.features.values[full]
    first = reranker.fitted.score(part, Features(reranker.features.names, values))
    second = reranker.fitted.score(turned, Features(reranker.features.names, values[:, ::-1]))
    assert same(first[:, ::-1], second)


def test_same_seed_same_bytes_and_saved_is_the_same(reranker, world):
    first, again = reranker.fitted.save(), reranker.fit().save()
    assert first.arrays.keys() == again.arrays.keys()
    assert all(first.arrays[name].tobytes() == again.arrays[name].tobytes() for name in first.arrays)
    meta = json.loads(json.dumps(first.meta))
    assert meta == json.loads(json.dumps(again.meta))
    assert not any(array.dtype.hasobject for array in first.arrays.values())
    loaded = reranker.recipe.load(Saved(first.arrays, meta))
    score = reranker.fitted.score(world.candidates, reranker.features)
    assert same(loaded.score(world.candidates, reranker.features), score)
    assert loaded.parameters == reranker.fitted.parameters
    assert json.loads(json.dumps(loaded.save().meta)) == meta


def test_a_recipe_without_randomness_ignores_the_seed(reranker, world):
    if reranker.recipe.seeded:
        pytest.skip("its fit uses the seed")
    score = reranker.fitted.score(world.candidates, reranker.features)
    assert same(reranker.fit(seed=5).score(world.candidates, reranker.features), score)


@pytest.fixture(params=GROUPS, ids=lambda cls: cls.__name__)
def group(request):
    return request.param()


def test_columns_are_named_and_typed(group, world):
    fitted = group.fit(world.data, CHANNELS, seed=0)
    features = fitted.compute(world.queries, world.candidates)
    assert features.names == fitted.names
    assert len(set(features.names)) == len(features.names)
    assert features.values.shape == (USERS, K, len(fitted.names))
    assert features.values.dtype == np.float32
    assert np.isnan(features.values[~world.candidates.found]).all()
    assert not np.isinf(features.values).any()
    assert not np.isnan(features.values[world.candidates.found]).all(axis=0).any()


def test_a_column_does_not_depend_on_the_block(group, world):
    fitted = group.fit(world.data, CHANNELS, seed=0)
    whole = fitted.compute(world.queries, world.candidates).values
    for row in range(USERS):
        rows = np.array([row])
        one = fitted.compute(world.queries.rows(rows), world.candidates.rows(rows)).values
        assert same(one, whole[rows])
    turned = np.arange(USERS)[::-1]
    back = fitted.compute(world.queries.rows(turned), world.candidates.rows(turned)).values
    assert same(back[::-1], whole)


def test_a_fit_is_repeatable_and_changes_nothing(group, world):
    before = world.candidates.channel_score.copy(), world.queries.history.items.copy()
    first = group.fit(world.data, CHANNELS, seed=0).compute(world.queries, world.candidates).values
    second = group.fit(world.data, CHANNELS, seed=0).compute(world.queries, world.candidates).values
    assert same(first, second)
    if not group.seeded:
        other = group.fit(world.data, CHANNELS, seed=1).compute(world.queries, world.candidates).values
        assert same(first, other)
    assert same(before[0], world.candidates.channel_score)
    assert same(before[1], world.queries.history.items)


def test_names_do_not_depend_on_the_window(group, world):
    half = world.data.interactions.where(world.data.interactions.user % 2 == 0)
    other = group.fit(dataclasses.replace(world.data, interactions=half), CHANNELS, seed=0)
    assert other.names == group.fit(world.data, CHANNELS, seed=0).names


def test_columns_read_the_fit_window_and_the_query_alone(group, world):
    """Seen items and the tie order are no source of features."""
    fitted = group.fit(world.data, CHANNELS, seed=0)
    whole = fitted.compute(world.queries, world.candidates).values
    other = dataclasses.replace(
        world.queries, seen=world.queries.history.sorted(), tie=world.queries.tie[::-1]
    )
    assert same(fitted.compute(other, world.candidates).values, whole)


def test_cold_users_and_empty_lists_are_served(group, world):
    fitted = group.fit(world.data, CHANNELS, seed=0)
    rows = np.array([0, 1])
    block = fitted.compute(world.queries.rows(rows), world.candidates.rows(rows))
    assert block.values.shape == (2, K, len(fitted.names))
    none = np.zeros(0, np.int64)
    empty = fitted.compute(world.queries.rows(none), world.candidates.rows(none))
    assert empty.values.shape == (0, K, len(fitted.names))
