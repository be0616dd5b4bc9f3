"""iALS against the dense normal equations, its loss, and what its queries may depend on."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.core import Interactions, Lists, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError, MissingExtra
from stagelens.pipeline.native import limited
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import IALS, Dense

pytest.importorskip("implicit", reason="needs implicit (extra: references)")

USERS, ITEMS = 70, 50


def window_of(seed: int, weighted: bool = False) -> Interactions:
    """Users take items of two tastes; the last item is nobody's."""
    rng = generator(seed, "ials")
    taste = rng.dirichlet([0.3] * 3, USERS) @ rng.dirichlet([0.3] * (ITEMS - 1), 3)
    had = rng.random((USERS, ITEMS - 1)) < np.minimum(12 * taste, 0.9)
    user, item = np.nonzero(had)
    value = rng.integers(1, 6, len(user)) if weighted else None
    return Interactions.of(user, item, n_users=USERS, n_items=ITEMS, value=value)


def ask(window: Interactions) -> Queries:
    return Queries.of(np.arange(window.n_users), window, window, tie_order(0, window.n_items))


def step(table: np.ndarray, confidence: np.ndarray, regularisation: float) -> np.ndarray:
    """Return the other side's exact step: (TᵀCT + regularisation I)⁻¹ TᵀCp for every row of ``confidence``."""
    table = table.astype(np.float64)
    rows = np.zeros((len(confidence), table.shape[1]))
    for row, c in enumerate(confidence):
        weight = np.where(c > 0, c, 1.0)
        left = table.T @ (weight[:, None] * table) + regularisation * np.eye(table.shape[1])
        rows[row] = np.linalg.solve(left, table.T @ np.where(c > 0, c, 0.0))
    return rows


def loss(confidence: np.ndarray, user: np.ndarray, item: np.ndarray, regularisation: float) -> float:
    user, item = user.astype(np.float64), item.astype(np.float64)
    error = np.where(confidence > 0, confidence, 1.0) * ((confidence > 0) - user @ item.T) ** 2
    return float(error.sum() + regularisation * ((user**2).sum() + (item**2).sum()))


@pytest.mark.parametrize("factors", [3, 8, 40])  # histories longer and shorter than the width
@pytest.mark.parametrize("confidence", ["linear", "log"])
def test_a_query_is_the_exact_user_step(factors: int, confidence: str) -> None:
    window = window_of(1)
    recipe = IALS(
        factors=factors, confidence=confidence, alpha=5.0, epsilon=0.5, regularisation=0.1, iterations=5
    )
    fitted = recipe.fit(TrainingData(window), seed=0)
    vectors, owner = fitted.query(ask(window))
    had = window.matrix().toarray()
    c = 1 + 5.0 * (1.0 if confidence == "linear" else np.log(1 + 1 / 0.5))
    expected = step(fitted.item, had * c, 0.1)
    np.testing.assert_array_equal(owner, np.flatnonzero(had.sum(axis=1)))
    np.testing.assert_allclose(vectors, expected[owner], rtol=1e-4, atol=1e-5)
    assert not fitted.present[-1]
    assert not fitted.item[-1].any()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.floats(1e-3, 50.0),
    st.floats(1e-3, 10.0),
    st.lists(st.lists(st.integers(0, 19), max_size=25), min_size=1, max_size=6),
)
def test_the_compiled_step_solves_the_normal_equations(
    seed: int, width: int, extra: float, regularisation: float, histories: list[list[int]]
) -> None:
    from stagelens.recall.interaction.ials import FittedIALS

    rng = np.random.default_rng(seed)
    present = rng.random(20) < 0.9
    item = np.where(present[:, None], rng.normal(size=(20, width)), 0).astype(np.float32)
    fitted = FittedIALS.of(item, present, extra, regularisation)
    at = np.cumsum([0, *map(len, histories)])
    lists = Lists(at, np.array([code for row in histories for code in row], np.int32))
    queries = Queries(np.zeros(len(lists), np.int32), lists, lists, tie_order(0, 20))
    vectors, owner = fitted.query(queries)
    usable = [row for row, codes in enumerate(histories) if present[codes].any()]
    np.testing.assert_array_equal(owner, usable)
    had = np.zeros((len(lists), 20))
    for row, codes in enumerate(histories):
        had[row, codes] = 1.0 + extra
    expected = step(item, had * present, regularisation)[owner]
    np.testing.assert_allclose(vectors, expected, rtol=2e-3, atol=2e-4)


def test_the_item_step_is_exact_where_three_gradients_suffice() -> None:
    from stagelens.recall.interaction.implicit_fits import als_factors

    window = window_of(2, weighted=True)
    confidence = window.matrix(weighted=True)
    confidence.data += 1.0
    options = {"factors": 2, "regularisation": 0.3, "seed": 4}
    for iterations in (1, 4):
        user, item = als_factors(confidence, iterations=iterations, **options)
        expected = step(user, confidence.toarray().T, 0.3)
        np.testing.assert_allclose(item, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("regularisation", [1e-3, 1.0])
def test_the_loss_never_rises(regularisation: float) -> None:
    from stagelens.recall.interaction.implicit_fits import als_factors

    confidence = window_of(3).matrix()
    confidence.data += 4.0
    dense = confidence.toarray()
    losses = []
    for iterations in range(1, 13):
        user, item = als_factors(
            confidence, factors=10, regularisation=regularisation, iterations=iterations, seed=1
        )
        losses.append(loss(dense, user, item, regularisation))
    assert losses[0] < loss(dense, 0 * user, item, regularisation), "better than no users at all"
    assert losses[-1] < 0.9 * losses[0]
    assert (np.diff(losses) <= 1e-5 * losses[0]).all()


def test_event_weights_count_as_the_confidence_says() -> None:
    window = window_of(4)
    double = Interactions.of(
        window.user, window.item, n_users=USERS, n_items=ITEMS, value=np.full(len(window), 2.0)
    )
    one = IALS(factors=6, alpha=6.0).fit(TrainingData(window), seed=0)
    two = IALS(factors=6, alpha=3.0).fit(TrainingData(double), seed=0)
    assert one.item.tobytes() == two.item.tobytes()
    assert one.query(ask(window))[0].tobytes() == two.query(ask(double))[0].tobytes()
    log = IALS(confidence="log", alpha=2.0, epsilon=0.25)
    np.testing.assert_allclose(log.extra(np.array([1.0, 4.0])), 2 * np.log([5.0, 17.0]))
    uneven = window_of(4, weighted=True)
    fitted = IALS(factors=6, alpha=3.0).fit(TrainingData(uneven), seed=0)
    assert fitted.extra == pytest.approx(3.0 * uneven.value.mean())
    assert fitted.item.tobytes() != two.item.tobytes()


def test_a_user_outside_the_window_is_served_and_no_user_is_stored() -> None:
    window = window_of(5)
    inside = window.where(window.user != 7)
    channel = Dense(vectors=IALS(factors=6)).fit(TrainingData(inside), seed=0)
    known = Queries.of(np.array([7]), window, inside, tie_order(0, ITEMS))
    assert channel.retrieve(known, 10).found.all()
    hidden = Queries.of(np.array([7]), inside, inside, tie_order(0, ITEMS))
    assert not channel.retrieve(hidden, 10).found.any()


def test_threads_change_nothing() -> None:
    rng = generator(0, "ials-threads")
    window = Interactions.of(
        rng.integers(0, 900, 9000), (rng.random(9000) ** 2 * 300).astype(int), n_users=900, n_items=300
    )
    made = []
    for count in (1, 3):
        with limited(count):
            fitted = IALS(factors=20, iterations=3).fit(TrainingData(window), seed=5)
            made.append((fitted.item.tobytes(), fitted.query(ask(window))[0].tobytes()))
    assert made[0] == made[1]
    assert IALS(factors=20, iterations=3).fit(TrainingData(window), seed=6).item.tobytes() != made[0][0]


def test_implicit_solves_the_same_users() -> None:
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    window = window_of(6)
    fitted = IALS(factors=8, alpha=4.0, regularisation=0.05).fit(TrainingData(window), seed=0)
    vectors, owner = fitted.query(ask(window))
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(factors=8, regularization=0.05, num_threads=1)
        model.item_factors = fitted.item
        theirs = model.recalculate_user(np.arange(USERS), csr_matrix(window.matrix() * 5.0))
    ours, theirs = vectors @ fitted.item.T, theirs[owner] @ fitted.item.T
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9999
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_lenskit_comes_to_the_same_scores() -> None:
    als = pytest.importorskip("lenskit.als", reason="needs lenskit")
    import pandas as pd
    from lenskit.data import from_interactions_df
    from lenskit.training import TrainingOptions

    window = window_of(8)
    window = window.where(window.item < ITEMS - 1)
    fitted = IALS(factors=3, alpha=4.0, regularisation=0.5, iterations=300).fit(TrainingData(window), seed=0)
    vectors, owner = fitted.query(ask(window))
    frame = pd.DataFrame({"user_id": window.user, "item_id": window.item})
    model = als.ImplicitMFScorer(embedding_size=3, epochs=300, weight=4.0, regularization=0.5)
    model.train(from_interactions_df(frame), TrainingOptions(rng=1))
    users, items = model.users.numbers(owner), model.items.numbers(np.flatnonzero(fitted.present))
    theirs = model.user_embeddings[users] @ model.item_embeddings[items].T
    ours = vectors @ fitted.item[fitted.present].T
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999


def test_what_cannot_be_fitted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    window = window_of(7)
    huge = Interactions.of(
        window.user, window.item, n_users=USERS, n_items=ITEMS, value=np.full(len(window), 1e37)
    )
    with pytest.raises(ConfigError, match="not finite; raise the regularisation"):
        IALS().fit(TrainingData(huge), seed=0)
    for name in ("implicit", "implicit.cpu.als"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"stagelens\[references\]"):
        IALS().fit(TrainingData(window), seed=0)
