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

USERS, ITEMS = 150, 80
STEP = 0x9E3779B97F4A7C15
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
    pool = np.repeat(np.arange(12, dtype=np.int32), degree)
    own, penalty = np.array([1, 4, 7], np.int32), 0.05
    lists = Lists(np.array([0, 3]), own)
    steps = Steps(iterations=200_000, learning_rate=0.003, regularisation=penalty, seed=1)
    found = folded(lists, digests(lists), table, degree > 0, pool, steps)[0, :-1]
    other = np.setdiff1d(np.arange(12), own)
    weight = degree[other] / degree[other].sum()
    gap = (table[own][:, None] - table[other][None]).astype(np.float64)

    def cost(user: np.ndarray) -> float:
        margin = gap[..., :-1] @ user + gap[..., -1]
        return float(np.log1p(np.exp(-margin)).mean(axis=0) @ weight + penalty / 2 * user @ user)

    best = minimize(cost, np.zeros(4)).x
    np.testing.assert_allclose(found, best, atol=0.1)
    assert np.corrcoef(found, best)[0, 1] > 0.99


def test_training_takes_the_steps_of_the_paper() -> None:
    """Two passes over the same draws in plain Python: the gradient of ln σ of one pair, and the penalty."""
    from stagelens.pipeline.seeds import derive
    from stagelens.recall.interaction.pairwise import Steps, train

    rng = np.random.default_rng(5)
    own = [[0, 2, 3], [1], [2, 4]]
    lists = Lists(np.array([0, 3, 4, 6]), np.concatenate(own).astype(np.int32))
    pool = np.array([0, 1, 2, 3, 4, 4], np.int32)
    user, item = (rng.normal(size=(n, 4)).astype(np.float32) for n in (3, 6))
    user[:, -1] = 1.0
    x, y = user[:, :-1].astype(float), item.astype(float)
    steps = Steps(iterations=2, learning_rate=0.1, regularisation=0.2, seed=8)
    train(lists, pool, user, item, steps)

    for number in range(steps.iterations):
        state = derive(steps.seed, "pass", number)
        for _ in range(len(lists.items)):
            pair, place = (below(state + n * STEP, bound) for n, bound in ((1, 6), (2, len(pool))))
            state += 2 * STEP
            u, i, j = np.repeat(np.arange(3), lists.lengths)[pair], lists.items[pair], pool[place]
            if j in own[u]:
                continue
            before = x[u].copy()
            z = 1 / (1 + np.exp(before @ (y[i, :-1] - y[j, :-1]) + y[i, -1] - y[j, -1]))
            x[u] += 0.1 * (z * (y[i, :-1] - y[j, :-1]) - 0.2 * before)
            for row, sign in ((i, 1), (j, -1)):
                y[row] += 0.1 * (sign * z * np.append(before, 1.0) - 0.2 * y[row])
    np.testing.assert_allclose(user[:, :-1], x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(item, y, rtol=1e-5, atol=1e-6)


def below(state: int, bound: int) -> int:
    """Return the number below ``bound`` that SplitMix64 draws at this state."""
    x = state % (1 << 64)
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % (1 << 64)
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % (1 << 64)
    return (((x ^ (x >> 31)) & 0xFFFFFFFF) * bound) >> 32


def test_even_negatives_learn_popularity_and_popular_ones_do_not() -> None:
    rng = generator(4, "mfbpr")
    chance = np.arange(1, ITEMS + 1) ** -1.0
    user = np.repeat(np.arange(USERS), 8)
    item = rng.choice(ITEMS, size=len(user), p=chance / chance.sum())
    window = Interactions.of(user, item, n_users=USERS, n_items=ITEMS)
    degree = window.item_degree()
    bias = {}
    for negatives in ("uniform", "popular"):
        recipe = MFBPR(factors=4, iterations=60, regularisation=0.05, negatives=negatives)
        fitted = recipe.fit(TrainingData(window), seed=0)
        assert isinstance(fitted, FittedMFBPR)
        assert fitted.pool.tobytes() == recipe.load(fitted.save()).pool.tobytes()
        bias[negatives] = np.corrcoef(fitted.item[:, -1], np.log(np.maximum(degree, 1)))[0, 1]
    assert bias["uniform"] > 0.9
    assert bias["popular"] < 0.5


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
    with pytest.raises(ConfigError, match=r"not finite: learning_rate = 1e\+30"):
        MFBPR(factors=4, learning_rate=1e30, iterations=5).fit(TrainingData(window), seed=0)
