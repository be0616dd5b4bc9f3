"""The law of the clocks: the log, its fresh logs and the formula agree."""

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.native import limited
from stagelens.pipeline.worlds import clocks
from stagelens.pipeline.worlds.generate import Generated
from stagelens.pipeline.worlds.world import World

DAY = 86_400
TINY = {"users": 200, "items": 150, "activity": 15.0, "factors": 4, "categories": 5, "modalities": {}}
EXPOSURES = ("uniform", "popularity")


def pairs(log: Interactions) -> np.ndarray:
    return log.user.astype(np.int64) * log.n_items + log.item


def before(log: Interactions, moment: int) -> Interactions:
    return log.where(log.time < moment)


def grid(made: Generated) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(made.dataset.n_users)[:, None], np.arange(made.dataset.n_items)[None, :]


@pytest.fixture(scope="module", params=EXPOSURES)
def made(request) -> Generated:
    return World(**TINY, exposure=request.param).truth(3)


def test_relevance_is_a_chance_that_appeal_and_match_make(made):
    user, item = grid(made)
    relevance, match = made.relevance(user, item), made.preference.match(user, item)
    assert relevance.shape == (200, 150)
    assert 0 < relevance.min()
    assert relevance.max() <= 1
    np.testing.assert_allclose(match.mean(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(match.std(axis=1), 1, rtol=1e-9)
    by_hand = made.preference.appeal * np.minimum(1, np.exp(2.5 * (match - 2.5)))
    np.testing.assert_allclose(relevance, by_hand, rtol=1e-12)
    assert made.relevance(7, 11) == pytest.approx(by_hand[7, 11])


def test_relevance_knows_no_exposure():
    even, skewed = (World(**TINY, exposure=exposure).truth(3) for exposure in EXPOSURES)
    np.testing.assert_array_equal(even.relevance(*grid(even)), skewed.relevance(*grid(even)))
    assert (even.clocks.exposure == 1).all()
    assert np.corrcoef(skewed.clocks.exposure, skewed.preference.appeal)[0, 1] > 0.8
    assert skewed.clocks.exposure.mean() == pytest.approx(1)


def test_a_pair_appears_with_its_chance(made):
    """Over worlds' worth of fresh logs, pairs of like chance appear that often; and half as long is less."""
    draws = 60
    for end in (None, made.start + 180 * DAY):
        chance = made.chance(*grid(made), start=made.start, end=end)
        found = np.zeros(chance.size)
        for draw in range(draws):
            found[pairs(made.fresh(draw, start=made.start, end=end))] += 1
        order = np.argsort(chance, axis=None)
        for part in np.array_split(order, 12):
            expected = chance.ravel()[part]
            spread = np.sqrt((expected * (1 - expected)).sum() * draws)
            assert abs(found[part].sum() - expected.sum() * draws) <= 4 * spread


def test_the_expected_number_of_events_is_what_was_asked():
    made = World(**TINY, activity_spread=0.0).truth(3)
    expected = made.chance(*grid(made), start=made.start).sum(axis=1)
    np.testing.assert_allclose(expected, 15, rtol=1e-4)
    spread = World(**{**TINY, "users": 5000, "items": 5000}, fewest=0.01).truth(1)
    counts = spread.dataset.interactions.user_degree()
    assert counts.mean() == pytest.approx(15, rel=0.08)  # by a panel of the items
    assert np.log(np.maximum(counts, 1)).std() == pytest.approx(np.hypot(0.8, 0.3), abs=0.1)


def test_the_log_has_the_law_of_its_fresh_logs():
    """Own tails of many worlds against fresh tails given what came before: counts, relevance, who and what."""
    own, fresh = [], []
    for seed in range(120):
        made = World(**TINY, exposure=EXPOSURES[seed % 2]).truth(seed)
        log = made.dataset.interactions
        cut = made.start + 250 * DAY
        again = made.fresh(0, start=cut, taken=before(log, cut))
        chance = made.chance(*grid(made), start=cut)
        chance.ravel()[pairs(before(log, cut))] = 0
        for side, tail in ((own, log.where(log.time >= cut)), (fresh, again)):
            relevance = made.relevance(tail.user, tail.item)
            users, items = chance.sum(axis=1), chance.sum(axis=0)
            side.append(
                [
                    len(tail) - chance.sum(),
                    relevance.sum() - (chance * made.relevance(*grid(made))).sum(),
                    (tail.user_degree() - users) @ users,
                    (tail.item_degree() - items) @ items,
                    ((tail.user_degree() - users) ** 2 - (chance * (1 - chance)).sum(axis=1)).sum(),
                    (tail.time - cut).sum() / DAY,
                ]
            )
    for side in (np.array(own), np.array(fresh)):
        z = side[:, :5].mean(axis=0) / (side[:, :5].std(axis=0) / np.sqrt(len(side)))
        assert (np.abs(z) < 3.5).all(), z
    gap = np.array(own) - np.array(fresh)
    z = gap.mean(axis=0) / (gap.std(axis=0) / np.sqrt(len(gap)))
    assert (np.abs(z) < 3.5).all(), z


def test_pairs_are_independent_so_totals_spread_as_sums_of_chances():
    made = World(**TINY).truth(3)
    chance = made.chance(*grid(made), start=made.start)
    totals = np.array([len(made.fresh(draw, start=made.start)) for draw in range(200)])
    assert totals.var(ddof=1) == pytest.approx((chance * (1 - chance)).sum(), rel=0.4)


def test_what_was_taken_never_comes_again(made):
    log = made.dataset.interactions
    cut = made.start + 200 * DAY
    old = before(log, cut)
    for draw in range(5):
        again = made.fresh(draw, start=cut, taken=old)
        assert not np.isin(pairs(again), pairs(old)).any()
        assert len(np.unique(pairs(again))) == len(again)
    everything = np.divmod(np.arange(200 * 150), 150)
    full = Interactions.of(*everything, n_users=200, n_items=150)
    assert len(made.fresh(0, start=cut, taken=full)) == 0


def test_fresh_logs_are_sorted_inside_their_span_and_after_arrival(made):
    start, end = made.start + 100 * DAY, made.start + 140 * DAY
    log = made.fresh(4, start=start, end=end)
    assert len(log) > 50
    assert start <= log.time.min()
    assert log.time.max() < end
    seconds = log.time - made.start
    assert (seconds >= np.floor(made.clocks.arrival[log.item])).all()
    assert (seconds >= np.floor(made.clocks.joined[log.user])).all()
    again = Interactions.of(log.user, log.item, n_users=200, n_items=150, time=log.time)
    assert again.fingerprint() == log.fingerprint()


def test_draws_are_seeded_and_independent(made):
    one, same, other = (made.fresh(draw, start=made.start) for draw in (1, 1, 2))
    assert one.fingerprint() == same.fingerprint()
    assert made.fresh(1, start=made.start).fingerprint() == one.fingerprint()
    chance = made.chance(*grid(made), start=made.start)
    shared = np.isin(pairs(one), pairs(other)).sum()
    spread = np.sqrt((chance**2 * (1 - chance**2)).sum())
    assert abs(shared - (chance**2).sum()) < 4 * spread
    shared = np.isin(pairs(one), pairs(made.dataset.interactions)).sum()
    assert abs(shared - (chance**2).sum()) < 4 * spread


def test_threads_and_room_change_nothing(monkeypatch):
    world = World(**{**TINY, "users": 3000, "items": 2000})
    with limited(1):
        alone = world.generate(2).hashes()
    with limited(3):
        assert world.generate(2).hashes() == alone
    monkeypatch.setattr(clocks, "ROOM", 1)
    assert world.generate(2).hashes() == alone


def test_slates_are_examined_as_a_simulation_of_slates_says():
    """The exposure of items against slates drawn and shown one by one."""
    world = World(**TINY, exposure="popularity", slate=5, skew=0.7, position=1.5)
    made = world.truth(3)
    appeal = made.preference.appeal
    rng = np.random.default_rng(0)
    share = appeal**0.7 / (appeal**0.7).sum()
    slates = rng.choice(150, size=(200_000, 5), p=share)
    slates = np.take_along_axis(slates, np.argsort(-appeal[slates], axis=1, kind="stable"), axis=1)
    ahead = (appeal[slates][:, None, :] > appeal[slates][:, :, None]).sum(axis=2)  # equal items share a place
    examined = rng.random(slates.shape) < (1.0 + ahead) ** -1.5
    rate = np.bincount(slates[examined], minlength=150)
    top = np.argsort(-appeal)[:60]
    exposure = made.clocks.exposure
    np.testing.assert_allclose(rate[top] / rate.sum(), exposure[top] / exposure.sum(), rtol=0.1)


def test_wrong_spans_and_logs_are_refused(made):
    with pytest.raises(ValueError, match=r"start = .*, end = .*: allowed .* <= start < end"):
        made.fresh(0, start=made.end)
    with pytest.raises(ValueError, match="allowed 1672531200 <= start"):
        made.fresh(0, start=0)
    other = Interactions.of(np.array([0]), np.array([0]), n_users=2, n_items=2)
    with pytest.raises(ValueError, match="taken is of 2 users and 2 items, the world of 200 and 150"):
        made.fresh(0, start=made.start, taken=other)
