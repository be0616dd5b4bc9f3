"""Budgets: each exactly inside the next, what is held out untouched, the mask whole at every budget."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from stagelens.pipeline.core import Interactions, Split
from stagelens.pipeline.data.thinning import Budget, thinned
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.seeds import tie_order
from stagelens.pipeline.windows import windows_of

SHARED = ("uniform", "oldest", "newest")
WAYS = [(how, "random") for how in (*SHARED, "per-user", "per-item", "cold-items", "cold-users")]
WAYS += [
    (how, order)
    for how in ("per-user", "per-item", "cold-items", "cold-users")
    for order in ("oldest", "newest")
]


def codes(log: Interactions) -> set[int]:
    return set((log.user.astype(np.int64) * log.n_items + log.item).tolist())


def events(log: Interactions) -> set[tuple[int, int, int]]:
    return set(zip(log.user.tolist(), log.item.tolist(), log.time.tolist(), strict=True))


def split_of(seed: int, users: int, items: int, n: int, clock: str = "real") -> Split:
    """A random log with repeats and equal times, cut at random."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, users, n), rng.integers(0, items, n)
    time = np.zeros(n, np.int64) if clock == "none" else rng.integers(10**9, 10**9 + n, n)
    log = Interactions.of(user, item, n_users=users, n_items=items, time=time)
    window = rng.choice(4, size=n, p=[0.6, 0.2, 0.1, 0.1])
    return Split("given", *(log.where(window == code) for code in range(4)), clock=clock)


splits = st.builds(split_of, st.integers(0, 999), st.integers(1, 12), st.integers(1, 12), st.integers(0, 80))


@settings(max_examples=150, deadline=None)
@given(split=splits, way=st.sampled_from(WAYS), draw=st.integers(0, 3), amounts=st.data())
def test_budgets_are_nested_and_leave_the_rest_alone(split, way, draw, amounts):
    how, order = way
    one = st.integers(0, 6) if how.startswith("per") else st.floats(0, 1)
    low, high = sorted(amounts.draw(st.tuples(one, one)))
    small, large = (thinned(split, Budget(how, amount, order, draw)) for amount in (low, high))
    for name in ("history", "labels"):
        assert events(getattr(small, name)) <= events(getattr(large, name)) <= events(getattr(split, name))
    for part in (small, large):
        assert part.valid is split.valid
        assert part.test is split.test
        kept = codes(part.train)
        for window in (split.history, split.labels):  # every event of a kept pair is kept
            inside = np.array(
                [code in kept for code in (window.user.astype(int) * window.n_items + window.item)]
            )
            assert events(window.where(inside.astype(bool))) <= events(part.train)


@settings(max_examples=80, deadline=None)
@given(split=splits, way=st.sampled_from(WAYS), share=st.floats(0, 1), k=st.integers(0, 5))
def test_a_budget_keeps_exactly_what_it_says(split, way, share, k):
    how, order = way
    counted = how.startswith("per")
    kept = codes(thinned(split, Budget(how, k if counted else share, order)).train)
    everything = codes(split.train)
    n_items = split.train.n_items
    if how in SHARED:
        assert len(kept) == int(np.floor(share * len(everything) + 0.5))
    elif counted:
        group = (lambda code: code // n_items) if how == "per-user" else (lambda code: code % n_items)
        for one in {group(code) for code in everything}:
            of = sum(group(code) == one for code in everything)
            assert sum(group(code) == one for code in kept) == min(k, of)
    else:
        member = (lambda code: code % n_items) if how == "cold-items" else (lambda code: code // n_items)
        warm = {member(code) for code in kept}
        assert len(warm) == int(np.floor(share * len({member(code) for code in everything}) + 0.5))
        assert kept == {code for code in everything if member(code) in warm}  # all or nothing


@settings(max_examples=80, deadline=None)
@given(
    split=splits,
    way=st.sampled_from(WAYS),
    share=st.floats(0, 1),
    refit=st.sampled_from(["none", "full", "cross"]),
    mask=st.sampled_from(["train", "train+valid"]),
)
def test_the_mask_is_the_full_history_in_every_window(split, way, share, refit, mask):
    how, order = way
    budget = Budget(how, int(5 * share) if how.startswith("per") else share, order)
    part, tie = thinned(split, budget), tie_order(0, split.train.n_items)
    whole = windows_of(split, tie, refit=refit, mask=mask, seed=3)
    thin = windows_of(part, tie, refit=refit, mask=mask, seed=3, whole=split)
    for name in ("valid", "test"):
        before, after = getattr(whole, name), getattr(thin, name)
        assert after.mask.fingerprint() == before.mask.fingerprint()  # the same bytes
        assert after.target.fingerprint() == before.target.fingerprint()
        np.testing.assert_array_equal(after.truth.user, before.truth.user)  # every user counts
        assert codes(after.input) == codes(part.train)
        assert events(after.fit) == events(part.history if refit == "none" else part.train)
    withheld = codes(split.train) - codes(part.train)
    assert len(thin.rows) == len(whole.rows)
    for before, after in zip(whole.rows, thin.rows, strict=True):
        assert events(after.target) <= events(before.target)
        assert not codes(after.target) & withheld
        assert events(after.fit) == {
            one for one in events(before.fit) if codes_of(one, split) not in withheld
        }
        assert codes(after.mask) == codes(before.mask) | withheld  # neither returned nor taught as a negative
        assert after.input is after.fit


def codes_of(event: tuple[int, int, int], split: Split) -> int:
    return event[0] * split.train.n_items + event[1]


def test_everything_kept_is_the_same_windows():
    split = split_of(1, 9, 9, 200)
    part, tie = thinned(split, Budget("uniform", 1.0)), tie_order(0, 9)
    for refit in ("none", "full", "cross"):
        plain = windows_of(split, tie, refit=refit)
        laid = windows_of(part, tie, refit=refit, whole=split)
        assert [w.key for w in laid.rows] == [w.key for w in plain.rows]
        assert (laid.valid.key, laid.test.key) == (plain.valid.key, plain.test.key)


def test_time_decides_what_is_oldest_and_newest():
    split = split_of(2, 6, 30, 120)
    first: dict[int, int] = {}
    for user, item, time in events(split.train):
        code = user * 30 + item
        first[code] = min(first.get(code, time), time)
    for how, sign in (("oldest", 1), ("newest", -1)):
        kept = codes(thinned(split, Budget(how, 0.3)).train)
        worst = max(sign * first[code] for code in kept)
        assert all(sign * time >= worst for code, time in first.items() if code not in kept)
    kept = codes(thinned(split, Budget("per-user", 2, "newest")).train)
    for user in range(6):
        own = sorted(time for code, time in first.items() if code // 30 == user)
        assert sorted(first[code] for code in kept if code // 30 == user) == own[-2:]
    arrival = {item: min(t for c, t in first.items() if c % 30 == item) for item in {c % 30 for c in first}}
    warm = {code % 30 for code in codes(thinned(split, Budget("cold-items", 0.5, "oldest")).train)}
    assert max(arrival[item] for item in warm) <= min(t for item, t in arrival.items() if item not in warm)


def test_with_an_order_alone_the_place_in_the_own_sequence_decides():
    log = Interactions.of(
        np.repeat([0, 1], [10, 4]),
        np.r_[np.arange(10), np.arange(4)],
        n_users=2,
        n_items=10,
        time=np.r_[np.arange(10), np.arange(4)],
    )
    none = log.where(np.zeros(14, bool))
    split = Split("leave-last-out", log, none, none, none, "order")
    assert thinned(split, Budget("oldest", 0.5)).train.user_degree().tolist() == [5, 2]
    assert thinned(split, Budget("newest", 0.5)).train.item.tolist() == [5, 6, 7, 8, 9, 2, 3]
    for how in ("per-item", "cold-items", "cold-users"):
        with pytest.raises(ConfigError, match=r"an order within each user alone.*random"):
            thinned(split, Budget(how, 1, "oldest"))


def test_without_a_clock_nothing_is_older():
    split = split_of(3, 5, 5, 40, clock="none")
    for budget in (
        Budget("newest", 0.5),
        Budget("per-user", 1, "oldest"),
        Budget("cold-items", 0.5, "newest"),
    ):
        with pytest.raises(ConfigError, match=r"neither a clock nor an order.*uniform"):
            thinned(split, budget)
    assert len(thinned(split, Budget("per-user", 1)).train.users()) == len(split.train.users())


def test_a_draw_moves_it_and_the_split_alone_fixes_it():
    split = split_of(4, 20, 40, 600)
    kept = [codes(thinned(split, Budget("uniform", 0.5, draw=draw)).train) for draw in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]
    assert 0.35 < len(kept[0] & kept[2]) / len(kept[0]) < 0.65
    cold = [thinned(split, Budget("cold-items", 0.5, draw=d)).train.item_degree() == 0 for d in (0, 1)]
    assert cold[0].sum() == cold[1].sum() >= 19
    assert (cold[0] != cold[1]).any()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (("uniform", 1.5), "150 %"),
        (("per-user", 0.5), "whole numbers from 0"),
        (("per-item", -1), "whole numbers from 0"),
        (("cold-items", -0.1), "0 to 100 %"),
        (("uniform", 0.5, "newest"), "how = oldest or newest"),
        (("unifrom", 0.5), "Did you mean 'uniform'"),
    ],
)
def test_what_is_no_budget_is_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        Budget(*fields)
