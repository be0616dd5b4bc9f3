"""``|`` and ``>>``: what they make, what they refuse, and the configuration they equal."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from stagelens.pipeline.compose import Then, Top, Union
from stagelens.pipeline.core import Interactions, Queries
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.toml import to_toml
from stagelens.pipeline.recipe import dump, load
from stagelens.recall import Dense, ItemKNN, Popular, PureSVD
from stagelens.rerank import Evidence, KeepOrder, LambdaMART, Popularity, Similarity

RANKER = LambdaMART(
    features=(Evidence(), Popularity(), Similarity(modality="text")), trees=20, min_trees=5, min_rows_leaf=10
)


def test_channels_merge_into_one_flat_union():
    whole = Popular() | ItemKNN() | Dense(modality="text")
    assert whole == Union(parts=(Popular(), ItemKNN(), Dense(modality="text")))
    assert Popular() | (ItemKNN() | Dense(modality="text")) == whole
    assert whole.label == "Popular | ItemKNN | Dense(text)"
    assert whole.reads == {"text"}


@pytest.mark.parametrize("settings", [{"size": 30}, {"merge": "quota"}, {"rrf_k": 5.0}, {"weights": "equal"}])
@pytest.mark.parametrize("first", [True, False])
def test_a_union_keeps_its_settings_when_a_channel_joins(settings, first):
    known = Union(parts=(Popular(), ItemKNN()), **settings)
    joined = known | Dense(modality="text") if first else Dense(modality="text") | known
    assert {name: getattr(joined, name) for name in settings} == settings
    assert len(joined.parts) == 3


def test_weights_given_one_a_channel_are_not_forgotten_when_another_joins():
    with pytest.raises(ConfigError, match=r"weights = \(1\.0, 0\.5\).*Union\(parts=.*weights="):
        _ = Union(parts=(Popular(), ItemKNN()), weights=(1.0, 0.5)) | Dense(modality="text")


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.5, 0.5), (0.0, 0.0)])
def test_weights_must_be_one_a_channel_and_not_all_zero(weights):
    with pytest.raises(ValueError, match=r"2 channels|above 0"):
        Union(parts=(Popular(), ItemKNN()), weights=weights)


def test_then_and_top():
    system = Popular() | ItemKNN()
    chain = system >> RANKER >> Top(n=7)
    assert chain == Then(recall=system, rerank=RANKER, top=7)
    assert Popular() >> KeepOrder() == Then(recall=Union(parts=(Popular(),)), rerank=KeepOrder())
    assert chain.label == "(Popular | ItemKNN) >> LambdaMART >> Top(7)"


@pytest.mark.parametrize(
    "system",
    [
        Popular() | ItemKNN() | Dense(modality="text", index="IVF16,Flat"),
        Union(parts=(Popular(), Dense(vectors=PureSVD())), weights=(1.0, 0.25), size=50),
        (Popular() | ItemKNN()) >> RANKER >> Top(n=10),
    ],
    ids=["union", "weighted union", "chain"],
)
def test_a_system_comes_back_from_toml(system):
    written = to_toml(dump(system))
    assert load(tomllib.loads(written)) == system


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Popular() | RANKER, r"'\|' merges channels; LambdaMART is a reranker.*>>"),
        (lambda: RANKER >> Popular(), "LambdaMART >> Popular.*channels >> re-ranker"),
        (lambda: Popular() >> Top(n=3), "Popular >> Top.*system >> Top"),
        (lambda: Popular() | Popular(), "distinct labels, Popular occurs twice"),
        (lambda: Popular() >> Evidence(), "allowed are channels >> re-ranker"),
        (lambda: load({"use": "pipeline.Union"}), "parts"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_next_step(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


def test_exact_replaces_every_index_and_is_exact_says_so():
    rough = Popular() | Dense(modality="text", index="IVF16,Flat", nprobe=2)
    assert not rough.is_exact
    assert rough.exact() == Popular() | Dense(modality="text")
    assert rough.exact().is_exact
    assert (Popular() | Dense(modality="text")).is_exact


def test_a_fitted_system_recommends_what_the_study_would_measure(tiny, tiny_split, tmp_path):
    union = Union(parts=(Popular(), ItemKNN(), Dense(modality="text", device="cpu")), size=20)
    system = union >> RANKER
    fitted = (system >> Top(n=5)).fit(tiny, tiny_split, store=tmp_path)
    bench = fitted.workbench
    window = bench.windows.test
    queries = window.queries(0, len(window))
    served = fitted.recommend(queries)
    served.check()
    assert served.item.shape == (len(window), 5)
    measured = np.concatenate([orders[0].item[:, :5] for *_, orders in bench.orders([system], window)])
    assert np.array_equal(served.item, measured)

    one = np.array([len(window) // 2])
    alone = fitted.recommend(queries.rows(one))
    assert np.array_equal(alone.item, served.item[one])  # a row never depends on its block

    merged = union.fit(tiny, tiny_split, store=tmp_path).recommend(queries)
    assert set(served.item[3].tolist()) <= set(merged.item[3].tolist())
    for row in range(len(window)):
        assert not set(merged.item[row].tolist()) & set(queries.seen[row].tolist())


def test_a_user_without_history_gets_a_full_list(tiny, tiny_split, tmp_path):
    union = Union(parts=(ItemKNN(), Dense(modality="text", device="cpu")), size=20)
    fitted = (union >> RANKER).fit(tiny, tiny_split, store=tmp_path)
    nothing = Interactions.of(np.zeros(0, int), np.zeros(0, int), n_users=200, n_items=150)
    stranger = Queries.of(np.array([0]), nothing, nothing, fitted.workbench.windows.test.tie)
    served = fitted.recommend(stranger)
    assert len(set(served.item[0].tolist())) == 20
    assert (served.item >= 0).all()
    popular = np.argsort(-tiny_split.train.item_degree(), kind="stable")
    degree = tiny_split.train.item_degree()
    assert degree[served.item[0]].min() >= degree[popular[19]]  # filled by popularity
