"""Merge weights chosen on valid, and evidence completed for items that no channel returned."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from stagelens.pipeline.core import Candidates, Interactions, Lists, Queries
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.merge import (
    WEIGHT_GRID,
    WEIGHT_TRIALS,
    choose_weights,
    completed,
    merge_lists,
    popularity_order,
)

USERS, ITEMS, SIZE = 120, 60, 10
LABELS = tuple(f"channel {letter}" for letter in "abcdefgh")


def valid_case(channels: int, *, useless: tuple[int, ...] = (), seed: int = 0):
    """Channels that each find some relevant items; the ``useless`` ones return only irrelevant items."""
    rng = np.random.default_rng(seed)
    relevant = np.stack([rng.choice(ITEMS, 4, replace=False) for _ in range(USERS)])
    item = np.empty((channels, USERS, SIZE), dtype=np.int32)
    for c, q in itertools.product(range(channels), range(USERS)):
        junk = rng.permutation(np.setdiff1d(np.arange(ITEMS), relevant[q]))
        good = [] if c in useless else rng.choice(relevant[q], rng.integers(0, 4), replace=False).tolist()
        item[c, q] = rng.permutation([*good, *junk[: SIZE - len(good)]])
    none = Lists(np.zeros(USERS + 1, dtype=np.int64), np.zeros(0, dtype=np.int32))
    tie = rng.permutation(ITEMS).astype(np.int32)
    queries = Queries(np.arange(USERS, dtype=np.int32), none, none, tie)
    user = np.repeat(np.arange(USERS), 4)
    truth = Truth.of(Interactions.of(user, relevant.ravel(), n_users=USERS, n_items=ITEMS))
    filler = popularity_order(np.ones(ITEMS, dtype=np.int64), tie)
    return item, queries, truth, filler


def choose(case, channels: int, **other):
    item, queries, truth, filler = case
    settings = {"size": SIZE, "filler": filler, "rrf_k": 60.0, "seed": 1, **other}
    return choose_weights(LABELS[:channels], item, queries, truth, **settings)


def value_of(case, channels: int, weights) -> float:
    item, queries, truth, filler = case
    score = np.zeros(item.shape, dtype=np.float32)
    merged, _ = merge_lists(
        LABELS[:channels], item, score, queries, weights=weights, size=SIZE, filler=filler
    )
    return float(((truth.ranks(merged) > 0) / truth.count[truth.pair_row]).sum() / len(truth))


@pytest.mark.parametrize("channels", [3, 4, 6, 8])
def test_arms_get_the_same_number_of_trials_whatever_their_channels(channels):
    _, _, trials = choose(valid_case(channels), channels)
    assert trials == WEIGHT_TRIALS


def test_two_channels_try_every_distinct_point_of_the_grid_and_take_the_best():
    case = valid_case(2, seed=3)
    weights, value, trials = choose(case, 2)
    points = [p for p in itertools.product(WEIGHT_GRID, repeat=2) if max(p) > 0]
    assert trials == len({tuple(round(w / max(p), 6) for w in p) for p in points})
    best = max(value_of(case, 2, point) for point in points)
    assert value == pytest.approx(best, abs=1e-12)
    assert value_of(case, 2, weights) == pytest.approx(best, abs=1e-12)


def test_the_value_reported_is_recall_of_the_merged_lists():
    case = valid_case(4, seed=4)
    weights, value, _ = choose(case, 4)
    assert value == pytest.approx(value_of(case, 4, weights), abs=1e-12)
    assert value >= value_of(case, 4, (1, 1, 1, 1))


@pytest.mark.parametrize("useless", [0, 1, 2])
def test_a_channel_that_only_hurts_gets_weight_zero(useless):
    weights, _, _ = choose(valid_case(3, useless=(useless,)), 3)
    assert weights[useless] == 0
    assert max(weights) > 0


def test_the_order_of_channels_does_not_move_the_weights():
    item, queries, truth, filler = valid_case(3, seed=8)
    settings = {"size": SIZE, "filler": filler, "rrf_k": 60.0, "seed": 1}
    first, value, _ = choose_weights(LABELS[:3], item, queries, truth, **settings)
    turned = (LABELS[2], LABELS[0], LABELS[1])
    second, again, _ = choose_weights(turned, item[[2, 0, 1]], queries, truth, **settings)
    assert value == again
    assert first == (second[1], second[2], second[0])


def injected(seed: int = 0):
    """Lists of 12, of which the last 4 were put in from outside; channel 1 cannot score a fifth of the items."""
    rng = np.random.default_rng(seed)
    item = np.stack([rng.permutation(ITEMS)[:12] for _ in range(50)]).astype(np.int32)
    item[3, 9:] = -1
    nothing = np.full((50, 12, 2), np.nan, dtype=np.float32)
    rank = np.zeros((50, 12, 2), dtype=np.int32)
    score = np.where(item >= 0, 0.0, -np.inf).astype(np.float32)
    lists = Candidates(np.arange(50, dtype=np.int32), item, score, ("a", "b"), nothing, rank)
    exact = rng.standard_normal((50, 12, 2)).astype(np.float32)
    exact[..., 1][item % 5 == 0] = np.nan
    tie = rng.permutation(ITEMS).astype(np.int32)
    return lists, exact, tie


def test_completed_evidence_does_not_tell_which_items_were_put_in():
    lists, exact, tie = injected()
    whole = completed(lists, exact, tie, weights=(1.0, 0.5), rrf_k=60.0)
    whole.check()
    scorable = np.stack([whole.found, whole.found & (whole.item % 5 != 0)], axis=2)
    assert np.array_equal(
        whole.channel_rank > 0, scorable
    )  # absent only where the channel has no score at all
    assert np.array_equal(np.isnan(whole.channel_score), ~scorable)
    for q in range(50):  # ranks are those of the scores within the list, with no gaps
        for c in range(2):
            ranks = whole.channel_rank[q, :, c]
            by_score = np.argsort(-whole.channel_score[q, :, c][ranks > 0], kind="stable")
            assert ranks[ranks > 0][by_score].tolist() == list(range(1, (ranks > 0).sum() + 1))


def test_completed_evidence_depends_on_the_set_and_not_on_where_an_item_stood():
    lists, exact, tie = injected(1)
    order = np.random.default_rng(0).permuted(np.tile(np.arange(12), (50, 1)), axis=1)
    order[3] = np.arange(12)  # padding stays at the tail
    moved = Candidates(
        lists.user,
        np.take_along_axis(lists.item, order, axis=1),
        lists.score,
        lists.channels,
        lists.channel_score,
        lists.channel_rank,
    )
    first = completed(lists, exact, tie, weights=(1.0, 0.5), rrf_k=60.0)
    second = completed(
        moved, np.take_along_axis(exact, order[..., None], axis=1), tie, weights=(1.0, 0.5), rrf_k=60.0
    )
    for name in ("item", "score", "channel_score", "channel_rank"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
