"""The data of a pilot: whole histories of some users, every item, nothing of test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.core import Split
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.experiment.pilot_sample import (
    active_users,
    disjoint_samples,
    measured_users,
    sample_of,
)


@pytest.fixture(scope="module")
def world(make_world):
    dataset = make_world(3, users=600)
    return dataset, split(dataset)


def pairs(log, users=None):
    """The (external user, item) pairs of a log; ``users`` names its codes."""
    user = log.user if users is None else users[log.user]
    return sorted(zip(user.tolist(), log.item.tolist(), strict=True))


def test_samples_are_disjoint_equal_and_seeded(world):
    _, windows = world
    first, second = disjoint_samples(windows, 401, 2, 0)
    assert len(first) == len(second) == 200
    assert not np.intersect1d(first, second).size
    assert np.isin(np.concatenate([first, second]), active_users(windows)).all()
    again, other = disjoint_samples(windows, 401, 2, 0)[0], disjoint_samples(windows, 401, 2, 1)[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_histories_are_whole_items_all_there_and_test_is_not(world):
    dataset, windows = world
    users = disjoint_samples(windows, 300, 2, 0)[0]
    small, own = sample_of(dataset, windows, users, 0)
    names = dataset.users[users]
    for window, whole in ((own.history, windows.history), (own.labels, windows.labels)):
        inside = np.isin(whole.user, users)
        assert pairs(window, names) == pairs(whole.where(inside), dataset.users)
    held = windows.valid.where(np.isin(windows.valid.user, users))
    assert sorted(pairs(own.valid, names) + pairs(own.test, names)) == pairs(held, dataset.users)
    assert small.n_items == dataset.n_items
    assert small.n_users == len(users)
    opened = set(pairs(windows.test, dataset.users)) & set(pairs(small.interactions, names))
    assert not opened
    assert len(windows.test.users()) > 100  # there was something to leave out


def test_the_sample_does_not_depend_on_test(world):
    dataset, windows = world
    users = disjoint_samples(windows, 300, 2, 0)[0]
    emptied = replace(windows, test=windows.test.where(np.arange(len(windows.test)) < 1))
    one, other = (sample_of(dataset, each, users, 0) for each in (windows, emptied))
    assert one[1].fingerprint() == other[1].fingerprint()
    assert one[0].hashes() == other[0].hashes()


def test_who_is_measured_tunes_nothing_whatever_the_sample(world):
    dataset, windows = world
    samples = disjoint_samples(windows, 400, 2, 0)
    union = np.sort(np.concatenate(samples))
    measured = []
    for users in (*samples, union):
        _, own = sample_of(dataset, windows, users, 0)
        tuning, judged = set(users[own.valid.users()]), set(users[own.test.users()])
        assert not tuning & judged
        assert judged == set(users[measured_users(windows, 0)[users]])
        measured.append(judged)
    assert measured[0] | measured[1] == measured[2]
    assert 0.6 < len(measured[2]) / len(set(union) & set(windows.valid.users())) < 0.9


def test_too_few_users_are_told_what_is_needed(world):
    _, windows = world
    with pytest.raises(DataError, match=r"a pilot on 20 users .* Take about \d+ \(--pilot"):
        disjoint_samples(windows, 20, 2, 0)
    with pytest.raises(DataError, match=r"a pilot on 6,000 users: the data set has \d+ before test"):
        disjoint_samples(windows, 6000, 2, 0)


def test_a_data_set_too_small_for_a_pilot_is_told_so(make_world):
    windows = split(make_world(1, users=60))
    with pytest.raises(DataError, match="too small for a pilot: run the study itself"):
        disjoint_samples(windows, 40, 2, 0)


def test_the_number_that_is_asked_for_is_enough(world):
    _, windows = world
    with pytest.raises(DataError) as told:
        disjoint_samples(windows, 20, 2, 0)
    needed = int(str(told.value).rsplit("--pilot ", 1)[1].rstrip(")."))
    assert len(disjoint_samples(windows, needed, 2, 0)) == 2


def test_windows_keep_their_clock(world):
    dataset, windows = world
    _, own = sample_of(dataset, windows, active_users(windows)[:100], 0)
    assert isinstance(own, Split)
    assert (own.kind, own.clock) == (windows.kind, windows.clock)
