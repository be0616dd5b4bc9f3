"""The cut that every list goes through, against a plain sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.core import Lists
from stagelens.recall.seen import top

PICK = np.array([0.0, -0.0, 1.0, -1.0, 1.5, 1e-40, -1e-40, np.inf, np.nan, 3.0], np.float32)


def sorted_by_hand(items, scores, seen, tie, depth):
    kept = [
        (-float(score), int(tie[item]), int(item), float(score))
        for item, score in zip(items, scores, strict=True)
        if not np.isnan(score) and item not in set(seen.tolist())
    ]
    return [(item, score) for _, _, item, score in sorted(kept)[:depth]]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_items=st.integers(1, 700),
    depth=st.integers(1, 60),
    few=st.booleans(),
    real=st.booleans(),
)
def test_the_best_unseen_items_in_order(seed, n_items, depth, few, real):
    rng = np.random.default_rng(seed)
    tie = rng.permutation(n_items).astype(np.int32)
    rows, items, scores, seen = 3, [], [], []
    for _ in range(rows):
        count = rng.integers(0, n_items + 1)
        items.append(rng.permutation(n_items)[:count].astype(np.int32))
        drawn = rng.standard_normal(count).astype(np.float32) if real else rng.choice(PICK, count)
        scores.append(drawn)
        most = min(n_items, 5 if few else n_items)
        seen.append(np.sort(rng.permutation(n_items)[: rng.integers(0, most + 1)]).astype(np.int32))
    start = np.concatenate([[0], np.cumsum([len(one) for one in items])]).astype(np.int64)
    held = np.concatenate([[0], np.cumsum([len(one) for one in seen])]).astype(np.int64)
    found, value = top(
        start[:-1],
        np.diff(start),
        np.concatenate(items),
        np.concatenate(scores).astype(np.float32),
        Lists(held, np.concatenate(seen)),
        tie,
        depth,
    )
    assert found.shape == value.shape == (rows, depth)
    for row in range(rows):
        wanted = sorted_by_hand(items[row], scores[row], seen[row], tie, depth)
        n = len(wanted)
        assert found[row, :n].tolist() == [item for item, _ in wanted]
        assert value[row, :n].tolist() == [score for _, score in wanted]
        assert (found[row, n:] == -1).all()
        assert (value[row, n:] == -np.inf).all()


@pytest.mark.parametrize("order", ["rising", "falling", "equal"])
def test_sorted_and_equal_scores_are_no_worse(order):
    n = 50_000
    scores = np.arange(n, dtype=np.float32) * {"rising": 1, "falling": -1, "equal": 0}[order]
    tie, none = np.arange(n, dtype=np.int32), Lists(np.zeros(2, np.int64), np.zeros(0, np.int32))
    found, _ = top(np.zeros(1, np.int64), np.array([n]), np.arange(n, dtype=np.int32), scores, none, tie, 200)
    best = np.arange(n - 1, n - 201, -1) if order == "rising" else np.arange(200)
    np.testing.assert_array_equal(found[0], best)
