import numpy as np
import pytest

from stagelens.pipeline.evaluate.metrics import contributions, measure
from stagelens.pipeline.evaluate.significance import interval
from stagelens.pipeline.evaluate.slices import Slice, slice_contributions, slice_metric, slices


def by_name(parts):
    return {f"{part.name} {part.value}": part for part in parts}


def test_edges_of_degree_and_modality(make_truth):
    truth = make_truth([[0, 1], [2], [3], [4], [5]], n_items=6)
    user_degree = np.array([4, 5, 19, 20, 900])
    item_degree = np.array([0, 1, 4, 5, 49, 50])
    has = np.array([True, False, False, True, True, True])
    parts = by_name(slices(truth, user_degree, item_degree, {"text": has}))
    assert list(parts) == [
        *(f"user degree {value}" for value in ("0-4", "5-9", "10-14", "15-19", "20+")),
        *(f"item degree {value}" for value in ("0", "1-4", "5-9", "10-19", "20-49", "50+")),
        "text present",
        "text absent",
    ]
    got = {name: truth.pair_item[part.pairs].tolist() for name, part in parts.items()}
    assert got["user degree 0-4"] == [0, 1]
    assert got["user degree 5-9"] == [2]
    assert got["user degree 10-14"] == []
    assert got["user degree 15-19"] == [3]
    assert got["user degree 20+"] == [4, 5]
    assert got["item degree 0"] == [0]
    assert got["item degree 1-4"] == [1, 2]
    assert got["item degree 5-9"] == [3]
    assert got["item degree 20-49"] == [4]
    assert got["item degree 50+"] == [5]
    assert got["text absent"] == [1, 2]


def test_every_pair_is_in_one_slice_of_each_kind(make_truth):
    rng = np.random.default_rng(0)
    truth = make_truth([rng.permutation(50)[:3].tolist() for _ in range(30)])
    parts = slices(truth, rng.integers(0, 30, 30), rng.integers(0, 80, 50), {"image": rng.random(50) < 0.5})
    for name in ("user degree", "item degree", "image"):
        assert np.sum([part.pairs for part in parts if part.name == name], axis=0).tolist() == [1] * 90


def test_users_are_grouped_by_their_own_code(make_truth):
    truth = make_truth([[1], [2], [3]]).rows(np.array([1, 2]))
    parts = by_name(slices(truth, np.array([99, 0, 7]), np.zeros(50, int)))
    assert parts["user degree 0-4"].pairs.tolist() == [True, False]
    assert parts["user degree 5-9"].pairs.tolist() == [False, True]


def test_item_slice_restricts_what_is_relevant_and_keeps_ranks(make_truth):
    truth = make_truth([[1, 2], [3], [4]])
    ranks = np.array([1, 3, 2, 0], dtype=np.int32)
    part = Slice("item degree", "0", np.array([False, True, True, False]))
    (found,) = slice_metric(ranks, truth, ["ndcg@5"], part)
    # user 0: R = 1, its hit at rank 3 -> 1 / log2 4; user 1: 1 / log2 3; user 2 has nothing in the slice
    assert (found.slice, found.value, found.metric, found.n) == ("item degree", "0", "ndcg@5", 2)
    assert found.mean == pytest.approx((1 / 2 + 1 / np.log2(3)) / 2)
    assert found.low < found.mean < found.high


def test_user_slice_is_the_mean_over_those_users(make_truth):
    rng = np.random.default_rng(1)
    truth = make_truth([rng.permutation(50)[:3].tolist() for _ in range(40)])
    ranks = rng.permutation(np.arange(120) % 25).astype(np.int32)
    mine = np.arange(40) % 3 == 0
    part = Slice("user degree", "0-4", mine[truth.pair_row])
    names = ["recall@10", "map@5"]
    for column, found in enumerate(slice_metric(ranks, truth, names, part)):
        assert found.mean == pytest.approx(measure(ranks, truth, names)[mine, column].mean())
        expected = interval(contributions(ranks, truth, names[column]), truth, 0.05, part.pairs)
        assert (found.low, found.high, found.n) == pytest.approx((expected.low, expected.high, 14))


def test_an_empty_slice_says_so(make_truth):
    truth = make_truth([[1, 2], [3]])
    part = Slice("item degree", "50+", np.zeros(3, bool))
    (found,) = slice_metric(np.ones(3, np.int32), truth, ["hit@1"], part)
    assert (found.n, found.mean, found.low, found.high) == (0, None, None, None)


def test_one_user_has_a_mean_and_no_interval(make_truth):
    truth = make_truth([[1, 2], [3]])
    part = Slice("item degree", "50+", np.array([False, False, True]))
    (found,) = slice_metric(np.ones(3, np.int32), truth, ["hit@1"], part)
    assert (found.n, found.mean, found.low, found.high) == (1, 1.0, None, None)


def test_seeds_are_averaged(make_truth):
    truth = make_truth([[1], [2], [3]])
    ranks = np.array([[1, 0, 0], [1, 2, 0], [1, 0, 3]], dtype=np.int32)
    part = Slice("user degree", "0-4", np.ones(3, bool))
    (found,) = slice_metric(ranks, truth, ["hit@5"], part)
    assert found.mean == pytest.approx((1 / 3 + 2 / 3 + 2 / 3) / 3)


def test_slice_contributions_are_zero_outside(make_truth):
    truth = make_truth([[1, 2], [3]])
    part = Slice("item degree", "0", np.array([False, True, True]))
    got = slice_contributions(np.array([1, 2, 1], np.int32), truth, "recall@1", part)
    assert got.tolist() == [0.0, 0.0, 1.0]
    assert slice_contributions(np.array([1, 2, 1], np.int32), truth, "recall@2", part).tolist() == [0, 1, 1]
