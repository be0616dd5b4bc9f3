"""Shapley effects against arithmetic written out, and the properties that define them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.evaluate.shapley import (
    Name,
    Player,
    Weights,
    interaction_index,
    shapley,
    share_of,
    stage_weights,
)
from stagelens.pipeline.evaluate.significance import Paired, judge
from stagelens.pipeline.evaluate.truth import Truth

TEXT = (Player("text", "recall"), Player("text", "rerank"))
BOTH = (*TEXT, Player("visual", "recall"), Player("visual", "rerank"))

numbers = st.floats(-1e3, 1e3, allow_nan=False, width=32)


def games(n: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, 1 << n, elements=numbers)


sized = st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), games(n)))


def row(weights: Weights, *name: str) -> np.ndarray:
    return weights.matrix[weights.names.index(Name(*name))]


def test_one_modality_by_hand():
    # cells: 0 nothing, 1 at recall, 2 at re-rank, 3 at both
    v = np.array([0.10, 0.16, 0.12, 0.20])
    weights = stage_weights(TEXT)
    effects = dict(zip(weights.names, weights.combined(v), strict=True))
    # recall first adds .06, after re-rank .08; re-rank first adds .02, after recall .04
    assert effects[Name("effect", "text", "recall")] == pytest.approx((0.06 + 0.08) / 2)
    assert effects[Name("effect", "text", "rerank")] == pytest.approx((0.02 + 0.04) / 2)
    assert effects[Name("effect", "all", "both")] == pytest.approx(0.20 - 0.10)
    assert effects[Name("stage_difference", "text", "both")] == pytest.approx(0.16 - 0.12)
    assert effects[Name("stage_difference", "all", "both")] == pytest.approx(0.16 - 0.12)
    assert effects[Name("interaction", "text", "both")] == pytest.approx(0.20 - 0.16 - 0.12 + 0.10)
    assert len(weights.names) == 6
    assert weights.names[weights.total] == Name("effect", "all", "both")


def test_two_modalities_by_hand():
    # Additive parts, text at recall with visual at recall (+4), text at recall with text at re-rank (+6),
    # and a triple of text at both and visual at re-rank (+3).
    def value(cell: int) -> float:
        t_recall, t_rerank, v_recall, v_rerank = ((cell >> bit) & 1 for bit in range(4))
        pairs = 4 * t_recall * v_recall + 6 * t_recall * t_rerank
        return 10 + t_recall + 2 * t_rerank + 5 * v_recall + pairs + 3 * t_recall * t_rerank * v_rerank

    weights = stage_weights(BOTH)
    effects = dict(zip(weights.names, weights.combined(map(value, range(16))), strict=True))
    # each bonus is shared equally by the players it needs
    assert effects[Name("effect", "text", "recall")] == pytest.approx(1 + 4 / 2 + 6 / 2 + 3 / 3)
    assert effects[Name("effect", "text", "rerank")] == pytest.approx(2 + 6 / 2 + 3 / 3)
    assert effects[Name("effect", "visual", "recall")] == pytest.approx(5 + 4 / 2)
    assert effects[Name("effect", "visual", "rerank")] == pytest.approx(3 / 3)
    assert effects[Name("effect", "all", "recall")] == pytest.approx(7 + 7)
    assert effects[Name("effect", "all", "rerank")] == pytest.approx(6 + 1)
    assert effects[Name("effect", "all", "both")] == pytest.approx(1 + 2 + 5 + 4 + 6 + 3)
    assert effects[Name("stage_difference", "text", "both")] == pytest.approx(7 - 6)
    assert effects[Name("stage_difference", "visual", "both")] == pytest.approx(7 - 1)
    assert effects[Name("stage_difference", "all", "both")] == pytest.approx(14 - 7)
    # the interaction index of a pair: its own bonus and half of the triple's
    assert effects[Name("interaction", "text", "both")] == pytest.approx(6 + 3 / 2)
    assert effects[Name("interaction", "visual", "both")] == pytest.approx(0)


def test_weights_of_three_players_by_hand():
    # |S| = 0: 0! 2! / 3! = 1/3; |S| = 1: 1! 1! / 3! = 1/6; |S| = 2: 1/3
    third, sixth = 1 / 3, 1 / 6
    expected = [-third, third, -sixth, sixth, -sixth, sixth, -third, third]
    assert shapley(3)[0].tolist() == expected
    # |S| = 0: 0! 1! / 2! = 1/2; |S| = 1: 1/2
    assert interaction_index(3, 0, 2).tolist() == [0.5, -0.5, 0.5, -0.5, -0.5, 0.5, -0.5, 0.5]


@given(sized)
def test_it_is_the_mean_over_all_orders(game):
    n, v = game
    expected = np.zeros(n)
    for order in itertools.permutations(range(n)):
        cell = 0
        for player in order:
            expected[player] += v[cell | 1 << player] - v[cell]
            cell |= 1 << player
    assert np.allclose(shapley(n) @ v, expected / math.factorial(n), rtol=0, atol=1e-9)


@given(sized)
def test_effects_sum_to_the_total(game):
    n, v = game
    scale = max(1.0, float(np.abs(v).max()))
    assert abs((shapley(n) @ v).sum() - (v[-1] - v[0])) <= 1e-12 * scale


@pytest.mark.parametrize("n", [1, 2, 4, 6, 8])
def test_weights_sum_to_the_total_exactly(n):
    everything = np.zeros(1 << n)
    everything[0], everything[-1] = -1, 1
    assert np.abs(shapley(n).sum(axis=0) - everything).max() < 1e-15
    assert np.abs(shapley(n).sum(axis=1)).max() < 1e-15


@given(st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), games(n), games(n))), numbers)
def test_additivity(game, factor):
    n, v, w = game
    both = shapley(n) @ (v + factor * w)
    assert np.allclose(both, shapley(n) @ v + factor * (shapley(n) @ w), rtol=1e-9, atol=1e-6)


@given(st.integers(2, 5).flatmap(lambda n: st.tuples(st.just(n), games(n), st.permutations(range(n)))))
def test_symmetry(game):
    n, v, order = game
    renamed = np.array(
        [v[sum(1 << order[j] for j in range(n) if cell >> j & 1)] for cell in range(1 << n)]
    )  # player j plays the part of order[j]
    assert np.allclose(shapley(n) @ renamed, (shapley(n) @ v)[list(order)], rtol=0, atol=1e-9)


@given(st.integers(2, 5).flatmap(lambda n: st.tuples(st.just(n), games(n), st.integers(0, n - 1))), numbers)
def test_a_null_player_gets_nothing_and_a_constant_one_its_constant(game, constant):
    n, v, player = game
    on = np.arange(1 << n) >> player & 1
    blind = v[np.arange(1 << n) & ~(1 << player)] + constant * on
    assert (shapley(n) @ blind)[player] == pytest.approx(constant, abs=1e-9)
    for other in range(n):
        if other != player:
            assert interaction_index(n, player, other) @ blind == pytest.approx(0, abs=1e-9)


@given(st.integers(2, 5).flatmap(lambda n: st.tuples(st.just(n), games(n))))
def test_the_interaction_index_knows_no_order_and_is_a_difference_of_two_games(game):
    n, v = game
    assert np.array_equal(interaction_index(n, 0, n - 1), interaction_index(n, n - 1, 0))
    # Grabisch & Roubens: the value of player 0 with the other always on, minus with it always off
    cells = np.arange(1 << (n - 1))
    on, off = v[cells | 1 << (n - 1)], v[cells]
    expected = (shapley(n - 1) @ on)[0] - (shapley(n - 1) @ off)[0]
    assert interaction_index(n, 0, n - 1) @ v == pytest.approx(expected, abs=1e-9)


def test_interaction_as_a_player_stands_outside_the_sums_over_content():
    players = [Player(m, s) for m in ("interaction", "text") for s in ("recall", "rerank")]
    weights = stage_weights(players)
    assert np.array_equal(
        row(weights, "stage_difference", "all", "both"), row(weights, "stage_difference", "text", "both")
    )
    assert weights.names[weights.total] == Name("effect", "interaction + all", "both")
    effects = weights.matrix[:4].sum(axis=0)
    assert np.abs(effects - weights.matrix[weights.total]).max() < 1e-15
    alone = stage_weights(players[:2])
    assert alone.names[alone.total] == Name("effect", "interaction", "both")
    assert Name("stage_difference", "all", "both") not in alone.names


def test_cells_are_taken_one_by_one_and_all_of_them():
    weights = stage_weights(TEXT)
    held = []

    def cells():
        for cell in range(4):
            held.append(cell)
            yield np.full((3, 5), float(cell))

    made = weights.combined(cells())
    assert made.shape == (6, 3, 5)
    assert held == [0, 1, 2, 3]
    assert np.allclose(made[:, 0, 0], weights.matrix @ np.arange(4))
    for wrong in (3, 5):
        with pytest.raises(ValueError, match="4 cells"):
            weights.combined([np.zeros(2)] * wrong)


def test_effects_of_contributions_are_judged_like_any_difference():
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(80), 2)
    item = rng.permutation(np.arange(160) % 50)
    truth = Truth.of(Interactions.of(user, item, n_users=80, n_items=50))
    cells = rng.random((4, 1, truth.pairs))
    cells[3] += 0.4
    weights = stage_weights(TEXT)
    judged = judge([Paired(d, 0.01) for d in weights.combined(cells)], truth, draws=999)
    means = cells.sum(axis=(1, 2)) / len(truth)
    assert [one.difference for one in judged] == pytest.approx((weights.matrix @ means).tolist(), abs=1e-12)
    assert judged[0].difference + judged[1].difference == pytest.approx(judged[2].difference, abs=1e-12)
    assert judged[weights.total].verdict == "helps"


def test_a_share_needs_a_total_that_is_known_to_be_there():
    assert share_of(0.02, 0.05, 0.01, 0.09) == pytest.approx(0.4)
    assert share_of(0.02, -0.05, -0.09, -0.01) == pytest.approx(-0.4)
    assert share_of(0.02, 0.05, -0.01, 0.11) is None
    assert share_of(0.02, 0.0, 0.0, 0.0) is None
    assert share_of(0.02, math.nan, math.nan, math.nan) is None


@pytest.mark.parametrize("players", [[], TEXT[:1], [*TEXT, TEXT[0]], [*TEXT, Player("visual", "recall")]])
def test_players_come_in_pairs(players):
    with pytest.raises(ValueError, match="player"):
        stage_weights(players)


def test_what_is_no_pair_of_players_is_refused():
    for pair in ((0, 0), (0, 2), (-1, 1)):
        with pytest.raises(ValueError, match="two different"):
            interaction_index(2, *pair)
