"""MF-BPR: what it learns on a planted world, when a trained user answers, and what a fold-in may depend on."""

from __future__ import annotations

import numpy as np
import pytest

from stagelens.pipeline.core import Float32, Interactions, Lists, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.native import limited
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import MFBPR, Dense
from stagelens.recall.interaction.bpr import FittedMFBPR

pytest.importorskip("implicit", reason="needs implicit (extra: references)")

USERS, ITEMS = 150, 80
QUICK = MFBPR(factors=8, learning_rate=0.05, iterations=60, regularisation=0.005)


def planted(seed: int) -> tuple[Interactions, np.ndarray]:
    """Return a window, and every user's true liking of every item: low rank, all items equally popular."""
    rng = generator(seed, "mfbpr")
    liking = rng.normal(size=(USERS, 3)) @ rng.normal(size=(3, ITEMS))
    liking -= liking.mean(axis=0)
    top = np.argsort(-liking + 0.1 * rng.normal(size=liking.shape), axis=1)[:, :12]
    user, item = np.repeat(np.arange(USERS), 12), top.ravel()
    return Interactions.of(user, item, n_users=USERS, n_items=ITEMS), liking


def ask(window: Interactions, users: np.ndarray | None = None) -> Queries:
    users = np.arange(window.n_users) if users is None else users
    return Queries.of(users, window, window, tie_order(0, window.n_items))


def queries_of(user: list[int], histories: list[list[int]]) -> Queries:
    lists = Lists(np.cumsum([0, *map(len, histories)]), np.concatenate(histories).astype(np.int32))
    return Queries(np.array(user, np.int32), lists, lists, tie_order(0, ITEMS))


def auc(score: np.ndarray, had: np.ndarray) -> float:
    """Return the mean share of pairs in order, over users."""
    shares = []
    for row, mine in zip(score, had, strict=True):
        shares.append((row[mine][:, None] > row[~mine][None, :]).mean())
    return float(np.mean(shares))


@pytest.fixture(scope="module")
def window() -> Interactions:
    return planted(0)[0]


@pytest.fixture(scope="module")
def fitted(window: Interactions) -> FittedMFBPR:
    made = QUICK.fit(TrainingData(window), seed=3)
    assert isinstance(made, FittedMFBPR)
    return made


def scores(fitted: FittedMFBPR, queries: Queries) -> Float32:
    vectors, owner = fitted.query(queries)
    np.testing.assert_array_equal(owner, np.arange(len(queries)))
    return np.asarray(vectors @ fitted.item.T)


def test_training_pairs_are_put_in_order(window: Interactions, fitted: FittedMFBPR) -> None:
    had = window.matrix().toarray() > 0
    score = scores(fitted, ask(window))
    assert auc(score, had) > 0.9
    shuffled = generator(1, "mfbpr").permutation(USERS)
    assert auc(score[shuffled], had) == pytest.approx(0.5, abs=0.06), "another user's vector is chance"


def test_users_outside_the_window_are_folded_in() -> None:
    window, liking = planted(1)
    inside = window.where(window.user < 100)
    fitted = QUICK.fit(TrainingData(inside), seed=0)
    assert isinstance(fitted, FittedMFBPR)
    new = np.arange(100, USERS)
    score = scores(fitted, ask(window, new))
    assert auc(score, window.matrix().toarray()[new] > 0) > 0.85
    ordered = [np.corrcoef(score[row], liking[user])[0, 1] for row, user in enumerate(new)]
    assert np.mean(ordered) > 0.5
    assert not fitted.user[new, :-1].any()


def test_the_trained_vector_answers_its_own_history_only(window: Interactions, fitted: FittedMFBPR) -> None:
    own = window.lists()
    mine = own[4].tolist()
    vectors, _ = fitted.query(
        queries_of([4, 4, 4, 5], [mine, [*mine[::-1], mine[3]], mine[:-1], mine])  # repeated, less, another's
    )
    trained = fitted.user[4]
    np.testing.assert_array_equal(vectors[0], trained)
    np.testing.assert_array_equal(vectors[1], trained)
    assert not np.array_equal(vectors[2], trained)
    assert not np.array_equal(vectors[3], trained)
    assert not np.array_equal(vectors[3], fitted.user[5])
    assert (vectors[:, -1] == 1).all()


def test_a_fold_in_depends_on_history_and_seed_alone(window: Interactions, fitted: FittedMFBPR) -> None:
    history = [3, 17, 41, 5]
    alone, _ = fitted.query(queries_of([9], [history]))
    among, _ = fitted.query(queries_of([8, 0, 11], [[1, 2], window.lists()[0].tolist(), history[::-1]]))
    assert among[2].tobytes() == alone[0].tobytes()
    other = QUICK.load(fitted.save())
    assert other.query(queries_of([9], [history]))[0].tobytes() == alone.tobytes()
    again = QUICK.fit(TrainingData(window), seed=4)
    assert again.query(queries_of([9], [history]))[0].tobytes() != alone.tobytes()


def test_a_fold_in_climbs_to_the_expected_objective() -> None:
    """Many small steps end where the expectation over draws has its maximum, found by a general optimiser."""
    from scipy.optimize import minimize

    from stagelens.recall.interaction.pairwise import Steps, digests, folded

    rng = np.random.default_rng(0)
    table = rng.normal(size=(12, 5)).astype(np.float32)
    degree = rng.integers(1, 9, 12).astype(np.int32)
    own, penalty = np.array([1, 4, 7], np.int32), 0.05
    lists = Lists(np.array([0, 3]), own)
    steps = Steps(iterations=200_000, learning_rate=0.003, regularisation=penalty, seed=1)
    found = folded(lists, digests(lists), table, degree, steps)[0, :-1]
    other = np.setdiff1d(np.arange(12), own)
    weight = degree[other] / degree[other].sum()
    gap = (table[own][:, None] - table[other][None]).astype(np.float64)

    def cost(user: np.ndarray) -> float:
        margin = gap[..., :-1] @ user + gap[..., -1]
        return float(np.log1p(np.exp(-margin)).mean(axis=0) @ weight + penalty / 2 * user @ user)

    best = minimize(cost, np.zeros(4)).x
    np.testing.assert_allclose(found, best, atol=0.1)
    assert np.corrcoef(found, best)[0, 1] > 0.99


def test_lists_find_what_was_planted(window: Interactions) -> None:
    rng = generator(2, "mfbpr")
    keep = rng.random(len(window)) < 0.75
    rest, held = window.where(keep), window.where(~keep)
    found = Dense(vectors=QUICK).fit(TrainingData(rest), seed=0).retrieve(ask(rest), 12)
    lists = held.lists()
    hit = np.mean([np.isin(lists[u], found.item[u]).mean() for u in range(USERS) if len(lists[u])])
    assert hit > 2 * 12 / ITEMS


def test_threads_change_nothing(window: Interactions) -> None:
    half = ask(window.where(window.item % 2 == 0))
    made = []
    for count in (1, 3):
        with limited(count):
            fitted = QUICK.fit(TrainingData(window), seed=5)
            made.append((fitted.item.tobytes(), fitted.query(half)[0].tobytes()))
    assert made[0] == made[1]


def test_a_step_too_large_is_said(window: Interactions) -> None:
    with pytest.raises(ConfigError, match=r"learning_rate = 1e\+30.*not finite"):
        MFBPR(factors=4, learning_rate=1e30, iterations=5).fit(TrainingData(window), seed=0)
