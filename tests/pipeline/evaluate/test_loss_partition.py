from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.evaluate.losses import CLASSES, partition
from stagelens.pipeline.evaluate.truth import Truth


@st.composite
def systems(draw):
    counts = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    user = np.repeat(np.arange(len(counts)), counts)
    item = np.concatenate([np.arange(count) for count in counts])
    truth = Truth.of(Interactions.of(user, item, n_users=len(counts), n_items=9))
    flags = [draw(st.lists(st.booleans(), min_size=len(user), max_size=len(user))) for _ in range(3)]
    recalled, exact, reachable = (np.array(flag) for flag in flags)
    final = np.zeros(len(user), dtype=np.int32)
    for row in range(len(counts)):
        inside = np.flatnonzero((user == row) & recalled)
        final[inside] = draw(st.permutations(range(1, 13)))[: len(inside)]
    return truth, final, recalled, draw(st.sampled_from([exact, None])), reachable


def test_by_hand(make_truth):
    #                  hit  2nd  5th  unreachable  index  recall | lost by recall twice
    truth = make_truth([[1, 2, 3, 4, 5, 6], [7, 8]])
    final = np.array([1, 2, 5, 0, 0, 0, 0, 0], dtype=np.int32)
    exact = np.array([1, 1, 0, 0, 1, 0, 0, 0], dtype=bool)
    reachable = np.array([1, 1, 1, 0, 1, 1, 1, 1], dtype=bool)
    losses = partition(final, final > 0, exact, reachable, truth, k=2)
    # user 0, R = 6: hits 2; recalled 3 > k = 2, so 1 overflows and nothing is ranked below
    assert losses.shares[0].tolist() == pytest.approx([2 / 6, 1 / 6, 0, 1 / 6, 1 / 6, 1 / 6])
    assert losses.shares[1].tolist() == [0, 0, 0, 0, 1, 0]
    assert losses.index_gain.tolist() == pytest.approx([1 / 6, 0])
    assert losses.mean()["hit"] == pytest.approx(1 / 6)
    assert losses.weighted()["hit"] == pytest.approx(2 / 8)
    assert losses.weighted()["recall"] == pytest.approx(3 / 8)
    assert set(losses.mean()) == {*CLASSES, "index_gain"}


def test_ranked_below_is_what_a_better_order_could_have_placed(make_truth):
    truth = make_truth([[1, 2, 3]])
    final = np.array([4, 5, 6], dtype=np.int32)
    losses = partition(final, final > 0, None, np.ones(3, bool), truth, k=2)
    assert losses.shares[0].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 0, 0, 0])


def test_recall_stage_has_neither_overflow_nor_ranking_loss(make_truth):
    truth = make_truth([[1, 2, 3]])
    final = np.array([40, 0, 7], dtype=np.int32)
    losses = partition(final, final > 0, None, np.ones(3, bool), truth, k=50)
    assert losses.shares[0].tolist() == pytest.approx([2 / 3, 0, 0, 0, 1 / 3, 0])


@given(systems(), st.integers(1, 14))
def test_six_shares_sum_to_one_and_none_is_negative(system, k):
    truth, final, recalled, exact, reachable = system
    losses = partition(final, recalled, exact, reachable, truth, k)
    assert losses.shares.min() >= 0
    assert np.abs(losses.shares.sum(axis=1) - 1).max() <= 1e-12
    for average in (losses.mean(), losses.weighted()):
        assert sum(average[name] for name in CLASSES) == pytest.approx(1, abs=1e-12)
    hit = np.bincount(truth.pair_row, (final > 0) & (final <= k)) / truth.count
    assert losses.shares[:, 0] == pytest.approx(hit)
    assert losses.shares[:, :3].sum(axis=1) == pytest.approx(
        np.bincount(truth.pair_row, recalled) / truth.count
    )
    if exact is None:
        assert not losses.shares[:, 3].any()
        assert not losses.index_gain.any()


@given(systems())
def test_hits_grow_and_losses_of_order_shrink_with_k(system):
    truth, final, recalled, exact, reachable = system
    shares = [partition(final, recalled, exact, reachable, truth, k).shares for k in (1, 3, 9)]
    for small, large in pairwise(shares):
        assert (large[:, 0] >= small[:, 0]).all()
        assert (large[:, 1] <= small[:, 1] + 1e-15).all()
        assert np.array_equal(large[:, 3:], small[:, 3:])


def test_contradictions_are_refused(make_truth):
    truth = make_truth([[1, 2]])
    yes, no = np.ones(2, bool), np.zeros(2, bool)
    ranks = np.array([1, 1], dtype=np.int32)
    with pytest.raises(ValueError, match="not in the candidate set"):
        partition(ranks, no, None, yes, truth, k=1)
    with pytest.raises(ValueError, match="distinct"):
        partition(ranks, yes, None, yes, truth, k=1)
    with pytest.raises(ValueError, match=r"reachable has shape \(3,\)"):
        partition(ranks, yes, None, np.ones(3, bool), truth, k=1)
    with pytest.raises(ValueError, match="exact_recalled"):
        partition(ranks, yes, np.ones(1, bool), yes, truth, k=1)
