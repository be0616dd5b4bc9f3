import numpy as np
import pytest

from stagelens.pipeline.core import Candidates, Interactions
from stagelens.pipeline.evaluate.truth import Truth


def random_case(rng: np.random.Generator, users: int, depth: int, n_items: int, most: int):
    counts = rng.integers(1, most, users)
    user = np.repeat(np.arange(users), counts)
    window = Interactions.of(user, rng.integers(0, n_items, len(user)), n_users=users + 3, n_items=n_items)
    truth = Truth.of(window)
    item = np.stack([rng.permutation(n_items)[:depth] for _ in range(users)]).astype(np.int32)
    for row in range(users):
        item[row, rng.integers(0, depth + 1) :] = -1
    score = np.where(item >= 0, -np.arange(depth), -np.inf).astype(np.float32)
    return truth, Candidates.from_channel("a", truth.user, item, score)


def test_repeated_events_are_one_pair_whose_weight_is_their_sum():
    window = Interactions.of(
        np.array([3, 1, 3, 3]), np.array([7, 2, 7, 4]), n_users=5, n_items=9, value=np.array([1.5, 4, 2, 1])
    )
    truth = Truth.of(window)
    assert truth.user.tolist() == [1, 3]
    assert [truth.relevant[row].tolist() for row in range(2)] == [[2], [4, 7]]
    assert truth.value.tolist() == [4.0, 1.0, 3.5]
    assert truth.pair_row.dtype == truth.pair_item.dtype == np.int32


def test_ranks_start_at_one_and_absent_is_zero(make_truth, make_lists):
    truth = make_truth([[4, 9], [0]])
    assert truth.ranks(make_lists(truth, [[8, 9, 1], [5]])).tolist() == [0, 2, 0]


@pytest.mark.parametrize("most", [4, 60])  # both look-ups: scan of the list, search in the relevant items
def test_ranks_and_gains_agree_with_plain_python(most):
    truth, lists = random_case(np.random.default_rng(1), 40, 30, 90, most)
    assert (truth.count > 12).any() == (most == 60)
    ranks, gains = truth.ranks(lists), truth.gains(lists)
    expected = [
        lists.item[row].tolist().index(item) + 1 if item in lists.item[row] else 0
        for row, item in zip(truth.pair_row, truth.pair_item, strict=True)
    ]
    assert ranks.tolist() == expected
    assert gains.tolist() == [
        [float(item in truth.relevant[row]) for item in lists.item[row]] for row in range(len(truth))
    ]


@pytest.mark.parametrize("block", [1, 7, 40])
def test_ranks_of_blocks_in_order_are_the_ranks_of_the_whole(block):
    truth, lists = random_case(np.random.default_rng(2), 40, 30, 90, 20)
    parts = [np.arange(start, min(start + block, 40)) for start in range(0, 40, block)]
    ranks = np.concatenate([truth.rows(rows).ranks(lists.rows(rows)) for rows in parts])
    assert np.array_equal(ranks, truth.ranks(lists))
    assert np.array_equal(np.concatenate([truth.rows(rows).value for rows in parts]), truth.value)


def test_a_view_of_the_first_columns_is_read_correctly():
    truth, lists = random_case(np.random.default_rng(3), 40, 30, 90, 20)
    whole = truth.ranks(lists)
    assert np.array_equal(truth.ranks(lists.top(10)), np.where(whole <= 10, whole, 0))


def test_candidates_of_other_users_are_refused(make_truth, make_lists):
    truth = make_truth([[1], [2], [3]])
    lists = make_lists(truth, [[1], [2], [3]])
    with pytest.raises(ValueError, match="same users in the same order"):
        truth.ranks(lists.rows(np.array([0, 2, 1])))
    with pytest.raises(ValueError, match="1 users against a truth of 3"):
        truth.gains(lists.rows(np.array([0])))


def test_where_drops_users_left_without_a_pair(make_truth):
    truth = make_truth([[1, 2], [3], [4, 5]])
    part = truth.where(np.array([False, True, False, True, True]))
    assert part.user.tolist() == [0, 2]
    assert [part.relevant[row].tolist() for row in range(2)] == [[2], [4, 5]]
    with pytest.raises(ValueError, match="5 pairs"):
        truth.where(np.ones(3, bool))


def test_the_oracle_puts_the_recalled_first(make_truth):
    truth = make_truth([[1, 2, 3], [4], [5, 6]])
    recalled = np.array([True, False, True, False, True, True])
    assert truth.oracle(recalled).tolist() == [1, 0, 2, 0, 1, 2]


def test_an_empty_window_is_an_empty_truth():
    truth = Truth.of(Interactions.of(np.array([], int), np.array([], int), n_users=3, n_items=3))
    assert (len(truth), truth.pairs) == (0, 0)


def test_fingerprint_moves_with_every_part(make_truth):
    prints = {
        make_truth(rows).fingerprint() for rows in ([[1], [2]], [[1], [3]], [[1, 2], []], [[1, 2], [2]])
    }
    assert len(prints) == 4
    assert make_truth([[1], [2]]).fingerprint() in prints
