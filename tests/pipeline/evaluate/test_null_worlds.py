"""Rates over many small simulated worlds; the full table is ``benchmarks/interval_coverage.py``."""

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.evaluate.significance import Paired, interval, judge
from stagelens.pipeline.evaluate.truth import Truth

WORLDS = 300  # the standard error of a 5 % rate is 1.3 %


def draw(rng: np.random.Generator, effect: str, skew: float) -> tuple[Truth, np.ndarray]:
    users, items = 250, 60
    weight = (1.0 + np.arange(items)) ** -skew
    user = np.repeat(np.arange(users), rng.integers(1, 6, users))
    item = rng.choice(items, len(user), p=weight / weight.sum())
    truth = Truth.of(Interactions.of(user, item, n_users=users, n_items=items))

    def sample(n: int) -> np.ndarray:
        return rng.standard_normal(n) if effect == "normal" else rng.standard_t(3, n)

    values = 0.5 * sample(users)[truth.pair_row] + 0.3 * sample(items)[truth.pair_item] + sample(truth.pairs)
    return truth, values / truth.count[truth.pair_row]


@pytest.mark.parametrize(("effect", "skew"), [("normal", 0.0), ("heavy", 0.0), ("normal", 0.8)])
def test_two_way_intervals_cover_and_the_user_paired_t_does_not(effect, skew):
    rng = np.random.default_rng(7)
    missed, naive = 0, 0
    for _ in range(WORLDS):
        truth, values = draw(rng, effect, skew)
        found = interval(values, truth)
        missed += not found.low <= 0 <= found.high
        totals = np.bincount(truth.pair_row, values)
        naive += abs(totals.mean()) > 1.96 * totals.std(ddof=1) / np.sqrt(len(totals))
    assert 0.02 <= missed / WORLDS <= 0.085
    assert naive / WORLDS > 0.10


def test_family_wise_rate_of_false_verdicts():
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(150):
        truth, first = draw(rng, "normal", 0.0)
        item = rng.normal(size=(4, 60))[:, truth.pair_item]
        others = (0.3 * item + rng.normal(size=(4, truth.pairs))) / truth.count[truth.pair_row]
        family = [Paired(row[None], 0.0) for row in [first, *others]]
        results = judge(family, truth, draws=999)
        wrong += any(result.verdict in ("helps", "hurts") for result in results)
        assert all(result.verdict != "no difference" for result in results)  # the margin is 0
    assert wrong / 150 <= 0.10


def test_three_seeds_cover_the_mean_over_seeds():
    rng = np.random.default_rng(9)
    missed, fitted = 0, 0
    for _ in range(WORLDS):
        truth, values = draw(rng, "normal", 0.0)
        seeds = values + rng.normal(scale=0.15, size=(3, 1)) / truth.count[truth.pair_row]
        found, first = interval(seeds, truth), interval(seeds[0], truth)
        missed += not found.low <= 0 <= found.high
        fitted += not first.low <= 0 <= first.high
    assert 0.015 <= missed / WORLDS <= 0.085
    assert fitted / WORLDS > 0.12  # one seed speaks of one fit only
