import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.clusters import Clusters
from stagelens.pipeline.evaluate.significance import Paired, interval, judge, verdict
from stagelens.pipeline.evaluate.truth import Truth


def world(seed: int, users: int = 120, items: int = 40) -> tuple[Truth, np.random.Generator]:
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(1, 5, users))
    return Truth.of(
        Interactions.of(user, rng.integers(0, items, len(user)), n_users=users, n_items=items)
    ), rng


@pytest.mark.parametrize(
    ("low", "high", "margin", "expected"),
    [
        (-0.01, 0.01, 0.02, "no difference"),
        (0.001, 0.01, 0.02, "no difference"),  # excludes 0, but cannot matter: asked first
        (-0.01, -0.001, 0.02, "no difference"),
        (0.001, 0.03, 0.02, "helps"),
        (-0.03, -0.001, 0.02, "hurts"),
        (-0.02, 0.01, 0.02, "cannot tell"),  # the margin itself is not inside
        (-0.01, 0.03, 0.02, "cannot tell"),
        (0.0, 0.03, 0.02, "cannot tell"),  # touching 0 is not above 0
        (0.0, 0.0, 0.02, "no difference"),
        (0.0, 0.0, 0.0, "cannot tell"),
        (math.nan, math.nan, 0.02, "cannot tell"),
    ],
)
def test_verdict_rules_in_their_order(low, high, margin, expected):
    assert verdict(low, high, margin) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([1, 3]), st.sampled_from([0.05, 0.1, 0.31]))
def test_interval_excludes_zero_exactly_when_p_adjusted_is_below_alpha(seed, members, seeds, alpha):
    truth, rng = world(seed, users=25, items=8)
    shifts = rng.normal(scale=0.4, size=members)
    family = [Paired(rng.normal(size=(seeds, truth.pairs)) + shift, 0.1) for shift in shifts]
    for result in judge(family, truth, alpha=alpha, draws=199, seed=seed):
        assert (result.low > 0 or result.high < 0) == (result.p_adjusted < alpha)
        assert result.low <= result.difference <= result.high


def test_interval_and_p_adjusted_agree_at_the_boundary():
    # every order statistic in turn becomes the threshold
    truth, rng = world(3, users=30, items=9)
    family = [Paired(rng.normal(size=(1, truth.pairs)) + 0.25, 0.1) for _ in range(3)]
    verdicts = set()
    for alpha in np.arange(2, 100) / 100:
        for result in judge(family, truth, alpha=float(alpha), draws=99):
            excluded = result.low > 0 or result.high < 0
            assert excluded == (result.p_adjusted < alpha)
            verdicts.add(excluded)
    assert verdicts == {True, False}


def test_a_family_of_one_is_the_two_way_t_test():
    truth, rng = world(11)
    values = rng.normal(size=(1, truth.pairs)) + 0.1
    (result,) = judge([Paired(values, 0.0)], truth, draws=99_999)
    estimate = Clusters.of(truth).estimate(values[0])
    t = estimate.mean / math.sqrt(estimate.variance)
    assert result.p == pytest.approx(2 * stats.t.sf(abs(t), estimate.df), rel=1e-9)
    assert result.p_adjusted == pytest.approx(result.p, abs=0.005)
    alone = interval(values, truth)
    half = stats.t.isf(0.025, estimate.df) * math.sqrt(estimate.variance)
    assert (alone.mean, alone.low, alone.high, alone.n) == pytest.approx(
        (estimate.mean, estimate.mean - half, estimate.mean + half, len(truth))
    )
    assert (result.low, result.high) == pytest.approx((alone.low, alone.high), abs=0.02 * half)
    critical = half / result.se
    expected = (critical + stats.t.ppf(0.8, estimate.df)) * result.se
    assert result.detectable == pytest.approx(expected, rel=0.02)


def test_a_smaller_alpha_widens_the_interval():
    truth, rng = world(11)
    values = rng.normal(size=(1, truth.pairs))
    wide, narrow = interval(values, truth, 0.01), interval(values, truth, 0.1)
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


def test_copies_of_one_comparison_cost_nothing_and_independent_ones_cost_sidak():
    truth, rng = world(12)
    values = rng.normal(size=(1, truth.pairs)) + 0.14
    copies = judge([Paired(values, 0.0)] * 8, truth)
    assert copies[0].p_adjusted == pytest.approx(copies[0].p, abs=0.01)
    others = [Paired(rng.normal(size=(1, truth.pairs)), 0.0) for _ in range(7)]
    family = judge([Paired(values, 0.0), *others], truth)
    sidak = 1 - (1 - family[0].p) ** 8
    assert 0.005 < family[0].p < 0.2
    assert family[0].p_adjusted == pytest.approx(sidak, rel=0.2)


def test_user_paired_and_sign_flip_figures_stand_beside():
    truth, rng = world(13)
    values = rng.normal(size=(1, truth.pairs)) + 0.1
    (result,) = judge([Paired(values, 0.0)], truth)
    totals = np.bincount(truth.pair_row, values[0])
    assert result.p_user == pytest.approx(stats.ttest_1samp(totals, 0).pvalue)
    assert result.p_sign_flip == pytest.approx(result.p_user, abs=0.02)


def test_three_seeds_add_the_spread_of_their_means_with_satterthwaite_df():
    truth, rng = world(14)
    values = rng.normal(size=(3, truth.pairs)) + np.array([[0.3], [0.0], [-0.2]])
    (result,) = judge([Paired(values, 0.0)], truth)
    sampling = Clusters.of(truth).estimate(values.mean(axis=0))
    means = [float(row.sum()) / len(truth) for row in values]
    between = float(np.var(means, ddof=1)) / 3
    assert result.difference == pytest.approx(np.mean(means))
    assert result.se == pytest.approx(math.sqrt(sampling.variance + between))
    df = (sampling.variance + between) ** 2 / (sampling.variance**2 / sampling.df + between**2 / 2)
    assert result.df == pytest.approx(df)
    assert 2 < result.df < 10
    assert result.p == pytest.approx(2 * stats.t.sf(abs(result.difference) / result.se, df))
    assert result.seeds == 3


def test_seeds_that_change_nothing_count_as_one():
    truth, rng = world(15)
    values = rng.normal(size=(1, truth.pairs))
    (once,), (thrice,) = (judge([Paired(np.repeat(values, s, axis=0), 0.1)], truth) for s in (1, 3))
    assert thrice.se == pytest.approx(once.se)
    assert thrice.df == pytest.approx(once.df)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), rel=1e-6)


def test_two_seeds_are_refused():
    truth, rng = world(16)
    values = rng.normal(size=(2, truth.pairs))
    with pytest.raises(ConfigError, match="at least three"):
        judge([Paired(values, 0.1)], truth)
    with pytest.raises(ConfigError, match="at least three"):
        interval(values, truth)


def test_mixed_numbers_of_seeds():
    truth, rng = world(17)
    one, three, four = (Paired(rng.normal(size=(s, truth.pairs)), 0.1) for s in (1, 3, 4))
    assert [result.seeds for result in judge([one, three], truth)] == [1, 3]
    with pytest.raises(ValueError, match="same seeds"):
        judge([three, four], truth)


def test_nothing_changed_is_no_difference_and_leaves_the_others_alone():
    truth, rng = world(18)
    zero, other = np.zeros((1, truth.pairs)), rng.normal(size=(1, truth.pairs))
    alone = judge([Paired(other, 0.1)], truth)[0]
    nothing, beside = judge([Paired(zero, 0.1), Paired(other, 0.1)], truth)
    assert (nothing.difference, nothing.se, nothing.low, nothing.high) == (0, 0, 0, 0)
    assert (nothing.p, nothing.p_user, nothing.p_sign_flip, nothing.p_adjusted) == (1, 1, 1, 1)
    assert nothing.verdict == "no difference"
    assert beside == alone
    assert judge([Paired(zero, 0.1)], truth)[0].verdict == "no difference"


def test_the_same_gain_for_everyone_helps():
    truth, _ = world(19)
    gain = np.full(truth.pairs, 0.25) / truth.count[truth.pair_row]
    (result,) = judge([Paired(gain[None], 0.1)], truth)
    assert result.difference == pytest.approx(0.25)
    assert result.verdict == "helps"
    assert result.p_adjusted == 1e-4


def test_a_slice_in_a_family_is_judged_on_its_own_users():
    truth, rng = world(20)
    inside = truth.pair_item < 15
    values = np.where(inside, rng.normal(size=truth.pairs) + 0.3, 0.0)
    (part,) = judge([Paired(values[None], 0.1, inside)], truth)
    restricted = truth.where(inside)
    (alone,) = judge([Paired(values[None, inside], 0.1)], restricted)
    assert part.n == alone.n == len(restricted) < len(truth)
    for name in ("difference", "se", "df", "p", "p_user", "low", "high", "p_adjusted", "detectable"):
        assert getattr(part, name) == pytest.approx(getattr(alone, name)), name


def test_one_user_cannot_tell(make_truth):
    truth = make_truth([[1, 2, 3]])
    (result,) = judge([Paired(np.ones((1, 3)), 0.1)], truth)
    assert result.verdict == "cannot tell"
    assert math.isnan(result.p_adjusted)
    assert math.isnan(result.low)
    assert result.difference == 3.0


def test_same_seed_same_judgement_and_members_do_not_depend_on_their_order():
    truth, rng = world(21)
    family = [Paired(rng.normal(size=(3, truth.pairs)) + shift, 0.1) for shift in (0, 0.1, 0.3)]
    first = judge(family, truth, seed=4)
    assert first == judge(family, truth, seed=4)
    assert first != judge(family, truth, seed=5)
    for one, other in zip(first, judge(family[::-1], truth, seed=4)[::-1], strict=True):
        assert (one.se, one.p) == pytest.approx((other.se, other.p))
        assert one.p_adjusted == pytest.approx(other.p_adjusted, abs=0.02)


def test_wrong_input_is_refused():
    truth, rng = world(22)
    assert judge([], truth) == []
    with pytest.raises(ConfigError, match="draws = 19 cannot reach alpha"):
        judge([Paired(rng.normal(size=(1, truth.pairs)), 0.1)], truth, draws=19)
    with pytest.raises(ValueError, match=r"expected \[seeds, pairs\]"):
        judge([Paired(np.zeros(truth.pairs), 0.1)], truth)
    with pytest.raises(ValueError, match="expected"):
        judge([Paired(np.zeros((1, 3)), 0.1)], truth)
    with pytest.raises(ValueError, match="slice"):
        judge([Paired(np.zeros((1, truth.pairs)), 0.1, np.ones(3, bool))], truth)
