"""PureSVD beside scikit-learn, and on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from stagelens.pipeline.core import Interactions, Queries, TrainingData
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import PureSVD


def window_of(users: int, items: int, events: int) -> Interactions:
    rng = generator(0, "puresvd-test")
    item = (rng.random(events) ** 2 * items).astype(int)
    return Interactions.of(rng.integers(0, users, events), item, n_users=users, n_items=items)


def test_scikit_learn_gives_the_same_scores() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition", reason="needs scikit-learn")
    window = window_of(200, 120, 3000)
    fitted = PureSVD(factors=12).fit(TrainingData(window), seed=0)
    ours, owner = fitted.query(Queries.of(np.arange(200), window, window, tie_order(0, 120)))
    matrix = window.matrix().astype(np.float64)
    theirs = decomposition.TruncatedSVD(12, algorithm="arpack", random_state=0).fit(matrix)
    expected = theirs.transform(matrix)[owner] @ theirs.components_
    np.testing.assert_allclose(ours @ fitted.item.T, expected, atol=1e-4)


def test_threads_change_nothing() -> None:
    window = window_of(3000, 2000, 20_000)
    made = []
    for count in (1, 2):
        with threadpool_limits(limits=count, user_api="blas"):
            made.append(PureSVD(factors=200).fit(TrainingData(window), seed=0).item.tobytes())
    assert made[0] == made[1]
