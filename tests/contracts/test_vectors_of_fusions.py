"""The vectors contract, for every fusion that makes vectors; and through what reads them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import stagelens.fusion
from stagelens.pipeline.contracts import FittedVectors, Saved
from stagelens.pipeline.core import Interactions, ModalityTable, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import dump, field_docs, load, recipes_of
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import Dense, PureSVD
from stagelens.rerank import Similarity

USERS, ITEMS = 50, 70
NO_HISTORY = 49
NAMES = [name for name in recipes_of("fusion") if getattr(stagelens.fusion, name).role == "vectors"]
NEURAL = {"Projected"}
SIGNALS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "content": lambda: ("text", "visual"),
    "content and interaction": lambda: ("text", PureSVD(factors=6)),
    "a fusion of fusions": lambda: ("text", stagelens.fusion.Concat(of=("visual", PureSVD(factors=6)))),
}


@pytest.fixture(scope="module")
def data() -> TrainingData:
    rng = generator(0, "fusion-contract")
    text, visual = rng.normal(size=(ITEMS, 9)), rng.normal(size=(ITEMS, 5)) + 2
    text[::6] = 0.0
    user, item = rng.integers(0, NO_HISTORY, 500), (rng.random(500) ** 2 * ITEMS).astype(int)
    window = Interactions.of(user, item, n_users=USERS, n_items=ITEMS, time=rng.integers(0, 10**9, 500))
    tables = {"text": text.astype(np.float16), "visual": visual.astype(np.float32)}
    return TrainingData(window, {name: ModalityTable.of(name, rows) for name, rows in tables.items()})


@pytest.fixture(scope="module")
def queries(data: TrainingData) -> Queries:
    return Queries.of(np.arange(USERS), data.interactions, data.interactions, tie_order(3, ITEMS))


@pytest.fixture(scope="module", params=[(name, of) for name in NAMES for of in SIGNALS], ids=", ".join)
def recipe(request: pytest.FixtureRequest) -> Any:
    name, of = request.param
    if name in NEURAL:
        pytest.importorskip("torch", reason="needs torch (extra: neural)")
    return getattr(stagelens.fusion, name)(of=SIGNALS[of]())


@pytest.fixture(scope="module")
def fitted(recipe: Any, data: TrainingData) -> FittedVectors:
    made: FittedVectors = recipe.fit(data, seed=0)
    return made


def test_every_fusion_of_representations_is_under_test() -> None:
    assert {"Concat", "Sum", "PCA", "Projected"} <= set(NAMES)


def test_a_recipe_survives_its_configuration(recipe: Any) -> None:
    again = load(json.loads(json.dumps(dump(recipe))))
    assert again == recipe
    assert again.label == recipe.label
    assert again.reads == recipe.reads
    assert "text" in recipe.reads
    fields = {field.name for field in dataclasses.fields(recipe)}
    assert fields <= field_docs(type(recipe)).keys()


def test_shapes_and_absence(fitted: Any, queries: Queries) -> None:
    assert fitted.item.dtype == np.float32
    assert fitted.item.shape[0] == fitted.present.shape[0] == ITEMS
    assert np.isfinite(fitted.item).all()
    assert not fitted.item[~fitted.present].any()
    assert fitted.item[fitted.present].any(axis=1).all()
    vectors, owner = fitted.query(queries)
    assert vectors.shape == (len(owner), fitted.item.shape[1])
    assert NO_HISTORY not in owner
    assert (np.diff(owner) > 0).all()
    assert fitted.parameters >= 0


def test_a_user_does_not_depend_on_the_block(fitted: Any, queries: Queries) -> None:
    vectors, owner = fitted.query(queries)
    for row in (0, 4, 30):
        alone, _ = fitted.query(queries.rows(np.array([row])))
        assert alone.tobytes() == vectors[owner == row].tobytes()


def test_same_seed_same_bytes_and_saved_is_the_same(
    recipe: Any, fitted: Any, data: TrainingData, queries: Queries
) -> None:
    saved = fitted.save()
    again = recipe.fit(data, seed=0).save()
    assert all(saved.arrays[name].tobytes() == again.arrays[name].tobytes() for name in saved.arrays)
    if not recipe.seeded:
        assert recipe.fit(data, seed=1).item.tobytes() == fitted.item.tobytes()
    loaded = recipe.load(Saved(saved.arrays, json.loads(json.dumps(saved.meta))))
    assert loaded.similarity == fitted.similarity
    assert loaded.parameters == fitted.parameters
    np.testing.assert_array_equal(loaded.present, fitted.present)
    np.testing.assert_array_equal(loaded.query(queries)[0], fitted.query(queries)[0])


@pytest.mark.parametrize("options", [{}, {"index": "IVF4,Flat"}, {"index": "HNSW8", "similarity": "cosine"}])
def test_dense_serves_them(
    recipe: Any, data: TrainingData, queries: Queries, options: dict[str, Any]
) -> None:
    if options:
        pytest.importorskip("faiss", reason="an approximate index needs FAISS (extra: cpu)")
    channel = Dense(vectors=recipe, device="cpu", **options)
    fitted = channel.fit(data, seed=0)
    found = fitted.retrieve(queries, 20)
    found.check()
    assert found.found[0].any()
    assert not found.found[NO_HISTORY].any()
    score = fitted.score(queries, found.item)
    np.testing.assert_array_equal(score[found.found], found.score[found.found])
    again = channel.load(fitted.save()).retrieve(queries, 20)
    assert again.item.tobytes() == found.item.tobytes()
    assert fitted.parameters == getattr(recipe.fit(data, seed=0), "parameters", 0)
    assert channel.reads == recipe.reads


def test_similarity_reads_them(recipe: Any, data: TrainingData, queries: Queries) -> None:
    group = Similarity(vectors=recipe)
    assert group.label == f"Similarity({recipe.label})"
    assert group.reads == recipe.reads
    assert group.seeded == recipe.seeded
    assert load(json.loads(json.dumps(dump(group)))) == group
    fitted = group.fit(data, (), seed=0)
    found = Dense(vectors=recipe).fit(data, seed=0).retrieve(queries, 15)
    features = fitted.compute(queries, found)
    assert features.names == fitted.names
    assert np.isfinite(features.values[found.found]).all()
    assert np.isnan(features.values[~found.found]).all()
    made = recipe.fit(data, seed=derived(0))
    unit = made.item / np.maximum(np.linalg.norm(made.item, axis=1, keepdims=True), 1e-30)
    chosen = queries.history[0]
    chosen = chosen[made.present[chosen]]
    expected = (unit[chosen] @ unit[found.item[0]].T).mean(axis=0)
    np.testing.assert_allclose(features.values[0, :, 0], expected, atol=1e-5)


def derived(seed: int) -> int:
    from stagelens.pipeline.seeds import derive

    return derive(seed, "vectors")


def test_similarity_of_factors() -> None:
    assert Similarity(vectors=PureSVD()).label == "Similarity(PureSVD)"
    assert Similarity(vectors=PureSVD(factors=8)).label == "Similarity(PureSVD(factors=8))"
    assert Similarity(vectors=PureSVD()).reads == frozenset()


def test_similarity_takes_one_space() -> None:
    with pytest.raises(ValueError, match="one of the two"):
        Similarity(modality="text", vectors=PureSVD())
    with pytest.raises(ValueError, match="not vectors"):
        Similarity(vectors=Dense(modality="text"))
    assert Similarity().reads == {"text"}


def test_an_unknown_modality_is_named(data: TrainingData) -> None:
    with pytest.raises(ConfigError, match="visual"):
        stagelens.fusion.Concat(of=("text", "visuel")).fit(data, seed=0)
