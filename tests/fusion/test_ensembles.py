"""Normalisations and rules against arithmetic written out; weights that are tuned; stacking that learns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.fusion import (
    Borda,
    CombMNZ,
    CombSUM,
    ReciprocalRank,
    Stacking,
    WeightedSum,
)
from stagelens.fusion.logistic import Logistic
from stagelens.fusion.normalise import by_rank, min_max, z_score
from stagelens.fusion.rules import alphabetical, members
from stagelens.pipeline.core import Candidates, Interactions
from stagelens.pipeline.errors import ConfigError, DataError
from stagelens.pipeline.evaluate.metrics import measure
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.merge import WEIGHT_TRIALS

NAN = np.nan


def one_list(*scores: list[float], names: tuple[str, ...] = ("a", "b", "c", "d")) -> Candidates:
    """One query; every argument is what one member gave the items 0, 1, 2, ... (NaN: nothing)."""
    score = np.array(scores, dtype=np.float32).T[None]
    size = score.shape[1]
    order = np.argsort(np.argsort(-np.nan_to_num(score, nan=-np.inf), axis=1, kind="stable"), axis=1)
    rank = np.where(np.isnan(score), 0, order + 1).astype(np.int32)
    item = np.arange(size, dtype=np.int32)[None]
    level = np.zeros((1, size), np.float32)
    return Candidates(np.zeros(1, np.int32), item, level, names[: len(scores)], score, rank)


NOTHING = (
    one_list([1.0]).rows(np.arange(0)),
    Truth.of(
        Interactions.of(np.zeros(1, int), np.zeros(1, int), n_users=1, n_items=1).where(np.zeros(0, int))
    ),
)


def scores_of(rule, lists: Candidates) -> list[float]:
    return rule.fit(*NOTHING, *NOTHING, seed=0).score(lists)[0].round(5).tolist()


# Item 0 is first of a and third of b; item 1 is known to a alone; 2 to both; 3 to b alone; 4 to nobody.
TWO = one_list([4.0, 3.0, 2.0, NAN, NAN], [10.0, NAN, 30.0, 20.0, NAN])


# ---------------------------------------------------------------- normalisation


def test_normalised_lists_by_hand():
    assert min_max(TWO.channel_score)[0, :3, 0].tolist() == [1.0, 0.5, 0.0]
    assert min_max(TWO.channel_score)[0, [0, 2, 3], 1].tolist() == [0.0, 1.0, 0.5]
    deviation = np.sqrt(2 / 3)
    np.testing.assert_allclose(z_score(TWO.channel_score)[0, :3, 0], [1 / deviation, 0, -1 / deviation])
    np.testing.assert_allclose(by_rank(TWO.channel_rank)[0, [0, 2, 3], 1], [1 / 3, 1, 2 / 3])


@pytest.mark.parametrize("change", [min_max, z_score])
def test_absence_stays_absent_and_a_constant_list_is_zero(change):
    flat = one_list([0.1, NAN, 0.1, 0.1], [NAN, NAN, NAN, NAN], [NAN, 7.0, NAN, NAN])
    value = change(flat.channel_score)
    assert np.array_equal(np.isnan(value), np.isnan(flat.channel_score))
    assert set(value[~np.isnan(value)].tolist()) == {0.0}


def test_ranks_of_a_list_that_was_cut_keep_their_places():
    rank = np.array([[[2], [0], [8], [4]]], dtype=np.int32)
    value = by_rank(rank)[0, :, 0]
    np.testing.assert_allclose(value[[0, 2, 3]], [1 - 1 / 8, 1 - 7 / 8, 1 - 3 / 8])
    assert np.isnan(value[1])


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(-1000, 1000), min_size=2, max_size=30),
    factor=st.sampled_from([0.5, 2.0, 64.0]),
    shift=st.integers(-100, 100),
)
def test_units_and_origins_do_not_matter(values, factor, shift):
    first = one_list([float(v) for v in values])
    second = one_list([float(v) * factor + shift for v in values])
    for change in (min_max, z_score):
        np.testing.assert_allclose(change(first.channel_score), change(second.channel_score), atol=1e-9)
    scaled = min_max(first.channel_score)
    assert scaled.min() == 0
    assert scaled.max() == (1 if len(set(values)) > 1 else 0)
    assert abs(z_score(first.channel_score).mean()) < 1e-9


# ---------------------------------------------------------------- rules


def test_combsum_by_hand():
    assert scores_of(CombSUM(), TWO)[:4] == [1.0, 0.5, 1.0, 0.5]
    assert scores_of(CombSUM(normalise="raw"), TWO)[:4] == [14.0, 3.0, 32.0, 20.0]


def test_combmnz_counts_the_members_that_know_an_item_even_with_zero():
    assert scores_of(CombMNZ(), TWO)[:4] == [2.0, 0.5, 2.0, 0.5]


def test_reciprocal_ranks_by_hand():
    expected = [1 / 61 + 1 / 63, 1 / 62, 1 / 63 + 1 / 61, 1 / 62]
    assert scores_of(ReciprocalRank(), TWO)[:4] == pytest.approx(expected, abs=1e-5)
    assert scores_of(ReciprocalRank(rrf_k=1.0), TWO)[1] == pytest.approx(1 / 3, abs=1e-5)


def test_borda_by_hand():
    """Four items are known. a deals 4, 3, 2 and leaves 1 to the one it does not know; b deals 4, 3, 2 and 1."""
    assert scores_of(Borda(), TWO)[:4] == [4 + 2, 3 + 1, 2 + 4, 1 + 3]


def test_borda_shares_what_is_left_equally():
    """a knows one of four items: it deals 4, and (3 + 2 + 1) / 3 = 2 to each of the others."""
    lists = one_list([9.0, NAN, NAN, NAN, NAN], [NAN, 1.0, 2.0, 3.0, NAN])
    assert scores_of(Borda(), lists)[:4] == [4 + 1, 2 + 2, 2 + 3, 2 + 4]


def test_an_item_that_nobody_knows_has_no_score():
    for rule in (CombSUM(), CombMNZ(), ReciprocalRank(), Borda(), WeightedSum(weights="equal")):
        lists = NOTHING[0] if not isinstance(rule, WeightedSum) else TWO.rows(np.arange(0))
        score = rule.fit(*NOTHING, lists, NOTHING[1], seed=0).score(TWO)[0]
        assert np.isnan(score).tolist() == [False] * 4 + [True]


# ---------------------------------------------------------------- weighted sums


def weighted(lists: Candidates, **fields) -> list[float]:
    none = lists.rows(np.arange(0)), NOTHING[1]
    return WeightedSum(**fields).fit(*none, *none, seed=0).score(lists)[0].round(5).tolist()


def test_weights_by_hand():
    assert weighted(TWO, weights=(1.0, 0.25))[:4] == [1.0, 0.5, 0.25, 0.125]
    assert weighted(TWO, weights={"b": 1.0, "a": 0.25})[:4] == [0.25, 0.125, 1.0, 0.5]
    assert weighted(TWO, weights="equal") == pytest.approx(scores_of(CombSUM(), TWO), nan_ok=True)


def test_a_member_of_weight_zero_is_no_member():
    score = weighted(TWO, weights={"a": 1.0, "b": 0.0})
    assert score[:3] == [1.0, 0.5, 0.0]
    assert np.isnan(score[3:]).all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"weights": (1.0,)}, "1 weights for 2 members"),
        ({"weights": {"a": 1.0, "z": 1.0}}, r"\['a', 'z'\].*\['a', 'b'\]"),
        ({}, "metric = None is filled in"),
    ],
)
def test_weights_that_do_not_fit_are_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        weighted(TWO, **fields)


@pytest.mark.parametrize(
    "fields", [{"weights": (0.0, 0.0)}, {"weights": (-1.0,)}, {"metric": "ndgc@10"}, {"normalise": "max"}]
)
def test_nonsense_is_refused_when_it_is_written(fields):
    with pytest.raises(ValueError, match=r"above 0|greater than|ndcg|min-max"):
        WeightedSum(**fields)


def planted(seed: int, users: int = 150, size: int = 30, good=("b",)) -> tuple[Candidates, Truth]:
    """Lists on which only the ``good`` ones of three members know anything; the last third of items is partly known."""
    rng = np.random.default_rng(seed)
    item = np.stack([rng.permutation(300)[:size] for _ in range(users)]).astype(np.int32)
    relevant = np.zeros((users, size), dtype=bool)
    relevant[:, :4] = True
    relevant = rng.permuted(relevant, axis=1)
    row, place = np.nonzero(relevant)
    truth = Truth.of(Interactions.of(row, item[row, place], n_users=users, n_items=300))
    names = ("a", "b", "c")
    strength = np.array([2.5 if name in good else 0.0 for name in names])
    score = rng.standard_normal((users, size, 3)) + relevant[..., None] * strength
    score[rng.random(score.shape) < 0.2] = np.nan
    score = (score * np.array([1.0, 50.0, 0.01])).astype(np.float32)
    order = np.argsort(np.argsort(-np.nan_to_num(score, nan=-np.inf), axis=1, kind="stable"), axis=1)
    rank = np.where(np.isnan(score), 0, order + 1).astype(np.int32)
    level = np.zeros(item.shape, np.float32)
    return Candidates(np.arange(users, dtype=np.int32), item, level, names, score, rank), truth


def ndcg(rule, lists: Candidates, truth: Truth) -> float:
    tie = np.random.default_rng(0).permutation(300).astype(np.int32)
    ordered = lists.rescored(rule.score(lists), tie)
    return float(measure(truth.ranks(ordered), truth, ["ndcg@10"]).mean())


def test_tuned_weights_refuse_the_members_that_know_nothing():
    valid, test = planted(1, good=("a", "b")), planted(2, good=("a", "b"))
    tuned = WeightedSum(metric="ndcg@10", normalise="z-score").fit(*valid, *valid, seed=0)
    assert tuned.weights["c"] <= 0.1
    assert min(tuned.weights["a"], tuned.weights["b"]) >= 0.25
    assert tuned.trials == WEIGHT_TRIALS
    assert tuned.parameters == 3
    equal = CombSUM(normalise="z-score").fit(*valid, *valid, seed=0)
    assert ndcg(tuned, *test) > ndcg(equal, *test) + 0.02


def test_the_value_of_a_weighting_is_the_metric_of_its_lists():
    """What the search maximises is ndcg@10 of the lists as they would be ordered, ties by the order given."""
    lists, truth = planted(3)
    fitted = WeightedSum(metric="ndcg@10", trials=1).fit(lists, truth, lists, truth, seed=0)
    assert set(fitted.weights.values()) == {1.0}
    place = np.empty(300, dtype=np.int32)
    totals = []
    for q in range(len(lists)):
        one, own = lists.rows(np.array([q])), truth.rows(np.array([q]))
        place[one.item[0]] = np.arange(lists.size)
        totals.append(measure(own.ranks(one.rescored(fitted.score(one), place)), own, ["ndcg@10"])[0, 0])
    assert fitted.valid == pytest.approx(np.mean(totals), abs=1e-12)


def test_more_trials_find_no_worse_weights_and_are_counted():
    lists, truth = planted(4, good=("a",))
    values = [
        WeightedSum(metric="recall@5", trials=n).fit(lists, truth, lists, truth, seed=0) for n in (1, 10, 40)
    ]
    assert [fit.trials for fit in values] == [1, 10, 40]
    assert values[0].valid < values[1].valid <= values[2].valid


# ---------------------------------------------------------------- stacking


def test_logistic_regression_is_at_the_minimum_of_its_loss():
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    values = rng.standard_normal((800, 4)).astype(np.float32) * np.array([1, 10, 0.1, 1], np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    filled = np.nan_to_num(values, nan=0.0).astype(np.float64)
    label = (rng.random(800) < 1 / (1 + np.exp(1 - filled @ [1.0, 0.1, -5.0, 0.0]))).astype(np.float32)
    fitted = Logistic.fit(("a", "b", "c", "d"), values, label, l2=2.0)
    x = (filled - filled.mean(axis=0)) / filled.std(axis=0)

    def loss(w):
        odds = x @ w[:4] + w[4]
        return np.sum(np.logaddexp(0, odds) - label * odds) + np.sum(w[:4] ** 2)

    best = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose(fitted.weight, best[:4] / filled.std(axis=0), rtol=1e-4, atol=1e-5)
    assert fitted.parameters == 5


@pytest.mark.parametrize("separable", [True, False])
def test_logistic_regression_ends_on_hard_columns(separable):
    """Perfectly separable labels, and columns that are constant or copies of each other."""
    rng = np.random.default_rng(1)
    signal = rng.standard_normal(300)
    values = np.stack([signal, signal, np.ones(300)], axis=1).astype(np.float32)
    label = (signal > 0 if separable else rng.random(300) < 0.5).astype(np.float32)
    fitted = Logistic.fit(("a", "b", "c"), values, label, l2=1.0)
    assert np.isfinite(fitted.weight).all()
    assert fitted.weight[0] == pytest.approx(fitted.weight[1])
    assert fitted.weight[2] == 0


@pytest.mark.parametrize(
    "fields",
    [{}, {"model": "lightgbm", "min_rows_leaf": 20}, {"model": "lightgbm", "objective": "binary"}],
)
def test_stacking_finds_the_members_that_know_something(fields):
    rows, valid, test = (
        planted(5, 300, good=("a", "b")),
        planted(6, good=("a", "b")),
        planted(7, good=("a", "b")),
    )
    stacked = Stacking(**fields).fit(*rows, *valid, seed=0)
    equal = CombSUM(normalise="z-score").fit(*rows, *valid, seed=0)
    assert ndcg(stacked, *test) > ndcg(equal, *test) + 0.02
    assert stacked.parameters > 0


def test_stacking_without_a_list_to_learn_from_says_so():
    lists, truth = planted(8, users=5)
    elsewhere = Truth.of(
        Interactions.of(np.arange(5), np.setdiff1d(np.arange(300), lists.item)[:5], n_users=5, n_items=300)
    )
    with pytest.raises(DataError, match=r"0 of 5 lists.*CombSUM"):
        Stacking().fit(lists, elsewhere, lists, truth, seed=0)


def test_members_stand_in_alphabetical_order():
    lists = one_list([1.0, 2.0], [4.0, 3.0], names=("z", "a"))
    assert alphabetical(lists) == [1, 0]
    assert members(lists, "raw")[0].tolist() == [[4.0, 1.0], [3.0, 2.0]]
