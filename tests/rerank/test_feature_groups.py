from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions, Lists, ModalityTable
from stagelens.pipeline.errors import ConfigError
from stagelens.rerank import Evidence, History, Popularity, Side, Similarity


def computed(recipe, small, data=None, queries=None):
    fitted = recipe.fit(data or small.data, small.candidates.channels, seed=0)
    features = fitted.compute(queries or small.queries, small.candidates)
    return dict(zip(features.names, np.moveaxis(features.values, 2, 0), strict=True))


def test_evidence_says_what_channels_said(small):
    column = computed(Evidence(raw=True), small)
    found = small.candidates.found
    for c, name in enumerate(small.candidates.channels):
        rank = small.candidates.channel_rank[..., c]
        known = rank > 0
        assert np.array_equal(
            column[f"evidence: {name} raw score"], small.candidates.channel_score[..., c], equal_nan=True
        )
        assert np.array_equal(column[f"evidence: {name} rank"][known], rank[known])
        assert np.allclose(column[f"evidence: {name} reciprocal rank"][known], 1 / rank[known])
        for part in ("rank", "reciprocal rank", "min-max score", "standard score", "raw score"):
            assert np.array_equal(np.isnan(column[f"evidence: {name} {part}"]), ~known)
    count = (small.candidates.channel_rank > 0).sum(axis=2)
    assert np.array_equal(column["evidence: channels found"][found], count[found])
    place = np.broadcast_to(np.arange(1, small.candidates.size + 1), found.shape)
    assert np.array_equal(column["evidence: merged rank"][found], place[found])
    assert np.array_equal(column["evidence: merged score"][found], small.candidates.score[found])


def test_standard_scores_have_mean_0_and_deviation_1_in_each_list(small):
    column = computed(Evidence(), small)["evidence: ItemKNN standard score"]
    some = np.flatnonzero((small.candidates.channel_rank[..., 1] > 0).sum(axis=1) > 1)
    assert np.allclose(np.nanmean(column[some], axis=1), 0, atol=1e-6)
    assert np.allclose(np.nanstd(column[some], axis=1), 1, atol=1e-6)
    flat = np.where(small.candidates.channel_rank > 0, np.float32(3), np.float32(np.nan))
    constant = replace(small, candidates=replace(small.candidates, channel_score=flat))
    assert np.nanmax(np.abs(computed(Evidence(), constant)["evidence: ItemKNN standard score"])) == 0


@pytest.mark.parametrize("recipe", [Evidence(), History(), Popularity()])
def test_columns_mean_the_same_on_a_larger_window(small, recipe):
    """Twice the events and twice the scores, all else equal: training and serving agree."""
    window = small.data.interactions
    data = replace(small.data, interactions=window.merged(window))
    history = small.queries.history
    twice = Lists(2 * history.indptr, np.repeat(history.items, 2))
    larger = replace(
        small,
        candidates=replace(small.candidates, channel_score=2 * small.candidates.channel_score),
    )
    before = computed(recipe, small)
    after = computed(recipe, larger, data=data, queries=replace(small.queries, history=twice))
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert np.allclose(values, after[name], atol=1e-5, equal_nan=True), name


def test_min_max_spans_each_list(small):
    column = computed(Evidence(), small)["evidence: ItemKNN min-max score"]
    some = np.flatnonzero((small.candidates.channel_rank[..., 1] > 0).sum(axis=1) > 1)
    assert np.array_equal(np.nanmin(column[some], axis=1), np.zeros(len(some)))
    assert np.array_equal(np.nanmax(column[some], axis=1), np.ones(len(some)))
    flat = np.where(small.candidates.channel_rank > 0, np.float32(3), np.float32(np.nan))
    constant = replace(small, candidates=replace(small.candidates, channel_score=flat))
    assert np.nanmin(computed(Evidence(), constant)["evidence: ItemKNN min-max score"]) == 1


def test_hidden_evidence_is_absent_and_cannot_be_read_back(small):
    fitted = Evidence(hidden=("Dense(text)",), merged=False).fit(
        small.data, small.candidates.channels, seed=0
    )
    assert not any("Dense" in name and "without" not in name for name in fitted.names)
    assert not any("merged" in name for name in fitted.names)
    blank = replace(
        small.candidates,
        channel_score=np.where(np.arange(3) == 2, np.nan, small.candidates.channel_score).astype(np.float32),
        channel_rank=np.where(np.arange(3) == 2, 0, small.candidates.channel_rank).astype(np.int32),
    )
    first = fitted.compute(small.queries, small.candidates).values
    assert np.array_equal(first, fitted.compute(small.queries, blank).values, equal_nan=True)


def test_equal_names_hold_equal_values(small):
    """So that the columns of several re-rankers can be computed once."""
    whole = computed(Evidence(), small)
    for recipe in (Evidence(merged=False), Evidence(hidden=("ItemKNN",)), Evidence(hidden=("Absent",))):
        part = computed(recipe, small)
        shared = whole.keys() & part.keys()
        assert len(shared) > 5
        assert all(np.array_equal(whole[name], part[name], equal_nan=True) for name in shared)
    hidden = computed(Evidence(hidden=("ItemKNN",)), small)
    assert "evidence: channels found" not in hidden
    count = (small.candidates.channel_rank[..., [0, 2]] > 0).sum(axis=2)
    found = small.candidates.found
    assert np.array_equal(hidden["evidence: channels found without ItemKNN"][found], count[found])


def test_absent_evidence_never_tells_a_positive(small):
    """NaN follows the channel's rank alone, whatever the gains (which no group ever sees)."""
    column = computed(Evidence(), small)
    positive = small.gains > 0
    absent = np.isnan(column["evidence: ItemKNN rank"]) & small.candidates.found
    share = absent[positive].mean(), absent[small.candidates.found & ~positive].mean()
    assert abs(share[0] - share[1]) < 0.15


def test_evidence_of_other_channels_is_refused(small):
    fitted = Evidence().fit(small.data, ("Other",), seed=0)
    with pytest.raises(ValueError, match="Other"):
        fitted.compute(small.queries, small.candidates)


def test_history_counts_the_query_not_the_data(small):
    queries = replace(
        small.queries,
        history=Lists(np.arange(len(small.queries) + 1), np.zeros(len(small.queries), np.int32)),
    )
    column = computed(History(), small, queries=queries)
    found = small.candidates.found
    length = len(small.data.interactions) / len(small.data.interactions.users())
    assert np.allclose(column["history: relative length"][found], 1 / length)
    degree = small.data.interactions.item_degree()
    popularity = np.log1p(degree[0] / degree.mean())
    assert np.allclose(column["history: mean log popularity"][found], popularity)
    assert np.allclose(column["history: max log popularity"][found], popularity)


def test_history_by_hand(small):
    column = computed(History(), small)
    degree = small.data.interactions.item_degree()
    popularity = np.log1p(degree / degree.mean())
    length = len(small.data.interactions) / len(small.data.interactions.users())
    for q in (1, 5, 30):
        items = small.queries.history[q]
        assert np.allclose(column["history: relative length"][q, 0], len(items) / length)
        assert np.allclose(column["history: mean log popularity"][q, 0], popularity[items].mean(), atol=1e-6)
        assert np.allclose(column["history: max log popularity"][q, 0], popularity[items].max())
        assert 0 <= column["history: head share"][q, 0] <= 1
    assert column["history: relative length"][0, 0] == 0
    assert np.isnan(column["history: mean log popularity"][0, 0])
    assert np.isnan(column["history: max log popularity"][0, 0])
    share = computed(History(), small)["history: head share"]
    assert 0.2 < np.nanmean(share) < 0.9


def test_popularity_by_hand(small):
    column = computed(Popularity(), small)
    window, found = small.data.interactions, small.candidates.found
    item = small.candidates.item[found]
    degree = window.item_degree()
    assert np.allclose(column["popularity: relative count"][found], degree[item] / degree.mean())
    assert np.allclose(
        column["popularity: log count"][found], np.log1p(degree[item] / degree.mean()), atol=1e-6
    )
    percentile = np.array([((degree < degree[i]).sum() + (degree <= degree[i]).sum()) / 2 for i in item])
    assert np.allclose(column["popularity: percentile"][found], percentile / len(degree))
    last = np.sort(window.time)[int(len(window) * 0.9)]
    recent = np.bincount(window.item[window.time >= last], minlength=len(degree))
    assert np.allclose(
        column["popularity: recent log count"][found],
        np.log1p(recent[item] / recent.mean()),
        atol=1e-6,
    )
    usual = np.log1p(degree[small.queries.history[7]] / degree.mean()).mean()
    own = np.log1p(degree[small.candidates.item[7, :5]] / degree.mean()) - usual
    assert np.allclose(column["popularity: relative to history"][7, :5], own, atol=1e-6)
    assert np.isnan(column["popularity: relative to history"][0]).all()


@pytest.mark.parametrize("kind", ["none", "order", "a fold of an order"])
def test_recent_popularity_is_unknown_without_a_clock(small, kind):
    window = small.data.interactions
    first = np.concatenate([[0], np.flatnonzero(np.diff(window.user)) + 1])
    position = np.arange(len(window)) - np.repeat(first, np.diff([*first, len(window)]))
    time = np.zeros(len(window), np.int64) if kind == "none" else position
    changed = replace(window, time=time)
    if kind == "a fold of an order":
        changed = changed.where(np.random.default_rng(0).random(len(window)) < 0.8)
    column = computed(Popularity(), small, data=replace(small.data, interactions=changed))
    assert np.isnan(column["popularity: recent log count"]).all()


def brute_force(small, modality, half_life, max_history, centred=True):
    table = small.data.modalities[modality]
    values = np.asarray(table.values, dtype=np.float64)
    occurs = small.data.interactions.item_degree() > 0
    if centred:
        values = values - values[table.present & occurs].mean(axis=0)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    result = np.full((*small.candidates.item.shape, 3), np.nan)
    for q in range(len(small.queries)):
        items = [i for i in small.queries.history[q] if table.present[i]][-max_history:]
        if not items:
            continue
        weights = 0.5 ** (np.arange(len(items))[::-1] / half_life)
        for k, item in enumerate(small.candidates.item[q]):
            if item >= 0 and table.present[item]:
                cosine = unit[items] @ unit[item]
                result[q, k] = cosine.mean(), cosine.max(), (weights * cosine).sum() / weights.sum()
    return result


@pytest.mark.parametrize("modality", ["text", "visual"])
@pytest.mark.parametrize(("half_life", "max_history"), [(10.0, 50), (1.5, 4)])
@pytest.mark.parametrize("centred", [True, False])
def test_similarity_equals_brute_force(small, modality, half_life, max_history, centred):
    recipe = Similarity(modality=modality, half_life=half_life, max_history=max_history, centred=centred)
    fitted = recipe.fit(small.data, small.candidates.channels, seed=0)
    got = fitted.compute(small.queries, small.candidates).values[..., :3]
    with np.errstate(all="ignore"):
        expected = brute_force(small, modality, half_life, max_history, centred)
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    assert np.nanmax(np.abs(got - expected)) < 1e-5


def test_similarity_forgets_beyond_max_history(small):
    recipe = Similarity(modality="visual", max_history=3)
    fitted = recipe.fit(small.data, small.candidates.channels, seed=0)
    history = small.queries.history
    latest = [history[q][-3:] for q in range(len(history))]
    indptr = np.concatenate([[0], np.cumsum([len(part) for part in latest])]).astype(np.int64)
    short = replace(small.queries, history=Lists(indptr, np.concatenate(latest).astype(np.int32)))
    first = fitted.compute(small.queries, small.candidates).values
    assert np.array_equal(first, fitted.compute(short, small.candidates).values, equal_nan=True)


def test_presence_is_a_column(small):
    text = computed(Similarity(modality="text"), small)
    visual = computed(Similarity(modality="visual"), small)
    found = small.candidates.found
    assert (visual["Similarity(visual): present"][found] == 1).all()  # every item has it
    present = small.data.modalities["text"].present[small.candidates.item]
    assert np.array_equal(text["Similarity(text): present"][found], present[found])
    assert 0 < present[found].mean() < 1


def test_centring_uses_the_fit_window_alone(small):
    """Rows of items outside the window do not move the mean."""
    window = small.data.interactions
    kept = window.where(window.item < 60)
    values = np.asarray(small.data.modalities["visual"].values).copy()
    base = replace(small.data, interactions=kept)
    values[100:] += 50
    moved = replace(base, modalities={"visual": ModalityTable.of("visual", values)})
    recipe = Similarity(modality="visual")
    first = recipe.fit(base, (), seed=0).vectors[:100]
    assert np.array_equal(first, recipe.fit(moved, (), seed=0).vectors[:100])


def test_constant_vectors_have_no_direction(small):
    table = ModalityTable.of("flat", np.full((120, 5), 0.1, np.float32))
    data = replace(small.data, modalities={"flat": table})
    column = computed(Similarity(modality="flat"), small, data=data)
    assert all(np.isnan(values).all() for name, values in column.items() if not name.endswith("present"))


def test_unknown_modality_and_column_are_named(small):
    with pytest.raises(ConfigError, match="visual"):
        Similarity(modality="visuel").fit(small.data, (), seed=0)
    with pytest.raises(ConfigError, match="price"):
        Side(columns=("prize",)).fit(small.data, (), seed=0)


def test_side_columns_are_those_of_the_item_and_the_user(small):
    column = computed(Side(), small)
    found = small.candidates.found
    assert list(column) == ["side: item price", "side: user age"]
    price = small.data.item_columns["price"][small.candidates.item[found]]
    assert np.array_equal(column["side: item price"][found], price)
    age = np.broadcast_to(small.data.user_columns["age"][:, None], found.shape)[found]
    assert np.array_equal(column["side: user age"][found], age)
    assert list(computed(Side(columns=("age",)), small)) == ["side: user age"]


def test_no_side_column_is_no_feature(small):
    data = replace(small.data, item_columns={}, user_columns={})
    fitted = Side().fit(data, (), seed=0)
    assert fitted.compute(small.queries, small.candidates).values.shape == (*small.candidates.item.shape, 0)


@pytest.mark.parametrize("recipe", [History(), Popularity(), Similarity(modality="text")])
def test_a_window_without_interactions_is_served(small, recipe):
    empty = Interactions.of(np.zeros(0, int), np.zeros(0, int), n_users=60, n_items=120)
    history = Lists(np.zeros(61, np.int64), np.zeros(0, np.int32))
    data = replace(small.data, interactions=empty)
    column = computed(recipe, small, data=data, queries=replace(small.queries, history=history))
    assert set(column) == set(computed(recipe, small))


def test_labels_say_modality_and_changed_options():
    assert Similarity(modality="text").label == "Similarity(text)"
    assert Similarity(modality="text", half_life=3).label == "Similarity(text, half_life=3.0)"
    assert Similarity(modality="text").reads == {"text"}
    assert Evidence().reads == frozenset()
