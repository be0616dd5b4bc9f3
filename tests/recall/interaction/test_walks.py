"""P3alpha and RP3beta against dense products of transition matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import P3alpha, RP3beta

USERS, ITEMS = 50, 30


def walked_window(seed: int) -> Interactions:
    rng = generator(seed, "walks")
    user, item = rng.integers(0, USERS, 350), (rng.random(350) ** 2 * (ITEMS - 3)).astype(int)
    return Interactions.of(user, item, n_users=USERS, n_items=ITEMS)  # the last three are nobody's


def scores(recipe: Any, window: Interactions) -> Any:
    queries = Queries.of(np.arange(USERS), window, window, tie_order(0, ITEMS))
    items = np.ascontiguousarray(np.broadcast_to(np.arange(ITEMS, dtype=np.int32), (USERS, ITEMS)))
    return recipe.fit(TrainingData(window), seed=0).score(queries, items)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.6, 0.0), (1.0, 0.5), (1.7, 1.2), (0.0, 0.3)])
def test_walks_are_the_dense_product(alpha: float, beta: float, normalise: bool) -> None:
    window, keep = walked_window(1), 8
    had = window.matrix().toarray().astype(np.float64)
    degree = np.maximum(had.sum(axis=0), 1)
    to_user = (had.T / degree[:, None]) ** alpha * had.T
    to_item = (had / np.maximum(had.sum(axis=1), 1)[:, None]) ** alpha * had
    walk = to_user @ to_item / degree**beta
    np.fill_diagonal(walk, 0.0)
    tie = np.broadcast_to(tie_order(0, ITEMS), walk.shape)
    scaled = walk / walk.max()
    order = np.lexsort((tie, -np.round(scaled, 7)), axis=1)[:, :keep]
    kept = np.zeros_like(walk)
    np.put_along_axis(kept, order, np.take_along_axis(walk, order, axis=1), axis=1)
    if normalise:
        kept /= np.maximum(kept.sum(axis=1, keepdims=True), 1e-30)
    recipe: Any = RP3beta(alpha=alpha, beta=beta, neighbours=keep, normalise=normalise)
    found = scores(recipe, window)
    np.testing.assert_allclose(np.nan_to_num(found), had @ kept, rtol=2e-5)
    assert np.isnan(found[:, -3:]).all()
    if beta == 0.0:
        plain = scores(P3alpha(alpha=alpha, neighbours=keep, normalise=normalise), window)
        assert plain.tobytes() == found.tobytes()


def test_a_walk_stays_a_probability() -> None:
    """With alpha 1 and nothing cut, the steps to all items but the first sum to 1 less the way back."""
    window = walked_window(2)
    saved = P3alpha(neighbours=ITEMS - 1).fit(TrainingData(window), seed=0).save().arrays
    had = window.matrix().toarray().astype(np.float64)
    rows = np.maximum(had.sum(axis=1), 1)
    back = (had / rows[:, None]).sum(axis=0) / np.maximum(had.sum(axis=0), 1)
    total = np.bincount(
        np.repeat(np.arange(ITEMS), np.diff(saved["indptr"])), saved["similarity"], minlength=ITEMS
    )
    known = had.sum(axis=0) > 0
    np.testing.assert_allclose(total[known], 1 - back[known], rtol=1e-5)


def test_beta_takes_from_the_popular() -> None:
    window = walked_window(3)
    degree = window.item_degree()
    seen = window.where([])
    queries = Queries.of(np.arange(USERS), window, seen, tie_order(0, ITEMS))
    mean = []
    for beta in (0.0, 0.6, 1.5):
        item = RP3beta(beta=beta).fit(TrainingData(window), seed=0).retrieve(queries, 5).item
        mean.append(degree[item[item >= 0]].mean())
    assert mean[0] > mean[1] > mean[2]


@pytest.mark.parametrize("recipe", [P3alpha(neighbours=ITEMS), RP3beta(neighbours=ITEMS)])
def test_more_neighbours_than_items_are_refused(recipe: Any) -> None:
    with pytest.raises(ConfigError, match=f"neighbours = {ITEMS} of {ITEMS} items"):
        recipe.fit(TrainingData(walked_window(4)), seed=0)


def test_rp3beta_agrees_with_irspack() -> None:
    """Every entry of the walk but the diagonal; alpha is 1, because irspack raises entries and not probabilities."""
    rp3 = pytest.importorskip("irspack.recommenders.rp3", reason="irspack is not installed")
    window = walked_window(4)
    matrix = window.matrix().astype(np.float64)
    theirs = rp3.RP3betaRecommender(matrix, alpha=1, beta=0.6, n_threads=1)
    theirs.learn()
    walk = np.asarray(theirs.W.todense())
    np.fill_diagonal(walk, 0.0)
    found = np.nan_to_num(scores(RP3beta(alpha=1.0, beta=0.6, neighbours=ITEMS - 1), window))
    expected = matrix @ walk
    scale = expected.sum() / found.sum()  # a factor common to all scores orders nothing
    np.testing.assert_allclose(found * scale, expected, rtol=1e-4, atol=1e-7)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
