from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.metrics import KINDS, Metric, contributions, measure
from stagelens.pipeline.evaluate.truth import Truth

EVERY = [f"{kind}@{k}" for kind in KINDS for k in (1, 2, 5, 10)]


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compilation must not count against the deadline of a property."""
    truth = Truth.of(Interactions.of(np.array([0]), np.array([0]), n_users=1, n_items=1))
    measure(np.ones(1, np.int32), truth, EVERY)
    contributions(np.ones(1, np.int32), truth, "hit@1")


@st.composite
def cases(draw):
    """A truth of a few users and distinct ranks (or 0) for each user's items."""
    counts = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    ranks = []
    for count in counts:
        places = draw(st.lists(st.integers(1, 14), min_size=count, max_size=count, unique=True))
        ranks += [draw(st.sampled_from([0, place])) for place in places]
    user = np.repeat(np.arange(len(counts)), counts)
    item = np.concatenate([np.arange(count) for count in counts])
    truth = Truth.of(Interactions.of(user, item, n_users=len(counts), n_items=6))
    return truth, np.array(ranks, dtype=np.int32)


def test_arithmetic_by_hand(make_truth):
    truth = make_truth([[1, 2, 3], [4], [5, 6]])
    ranks = np.array([2, 0, 5, 1, 0, 0], dtype=np.int32)
    # user 0: R = 3, hits at ranks 2 and 5; user 1: R = 1, hit at rank 1; user 2: R = 2, no hit
    ideal_3 = 1 + 1 / log2(3) + 1 / log2(4)
    expected = {
        "recall@5": [2 / 3, 1, 0],
        "recall@2": [1 / 3, 1, 0],
        "precision@5": [2 / 5, 1 / 5, 0],
        "hit@1": [0, 1, 0],
        "hit@2": [1, 1, 0],
        "mrr@5": [1 / 2, 1, 0],
        "mrr@1": [0, 1, 0],
        "map@5": [(1 / 2 + 2 / 5) / 3, 1, 0],
        "map@2": [(1 / 2) / 3, 1, 0],
        "ndcg@5": [(1 / log2(3) + 1 / log2(6)) / ideal_3, 1, 0],
        "ndcg@2": [(1 / log2(3)) / (1 + 1 / log2(3)), 1, 0],
        "dcg@5": [1 / log2(3) + 1 / log2(6), 1, 0],
        "dcg@2": [1 / log2(3), 1, 0],
    }
    assert measure(ranks, truth, list(expected)) == pytest.approx(
        np.array(list(expected.values())).T, abs=1e-15
    )


def test_a_perfect_list_scores_one_except_precision(make_truth):
    truth = make_truth([[1, 2, 3]])
    values = dict(zip(EVERY, measure(np.array([3, 1, 2], np.int32), truth, EVERY)[0], strict=True))
    assert values["ndcg@2"] == values["map@10"] == values["recall@5"] == pytest.approx(1)
    assert values["map@2"] == pytest.approx(2 / 3)  # trec divides by R, not by min(R, k)
    assert values["precision@10"] == pytest.approx(0.3)
    assert values["dcg@10"] == pytest.approx(1 + 1 / log2(3) + 1 / log2(4))  # without the ideal it passes 1


@given(cases())
def test_bounds_and_monotone_in_k(case):
    truth, ranks = case
    values = measure(ranks, truth, EVERY).reshape(len(truth), len(KINDS), 4)
    assert values.min() >= 0
    assert np.delete(values, KINDS.index("dcg"), axis=1).max() <= 1 + 1e-12
    assert (values[:, KINDS.index("dcg")] >= values[:, KINDS.index("ndcg")] - 1e-12).all()
    for kind in ("recall", "hit", "mrr", "map", "dcg"):  # precision and ndcg may fall as k grows
        assert (np.diff(values[:, KINDS.index(kind)], axis=1) >= -1e-15).all()


@given(cases())
def test_contributions_sum_to_the_metric(case):
    truth, ranks = case
    values = measure(ranks, truth, EVERY)
    for column, name in enumerate(EVERY):
        sums = np.bincount(truth.pair_row, contributions(ranks, truth, name), minlength=len(truth))
        assert sums == pytest.approx(values[:, column], abs=1e-14)


@given(cases(), st.randoms(use_true_random=False))
def test_invariant_to_the_order_of_users_and_of_pairs(case, random):
    truth, ranks = case
    order = list(range(len(truth)))
    random.shuffle(order)
    moved = np.concatenate([ranks[truth.pair_row == row] for row in order])
    values = measure(ranks, truth, EVERY)
    assert np.array_equal(measure(moved, truth.rows(np.array(order)), EVERY), values[order])
    turned = np.concatenate([ranks[truth.pair_row == row][::-1] for row in range(len(truth))])
    assert np.array_equal(measure(turned, truth, EVERY), values)


@given(cases())
def test_what_a_name_means_does_not_depend_on_its_neighbours(case):
    truth, ranks = case
    together = measure(ranks, truth, EVERY)
    for column, name in enumerate(EVERY):
        assert np.array_equal(measure(ranks, truth, [name])[:, 0], together[:, column])


def test_metrics_are_values():
    assert Metric.parse("ndcg@10") == Metric("ndcg", 10)
    assert [str(metric) for metric in sorted(map(Metric.parse, ("recall@20", "map@5", "recall@5")))] == [
        "map@5",
        "recall@5",
        "recall@20",
    ]
    assert len({Metric.parse("hit@1"), Metric("hit", 1)}) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ndgc@10", "Did you mean 'ndcg'.*dcg, hit, map, mrr, ndcg, precision, recall"),
        ("ndcg", "written like|whole number"),
        ("ndcg@0", "whole number of at least 1"),
        ("recall@-5", "whole number of at least 1"),
        ("recall@1.5", "'1.5'"),
        ("recall@", "whole number"),
        ("", "Unknown metric ''"),
    ],
)
def test_unknown_names_are_answered(text, says):
    with pytest.raises(ConfigError, match=says):
        Metric.parse(text)


def test_ranks_of_another_truth_are_refused(make_truth):
    truth = make_truth([[1, 2]])
    with pytest.raises(ValueError, match=r"expected int32 \(2,\)"):
        measure(np.zeros(3, np.int32), truth, ["hit@1"])
    with pytest.raises(ValueError, match="int64"):
        contributions(np.zeros(2, np.int64), truth, "hit@1")
