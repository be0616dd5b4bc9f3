"""Item-KNN and User-KNN against their formulas written out, and against other implementations."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from stagelens.pipeline import native
from stagelens.pipeline.core import Float64, Interactions, Lists, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import SLIM, ItemKNN, P3alpha, RP3beta, UserKNN

SIMILARITIES = ("cosine", "jaccard", "dice", "asymmetric", "tversky", "dot")
WEIGHTINGS = ("none", "tf-idf", "bm25")
USERS, ITEMS = 45, 32
ALPHA, BETA, SHRINK = 0.3, 0.8, 2.5


def random_window(seed: int, users: int = USERS, items: int = ITEMS, events: int = 330) -> Interactions:
    rng = generator(seed, "neighbourhoods")
    return Interactions.of(
        rng.integers(0, users, events),
        (rng.random(events) ** 2 * items).astype(int),
        n_users=users,
        n_items=items,
        time=rng.integers(0, 1000, events),
    )


def ask(window: Interactions, seen: Interactions | None = None) -> Queries:
    return Queries.of(np.arange(window.n_users), window, seen or window, tie_order(0, window.n_items))


def everything(queries: Queries) -> Any:
    shape = (len(queries), queries.n_items)
    return np.ascontiguousarray(np.broadcast_to(np.arange(queries.n_items, dtype=np.int32), shape))


def weigh(counts: Float64, weighting: str) -> Float64:
    """[documents, terms], as Ferrari Dacrema et al. weigh."""
    if weighting == "none":
        return (counts > 0).astype(np.float64)
    rare = np.log((1.0 + len(counts)) / (1.0 + (counts > 0).sum(axis=0)))
    if weighting == "tf-idf":
        return np.sqrt(counts) * rare
    terms = (counts > 0).sum(axis=1)
    length = (terms / terms[terms > 0].mean())[:, None]
    return counts * 2.2 / (counts + 1.2 * (0.25 + 0.75 * length)) * rare


def compare(left: Float64, right: Float64, similarity: str) -> Float64:
    """[R, C]: the similarity of rows of weights, each formula as its paper has it."""
    both = left @ right.T
    a, b = (left**2).sum(axis=1)[:, None], (right**2).sum(axis=1)[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "cosine": lambda: both / (np.sqrt(a * b) + SHRINK),
            "asymmetric": lambda: both / (a**ALPHA * b ** (1 - ALPHA) + SHRINK),
            "jaccard": lambda: both / (np.maximum(a, both) + np.maximum(b, both) - both + SHRINK),
            "dice": lambda: 2 * both / (np.maximum(a, both) + np.maximum(b, both) + 2 * SHRINK),
            "tversky": lambda: (
                both / (both + ALPHA * np.maximum(a - both, 0) + BETA * np.maximum(b - both, 0) + SHRINK)
            ),
            "dot": lambda: both,
        }[similarity]()
    return np.where(both > 0, found, 0.0)


def cut(similarity: Float64, keep: int) -> Float64:
    """Keep the best of every row, ties by the fixed order."""
    tie = np.broadcast_to(tie_order(0, similarity.shape[1]), similarity.shape)
    order = np.lexsort((tie, -np.round(similarity, 6)), axis=1)
    kept = np.zeros_like(similarity)
    best = order[:, :keep]
    np.put_along_axis(kept, best, np.take_along_axis(similarity, best, axis=1), axis=1)
    return kept


def fields(similarity: str, weighting: str, **more: Any) -> dict[str, Any]:
    told = {"similarity": similarity, "weighting": weighting, "shrink": SHRINK, "alpha": ALPHA, "beta": BETA}
    return {**told, **more}


def agree(score: Any, expected: Float64) -> None:
    np.testing.assert_allclose(np.nan_to_num(score), expected, rtol=2e-5, atol=1e-7)
    assert (np.isnan(score) == (expected == 0)).all()


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("weighed", ["similarity", "everything"])
def test_item_knn_is_its_formula(similarity: str, weighting: str, normalise: bool, weighed: str) -> None:
    window = random_window(1)
    recipe = ItemKNN(**fields(similarity, weighting, neighbours=6, normalise=normalise, weighed=weighed))
    counts = window.matrix(weighted=True).toarray().astype(np.float64)
    weights = weigh(counts.T, weighting)
    near = compare(weights, weights, similarity)
    np.fill_diagonal(near, 0.0)
    near = cut(near, 6)
    if normalise:
        near = near / np.maximum(near.sum(axis=1, keepdims=True), 1e-30)
    queries = ask(window)
    score = recipe.fit(TrainingData(window), seed=0).score(queries, everything(queries))
    had = (counts > 0).astype(np.float64)
    if weighed == "everything" and weighting == "bm25":
        users = had.sum(axis=0)
        had = had * 2.2 / (1 + 1.2 * (0.25 + 0.75 * users / users[users > 0].mean()))
    agree(score, had @ near)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_user_knn_is_its_formula(similarity: str, weighting: str) -> None:
    window, keep = random_window(2), 5
    counts = window.matrix(weighted=True).toarray().astype(np.float64)
    weights = weigh(counts, weighting)
    near = compare(weights, weights, similarity)
    np.fill_diagonal(near, 0.0)
    near = cut(near, keep)
    queries = ask(window)
    for normalise, weighed in ((False, "similarity"), (True, "similarity"), (False, "everything")):
        told = fields(similarity, weighting, neighbours=keep, normalise=normalise, weighed=weighed)
        score = UserKNN(**told).fit(TrainingData(window), seed=0).score(queries, everything(queries))
        total = np.maximum(near.sum(axis=1, keepdims=True), 1e-30) if normalise else 1.0
        agree(score, near / total @ (weights if weighed == "everything" else counts > 0))


def test_item_knn_as_it_always_was() -> None:
    """Results published with the defaults rest on these bytes."""
    window = random_window(7, 300, 200, 4000)
    saved = ItemKNN().fit(TrainingData(window), seed=0).save()
    digest = hashlib.sha256()
    for name in ("indptr", "neighbour", "similarity"):
        digest.update(saved.arrays[name].tobytes())
    assert digest.hexdigest() == "5c03787489f23c41d6e300b9bfaf826aa069c5e82d8b74b1f37290694b8b05b1"


def test_jaccard_and_dice_are_tversky_and_half_asymmetric_is_the_cosine() -> None:
    data = TrainingData(random_window(3))

    def table(**told: Any) -> Any:
        return ItemKNN(**{"shrink": 1.0, **told}).fit(data, seed=0).save().arrays

    pairs = [
        (table(similarity="jaccard"), table(similarity="tversky", alpha=1.0, beta=1.0)),
        (table(similarity="dice"), table(similarity="tversky", alpha=0.5, beta=0.5)),
    ]
    for one, other in pairs:
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    np.testing.assert_allclose(
        table(similarity="asymmetric")["similarity"], table(similarity="cosine")["similarity"], rtol=1e-6
    )


def test_a_user_who_has_every_item_divides_nothing_by_nothing() -> None:
    """Under tf-idf its entries weigh 0, so an item that only it has is of length 0."""
    window = Interactions.of([0, 0, 0, 1, 2], [0, 1, 2, 0, 0], n_users=3, n_items=3)
    queries = ask(window)
    for similarity in SIMILARITIES:
        for recipe in (ItemKNN, UserKNN):
            told: dict[str, Any] = fields(similarity, "tf-idf", shrink=0, alpha=1.5)
            score = recipe(**told).fit(TrainingData(window), seed=0).score(queries, everything(queries))
            assert not np.isinf(score).any()


def test_user_knn_serves_whoever_brings_a_history() -> None:
    """A user outside the window, one with a thinned history and one of the window get what their items say."""
    window = random_window(4)
    outside = window.where(window.user != 7)
    fitted = UserKNN(shrink=1, neighbours=5).fit(TrainingData(outside), seed=0)
    queries = Queries.of(np.array([7]), window, window, tie_order(0, ITEMS))
    found = fitted.retrieve(queries, 10)
    assert found.found.any()
    inside = UserKNN(shrink=1, neighbours=5).fit(TrainingData(window), seed=0)
    again = inside.retrieve(queries, 10)
    np.testing.assert_array_equal(again.item, found.item, "nobody is their own neighbour")
    few = window.where(np.flatnonzero(window.user == 7)[:2])
    thin = inside.retrieve(Queries.of(np.array([7]), few, window, tie_order(0, ITEMS)), 10)
    assert thin.found.any()
    assert thin.score.tobytes() != again.score.tobytes()
    nothing = window.where(window.user == 8)
    assert not inside.retrieve(
        Queries.of(np.array([7]), nothing, window, tie_order(0, ITEMS)), 10
    ).found.any()


def test_user_knn_alike_in_a_query_and_in_the_window() -> None:
    """Weighted as in the window: a user's history finds a twin of the same items before anybody else."""
    user, item = [0, 0, 0, 1, 1, 1, 2, 2, 3], [0, 1, 2, 0, 1, 3, 0, 4, 5]
    window = Interactions.of(user, item, n_users=5, n_items=6)
    twin = Interactions.of([4, 4, 4], [0, 1, 2], n_users=5, n_items=6)
    for weighting in WEIGHTINGS:
        recipe = UserKNN(weighting=weighting, shrink=0, neighbours=1)
        fitted: Any = recipe.fit(TrainingData(window), seed=0)
        near = fitted._neighbours(Queries.of(np.array([4]), twin, twin, tie_order(0, 6)))
        np.testing.assert_array_equal(near.column, [0])
        np.testing.assert_allclose(near.value, 1.0, rtol=1e-6)


def test_more_neighbours_than_users_are_refused_and_the_default_takes_all() -> None:
    data = TrainingData(random_window(5))
    with pytest.raises(ConfigError, match="neighbours = 45 of 45 users: a user has at most 44 neighbours"):
        UserKNN(neighbours=USERS).fit(data, seed=0)
    queries = ask(data.interactions)
    whole = UserKNN(neighbours=USERS - 1).fit(data, seed=0).retrieve(queries, 10)
    default = UserKNN().fit(data, seed=0).retrieve(queries, 10)
    assert whole.score.tobytes() == default.score.tobytes()


@pytest.mark.parametrize("recipe", [ItemKNN(similarity="tversky"), UserKNN(similarity="jaccard", shrink=1)])
def test_neither_blocks_nor_threads_change_a_byte(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stagelens.pipeline import threads
    from stagelens.recall.interaction import products

    window = random_window(6, 120, 60, 900)
    queries = ask(window)
    with native.limited(1):
        once = recipe.fit(TrainingData(window), seed=0).retrieve(queries, 20)
    monkeypatch.setattr(products, "BLOCK", 7)
    monkeypatch.setattr(threads, "STEPS_WORTH_A_THREAD", 1)
    with native.limited(3):
        again = recipe.fit(TrainingData(window), seed=0).retrieve(queries, 20)
    assert once.item.tobytes() == again.item.tobytes()
    assert once.score.tobytes() == again.score.tobytes()


@pytest.mark.filterwarnings("ignore:Method expects CSR input")  # it warns of what it makes itself
def test_item_knn_agrees_with_implicit() -> None:
    nearest = pytest.importorskip("implicit.nearest_neighbours", reason="implicit is not installed")
    from scipy.sparse import csr_matrix

    window = random_window(8, 200, 80, 2000)
    ours = ItemKNN(shrink=0, neighbours=79).fit(TrainingData(window), seed=0).save().arrays
    other = nearest.CosineRecommender(K=80, num_threads=1)
    other.fit(csr_matrix(window.matrix()), show_progress=False)
    theirs = other.similarity.toarray()
    np.fill_diagonal(theirs, 0.0)
    mine = np.zeros((80, 80))
    mine[np.repeat(np.arange(80), np.diff(ours["indptr"])), ours["neighbour"]] = ours["similarity"]
    np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_the_cut_product_agrees_with_sparse_dot_topn() -> None:
    other = pytest.importorskip("sparse_dot_topn", reason="sparse_dot_topn is not installed")
    from scipy.sparse import csr_matrix

    from stagelens.recall.interaction.products import Divisor, Sparse, top_products

    by_item = csr_matrix(random_window(9, 200, 80, 2000).matrix().T.tocsr())
    theirs = other.sp_matmul_topn(by_item, by_item.T.tocsr(), top_n=15, sort=True)
    nothing = Lists(np.zeros(81, np.int64), np.empty(0, np.int32))
    sides = (Sparse.of(by_item), Sparse.of(by_item.T.tocsr()))
    _, ours = top_products(*sides, Divisor.one(80, 80), nothing, tie_order(0, 80), 15)
    for row in range(80):
        found = theirs.data[theirs.indptr[row] : theirs.indptr[row + 1]]
        np.testing.assert_allclose(ours[row][np.isfinite(ours[row])], found)


@pytest.mark.parametrize(
    "recipe", [ItemKNN(), UserKNN(), P3alpha(), RP3beta(), SLIM()], ids=lambda one: one.label
)
@pytest.mark.parametrize("items", [0, 1])
def test_a_catalogue_of_nothing_or_one_is_no_fault(recipe: Any, items: int) -> None:
    window = Interactions.of(np.arange(items), np.zeros(items, np.int64), n_users=3, n_items=items)
    found = recipe.fit(TrainingData(window), seed=0).retrieve(ask(window), 5)
    found.check()
    assert (found.item[0] == -1).all()  # the first user has all there is
