from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.core import Features, Rows
from stagelens.pipeline.rows import (
    choose_users,
    hashed,
    informative,
    joined,
    no_rows,
    rows_of,
)
from stagelens.rerank import Evidence, History, Similarity


def all_of(small, seed=0, **kwargs) -> Rows:
    features = Features(("place",), np.zeros((*small.candidates.item.shape, 1), np.float32))
    features.values[..., 0] = np.arange(small.candidates.size)
    return rows_of(small.candidates, features, small.gains, seed=seed, **kwargs)


def same(first: Rows, second: Rows) -> bool:
    arrays = ("values", "label", "group", "user", "item")
    return first.names == second.names and all(
        np.array_equal(getattr(first, name), getattr(second, name), equal_nan=name in ("values", "label"))
        for name in arrays
    )


def test_rows_hold_every_candidate_of_the_informative_lists_once(small):
    rows = all_of(small)
    keep = informative(small.candidates, small.gains)
    assert 0 < keep.sum() < len(keep)
    expected = {
        (int(u), int(i)): float(g > 0)
        for u, items, gains in zip(
            small.candidates.user[keep], small.candidates.item[keep], small.gains[keep], strict=True
        )
        for i, g in zip(items, gains, strict=True)
        if i >= 0
    }
    got = dict(
        zip(zip(rows.user.tolist(), rows.item.tolist(), strict=True), rows.label.tolist(), strict=True)
    )
    assert got == expected
    assert len(rows.label) == len(expected) == rows.group.sum()
    starts = np.cumsum(rows.group) - rows.group
    assert np.array_equal(np.repeat(rows.user[starts], rows.group), rows.user)


def test_values_stay_with_their_item(small):
    rows = all_of(small)
    for user, item, place in zip(rows.user, rows.item, rows.values[:, 0], strict=True):
        assert small.candidates.item[user, int(place)] == item


def test_lists_with_constant_labels_are_dropped(small):
    everything = np.ones_like(small.gains)
    nothing = np.zeros_like(small.gains)
    for gains in (everything, nothing):
        assert not informative(small.candidates, gains).any()
        features = Features(("x",), np.zeros((*gains.shape, 1), np.float32))
        rows = rows_of(small.candidates, features, gains, seed=0)
        assert len(rows.label) == len(rows.group) == 0
        assert rows.values.shape == (0, 1)


def test_positives_of_padding_do_not_count(small):
    gains = np.where(small.candidates.found, 0, 1).astype(np.float32)
    assert not informative(small.candidates, gains).any()


def test_order_inside_a_list_is_neither_recall_order_nor_positives_first(small):
    place, position, label = [], [], []
    for rows in (all_of(small, seed=seed) for seed in range(40)):
        length = np.repeat(rows.group, rows.group)
        starts = np.repeat(np.cumsum(rows.group) - rows.group, rows.group)
        place.append((rows.values[:, 0] + 0.5) / length)
        position.append((np.arange(len(length)) - starts + 0.5) / length)
        label.append(rows.label)
    where = np.concatenate(position)
    assert abs(np.corrcoef(np.concatenate(place), where)[0, 1]) < 0.02
    positive = where[np.concatenate(label) > 0]
    assert len(positive) > 3000
    assert abs(positive.mean() - 0.5) < 0.03


def test_order_does_not_depend_on_recall_order(small):
    reverse = small.candidates.rows(slice(None))
    found = reverse.found
    item = reverse.item.copy()
    gains = small.gains.copy()
    for q in range(len(item)):
        n = found[q].sum()
        item[q, :n] = item[q, :n][::-1]
        gains[q, :n] = gains[q, :n][::-1]
    features = Features((), np.zeros((*item.shape, 0), np.float32))
    first = rows_of(small.candidates, features, small.gains, seed=0)
    second = rows_of(replace(reverse, item=item), features, gains, seed=0)
    assert same(first, second)


def test_seed_moves_the_order_and_nothing_else(small):
    first, again, other = all_of(small, 0), all_of(small, 0), all_of(small, 1)
    assert same(first, again)
    assert not np.array_equal(first.item, other.item)
    assert sorted(zip(first.user, first.item, first.label, strict=True)) == sorted(
        zip(other.user, other.item, other.label, strict=True)
    )


def parts_of(small, groups, gains, block):
    for start in range(0, len(small.candidates), block):
        rows = np.arange(start, min(start + block, len(small.candidates)))
        queries, candidates = small.queries.rows(rows), small.candidates.rows(rows)
        features = Features.joined([group.compute(queries, candidates) for group in groups])
        yield rows_of(candidates, features, gains[rows], seed=4)


def fitted(small, *groups):
    return [group.fit(small.data, small.candidates.channels, seed=0) for group in groups]


@pytest.mark.parametrize("block", [1, 7, 59])
def test_rows_do_not_depend_on_the_block(small, block):
    groups = fitted(small, Evidence(), History(), Similarity(modality="text"))
    whole = next(parts_of(small, groups, small.gains, len(small.candidates)))
    parts = parts_of(small, groups, small.gains, block)
    assert same(joined(parts, capacity=small.candidates.item.size), whole)
    assert same(joined(list(parts_of(small, groups, small.gains, block))), whole)


def test_features_of_rows_do_not_depend_on_labels(small):
    groups = fitted(small, Evidence())
    other = np.roll(small.gains, 1, axis=1) * small.candidates.found
    tables = []
    for gains in (small.gains, other):
        rows = joined(parts_of(small, groups, gains, 60))
        cells = zip(rows.user.tolist(), rows.item.tolist(), rows.values, strict=True)
        tables.append({(user, item): value.tobytes() for user, item, value in cells})
    shared = tables[0].keys() & tables[1].keys()
    assert len(shared) > 500
    assert all(tables[0][key] == tables[1][key] for key in shared)


def test_weights_go_to_every_row_of_a_list(small):
    weights = np.arange(len(small.candidates), dtype=np.float32) + 1
    rows = all_of(small, weights=weights)
    assert np.array_equal(rows.weight, rows.user + 1)
    assert all_of(small).weight is None


def test_shapes_that_differ_are_refused(small):
    features = Features(("x",), np.zeros((3, 4, 1), np.float32))
    with pytest.raises(ValueError, match=r"\(3, 4, 1\)"):
        rows_of(small.candidates, features, small.gains, seed=0)


def test_joining_refuses_what_does_not_fit(small):
    rows = all_of(small)
    with pytest.raises(ValueError, match="room for 10"):
        joined([rows], capacity=10)
    with pytest.raises(ValueError, match="differ"):
        joined([rows, replace(rows, names=("other",))])
    with pytest.raises(ValueError, match="no_rows"):
        joined([])
    assert len(joined([no_rows(("place",)), rows]).label) == len(rows.label)


def test_streamed_rows_are_written_once(small):
    part = all_of(small)
    count = 200
    wide = replace(part, names=tuple("abcdefgh"), values=np.repeat(part.values, 8, axis=1))
    tracemalloc.start()
    rows = joined((replace(wide, values=wide.values.copy()) for _ in range(count)), len(part.label) * count)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows.label) == len(part.label) * count
    result = (wide.values.nbytes + 4 * part.label.nbytes) * count  # label, weight, user, item
    assert peak < 1.1 * result


def test_chosen_users_are_a_seeded_sorted_subset():
    users = np.arange(0, 5000, 5, dtype=np.int32)
    chosen = choose_users(users, 200, 40_000, seed=0)
    assert len(chosen) == 200
    assert np.array_equal(chosen, np.unique(chosen))
    assert np.isin(chosen, users).all()
    assert np.array_equal(chosen, choose_users(users[::-1], 200, 40_000, seed=0))
    assert not np.array_equal(chosen, choose_users(users, 200, 40_000, seed=1))
    assert np.isin(chosen, choose_users(users, 200, 80_000, seed=0)).all()
    assert abs(chosen.mean() / users.mean() - 1) < 0.1
    assert np.array_equal(choose_users(users, 200, 10**9, seed=0), users)
    assert len(choose_users(users, 200, 100, seed=0)) == 1


def test_hashed_numbers_look_random():
    numbers = hashed(7, np.arange(300)[:, None], np.arange(300)) / 2.0**64
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.01
    assert len(np.unique(numbers)) == numbers.size
    assert not np.array_equal(hashed(1, np.arange(9)), hashed(2, np.arange(9)))
