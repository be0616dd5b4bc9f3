"""SLIM against the conditions of its optimum and SLIM-BPR against the same steps taken one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline import native
from stagelens.pipeline.core import Float64, Interactions, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import SLIM, SLIMBPR
from stagelens.recall.interaction import square

USERS, ITEMS = 250, 60


def linear_window(seed: int, events: int = 2500) -> Interactions:
    rng = generator(seed, "slim")
    user, item = rng.integers(0, USERS, events), (rng.random(events) ** 2 * (ITEMS - 2)).astype(int)
    return Interactions.of(user, item, n_users=USERS, n_items=ITEMS)  # the last two are nobody's


def topics(seed: int) -> tuple[Interactions, Any]:
    """Users have 6 of the 12 items of their topic; the rest is withheld."""
    rng = generator(seed, "slim-topics")
    taste = rng.integers(0, 5, USERS)
    order = np.stack([rng.permutation(12) + 12 * t for t in taste])
    window = Interactions.of(
        np.repeat(np.arange(USERS), 6), order[:, :6].ravel(), n_users=USERS, n_items=ITEMS
    )
    return window, order[:, 6:]


def table(fitted: Any) -> Float64:
    """[I, I]: from the item in the history to the candidate."""
    arrays = fitted.save().arrays
    dense = np.zeros((ITEMS, ITEMS))
    dense[np.repeat(np.arange(ITEMS), np.diff(arrays["indptr"])), arrays["neighbour"]] = arrays["similarity"]
    return dense


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 5.0), (1.0, 50.0), (4.0, 0.5), (20.0, 5.0)])
def test_slim_meets_the_conditions_of_the_optimum(
    l1: float, l2: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Karush, Kuhn and Tucker: a positive weight has no slope, a weight of 0 none that leads upwards."""
    from stagelens.recall.interaction import slim_kernel

    monkeypatch.setitem(slim_kernel.elastic_net.__kwdefaults__, "tolerance", 1e-9)
    window = linear_window(1)
    w = table(SLIM(l1=l1, l2=l2).fit(TrainingData(window), seed=0))
    had = window.matrix().toarray().astype(np.float64)
    slope = had.T @ (had - had @ w) - l1 - l2 * w
    np.fill_diagonal(slope, 0.0)
    assert (w >= 0).all()
    assert (np.diag(w) == 0).all()
    assert w.any()
    assert np.abs(slope[w > 0]).max() < 2e-3  # the weights are kept in float32
    assert slope[w == 0].max() < 2e-3


@pytest.mark.parametrize("together", [4096, 70, 16])
@pytest.mark.parametrize(("l1", "l2"), [(0.5, 600.0), (0.5, 5.0)])
def test_many_items_with_weights_meet_the_conditions_too(together: int, l1: float, l2: float) -> None:
    """More weights than settle on a square of their own, rows that are not kept, and a slow descent."""
    from scipy.sparse import csr_array

    from stagelens.recall.interaction.products import Sparse
    from stagelens.recall.interaction.slim_kernel import elastic_net

    rng = generator(0, "slim-many")
    had = (rng.random((400, 200)) < 0.05 + 0.3 * (rng.integers(0, 4, (400, 1)) == np.arange(200) % 4)) * 1.0
    gram = had.T @ had
    told = (Sparse.of(csr_array(gram)), np.diag(gram), l1, l2, 199, np.arange(200, dtype=np.int32))
    place, weight = elastic_net(*told, sweeps=100, tolerance=1e-9, together=together)
    w = np.zeros((200, 200))
    target, rank = np.nonzero(place >= 0)
    w[place[target, rank], target] = weight[target, rank]
    slope = gram - gram @ w - l1 - l2 * w
    np.fill_diagonal(slope, 0.0)
    assert (w > 0).sum(axis=0).max() > 30
    assert np.abs(slope[w > 0]).max() < 2e-3
    assert slope[w == 0].max() < 2e-3


def test_slim_agrees_with_a_general_optimiser() -> None:
    from scipy.optimize import minimize

    window, l1, l2 = linear_window(2), 2.0, 10.0
    had = window.matrix().toarray().astype(np.float64)
    w = table(SLIM(l1=l1, l2=l2).fit(TrainingData(window), seed=0))
    for j in (0, 5, 20):
        others = np.delete(np.arange(ITEMS), j)
        part, target = had[:, others], had[:, j]

        def loss(x: Float64, part: Float64 = part, target: Float64 = target) -> tuple[float, Float64]:
            off = part @ x - target
            return 0.5 * off @ off + l1 * x.sum() + 0.5 * l2 * x @ x, part.T @ off + l1 + l2 * x

        found = minimize(
            loss, np.zeros(len(others)), jac=True, bounds=[(0, None)] * len(others), options={"ftol": 1e-14}
        )
        np.testing.assert_allclose(w[others, j], found.x, atol=1e-4)


def test_slim_agrees_with_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    window, alpha, ratio = linear_window(3), 0.02, 0.3
    l1, l2 = USERS * alpha * ratio, USERS * alpha * (1 - ratio)
    w = table(SLIM(l1=l1, l2=l2).fit(TrainingData(window), seed=0))
    had = window.matrix().toarray().astype(np.float64)
    for j in (0, 5, 20):
        others = np.delete(np.arange(ITEMS), j)
        other = linear.ElasticNet(alpha=alpha, l1_ratio=ratio, positive=True, fit_intercept=False, tol=1e-8)
        np.testing.assert_allclose(w[others, j], other.fit(had[:, others], had[:, j]).coef_, atol=1e-4)


def test_slim_keeps_the_largest_weights_of_every_predicted_item() -> None:
    window = linear_window(4)
    whole = table(SLIM(l1=0, l2=5).fit(TrainingData(window), seed=0))
    kept = table(SLIM(l1=0, l2=5, neighbours=4).fit(TrainingData(window), seed=0))
    assert ((whole > 0).sum(axis=0) > 4).any()
    order = np.argsort(-whole, axis=0, kind="stable")[:4]
    expected = np.zeros_like(whole)
    np.put_along_axis(expected, order, np.take_along_axis(whole, order, axis=0), axis=0)
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("recipe", [SLIM(), SLIMBPR()])
def test_what_does_not_fit_is_refused_with_the_reason(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    window = linear_window(5)
    monkeypatch.setattr(square, "free_bytes", lambda: 1000)
    with pytest.raises(ConfigError, match=r"need [\d,]+ bytes .* and 1,000 are free .*RP3beta"):
        recipe.fit(TrainingData(window), seed=0)


@pytest.mark.parametrize("recipe", [SLIM(l1=0.5, l2=5), SLIMBPR(epochs=3)])
def test_neither_strips_nor_threads_change_a_byte(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stagelens.pipeline import threads

    data = TrainingData(linear_window(6))
    with native.limited(1):
        once = recipe.fit(data, seed=1).save().arrays
    monkeypatch.setattr(square, "STRIP", 7)
    monkeypatch.setattr(threads, "STEPS_WORTH_A_THREAD", 1)
    with native.limited(3):
        again = recipe.fit(data, seed=1).save().arrays
    assert all(once[name].tobytes() == again[name].tobytes() for name in once)


def stepped(window: Interactions, recipe: SLIMBPR, seed: int) -> Float64:
    """[P, P]: row the candidate. The same draws, one step after the other, in plain Python."""
    histories = [np.unique(window.item[window.user == u]) for u in range(USERS)]
    size = int(window.item.max()) + 1
    rng, s = generator(seed, "slim-bpr"), np.zeros((size, size))
    able = [u for u in range(USERS) if 0 < len(histories[u]) < size]
    memory, mean, count = np.zeros(size), np.zeros(size), 0

    def scaled(gradient: float, item: int) -> float:
        if recipe.optimiser == "sgd":
            return gradient
        if recipe.optimiser == "adagrad":
            memory[item] += gradient**2
            return gradient / (memory[item] ** 0.5 + 1e-8)
        if recipe.optimiser == "rmsprop":
            memory[item] = 0.995 * memory[item] + 0.005 * gradient**2
            return gradient / (memory[item] ** 0.5 + 1e-8)
        mean[item] = 0.9 * mean[item] + 0.1 * gradient
        memory[item] = 0.999 * memory[item] + 0.001 * gradient**2
        return mean[item] / (1 - 0.9**count) / ((memory[item] / (1 - 0.999**count)) ** 0.5 + 1e-8)

    def add(row: int, column: int, change: float) -> None:
        s[row, column] += change
        if recipe.symmetric:
            s[column, row] = s[row, column]

    for _ in range(recipe.epochs):
        for a, b, c in rng.random((len(able), 3)):
            history = histories[able[int(a * len(able))]]
            others = np.setdiff1d(np.arange(size), history)
            i, j = history[int(b * len(history))], others[int(c * len(others))]
            gradient = 1 / (1 + np.exp(s[i, history].sum() - s[j, history].sum()))
            count += 1
            up, down = scaled(gradient, i), scaled(gradient, j)
            for k in history:
                if k != i:
                    add(i, k, recipe.learning_rate * (up - recipe.lambda_i * s[i, k]))
                add(j, k, -recipe.learning_rate * (down + recipe.lambda_j * s[j, k]))
    return s


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("optimiser", ["sgd", "adagrad", "rmsprop", "adam"])
def test_slim_bpr_takes_the_steps_its_docstring_says(optimiser: str, symmetric: bool) -> None:
    window = linear_window(7, 900)
    fields = {"learning_rate": 0.05, "lambda_i": 0.02, "lambda_j": 0.01, "epochs": 2}
    recipe = SLIMBPR(optimiser=optimiser, symmetric=symmetric, **fields)
    expected = np.zeros((ITEMS, ITEMS))
    s = stepped(window, recipe, 3)
    expected[: len(s), : len(s)] = s.T
    found = table(recipe.fit(TrainingData(window), seed=3))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert not np.allclose(found, table(recipe.fit(TrainingData(window), seed=4)), atol=1e-3)


@pytest.mark.parametrize(
    "recipe", [SLIM(), SLIMBPR(), SLIMBPR(symmetric=False, optimiser="adam", learning_rate=1e-3)]
)
def test_planted_topics_are_found(recipe: Any) -> None:
    window, rest = topics(1)
    queries = Queries.of(np.arange(USERS), window, window, tie_order(0, ITEMS))
    found = recipe.fit(TrainingData(window), seed=0).retrieve(queries, 6).item
    assert np.mean([np.isin(rest[u], found[u]).mean() for u in range(USERS)]) > 0.97


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 40), max_size=30))
def test_the_nth_item_that_a_user_lacks(had: set[int]) -> None:
    from stagelens.recall.interaction.slim_kernel import _unseen

    items = np.array(sorted(had), np.int32)
    lacks = [item for item in range(41) if item not in had]
    assert [_unseen(items, 0, len(items), nth) for nth in range(len(lacks))] == lacks


def test_users_of_everything_and_of_nothing_are_never_drawn() -> None:
    window = Interactions.of([0, 0, 0, 1], [0, 1, 2, 0], n_users=3, n_items=3)
    only = Interactions.of([0, 0, 0], [0, 1, 2], n_users=3, n_items=3)
    assert len(SLIMBPR(epochs=5).fit(TrainingData(window), seed=0).save().arrays["neighbour"]) > 0
    assert len(SLIMBPR(epochs=5).fit(TrainingData(only), seed=0).save().arrays["neighbour"]) == 0
