"""From the parts of one error to what other numbers of users and trainings would see."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.evaluate.significance import Judgement, Paired, judge
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.pilot_outlook import Noise, Outlook, level_of, levelled

ITEMS = 150


def judged(
    users: int, seeds: int, rng: np.random.Generator, *, item: float = 0.4, shift: float = 0.03
) -> Judgement:
    """Judge a difference with effects of items, users and trainings; one held-out item a user."""
    weight = np.arange(1, ITEMS + 1) ** -0.5
    drawn = rng.choice(ITEMS, users, p=weight / weight.sum())
    truth = Truth.of(Interactions.of(np.arange(users), drawn, n_users=users, n_items=ITEMS))
    difference = item * rng.normal(size=ITEMS)[truth.pair_item] + rng.normal(size=(seeds, users))
    if seeds > 1:
        difference = difference + shift * rng.normal(size=(seeds, 1))
    [one] = judge([Paired(difference, 0.1)], truth, draws=999)
    return one


def outlook_of(one: Judgement) -> Outlook:
    level = level_of((one.high - one.low) / 2, one.se, one.df)
    return Outlook(Noise.of(one.sources, users=one.n, seeds=one.seeds), level, one.seeds)


@pytest.mark.parametrize("seeds", [1, 5])
def test_at_its_own_size_a_comparison_sees_what_it_reported(seeds):
    rng = np.random.default_rng(seeds)
    found = [judged(400, seeds, rng, item=0.5, shift=0.3) for _ in range(6)]
    used = [one for one in found if one.sources.items > 0 and one.sources.seeds >= one.sources.seeds_users]
    assert len(used) > 2
    for one in used:
        assert outlook_of(one).detectable(one.n) == pytest.approx(one.detectable, rel=1e-6)


def test_what_a_small_pilot_foresees_is_what_a_large_study_reports():
    rng = np.random.default_rng(4)
    foreseen = [outlook_of(judged(400, 1, rng)).detectable(6400) for _ in range(24)]
    reported = [judged(6400, 1, rng).detectable for _ in range(24)]
    assert np.median(foreseen) == pytest.approx(np.median(reported), rel=0.25)
    only_users = [outlook_of(judged(400, 1, rng, item=0.0)).detectable(6400) for _ in range(24)]
    assert np.median(only_users) < 0.6 * np.median(foreseen)  # what stays matters here


def test_without_items_and_trainings_four_times_the_users_see_half():
    outlook = Outlook(Noise(user=1.0, item=0.0, item_se=0.0, seed=0.0, seed_user=0.0, items=50), 0.05, 1)
    assert outlook.detectable(40_000) == pytest.approx(outlook.detectable(10_000) / 2, rel=1e-3)
    assert outlook.detectable(10_000) == pytest.approx((1.96 + 0.8416) / 100, rel=1e-3)
    assert outlook.limit < 1e-5


def test_items_leave_something_that_no_number_of_users_sees():
    outlook = Outlook(Noise(user=1.0, item=1e-4, item_se=0.0, seed=0.0, seed_user=0.0, items=1e6), 0.05, 1)
    assert outlook.limit == pytest.approx((1.96 + 0.8416) / 100, rel=1e-3)
    assert outlook.users_for(0.9 * outlook.limit) == math.inf
    assert math.isfinite(outlook.users_for(1.1 * outlook.limit))


def test_trainings_leave_less_the_more_there_are():
    noise = Noise(user=1.0, item=0.0, item_se=0.0, seed=1e-4, seed_user=0.5, items=50)
    limits = [Outlook(noise, 0.05, seeds).limit for seeds in (3, 10, 100)]
    assert limits == sorted(limits, reverse=True)
    assert Outlook(noise, 0.05, 1).limit < limits[-1]  # one training: a statement about these fitted systems
    assert Outlook(noise, 0.05, 100).limit == pytest.approx((1.984 + 0.845) / 1000, rel=0.01)


@pytest.mark.parametrize("effect", [0.5, 0.1, 0.03])
def test_users_for_an_effect_are_the_fewest_that_see_it(effect):
    outlook = Outlook(Noise(user=2.0, item=1e-5, item_se=0.0, seed=0.0, seed_user=0.0, items=80), 0.01, 1)
    needed = outlook.users_for(effect)
    assert outlook.detectable(needed) <= effect < outlook.detectable(min(needed - 1, 0.998 * needed))


def test_systems_that_never_differ_see_nothing():
    outlook = Outlook(Noise(user=0.0, item=0.0, item_se=0.0, seed=0.0, seed_user=0.0, items=10), 0.05, 1)
    assert math.isnan(outlook.detectable(1000))
    assert math.isnan(outlook.users_for(0.01))


def test_a_group_owes_items_and_trainings_one_share():
    parts = [Noise(1.0, 0.02, 0.0, -0.004, 0.3, 40), Noise(3.0, -0.01, 0.0, 0.008, 0.1, 60)]
    shared = levelled(parts)
    assert [one.item for one in shared] == pytest.approx([0.0025, 0.0075])  # 0.01 in all, 1 to 3
    assert [one.seed for one in shared] == pytest.approx([0.001, 0.003])
    for before, after in zip(parts, shared, strict=True):
        assert (after.user, after.seed_user, after.items) == (before.user, before.seed_user, before.items)
    assert levelled([Noise(1.0, -0.02, 0.0, 0.0, 0.0, 40)])[0].item == 0.0


def test_of_the_item_part_counts_what_stands_out_of_chance():
    for item, chance, left in (
        (0.01, 0.005, 0.0075),
        (0.01, 0.01, 0.0),
        (0.01, 0.02, 0.0),
        (0.01, 0.0, 0.01),
    ):
        [one] = levelled([Noise(1.0, item, chance, 0.0, 0.0, 40)])
        assert one.item == pytest.approx(left)
        assert one.item_se == chance


def test_the_item_part_may_be_higher_or_lower_by_chance():
    outlook = Outlook(Noise(user=1.0, item=1e-4, item_se=4e-5, seed=0.0, seed_user=0.0, items=80), 0.05, 1)
    assert outlook.shifted(1.0).noise.item == pytest.approx(1.4e-4)
    assert outlook.shifted(-3.0).noise.item == 0.0
    assert outlook.shifted(0.0) == outlook


def test_systems_that_learned_more_differ_less():
    before = Noise(1.0, 0.02, 0.01, 0.004, 0.3, 40)
    after = before.scaled(0.25)
    outlooks = [Outlook(noise, 0.05, 3).detectable(500) for noise in (before, after)]
    assert outlooks[1] == pytest.approx(outlooks[0] / 2)
    assert after.items == before.items
