"""The parts of a standard error: users, items, seeds."""

from __future__ import annotations

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.evaluate.significance import Paired, judge
from stagelens.pipeline.evaluate.truth import Truth


def truth_of(users: int, items: int, rng: np.random.Generator) -> Truth:
    """One pair a user, items drawn with a skew."""
    weight = 1.0 / np.arange(1, items + 1)
    item = rng.choice(items, users, p=weight / weight.sum())
    return Truth.of(Interactions.of(np.arange(users), item, n_users=users, n_items=items))


def sources(difference, truth):
    [one] = judge([Paired(difference, 0.1)], truth, draws=999)
    return one


@pytest.mark.parametrize("seeds", [1, 4])
def test_the_parts_add_up_to_the_squared_error(seeds):
    rng = np.random.default_rng(3)
    truth = truth_of(300, 40, rng)
    one = sources(rng.normal(size=(seeds, truth.pairs)) + rng.normal(size=40)[truth.pair_item], truth)
    parts = one.sources
    assert parts.items > 0
    assert (parts.seeds > 0) == (seeds > 1)
    assert one.se**2 == pytest.approx(parts.users + parts.items + parts.seeds)
    assert 2 < parts.effective_items < 40


def test_items_below_chance_are_told_and_count_as_nothing():
    rng = np.random.default_rng(0)
    found = [sources(rng.normal(size=(1, 60)), truth_of(60, 20, rng)) for _ in range(40)]
    below = [one for one in found if one.sources.items < 0]
    assert 5 < len(below) < 35  # nothing is owed to items: the estimate lies on both sides of 0
    for one in below:
        assert one.se**2 == pytest.approx(one.sources.users)


def test_what_items_show_by_chance_is_known():
    rng = np.random.default_rng(7)
    found = [sources(rng.normal(size=(1, 800)), truth_of(800, 500, rng)).sources for _ in range(200)]
    spread = np.std([one.items for one in found])
    assert spread == pytest.approx(np.mean([one.items_se for one in found]), rel=0.25)


def test_the_item_part_stays_and_the_user_part_falls_with_users():
    rng = np.random.default_rng(1)
    effect = rng.normal(size=30)
    small, large = [], []
    for users, kept in ((200, small), (3200, large)):
        for _ in range(20):
            truth = truth_of(users, 30, rng)
            kept.append(sources(effect[truth.pair_item][None] + rng.normal(size=(1, users)), truth).sources)
    falls = np.mean([one.users for one in small]) / np.mean([one.users for one in large])
    stays = np.mean([one.items for one in small]) / np.mean([one.items for one in large])
    assert falls == pytest.approx(16, rel=0.1)
    assert stays == pytest.approx(1, rel=0.25)


def test_what_trainings_do_to_single_users_is_told_from_what_they_do_to_all():
    rng = np.random.default_rng(2)
    truth = truth_of(400, 30, rng)

    def mean_of(part: str, shift: float) -> float:
        """Mean over draws of a part, with trainings that shift all users alike by ``shift``."""
        values = []
        for _ in range(60):
            noise = rng.normal(size=(3, truth.pairs)) + shift * rng.normal(size=(3, 1))
            values.append(getattr(sources(noise, truth).sources, part))
        return float(np.mean(values))

    alone, both = mean_of("seeds", 0.0), mean_of("seeds", 0.2)
    assert alone == pytest.approx(1 / 400 / 3, rel=0.3)
    assert both == pytest.approx((0.04 + 1 / 400) / 3, rel=0.3)
    assert mean_of("seeds_users", 0.2) == pytest.approx(1 / 400 / 3, rel=0.1)


def test_the_skewness_of_one_pair_a_user_is_that_of_a_mean():
    rng = np.random.default_rng(5)
    users = 400
    truth = Truth.of(Interactions.of(np.arange(users), np.arange(users), n_users=users, n_items=users))
    values = rng.exponential(size=(1, users))
    one = sources(values, truth)
    centred = values[0] - values.mean()
    expected = (centred**3).mean() / centred.std() ** 3 / np.sqrt(users)
    assert one.sources.skewness(one.se) == pytest.approx(expected, rel=0.01)
    assert expected > 0.05
    mirrored = sources(-values, truth)
    assert mirrored.sources.skewness(mirrored.se) == pytest.approx(-one.sources.skewness(one.se))
    assert one.detectable < mirrored.detectable


def test_items_that_all_gain_alike_add_to_the_skewness():
    rng = np.random.default_rng(6)
    truth = truth_of(600, 40, rng)
    gain = np.where(rng.random(40) < 0.1, 3.0, 0.0)
    one = sources(gain[truth.pair_item][None] + 0.1 * rng.normal(size=(1, 600)), truth)
    assert one.sources.items > 0
    assert one.sources.third_items > one.sources.third_users > 0


def test_a_skewed_gain_of_the_detectable_size_is_found_in_four_of_five_samples():
    """A tenth of 400 users gain, by exponential amounts; were error and estimate independent, 90 % would find it."""
    rng = np.random.default_rng(8)
    users, tries = 400, 600
    truth = Truth.of(Interactions.of(np.arange(users), np.arange(users), n_users=users, n_items=users))

    def sample(gain):
        return (rng.random(users) < 0.1) * rng.exponential(size=users) - 0.1 + gain

    typical = [sources(sample(0.1)[None], truth) for _ in range(60)]
    gains = {
        "skewed": np.mean([one.detectable for one in typical]),
        "plain": np.mean([half_width(one) + 0.8435 * one.se for one in typical]),
    }
    rate = {
        name: np.mean([sources(sample(gain)[None], truth).low > 0 for _ in range(tries)])
        for name, gain in gains.items()
    }
    assert abs(rate["skewed"] - 0.8) < 0.05
    assert rate["plain"] > 0.85


def half_width(one):
    return (one.high - one.low) / 2
