"""Areas, crossings and draws of whole curves; slices by time and by user and item together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.evaluate.crossed import CROSSED, TIME, crossed, time_slices
from stagelens.pipeline.evaluate.curves import Axis, area_weights, crossings, joint
from stagelens.pipeline.evaluate.power import in_words, too_small
from stagelens.pipeline.evaluate.significance import Paired, judge
from stagelens.pipeline.evaluate.slices import slices
from stagelens.pipeline.evaluate.truth import Truth


@pytest.fixture(scope="module")
def truth() -> Truth:
    rng = np.random.default_rng(0)
    return Truth.of(
        Interactions.of(rng.integers(0, 80, 400), rng.zipf(1.6, 400) % 60, n_users=80, n_items=60)
    )


def contributions(truth: Truth, seeds: int, members: int) -> list[np.ndarray]:
    """Correlated differences: a shared item effect, noise of their own, and one a seed."""
    rng = np.random.default_rng(1)
    item = rng.standard_normal(60)[truth.pair_item] / truth.count[truth.pair_row]
    found = []
    for member in range(members):
        noise = rng.standard_normal((seeds, truth.pairs)) + rng.standard_normal((seeds, 1)) / 5
        found.append(item + (member + 1) * noise / truth.count[truth.pair_row])
    return found


# ------------------------------------------------------------ joint


@pytest.mark.parametrize("seeds", [1, 3])
def test_errors_are_those_of_the_judge(truth, seeds):
    values = contributions(truth, seeds, 3)
    together = joint(values, truth)
    for place, one in enumerate(judge([Paired(value, 0.1) for value in values], truth, draws=999)):
        assert together.mean[place] == pytest.approx(one.difference, rel=1e-12)
        assert np.sqrt(together.covariance[place, place]) == pytest.approx(one.se, rel=1e-12)
        assert together.df[place] == pytest.approx(one.df, rel=1e-12)
        assert together.n[place] == one.n


def test_a_sum_of_contributions_is_judged_as_the_sum_of_means(truth):
    first, second = contributions(truth, 1, 2)
    mean, se, _ = joint([first, second], truth).combined(np.array([1.0, -1.0]))
    [one] = judge([Paired(first - second, 0.1)], truth, draws=999)
    assert mean == pytest.approx(one.difference, rel=1e-9)
    assert se == pytest.approx(one.se, rel=0.05)  # the guard of each variance stands before the difference


def test_draws_have_the_means_errors_and_correlations(truth):
    together = joint(contributions(truth, 3, 3), truth)
    drawn = together.drawn(40_000, seed=1)
    np.testing.assert_array_equal(drawn, together.drawn(40_000, seed=1))
    se = np.sqrt(np.diag(together.covariance))
    np.testing.assert_allclose(drawn.mean(axis=0), together.mean, atol=0.05 * se.max())
    inside = np.abs(drawn - together.mean) < 1.96 * se
    assert (inside.mean(axis=0) > 0.85).all()
    assert (inside.mean(axis=0) < 0.96).all()  # t is wider than normal
    correlation = together.covariance / np.outer(se, se)
    ranked = np.corrcoef(drawn.argsort(axis=0).argsort(axis=0), rowvar=False)
    np.testing.assert_allclose(ranked, correlation, atol=0.06)


def test_what_never_differs_stays_where_it_is(truth):
    values = [np.zeros((1, truth.pairs)), contributions(truth, 1, 1)[0]]
    drawn = joint(values, truth).drawn(500)
    assert (drawn[:, 0] == 0).all()
    assert drawn[:, 1].std() > 0


# ------------------------------------------------------------ area and crossing


def test_the_area_is_the_mean_height_of_the_curve():
    share = np.array([1.0, 0.6, 0.1, 0.0])
    weights = area_weights(share, Axis("linear"))
    assert weights.sum() == pytest.approx(1.0)
    assert weights @ share == pytest.approx(0.5)  # of the curve y = x over [0, 1]
    share = np.array([1.0, 0.5, 0.05])
    weights = area_weights(share, Axis("log"))
    assert weights @ np.log(share) == pytest.approx(np.log(0.05) / 2)
    assert (weights > 0).all()


def test_without_a_range_every_budget_counts_the_same():
    assert area_weights(np.array([1.0, 1.0]), Axis("log")).tolist() == [0.5, 0.5]


def test_crossings_are_found_going_down_and_only_upwards():
    share = np.array([1.0, 0.1, 0.01])
    lead = np.array(
        [
            [-1.0, 1.0, 2.0],  # half way between 1 and .1 on a log scale
            [-2.0, -1.0, 3.0],  # a quarter of the way between .1 and .01
            [1.0, -1.0, 1.0],  # ahead with everything kept: nothing is overtaken
            [-1.0, 1.0, -1.0],  # ahead for a while, not where data is sparsest
            [0.0, -1.0, 1.0],  # level with everything kept: not behind
            [-1.0, 1.0, 0.0],
            [1.0, 0.5, 0.1],  # ahead throughout
            [2.0, 1.0, -1.0],  # loses it going down
            [-1.0, 0.0, 0.0],  # level is not ahead
            [-1.0, 0.0, 1.0],
        ]
    )
    found = crossings(share, lead, Axis("log"))
    expected = [10**-0.5, 10**-1.25, *[np.nan] * 7, 0.1]
    np.testing.assert_allclose(found, expected)
    assert crossings(share[:2], lead[:1, :2], Axis("linear"))[0] == pytest.approx(0.55)
    half = np.expm1(np.log(11) / 2 + np.log(2) / 2) / 10  # half way between 10 and 1 kept, as log(1 + kept)
    assert crossings(share[:2], lead[:1, :2], Axis("count", 10.0))[0] == pytest.approx(half)
    assert np.isnan(crossings(share[:1], lead[:, :1], Axis("log"))).all()


def test_counts_give_the_sparse_end_its_weight():
    kept = np.array([40.0, 10, 5, 3, 2, 1, 0])  # of each user
    counts, linear = (area_weights(kept / 40, Axis(scale, 40.0)) for scale in ("count", "linear"))
    assert counts.sum() == pytest.approx(1)
    assert linear[3:].sum() < 0.11
    assert counts[3:].sum() > 0.4
    np.testing.assert_allclose(Axis("count", 40.0).places(kept / 40), np.log(1 + kept))
    np.testing.assert_allclose(Axis("count", 40.0).shares(np.log(1 + kept)), kept / 40)


@pytest.mark.parametrize(
    ("verdict", "margin", "detectable", "expected"),
    [
        ("cannot tell", 0.001, 0.002, True),
        ("cannot tell", 0.002, 0.001, False),
        ("cannot tell", 0.001, None, True),
        ("cannot tell", None, 0.001, False),
        ("helps", 0.001, 0.002, False),
        (None, None, None, False),
    ],
)
def test_too_small_is_what_could_not_have_shown_the_margin(verdict, margin, detectable, expected):
    assert too_small(verdict, margin, detectable) is expected
    assert in_words(verdict, margin, detectable) == ("too small to tell" if expected else verdict)


# ------------------------------------------------------------ slices


def test_quarters_by_time_hold_every_pair_once():
    rng = np.random.default_rng(3)
    time = rng.permutation(200) + 10**9
    target = Interactions.of(
        rng.integers(0, 30, 200), rng.integers(0, 40, 200), n_users=30, n_items=40, time=time
    )
    truth = Truth.of(target)
    parts = time_slices(truth, target)
    assert [part.name for part in parts] == [TIME] * 4
    assert np.sum([part.pairs for part in parts], axis=0).tolist() == [1] * truth.pairs
    first = {}
    for user, item, moment in zip(target.user, target.item, target.time, strict=True):
        first[int(user), int(item)] = min(first.get((int(user), int(item)), 1 << 60), int(moment))
    of = np.array(
        [first[int(truth.user[r]), int(i)] for r, i in zip(truth.pair_row, truth.pair_item, strict=True)]
    )
    for before, after in itertools.pairwise(parts):
        assert of[before.pairs].max() < of[after.pairs].min()
    sizes = [int(part.pairs.sum()) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_one_moment_has_no_quarters():
    target = Interactions.of(np.arange(4), np.arange(4), n_users=4, n_items=4)
    assert time_slices(Truth.of(target), target) == []


def test_crossed_slices_are_the_two_kinds_together(truth):
    rng = np.random.default_rng(4)
    user, item = rng.integers(0, 30, 80), rng.integers(0, 80, 60)
    parts = crossed(truth, user, item)
    assert len(parts) == 5 * 6
    assert np.sum([part.pairs for part in parts], axis=0).tolist() == [1] * truth.pairs
    single = {f"{part.name} {part.value}": part.pairs for part in slices(truth, user, item)}
    found = {part.value: part.pairs for part in parts if part.name == CROSSED}
    both = single["user degree 5-9"] & single["item degree 20-49"]
    np.testing.assert_array_equal(found["5-9 x 20-49"], both)
