from __future__ import annotations

import numpy as np
import pytest

from stagelens.pipeline.evaluate.importance import (
    gain_by_group,
    ndcg_at_10,
    permutation_importance,
    rectangle,
)
from stagelens.rerank import LambdaMART

GROUPS = {"planted": ("signal",), "weak": ("weak",), "noise": ("noise", "more noise")}


@pytest.fixture(scope="module")
def fitted(lists):
    recipe = LambdaMART(trees=60, leaves=7, learning_rate=0.1, min_trees=20)
    return recipe.fit(lists.part(0, 250).rows(), lists.part(250, 300).rows(), seed=0)


def test_permutation_finds_the_planted_group(lists, fitted):
    held = lists.part(300, 400).rows()
    found = permutation_importance(fitted, held, GROUPS, seed=0)
    assert found["planted"]["drop"] > 0.3
    assert 0 < found["weak"]["drop"] < found["planted"]["drop"]
    assert abs(found["noise"]["drop"]) < 0.02
    assert all(group["sd"] >= 0 for group in found.values())
    assert found["planted"]["sd"] > 0


def test_permutation_is_seeded_and_leaves_the_rows_alone(lists, fitted):
    held = lists.part(300, 400).rows()
    before = held.values.copy()
    first = permutation_importance(fitted, held, GROUPS, seed=0, repeats=2)
    assert np.array_equal(before, held.values)
    assert first == permutation_importance(fitted, held, GROUPS, seed=0, repeats=2)
    assert first != permutation_importance(fitted, held, GROUPS, seed=1, repeats=2)


def test_a_group_does_not_depend_on_the_groups_before_it(lists, fitted):
    held = lists.part(300, 400).rows()
    alone = permutation_importance(fitted, held, {"weak": ("weak",)}, seed=0)
    assert alone["weak"] == permutation_importance(fitted, held, GROUPS, seed=0)["weak"]


def test_a_group_moves_as_one(lists, ndcg):
    """Two copies of the signal: alone each is made up for by the other, together they are missed."""
    from dataclasses import replace

    from stagelens.pipeline.core import Features

    twice = Features(
        ("signal", "copy"), np.repeat(lists.features.values[..., :1], 2, axis=2) * np.float32([1, 2])
    )
    both = replace(lists, features=twice)
    made = LambdaMART(trees=30, leaves=7, learning_rate=0.1, column_share=0.5, min_trees=20).fit(
        both.part(0, 250).rows(), both.part(250, 300).rows(), seed=0
    )
    held = both.part(300, 400).rows()
    found = permutation_importance(
        made, held, {"one": ("signal",), "two": ("copy",), "both": ("signal", "copy")}, seed=0
    )
    assert found["both"]["drop"] > max(found["one"]["drop"], found["two"]["drop"]) + 0.1


def test_gain_is_summed_by_group(fitted):
    gain = fitted.importance()
    grouped = gain_by_group(gain, {**GROUPS, "absent": ("nothing",)})
    assert grouped["noise"] == pytest.approx(gain["noise"] + gain["more noise"])
    assert grouped["planted"] > grouped["weak"] > grouped["noise"]
    assert grouped["absent"] == 0


def test_unknown_columns_are_refused(lists, fitted):
    with pytest.raises(ValueError, match="signall"):
        permutation_importance(fitted, lists.part(300, 310).rows(), {"x": ("signall",)}, seed=0)


def test_no_list_is_no_drop(lists, fitted):
    from stagelens.pipeline.rows import no_rows

    empty = no_rows(lists.features.names)
    assert permutation_importance(fitted, empty, GROUPS, seed=0)["planted"] == {"drop": 0.0, "sd": 0.0}


def test_rows_become_their_lists_again(small):
    from stagelens.pipeline.core import Features
    from stagelens.pipeline.rows import rows_of

    features = Features(("item",), small.candidates.item[..., None].astype(np.float32))
    rows = rows_of(small.candidates, features, small.gains, seed=0)
    found, candidates, values = rectangle(rows)
    candidates.check()
    assert np.array_equal(found.sum(axis=1), rows.group)
    assert np.array_equal(candidates.item[found], rows.item)
    assert np.array_equal(values[found][:, 0], rows.item)
    assert np.isnan(values[~found]).all()


def test_ndcg_by_hand():
    score = np.float32([[3, 2, 1, np.nan], [1, 2, 3, 0]])
    label = np.float32([[0, 1, 1, 0], [0, 0, 1, 0]])
    found = np.array([[True, True, True, False], [True] * 4])
    got = ndcg_at_10(score, label, found)
    expected = (1 / np.log2(3) + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert np.allclose(got, [expected, 1.0], rtol=0, atol=1e-12)
