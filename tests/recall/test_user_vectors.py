"""How a history becomes query vectors, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions
from stagelens.recall import Decayed, Interests, LastN, Mean

TABLE = np.array([[1, 0], [0, 1], [3, 3], [9, 9]], np.float32)
POSITION = np.array([0, 1, 2, -1], np.int32)  # item 3 has no vector


def history(*items: int, n_items: int = 4) -> Interactions:
    return Interactions.of([0] * len(items), items, n_users=1, n_items=n_items, time=range(len(items)))


def one(recipe: object, *items: int) -> np.ndarray:
    vectors, owner = recipe.vectors(history(*items).lists(), TABLE, POSITION)
    assert owner.tolist() == [0]
    return vectors[0]


def test_mean_counts_an_item_once_and_skips_those_without_vector() -> None:
    np.testing.assert_allclose(one(Mean(), 0, 1, 3, 1, 1), [0.5, 0.5])


def test_decayed_weighs_newer_items_more() -> None:
    # newest first: item 2 weighs 1, item 1 weighs 1/2, item 0 weighs 1/4
    expected = (1 * TABLE[2] + 0.5 * TABLE[1] + 0.25 * TABLE[0]) / 1.75
    np.testing.assert_allclose(one(Decayed(half_life=1.0), 0, 1, 2), expected, rtol=1e-6)
    # a repeated item stands at its latest place; one without a vector takes no place
    np.testing.assert_allclose(one(Decayed(half_life=1.0), 0, 1, 0, 3), (TABLE[0] + 0.5 * TABLE[1]) / 1.5)


def test_last_n_takes_the_newest_with_a_vector() -> None:
    np.testing.assert_allclose(one(LastN(n=2), 2, 0, 1, 3), [0.5, 0.5])


def test_interests_find_separate_tastes() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[10, 0, 0], [0, 10, 0], [0, 0, 10]], np.float32)
    table = (centres.repeat(20, axis=0) + 0.1 * rng.normal(size=(60, 3))).astype(np.float32)
    lists = history(*rng.permutation(60).tolist(), n_items=60).lists()
    vectors, owner = Interests(n=3).vectors(lists, table, np.arange(60, dtype=np.int32))
    assert owner.tolist() == [0, 0, 0]
    means = table.reshape(3, 20, 3).mean(axis=1)
    order = vectors.argmax(axis=1)
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(vectors, means[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("items", "expected"), [((0,), 1), ((0, 1), 2), ((0, 0, 1), 2), ((0, 1, 2), 3), ((3,), 0)]
)
def test_interests_never_outnumber_distinct_items(items: tuple[int, ...], expected: int) -> None:
    vectors, _ = Interests(n=4).vectors(history(*items).lists(), TABLE, POSITION)
    assert len(vectors) == expected
    assert np.isfinite(vectors).all()


def test_interests_of_equal_vectors_are_one() -> None:
    table = np.ones((5, 3), np.float32)
    vectors, _ = Interests(n=4).vectors(history(0, 1, 2, 3).lists(), table, np.zeros(4, np.int32))
    np.testing.assert_array_equal(vectors, [[1, 1, 1]])


def test_interests_of_the_newest_items_only() -> None:
    vectors, _ = Interests(n=4, last=1).vectors(history(0, 1, 2).lists(), TABLE, POSITION)
    np.testing.assert_array_equal(vectors, TABLE[[2]])
