"""Everything in a training row is computed without that row's fold or window."""

from __future__ import annotations

import numpy as np
import pytest

from stagelens.pipeline.compose import Union
from stagelens.pipeline.core import Interactions
from stagelens.pipeline.seeds import tie_order
from stagelens.pipeline.windows import resolve_refit, windows_of
from stagelens.recall import ItemKNN, Popular
from stagelens.rerank import Evidence, History, Popularity

REFITS = ("none", "full", "cross")


def pairs(window: Interactions) -> set[tuple[int, int]]:
    return set(zip(window.user.tolist(), window.item.tolist(), strict=True))


def lay(split, refit="full", **options):
    return windows_of(split, tie_order(0, split.history.n_items), refit=refit, **options)


@pytest.mark.parametrize("refit", REFITS)
def test_no_row_window_knows_the_pairs_it_asks_for(tiny_split, refit):
    found = lay(tiny_split, refit, n_folds=4)
    assert len(found.rows) == (4 if refit == "cross" else 1)
    for window in found.rows:
        labels = pairs(window.target)
        assert labels
        for known in (window.fit, window.input, window.mask):
            assert not pairs(known) & labels
            assert pairs(known) <= pairs(tiny_split.train)


def test_folds_partition_train_and_each_is_asked_of_the_rest(tiny_split):
    found = lay(tiny_split, "cross", n_folds=5)
    train = pairs(tiny_split.train)
    targets = [pairs(window.target) for window in found.rows]
    assert sum(map(len, targets)) == len(train)
    assert set().union(*targets) == train
    for window, target in zip(found.rows, targets, strict=True):
        assert pairs(window.fit) == train - target
        assert window.fit is window.input is window.mask


@pytest.mark.parametrize(("refit", "serving"), [("none", "history"), ("full", "train"), ("cross", "train")])
def test_valid_and_test_are_asked_of_the_serving_fit(tiny_split, refit, serving):
    found = lay(tiny_split, refit)
    train = pairs(tiny_split.train)
    fitted = pairs(getattr(tiny_split, serving))
    assert pairs(found.valid.fit) == pairs(found.test.fit) == fitted
    assert pairs(found.valid.input) == pairs(found.test.input) == train
    assert pairs(found.valid.mask) == train
    assert pairs(found.test.mask) == train | pairs(tiny_split.valid)
    assert pairs(found.valid.target) == pairs(tiny_split.valid)
    assert pairs(found.test.target) == pairs(tiny_split.test)


@pytest.mark.parametrize("field", ["fit_on", "input_on", "mask"])
@pytest.mark.parametrize("which", ["train", "train+valid"])
def test_each_protocol_switch_moves_its_own_window_of_test_and_nothing_of_valid(tiny_split, field, which):
    base = {"fit_on": "train", "input_on": "train", "mask": "train"}
    found = lay(tiny_split, "full", **{**base, field: which})
    train, longer = pairs(tiny_split.train), pairs(tiny_split.train) | pairs(tiny_split.valid)
    now = {"fit_on": found.test.fit, "input_on": found.test.input, "mask": found.test.mask}
    for name, window in now.items():
        assert pairs(window) == (longer if name == field and which == "train+valid" else train)
    plain = lay(tiny_split, "full", **base)
    assert found.valid.key == plain.valid.key
    assert [window.key for window in found.rows] == [window.key for window in plain.rows]


def test_masking_valid_at_test_frees_its_items_for_the_list(tiny, tiny_split, make_bench):
    union = Union(parts=(Popular(), ItemKNN()), size=20, weights="equal")
    lists = {}
    for mask in ("train", "train+valid"):
        bench = make_bench(tiny, tiny_split, mask=mask)
        lists[mask], _ = bench.candidates(union, bench.windows.test, 0, len(bench.windows.test))
    known = pairs(tiny_split.valid)
    users = lists["train"].user.tolist()

    def returned(mask: str) -> int:
        return sum(
            (user, item) in known
            for user, row in zip(users, lists[mask].item.tolist(), strict=True)
            for item in row
        )

    assert returned("train+valid") == 0
    assert returned("train") > 0


def test_auto_refit_asks_the_clock(tiny_split):
    from dataclasses import replace

    assert resolve_refit("auto", tiny_split) == "full"
    assert resolve_refit("auto", replace(tiny_split, kind="given")) == "full"
    assert resolve_refit("auto", replace(tiny_split, clock="order", kind="leave-last-out")) == "cross"
    assert resolve_refit("auto", replace(tiny_split, clock="none", kind="per-user")) == "cross"
    assert resolve_refit("none", tiny_split) == "none"


@pytest.mark.parametrize("refit", REFITS)
@pytest.mark.parametrize("lost", ["drop", "inject"])
def test_no_row_stands_for_a_pair_that_its_fit_has_seen(tiny, tiny_split, make_bench, refit, lost):
    """Repeated events may fall into different folds; such a pair is masked, never a row."""
    from dataclasses import replace

    rng = np.random.default_rng(0)
    twice = np.sort(np.r_[np.arange(len(tiny_split.history)), rng.integers(0, len(tiny_split.history), 300)])
    split = replace(tiny_split, history=tiny_split.history.where(twice))
    bench = make_bench(tiny, split, refit=refit, n_folds=3, lost=lost)
    union = Union(parts=(Popular(), ItemKNN()), size=20, weights="equal")
    for window in bench.windows.rows:
        (rows,) = list(bench._window_rows(union, (Evidence(), History(), Popularity()), window, 10**6, True))
        assert rows.label.sum() > 0
        made = set(zip(rows.user.tolist(), rows.item.tolist(), strict=True))
        assert not made & pairs(window.fit)


def test_later_positives_stay_unlabelled_in_training_rows(tiny, tiny_split, make_bench):
    bench = make_bench(tiny, tiny_split, refit="full", negatives=None)
    union = Union(parts=(Popular(), ItemKNN()), size=60, weights="equal")
    rows, _ = bench.training_rows(union, (Popularity(),))
    made = list(zip(rows.user.tolist(), rows.item.tolist(), strict=True))
    later = pairs(tiny_split.valid) | pairs(tiny_split.test)
    labels = pairs(tiny_split.labels)
    assert all((pair in labels) == bool(label) for pair, label in zip(made, rows.label, strict=True))
    assert len(later & set(made)) > 20
