"""Held-out items among sampled negatives, against loops over every pair."""

from __future__ import annotations

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.experiment.loo import negatives_of, ranks_among
from stagelens.pipeline.seeds import tie_order
from stagelens.pipeline.windows import Window
from stagelens.recall import ItemKNN, Popular, Random


def window_of(rng, users=30, items=260, had=12, held=2) -> Window:
    pairs = [rng.choice(items, had + held, replace=False) for _ in range(users)]
    user = np.repeat(np.arange(users), [had] * users)
    train = Interactions.of(user, np.concatenate([p[:had] for p in pairs]), n_users=users, n_items=items)
    test = Interactions.of(
        np.repeat(np.arange(users), held),
        np.concatenate([p[had:] for p in pairs]),
        n_users=users,
        n_items=items,
    )
    return Window("test", train, train, train, test, tie_order(1, items))


@pytest.fixture(scope="module")
def window():
    return window_of(np.random.default_rng(0))


def taken(window: Window, user: int) -> set[int]:
    return {int(i) for part in (window.mask, window.target) for i in part.item[part.user == user]}


def test_negatives_are_distinct_new_to_the_user_and_not_held_out(window):
    found = negatives_of(window, 7)
    assert found.shape == (60, 99)
    for row, user in zip(found, window.truth.user[window.truth.pair_row], strict=True):
        drawn = set(row.tolist())
        assert len(drawn) == 99
        assert not drawn & taken(window, user)
        assert min(drawn) >= 0
        assert max(drawn) < 260


def test_they_depend_on_the_seed_and_on_no_block(window):
    first = negatives_of(window, 7)
    assert np.array_equal(first, negatives_of(window, 7, block=7))
    assert not np.array_equal(first, negatives_of(window, 8))
    part = window.only(window.truth.user[10:20])
    assert np.array_equal(negatives_of(part, 7), first[20:40])  # other users move nothing


def test_every_free_item_is_drawn_equally_often(window):
    count, draws = 20, 400
    user = int(window.truth.user[0])
    times = np.zeros(260)
    alone = window.only(window.truth.user[:1])
    for seed in range(draws):
        np.add.at(times, negatives_of(alone, seed, count)[0], 1)
    free = np.array(sorted(set(range(260)) - taken(window, user)))
    assert times.sum() == times[free].sum() == count * draws
    share = count / len(free)
    sd = np.sqrt(draws * share * (1 - share))
    assert np.abs(times[free] - draws * share).max() < 4.5 * sd
    assert times[free].std() == pytest.approx(sd, rel=0.2)


def test_where_there_are_too_few_all_of_them_are_taken():
    short = window_of(np.random.default_rng(3), users=8, items=60, had=5, held=1)
    found = negatives_of(short, 1)
    for row, user in zip(found, short.truth.user[short.truth.pair_row], strict=True):
        assert set(row[:54].tolist()) == set(range(60)) - taken(short, user)
        assert (row[54:] == -1).all()


@pytest.mark.parametrize("recipe", [ItemKNN(neighbours=5), Popular(), Random()], ids=repr)
def test_ranks_are_those_of_a_loop_with_ties_by_the_seeded_order_and_nan_last(window, recipe, make_world):
    from stagelens.pipeline.core import TrainingData

    fitted = recipe.fit(TrainingData(window.fit), seed=3)
    negatives = negatives_of(window, 7)
    negatives[::3, 50:] = -1  # fewer than there should be
    found = ranks_among(fitted, window, negatives)
    truth = window.truth
    unscored = level = 0
    for pair, row in enumerate(truth.pair_row):
        queries = window.queries_at(np.array([row]))
        listed = [int(i) for i in negatives[pair] if i >= 0]
        items = np.array([[truth.pair_item[pair], *listed]], dtype=np.int32)
        score = fitted.score(queries, items)[0]
        unscored += int(np.isnan(score).sum())
        level += len(score) - len(set(score.tolist()))
        keys = [
            (np.isnan(s), 0.0 if np.isnan(s) else -s, window.tie[i])
            for s, i in zip(score, items[0], strict=True)
        ]
        assert found[pair] == 1 + sum(key < keys[0] for key in keys[1:])
    if isinstance(recipe, ItemKNN):
        assert unscored
    if isinstance(recipe, Popular):
        assert level
    assert np.array_equal(found, ranks_among(fitted, window, negatives, block=7))
