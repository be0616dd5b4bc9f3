"""Windows and folds: disjoint, complete, as the rules say, and never moved by anything but their seed."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.core import Dataset, Interactions, Split
from stagelens.pipeline.data.splits import folds, split
from stagelens.pipeline.errors import ConfigError, DataError


def dataset(clock="none", given=None, n_users=40, n_items=60, seed=0, lengths=None) -> Dataset:
    rng = np.random.default_rng(seed)
    if lengths is None:
        lengths = rng.integers(1, 15, n_users)
    user = np.repeat(np.arange(len(lengths)), lengths)
    item = np.concatenate([rng.permutation(n_items)[:n] for n in lengths])
    time = {
        "none": np.zeros(len(user)),
        "order": np.concatenate([np.arange(n) for n in lengths]),
        "real": rng.integers(1_600_000_000, 1_700_000_000, len(user)),
    }[clock]
    log = Interactions.of(user, item, n_users=len(lengths), n_items=n_items, time=time)
    window = np.full(len(user), -1, np.int8)
    if given is not None:
        window = rng.choice(len(given), p=given, size=len(user)).astype(np.int8)
    return Dataset("small", log, window, clock, np.arange(len(lengths)), np.arange(n_items))


def keys(window: Interactions) -> set[tuple[int, int]]:
    return set(zip(window.user.tolist(), window.item.tolist(), strict=True))


def windows(made: Split) -> list[Interactions]:
    return [made.history, made.labels, made.valid, made.test]


CASES = {
    "given": ("none", (0.7, 0.1, 0.2), "given"),
    "given in order": ("order", (0.7, 0.1, 0.2), "given"),
    "given without valid": ("none", (0.8, 0.0, 0.2), "given"),
    "clock": ("real", None, "global-time"),
    "order": ("order", None, "leave-last-out"),
    "nothing": ("none", None, "per-user"),
}


@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 10_000), split_seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_windows_are_disjoint_complete_and_repeatable(case, seed, split_seed):
    clock, given_shares, kind = CASES[case]
    data = dataset(clock, given_shares, seed=seed)
    made = split(data, seed=split_seed)
    assert made.kind == kind
    parts = [keys(window) for window in windows(made)]
    assert sum(map(len, parts)) == len(data.interactions)
    assert set().union(*parts) == keys(data.interactions)
    assert all(len(part) for part in parts)
    assert made.fingerprint() == split(data, seed=split_seed).fingerprint()
    assert made.notes


def test_a_given_split_is_kept_to_the_row():
    data = dataset("none", (0.7, 0.1, 0.2))
    made = split(data)
    assert keys(made.test) == keys(data.interactions.where(data.given == 2))
    assert keys(made.valid) == keys(data.interactions.where(data.given == 1))
    assert keys(made.train) == keys(data.interactions.where(data.given == 0))
    assert made.notes[0] == "given split"


@pytest.mark.parametrize("without_valid", [True, False])
def test_held_out_shares_of_a_given_train(without_valid):
    data = dataset("none", (0.8, 0.0, 0.2) if without_valid else (0.7, 0.1, 0.2), n_users=300)
    made = split(data, seed=3)
    total = data.interactions.where(data.given == 0).user_degree()
    if without_valid:
        taken = made.valid.user_degree()
        expected = np.where(total >= 3, np.maximum(np.floor(total * 0.1 + 0.5), 1), 0)
        np.testing.assert_array_equal(taken, expected)
        assert "no valid in it: 10 % of train per user with at least 3 (seed 3)" in made.notes[0]
        total = total - taken
    expected = np.where(total >= 3, np.maximum(np.floor(total * 0.1 + 0.5), 1), 0)
    np.testing.assert_array_equal(made.labels.user_degree(), expected)


def test_with_an_order_labels_are_the_last_of_train():
    data = dataset("order", (0.7, 0.1, 0.2), n_users=200)
    made = split(data)
    for user in made.labels.users():
        last = made.history.time[made.history.user == user].max()
        assert (made.labels.time[made.labels.user == user] > last).all()


def test_global_time_cuts_the_whole_log_and_keeps_a_moment_together():
    data = dataset("real", n_users=500)
    coarse = data.interactions.time // 1_000_000
    data = replace(data, interactions=replace(data.interactions, time=coarse))
    made = split(data)
    parts = windows(made)
    for earlier, later in pairwise(parts):
        assert earlier.time.max() < later.time.min()
    shares = np.array([len(part) for part in parts]) / len(data.interactions)
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.1, 0.1], atol=0.02)
    assert "global time, cut at" in made.notes[0]


def test_cold_test_users_are_kept_and_counted():
    log = Interactions.of(
        np.repeat(np.arange(10), 10),
        np.tile(np.arange(10), 10),
        n_users=10,
        n_items=10,
        time=np.arange(100) + 1_600_000_000,
    )
    data = Dataset("late", log, np.full(100, -1, np.int8), "real", np.arange(10), np.arange(10))
    made = split(data)
    assert made.test.users().tolist() == [9]
    assert "1 of 1 test users have no training interaction; they count" in made.notes


def test_leave_last_out_and_its_short_users():
    made = split(dataset("order", lengths=np.array([1, 2, 3, 4, 9])))
    degrees = np.stack([window.user_degree() for window in windows(made)], axis=1)
    assert degrees.tolist() == [[1, 0, 0, 0], [1, 0, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1], [6, 1, 1, 1]]
    long = [window.time[window.user == 4].tolist() for window in windows(made)]
    assert long == [[0, 1, 2, 3, 4, 5], [6], [7], [8]]
    assert (
        "1 with 1 event (history only), 1 with 2 (no valid, no labels), 1 with 3 (no labels)"
        in made.notes[-1]
    )


def test_per_user_is_eight_one_one_with_at_least_one_each():
    made = split(dataset("none", lengths=np.array([1, 2, 3, 5, 10, 30, 30])))
    assert made.test.user_degree().tolist() == [0, 1, 1, 1, 1, 3, 3]
    assert made.valid.user_degree().tolist() == [0, 0, 1, 1, 1, 3, 3]
    assert made.train.user_degree().tolist() == [1, 1, 1, 3, 8, 24, 24]
    assert made.labels.user_degree().tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert made.notes[0] == "no clock and no order: per-user 8:1:1 (seed 0)"


def test_only_the_split_seed_moves_a_split():
    data = dataset("none")
    assert split(data, seed=0).fingerprint() != split(data, seed=1).fingerprint()
    ordered = dataset("order")
    assert split(ordered, seed=0).fingerprint() == split(ordered, seed=1).fingerprint()


def test_a_kind_the_data_cannot_serve_names_those_it_can():
    with pytest.raises(
        ConfigError, match=r"'global-time' does not fit small: .*only positions.*auto, leave-last-out, per"
    ):
        split(dataset("order"), "global-time")
    with pytest.raises(ConfigError, match=r"'given' does not fit small: .*no split column"):
        split(dataset("real"), "given")
    with pytest.raises(
        ConfigError, match=r"'leave-last-out' does not fit small: .*neither a timestamp nor a seq"
    ):
        split(dataset("none"), "leave-last-out")
    with pytest.raises(ConfigError, match=r"Unknown split 'leave-one-out'. Did you mean 'leave-last-out'"):
        split(dataset("order"), "leave-one-out")


def test_an_empty_window_is_refused_with_its_sizes():
    with pytest.raises(DataError, match=r"split 'given' leaves test empty \(history .*, test 0\)"):
        split(dataset("none", (0.9, 0.1)))
    with pytest.raises(DataError, match=r"split 'leave-last-out' leaves labels empty .*at least 3"):
        split(dataset("order", lengths=np.array([3, 2, 2])))
    same = dataset("real")
    flat = replace(same, interactions=replace(same.interactions, time=np.ones_like(same.interactions.time)))
    with pytest.raises(DataError, match=r"split 'global-time' leaves history empty"):
        split(flat)


@given(
    lengths=st.lists(st.integers(0, 23), min_size=1, max_size=30),
    n=st.integers(2, 7),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_folds_are_balanced_within_every_user(lengths, n, seed):
    user = np.repeat(np.arange(len(lengths)), lengths)
    train = Interactions.of(user, np.arange(len(user)), n_users=len(lengths), n_items=max(len(user), 1))
    fold = folds(train, n, seed=seed)
    assert fold.dtype == np.int8
    assert fold.shape == (len(train),)
    for code, length in enumerate(lengths):
        counts = np.bincount(fold[train.user == code], minlength=n)
        assert counts.sum() == length
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(fold, folds(train, n, seed=seed))


def test_short_histories_spread_over_all_folds():
    users = 3000
    train = Interactions.of(np.arange(users), np.zeros(users), n_users=users, n_items=1)
    counts = np.bincount(folds(train, 5, seed=1), minlength=5)
    assert counts.min() > 500
    assert (folds(train, 5, seed=1) != folds(train, 5, seed=2)).any()
