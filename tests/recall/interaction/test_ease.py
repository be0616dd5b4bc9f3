"""EASE against the inverse written out; what does not fit; what it may keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stagelens.pipeline import native
from stagelens.pipeline.core import Float64, Interactions, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import EASE
from stagelens.recall.interaction import ease, square

USERS, ITEMS = 300, 120


def rebuilt_window(seed: int, events: int = 4000) -> Interactions:
    rng = generator(seed, "ease")
    user, item = rng.integers(0, USERS, events), (rng.random(events) ** 2 * (ITEMS - 5)).astype(int)
    return Interactions.of(user, item, n_users=USERS, n_items=ITEMS)  # the last five are nobody's


def ask(window: Interactions) -> tuple[Queries, Any]:
    items = np.ascontiguousarray(np.broadcast_to(np.arange(ITEMS, dtype=np.int32), (USERS, ITEMS)))
    return Queries.of(np.arange(USERS), window, window, tie_order(0, ITEMS)), items


def weights(had: Float64, l2: float) -> Float64:
    inverse = np.linalg.inv(had.T @ had + l2 * np.eye(had.shape[1]))
    found: Float64 = -inverse / np.diag(inverse)
    np.fill_diagonal(found, 0.0)
    return found


@pytest.mark.parametrize("precision", ["auto", "float32", "float64"])
@pytest.mark.parametrize("l2", [0.5, 30.0, 2000.0])
def test_ease_is_its_closed_form(l2: float, precision: str) -> None:
    window = rebuilt_window(1)
    queries, items = ask(window)
    had = window.matrix().toarray().astype(np.float64)
    score = EASE(l2=l2, precision=precision).fit(TrainingData(window), seed=0).score(queries, items)
    np.testing.assert_allclose(score[:, : ITEMS - 5], (had @ weights(had, l2))[:, : ITEMS - 5], atol=2e-5)
    assert np.isnan(score[:, ITEMS - 5 :]).all(), "items of nobody have no score"


def test_ease_least_squares_cannot_be_bettered() -> None:
    """Each column solves its own ridge regression on the other columns."""
    window, l2 = rebuilt_window(2), 10.0
    fitted: Any = EASE(l2=l2).fit(TrainingData(window), seed=0)
    had = window.matrix().toarray().astype(np.float64)[:, fitted.present]
    for j in (0, 7, len(fitted.present) - 1):
        others = np.delete(np.arange(had.shape[1]), j)
        part = had[:, others]
        best = np.linalg.solve(part.T @ part + l2 * np.eye(len(others)), part.T @ had[:, j])
        np.testing.assert_allclose(fitted.weight[others, j], best, atol=1e-5)
        assert fitted.weight[j, j] == 0.0


def test_ease_agrees_with_cornac() -> None:
    data = pytest.importorskip("cornac.data", reason="cornac is not installed")
    models = pytest.importorskip("cornac.models.ease", reason="cornac is not installed")
    window = rebuilt_window(7)
    queries, items = ask(window)
    pairs = sorted(set(zip(window.user.tolist(), window.item.tolist(), strict=True)))
    theirs = data.Dataset.from_uir([(user, item, 1.0) for user, item in pairs], seed=0)
    other = models.EASE(lamb=30.0, posB=False, verbose=False).fit(theirs)
    score = EASE(l2=30).fit(TrainingData(window), seed=0).score(queries, items)
    known = list(theirs.iid_map)
    for user, row in theirs.uid_map.items():
        np.testing.assert_allclose(score[user, known], np.asarray(other.score(row)).ravel(), atol=1e-5)


def test_a_wild_matrix_goes_to_double_precision_by_itself() -> None:
    matrix = rebuilt_window(3).matrix()
    largest = (matrix.T @ matrix).sum(axis=1).max()
    assert ease._tame(matrix, float(largest) / 9.9e4)
    assert not ease._tame(matrix, float(largest) / 1.1e5)
    data = TrainingData(rebuilt_window(3))
    small = 1e-3
    auto, exact, rough = (
        EASE(l2=small, precision=precision).fit(data, seed=0).save().arrays["weight"].tobytes()
        for precision in ("auto", "float64", "float32")
    )
    assert auto == exact
    assert auto != rough


def test_what_does_not_fit_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    window = rebuilt_window(4)
    present = int((window.item_degree() > 0).sum())
    needed = 4 * present**2
    monkeypatch.setattr(square, "free_bytes", lambda: needed - 1)
    expected = (
        rf"EASE: {present} items in float32 need {needed:,} bytes .* and {needed - 1:,} are free .*RP3beta"
    )
    with pytest.raises(ConfigError, match=expected):
        EASE().fit(TrainingData(window), seed=0)
    with pytest.raises(ConfigError, match=f"float64 need {3 * needed:,} bytes"):
        EASE(precision="float64").fit(TrainingData(window), seed=0)
    monkeypatch.setattr(square, "free_bytes", lambda: needed)
    EASE().fit(TrainingData(window), seed=0)


def test_free_memory_is_a_plausible_number() -> None:
    assert 1 << 20 < square.free_bytes() <= 1 << 62


def test_a_singular_matrix_says_what_to_do() -> None:
    user = np.repeat(np.arange(200), 2)
    twins = Interactions.of(user, np.tile([0, 1], 200), n_users=200, n_items=2)
    with pytest.raises(ConfigError, match=r"singular in float32\. Set a larger l2, or precision to float64"):
        EASE(l2=1e-9, precision="float32").fit(TrainingData(twins), seed=0)


def test_pruned_it_keeps_the_largest_of_either_sign() -> None:
    window, keep = rebuilt_window(5), 9
    queries, items = ask(window)
    whole: Any = EASE(l2=20).fit(TrainingData(window), seed=0)
    pruned: Any = EASE(l2=20, neighbours=keep).fit(TrainingData(window), seed=0)
    assert (pruned.similarity < 0).any()
    dense = np.zeros((ITEMS, ITEMS), np.float32)
    dense[np.ix_(whole.present, whole.present)] = whole.weight
    order = np.argsort(-np.abs(dense), axis=0, kind="stable")[:keep]
    expected = np.zeros_like(dense)
    np.put_along_axis(expected, order, np.take_along_axis(dense, order, axis=0), axis=0)
    had = window.matrix().toarray()
    score = pruned.score(queries, items)
    np.testing.assert_allclose(np.nan_to_num(score), had @ expected, atol=1e-5)
    again = EASE(l2=20, neighbours=keep).load(pruned.save())
    assert again.score(queries, items).tobytes() == score.tobytes()
    every = EASE(l2=20, neighbours=10_000).fit(TrainingData(window), seed=0).score(queries, items)
    np.testing.assert_allclose(np.nan_to_num(every), had @ dense, atol=1e-5)


def test_neither_blocks_nor_threads_change_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    from stagelens.pipeline import threads

    window = rebuilt_window(6)
    queries, _ = ask(window)
    with native.limited(1):
        once = EASE().fit(TrainingData(window), seed=0)
        first = once.retrieve(queries, 20)
    monkeypatch.setattr(ease, "BLOCK", 3 * ITEMS)
    monkeypatch.setattr(square, "STRIP", 7)
    monkeypatch.setattr(threads, "STEPS_WORTH_A_THREAD", 1)
    with native.limited(3):
        again = EASE().fit(TrainingData(window), seed=5)
        second = again.retrieve(queries, 20)
    assert once.save().arrays["weight"].tobytes() == again.save().arrays["weight"].tobytes()
    assert first.item.tobytes() == second.item.tobytes()
    assert first.score.tobytes() == second.score.tobytes()


def test_mirror_copies_the_lower_half() -> None:
    half = generator(0, "mirror").random((1100, 1100)).astype(np.float32)  # more than two strips
    whole = half.copy()
    square.mirror(whole)
    np.testing.assert_array_equal(whole, np.tril(half) + np.tril(half, -1).T)
