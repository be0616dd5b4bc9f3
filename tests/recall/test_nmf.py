"""NMF: its loss, the optimum of its fold-in, and scikit-learn on the same start."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.core import Interactions, Lists, Queries, TrainingData
from stagelens.pipeline.native import limited
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import NMF, Dense

GROUPS, USERS, ITEMS = 4, 60, 40


def window_of(seed: int) -> Interactions:
    """Users take items of their own group, some of others; the last item is nobody's."""
    rng = generator(seed, "nmf-test")
    user = np.repeat(np.arange(USERS), 9)
    item = rng.integers(0, ITEMS // GROUPS, len(user)) * GROUPS + user % GROUPS
    item = np.where(rng.random(len(user)) < 0.1, rng.integers(0, ITEMS, len(user)), item)
    keep = item < ITEMS - 1
    return Interactions.of(user[keep], item[keep], n_users=USERS, n_items=ITEMS)


def ask(window: Interactions) -> Queries:
    return Queries.of(np.arange(window.n_users), window, window, tie_order(0, window.n_items))


def start(window: Interactions, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(9, "nmf-start")
    return rng.random((window.n_users, width)), rng.random((window.n_items, width))


def test_the_loss_never_rises_and_nothing_is_negative() -> None:
    from stagelens.recall.interaction.hals import factorise

    matrix = window_of(1).matrix()
    user, item = start(window_of(1), 6)
    losses = []
    for _ in range(30):
        user, item = factorise(matrix, user, item, 1)
        assert user.min() >= 0
        assert item.min() >= 0
        losses.append(np.linalg.norm(matrix.toarray() - user @ item.T))
    assert (np.diff(losses) <= 1e-9).all()
    assert losses[-1] < 0.95 * losses[0]


def test_scikit_learn_takes_the_same_steps() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition", reason="needs scikit-learn")
    from stagelens.recall.interaction.hals import factorise

    window = window_of(2)
    window = window.where(np.isin(window.item, np.flatnonzero(window.item_degree() > 0)))
    matrix = window.matrix()
    user, item = start(window, 5)
    item[window.item_degree() == 0] = 0
    ours = factorise(matrix, user, item, 12)
    model = decomposition.NMF(5, init="custom", solver="cd", tol=0, max_iter=12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 12 steps are not the end
        theirs = model.fit_transform(
            matrix.toarray().astype(np.float64), W=user.copy(), H=item.T.copy(order="F")
        )
    np.testing.assert_allclose(ours[0], theirs, atol=1e-9)
    np.testing.assert_allclose(ours[1], model.components_.T, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.lists(st.integers(0, 14), max_size=20))
def test_a_query_is_the_non_negative_least_squares(seed: int, width: int, codes: list[int]) -> None:
    from scipy.optimize import nnls

    from stagelens.recall.interaction.nmf import FittedNMF

    rng = np.random.default_rng(seed)
    present = rng.random(15) < 0.9
    table = (rng.random((15, width)) * (rng.random((15, width)) < 0.6) * present[:, None]).astype(np.float32)
    table += (0.3 * present[:, None] * np.resize(np.eye(width), (15, width))).astype(np.float32)
    history = Lists(np.array([0, len(codes)]), np.array(codes, np.int32))
    queries = Queries(np.zeros(1, np.int32), history, history, tie_order(0, 15))
    vectors, owner = FittedNMF(table, present).query(queries)
    assert len(owner) == bool(present[codes].any())
    if len(owner):
        had = np.zeros(15)
        had[codes] = 1.0
        best, length = nnls(table.astype(np.float64), had)
        assert vectors.min() >= 0
        assert np.linalg.norm(table @ vectors[0] - had) == pytest.approx(length, abs=1e-4)
        np.testing.assert_allclose(table @ vectors[0], table @ best, atol=5e-3)


def test_groups_are_found() -> None:
    window = window_of(3)
    fitted = Dense(vectors=NMF(factors=GROUPS)).fit(TrainingData(window), seed=0)
    found = fitted.retrieve(ask(window), 3)
    own = found.item % GROUPS == np.arange(USERS)[:, None] % GROUPS
    assert own[found.found].mean() > 0.9
    assert not (found.item == ITEMS - 1).any()


def test_seeds_differ_and_threads_do_not() -> None:
    rng = generator(0, "nmf-threads")
    window = Interactions.of(
        rng.integers(0, 900, 9000), (rng.random(9000) ** 2 * 300).astype(int), n_users=900, n_items=300
    )
    made = []
    for count in (1, 3):
        with limited(count):
            fitted = NMF(factors=24, iterations=5).fit(TrainingData(window), seed=5)
            made.append((fitted.item.tobytes(), fitted.query(ask(window))[0].tobytes()))
    assert made[0] == made[1]
    assert NMF(factors=24, iterations=5).fit(TrainingData(window), seed=6).item.tobytes() != made[0][0]


def test_a_user_outside_the_window_is_served_and_no_user_is_stored() -> None:
    window = window_of(4)
    inside = window.where(window.user != 7)
    channel = Dense(vectors=NMF(factors=4)).fit(TrainingData(inside), seed=0)
    known = Queries.of(np.array([7]), window, inside, tie_order(0, ITEMS))
    found = channel.retrieve(known, 5)
    assert found.found.any()
    assert (found.item[found.found] % GROUPS == 7 % GROUPS).mean() > 0.5
    hidden = Queries.of(np.array([7]), inside, inside, tie_order(0, ITEMS))
    assert not channel.retrieve(hidden, 5).found.any()
