"""Channels where interactions are few: cold items, cold users, long histories, no vector, nothing at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.core import Dataset, Interactions, ModalityTable, Queries, Split, TrainingData
from stagelens.pipeline.data.thinning import Budget, thinned
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.seeds import tie_order
from stagelens.pipeline.windows import windows_of
from stagelens.recall import Dense, ItemKNN, Popular, PureSVD, Random

GROUPS, USERS, ITEMS = 6, 240, 180
INTERACTION = [ItemKNN(), ItemKNN(weighting="bm25"), Dense(vectors=PureSVD(factors=8)), Popular()]


def planted(seed: int = 0) -> tuple[Dataset, Split]:
    """Users take items of their own group; vectors tell the group, and nothing else differs."""
    rng = np.random.default_rng(seed)
    group = np.arange(ITEMS) % GROUPS
    user = np.repeat(np.arange(USERS), 12)
    own = rng.random(len(user)) < 0.9
    item = np.where(own, rng.integers(0, ITEMS // GROUPS, len(user)) * GROUPS + user % GROUPS, 0)
    item = np.where(own, item, rng.integers(0, ITEMS, len(user)))
    log = Interactions.of(user, item, n_users=USERS, n_items=ITEMS)
    values = np.eye(GROUPS)[group] + 0.3 * rng.standard_normal((ITEMS, GROUPS))
    table = ModalityTable.of("text", values.astype(np.float32))
    names = np.arange(max(USERS, ITEMS)).astype(str)
    given = np.full(len(log), -1, np.int8)
    data = Dataset("planted", log, given, "none", names[:USERS], names[:ITEMS], {"text": table})
    window = rng.choice(4, size=len(log), p=[0.6, 0.1, 0.1, 0.2])
    return data, Split("given", *(log.where(window == code) for code in range(4)), clock="none")


def fit_and_ask(channel, data, split, budget, depth=30):
    """Return the candidates of every test user, and the test window."""
    part = split if budget is None else thinned(split, budget)
    windows = windows_of(part, tie_order(0, ITEMS), refit="full", whole=split)
    window = windows.test
    fitted = channel.fit(data.training(window.fit), seed=0)
    return fitted.retrieve(window.queries(0, len(window)), depth), window


def cold_of(split: Split, budget: Budget) -> np.ndarray:
    return (split.train.item_degree() > 0) & (thinned(split, budget).train.item_degree() == 0)


@pytest.mark.parametrize("channel", INTERACTION, ids=lambda one: repr(one))
@pytest.mark.parametrize("draw", [0, 1])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_interaction_channels_never_return_a_cold_item(channel, draw, share):
    data, split = planted()
    budget = Budget("cold-items", share, draw=draw)
    cold = cold_of(split, budget)
    assert cold.sum() == round((1 - share) * (split.train.item_degree() > 0).sum())
    found, _ = fit_and_ask(channel, data, split, budget, depth=ITEMS)
    assert not cold[found.item[found.found]].any()
    scores = channel.fit(data.training(thinned(split, budget).train), seed=0).score(
        Queries(
            np.arange(3, dtype=np.int32), split.train.lists().rows(np.arange(3)), none(3), tie_order(0, ITEMS)
        ),
        np.tile(np.flatnonzero(cold), (3, 1)).astype(np.int32),
    )
    assert not np.isfinite(scores).any() or isinstance(
        channel, Dense
    )  # a zero vector scores 0, and is not returned


def none(rows: int):
    empty = Interactions.of(np.zeros(0, int), np.zeros(0, int), n_users=rows, n_items=ITEMS)
    return empty.lists()


def test_content_finds_cold_items_more_often_than_chance():
    data, split = planted()
    budget = Budget("cold-items", 0.5)
    cold = cold_of(split, budget)
    rates = {}
    for name, channel in (("content", Dense(modality="text")), ("chance", Random())):
        found, window = fit_and_ask(channel, data, split, budget)
        ranks = window.truth.ranks(found)
        rates[name] = float((ranks > 0)[cold[window.truth.pair_item]].mean())
    assert rates["chance"] == pytest.approx(30 / (ITEMS - 8), abs=0.06)
    assert rates["content"] > 3 * rates["chance"]


def test_permuted_vectors_find_them_no_more_often_than_chance():
    data, split = planted()
    rng = np.random.default_rng(9)
    shuffled = ModalityTable.of("text", data.modalities["text"].values[rng.permutation(ITEMS)])
    data = data.with_modality(shuffled)
    budget = Budget("cold-items", 0.5)
    found, window = fit_and_ask(Dense(modality="text"), data, split, budget)
    hit = (window.truth.ranks(found) > 0)[cold_of(split, budget)[window.truth.pair_item]]
    assert hit.mean() < 0.3


@pytest.mark.parametrize(
    "channel", [*INTERACTION, Dense(modality="text"), Random()], ids=lambda one: repr(one)
)
@pytest.mark.parametrize("budget", [Budget("per-user", 0), Budget("uniform", 0.0), Budget("cold-items", 0.0)])
def test_a_budget_that_leaves_nothing_is_answered(channel, budget):
    data, split = planted()
    found, window = fit_and_ask(channel, data, split, budget)
    found.check()
    assert found.item.shape == (len(window), 30)
    assert found.found.all() == isinstance(channel, Random)  # nobody else knows anything
    assert found.found.any() == isinstance(channel, Random)


def test_a_cold_user_among_others_gets_what_needs_no_history():
    data, split = planted()
    who = int(Truth.of(split.test).user[5])
    part = thinned(split, Budget("per-user", 1))
    kept = replace(part, history=part.history.where(part.history.user != who))
    kept = replace(kept, labels=part.labels.where(part.labels.user != who))
    window = windows_of(kept, tie_order(0, ITEMS), refit="full", whole=split).test
    asked = window.queries(5, 6)
    assert asked.user.tolist() == [who]
    assert len(asked.history.items) == 0
    assert len(asked.seen.items) > 5  # still masked
    answers = {Popular(): True, Random(): True, ItemKNN(): False, Dense(modality="text"): False}
    for channel, answered in answers.items():
        found = channel.fit(data.training(window.fit), seed=0).retrieve(asked, 20)
        assert found.found.all() == answered == found.found.any()
        assert not np.isin(found.item[found.found], asked.seen.items).any()


def test_a_user_with_five_thousand_items_is_answered_at_every_budget():
    n = 6000
    rng = np.random.default_rng(1)
    user = np.r_[np.zeros(5000, int), rng.integers(1, 40, 2000)]
    item = np.r_[rng.permutation(n)[:5000], rng.integers(0, n, 2000)]
    log = Interactions.of(user, item, n_users=40, n_items=n)
    test = Interactions.of(
        np.array([0, 1]), np.array([np.setdiff1d(np.arange(n), item[:5000])[0], 3]), n_users=40, n_items=n
    )
    empty = log.where(log.user < 0)
    split = Split("given", log, empty, empty, test, "none")
    table = ModalityTable.of("text", rng.standard_normal((n, 8)).astype(np.float32))
    for share in (1.0, 0.2, 0.01):
        window = windows_of(
            thinned(split, Budget("uniform", share)), tie_order(0, n), refit="full", whole=split
        ).test
        queries = window.queries(0, 1)
        assert len(queries.seen.items) == 5000
        for channel in (Popular(), ItemKNN(), Dense(modality="text"), Random()):
            fitted = channel.fit(TrainingData(window.fit, {"text": table}), seed=0)
            found = fitted.retrieve(queries, 900)
            found.check()
            assert not np.isin(found.item[found.found], queries.seen.items).any()
            if isinstance(channel, Dense | Random):
                assert found.found.sum() == 900  # of the 1,000 that are left


def test_an_item_without_a_vector_is_found_by_nobody_once_it_is_cold():
    data, split = planted()
    values = data.modalities["text"].values.copy()
    budget = Budget("cold-items", 0.8)
    lost = np.flatnonzero(cold_of(split, budget))[:5]
    values[lost] = 0
    data = data.with_modality(ModalityTable.of("text", values))
    for channel in (*INTERACTION, Dense(modality="text")):
        found, _ = fit_and_ask(channel, data, split, budget, depth=ITEMS)
        assert not np.isin(found.item, lost).any()
