"""Valid and test interactions replaced by random pairs, or labels changed: nothing made before may move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions


def with_noise(split, canary, *windows: str):
    rng = np.random.default_rng(3)
    return replace(split, **{name: canary.random_pairs(getattr(split, name), rng) for name in windows})


@pytest.mark.parametrize("refit", ["none", "full", "cross"])
def test_random_valid_and_test_change_nothing_before_early_stopping(canary, mine, make_bench, refit):
    dataset, split = mine
    changed = with_noise(split, canary, "valid", "test")
    assert changed.valid.fingerprint() != split.valid.fingerprint()
    made = []
    for windows in (split, changed):
        canary.peek_at(windows.valid, windows.test)
        made.append(canary.before_stopping(make_bench(dataset, windows, refit=refit), leaky=False))
    for part in ("fits", "rows", "features"):
        assert canary.same_bytes(made[0][part], made[1][part]), part


def test_random_valid_reaches_rows_only_through_the_weights_chosen_on_it(canary, mine, make_bench):
    """Merge weights are chosen on valid by design; random test pairs do not even move those."""
    dataset, split = mine
    chosen = replace(canary.union(), weights="valid")
    weights, rows = [], []
    for windows in (split, with_noise(split, canary, "test")):
        bench = make_bench(dataset, windows)
        weights.append(bench.weights(chosen))
        rows.append(bench.training_rows(chosen, canary.groups_of(False)))
    assert weights[0] == weights[1]
    for first, second in zip(*rows, strict=True):  # training rows and valid rows
        assert canary.same_bytes(first.values, second.values)
        assert canary.same_bytes(first.label, second.label)


def test_a_leaky_group_is_caught_by_random_valid_and_test(canary, mine, make_bench):
    dataset, split = mine
    made = []
    for windows in (split, with_noise(split, canary, "valid", "test")):
        canary.peek_at(windows.valid, windows.test)
        made.append(canary.before_stopping(make_bench(dataset, windows), leaky=True))
    assert canary.same_bytes(made[0]["fits"], made[1]["fits"])
    assert not canary.same_bytes(made[0]["rows"], made[1]["rows"])
    assert not canary.same_bytes(made[0]["features"], made[1]["features"])


def relabelled_fold(split, window, rng) -> tuple:
    """Give every pair of one window's target another item, with the same user and moment, unknown to that user."""
    train = split.train
    item = train.item.copy()
    held = {(u, i) for u, i in zip(window.target.user.tolist(), window.target.item.tolist(), strict=True)}
    known = {user: set(train.item[train.user == user].tolist()) for user in np.unique(train.user).tolist()}
    for place, (user, code) in enumerate(zip(train.user.tolist(), train.item.tolist(), strict=True)):
        if (user, code) in held:
            free = [i for i in range(train.n_items) if i not in known[user]]
            item[place] = rng.choice(free)
            known[user].add(int(item[place]))
    return Interactions(train.user, item, train.time, train.value, train.n_users, train.n_items)


@pytest.mark.parametrize("leaky", [False, True], ids=["clean", "leaky"])
@pytest.mark.parametrize("refit", ["full", "cross"])
def test_a_changed_label_fold_changes_no_feature_of_its_rows(canary, mine, make_bench, refit, leaky):
    dataset, split = mine
    bench = make_bench(dataset, split, refit=refit, n_folds=3)
    window = bench.windows.rows[0]
    changed = relabelled_fold(split, window, np.random.default_rng(1))
    mark = np.array(split.train.item) != changed.item
    assert mark.sum() == len(window.target)
    if refit == "full":
        labels = changed.where(mark)
        other = replace(split, labels=labels)
    else:  # train = history + labels again, in the same order, so that the folds are dealt alike
        nothing = split.labels.where(np.zeros(0, dtype=np.int64))
        other = replace(split, history=changed, labels=nothing)
    twin = make_bench(dataset, other, refit=refit, n_folds=3)
    moved = twin.windows.rows[0]
    assert moved.fit.fingerprint() == window.fit.fingerprint()
    assert not set(zip(moved.target.user.tolist(), moved.target.item.tolist(), strict=True)) & set(
        zip(window.target.user.tolist(), window.target.item.tolist(), strict=True)
    )
    canary.peek_at(window.target)
    before = canary.list_features(bench, window, leaky=leaky)
    canary.peek_at(moved.target)
    after = canary.list_features(twin, moved, leaky=leaky)
    assert canary.same_bytes(before["item"], after["item"])
    assert canary.same_bytes(before, after) is not leaky
    assert len(before["user"]) > 100
