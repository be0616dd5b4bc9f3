"""Merging against a reference in plain Python."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.core import Candidates, Interactions, Lists, Queries
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.merge import merge_lists, popularity_order

NAMES = ("Popular", "ItemKNN", "Dense(text)", "Dense(image)")


def lists_of(rows: list[list[int]]) -> Lists:
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Lists(indptr, np.array([code for row in rows for code in row], dtype=np.int32))


def draw(rng: np.random.Generator, channels: int, queries: int, items: int, depth: int) -> dict[str, Any]:
    """Random channel lists of unseen items with padding, random histories, a random tie order and popularity."""
    seen = [np.sort(rng.choice(items, rng.integers(0, items // 2), replace=False)) for _ in range(queries)]
    item = np.full((channels, queries, depth), -1, dtype=np.int32)
    score = np.full(item.shape, -np.inf, dtype=np.float32)
    for c in range(channels):
        for q in range(queries):
            unseen = np.setdiff1d(np.arange(items), seen[q])
            found = rng.permutation(unseen)[: rng.integers(0, depth + 1)]
            item[c, q, : len(found)] = found
            score[c, q, : len(found)] = -np.sort(-rng.standard_normal(len(found)))
    tie = rng.permutation(items).astype(np.int32)
    masked = lists_of([row.tolist() for row in seen])
    asked = Queries(np.arange(queries, dtype=np.int32), masked, masked, tie)
    filler = popularity_order(rng.integers(0, 4, items).astype(np.int64), tie)
    return {"item": item, "score": score, "queries": asked, "filler": filler}


def expected(
    names: tuple[str, ...], case: dict[str, Any], q: int, weights: Any, size: int, how: str, rrf_k: float
) -> tuple[list[int], list[float], int]:
    """The merged items, scores and number of filled places of query ``q``, straight from the definitions."""
    item, tie = case["item"][:, q], case["queries"].tie
    quota = [math.floor(size * w / math.fsum(weights) + 1e-9) for w in weights]
    value: dict[int, float] = {}
    for c in sorted(range(len(names)), key=lambda c: names[c]):
        if weights[c] == 0:
            continue
        for place, code in enumerate(item[c][item[c] >= 0].tolist()):
            if how == "rrf":
                value[code] = value.get(code, 0.0) + weights[c] / (rrf_k + place + 1)
            else:
                first = 1e9 if how == "quota" and place < quota[c] else 0.0
                value[code] = max(value.get(code, -1e18), first - (place + 1))
    merged = sorted(value, key=lambda code: (-value[code], tie[code]))[:size]
    masked = set(case["queries"].seen[q].tolist())
    fill = [int(code) for code in case["filler"] if code not in value and code not in masked]
    fill = fill[: size - len(merged)]
    return [*merged, *fill], [value[code] for code in merged], len(fill)


@pytest.mark.parametrize("how", ["rrf", "quota", "round-robin"])
@pytest.mark.parametrize("size", [1, 6, 12, 40])
def test_merge_is_what_the_definitions_say(how, size):
    rng = np.random.default_rng(size)
    for weights in [(1, 1, 1), (0.5, 0.1, 0.25), (0, 1, 0.25), (0, 0, 1)]:
        case = draw(rng, 3, 30, 40, 12)
        merged, filled = merge_lists(NAMES[:3], weights=weights, size=size, how=how, rrf_k=7.0, **case)
        merged.check()
        for q in range(30):
            items, values, short = expected(NAMES[:3], case, q, weights, size, how, 7.0)
            assert merged.item[q].tolist() == items + [-1] * (size - len(items))
            assert filled[q] == short
            kept = len(items) - short
            np.testing.assert_allclose(merged.score[q, :kept], values, rtol=1e-6)
            assert (merged.channel_rank[q, kept:] == 0).all()  # filled places carry no evidence


def test_every_list_holds_exactly_size_unseen_items_while_the_catalogue_lasts():
    case = draw(np.random.default_rng(0), 2, 50, 30, 10)
    seen = case["queries"].seen
    for size in (5, 15, 30):
        merged, _ = merge_lists(NAMES[:2], weights=(1, 1), size=size, **case)
        for q in range(50):
            items = merged.item[q][merged.found[q]].tolist()
            assert len(items) == len(set(items)) == min(size, 30 - seen.lengths[q])
            assert not set(items) & set(seen[q].tolist())


def test_ties_follow_the_seeded_order_and_nothing_else():
    item = np.array([[[0, 1, 2]], [[3, 4, 5]]], dtype=np.int32)
    score = np.zeros(item.shape, dtype=np.float32)
    none = lists_of([[]])
    orders = []
    for tie in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]):
        queries = Queries(np.zeros(1, np.int32), none, none, np.array(tie, dtype=np.int32))
        filler = np.arange(6, dtype=np.int32)
        merged, _ = merge_lists(
            NAMES[:2], item, score, queries, weights=(1, 1), size=6, filler=filler, how="rrf"
        )
        orders.append(merged.item[0].tolist())
    assert orders == [[0, 3, 1, 4, 2, 5], [3, 0, 4, 1, 5, 2]]


def test_an_item_of_two_lists_beats_one_of_a_single_list():
    item = np.array([[[0, 1]], [[2, 1]]], dtype=np.int32)
    none = lists_of([[]])
    queries = Queries(np.zeros(1, np.int32), none, none, np.arange(3, dtype=np.int32))
    filler = np.arange(3, dtype=np.int32)
    score = np.zeros(item.shape, dtype=np.float32)
    merged, _ = merge_lists(NAMES[:2], item, score, queries, weights=(1, 1), size=3, filler=filler)
    assert merged.item[0, 0] == 1
    assert merged.score[0, 0] == pytest.approx(2 / 62)


@pytest.mark.parametrize("how", ["rrf", "quota", "round-robin"])
def test_the_order_in_which_channels_are_given_changes_nothing(how):
    rng = np.random.default_rng(5)
    case = draw(rng, 4, 60, 50, 20)
    weights = (0.1, 0.5, 0.25, 1.0)
    whole, filled = merge_lists(NAMES, weights=weights, size=25, how=how, **case)
    for _ in range(6):
        order = rng.permutation(4)
        moved = {**case, "item": case["item"][order], "score": case["score"][order]}
        names = tuple(NAMES[c] for c in order)
        again, short = merge_lists(names, weights=[weights[c] for c in order], size=25, how=how, **moved)
        assert again.item.tobytes() == whole.item.tobytes()
        assert again.score.tobytes() == whole.score.tobytes()
        assert np.array_equal(again.channel_rank, whole.channel_rank[..., order])
        assert np.array_equal(again.channel_score, whole.channel_score[..., order], equal_nan=True)
        assert np.array_equal(short, filled)


def test_quotas_that_are_whole_numbers_are_not_lost_to_rounding():
    """72 places shared as .3 : .2 : .4 are 24, 16 and 32, in whatever order the channels are summed."""
    item = np.arange(3 * 72, dtype=np.int32).reshape(3, 1, 72)
    none = lists_of([[]])
    queries = Queries(np.zeros(1, np.int32), none, none, np.arange(216, dtype=np.int32))
    score = np.zeros(item.shape, dtype=np.float32)
    weights = (0.3, 0.2, 0.4)
    for order in itertools.permutations(range(3)):
        merged, _ = merge_lists(
            tuple(NAMES[c] for c in order),
            item[list(order)],
            score,
            queries,
            weights=[weights[c] for c in order],
            size=72,
            filler=np.arange(216, dtype=np.int32),
            how="quota",
        )
        assert np.bincount(merged.item[0] // 72).tolist() == [24, 16, 32]


def test_weight_zero_brings_no_item_and_keeps_its_evidence():
    case = draw(np.random.default_rng(2), 2, 40, 40, 15)
    merged, _ = merge_lists(NAMES[:2], weights=(1, 0), size=15, **case)
    alone, _ = merge_lists(
        NAMES[:1], weights=(1,), size=15, **{**case, "item": case["item"][:1], "score": case["score"][:1]}
    )
    assert np.array_equal(merged.item, alone.item)
    known = 0
    for q in range(40):
        other = case["item"][1, q].tolist()
        taken = merged.channel_rank[q, :, 0] > 0
        for place in np.flatnonzero(taken):
            code = int(merged.item[q, place])
            rank = other.index(code) + 1 if code in other else 0
            assert merged.channel_rank[q, place, 1] == rank
            known += rank > 0
            if rank:
                assert merged.channel_score[q, place, 1] == case["score"][1, q, rank - 1]
    assert known > 20


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(1, 4),
    size=st.integers(1, 35),
    weights=st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), min_size=4, max_size=4),
)
def test_ranks_without_lists_equal_the_ranks_in_the_lists(seed, channels, size, weights):
    from stagelens.pipeline.merge_kernels import merged_ranks

    rng = np.random.default_rng(seed)
    n_items, queries = 30, 8
    case = draw(rng, channels, queries, n_items, 10)
    user = np.repeat(np.arange(queries), rng.integers(1, 6, queries))
    window = Interactions.of(user, rng.integers(0, n_items, len(user)), n_users=queries, n_items=n_items)
    truth = Truth.of(window)
    chosen = np.array(weights[:channels])
    merged, _ = merge_lists(NAMES[:channels], weights=chosen, size=size, **case)
    place = np.empty(n_items, dtype=np.int32)
    place[case["filler"]] = np.arange(n_items)
    ranks = merged_ranks(
        case["item"],
        chosen,
        np.array(sorted(range(channels), key=lambda c: NAMES[c])),
        60.0,
        case["queries"].tie,
        place,
        case["queries"].seen.indptr,
        case["queries"].seen.items,
        truth.relevant.indptr,
        truth.relevant.items,
        size,
    )
    assert ranks.tolist() == truth.ranks(merged).tolist()


def test_a_row_does_not_depend_on_its_block():
    case = draw(np.random.default_rng(9), 3, 20, 40, 12)
    whole, _ = merge_lists(NAMES[:3], weights=(1, 0.5, 0.25), size=18, **case)
    for q in range(20):
        one = {
            "item": case["item"][:, q : q + 1],
            "score": case["score"][:, q : q + 1],
            "queries": case["queries"].rows(np.array([q])),
            "filler": case["filler"],
        }
        alone, _ = merge_lists(NAMES[:3], weights=(1, 0.5, 0.25), size=18, **one)
        assert isinstance(alone, Candidates)
        assert alone.item.tobytes() == whole.item[q : q + 1].tobytes()
        assert alone.score.tobytes() == whole.score[q : q + 1].tobytes()
        assert alone.channel_score.tobytes() == whole.channel_score[q : q + 1].tobytes()


def test_popularity_order_is_by_degree_then_by_the_seeded_order():
    order = popularity_order(np.array([0, 5, 0, 2, 5]), np.array([4, 3, 0, 1, 2], dtype=np.int32))
    assert order.tolist() == [4, 1, 3, 2, 0]
