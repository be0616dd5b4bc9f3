from __future__ import annotations

import numpy as np

from stagelens.pipeline.core import Features
from stagelens.pipeline.rows import no_rows
from stagelens.pipeline.seeds import tie_order
from stagelens.rerank import KeepOrder, LambdaMART, Oracle, RandomOrder

TIE = tie_order(0, 500)
NOTHING = no_rows(())


def nothing(candidates):
    return Features((), np.zeros((*candidates.item.shape, 0), np.float32))


def test_keep_order_keeps_recall_order_through_ties(lists):
    flat = lists.candidates.rows(slice(0, 50))
    score = KeepOrder().fit(NOTHING, NOTHING, seed=0).score(flat, nothing(flat))
    assert np.array_equal(flat.rescored(score, TIE).item, flat.item)


def test_random_order_is_at_chance_and_moves_with_the_seed(lists, ndcg):
    values = []
    for seed in range(5):
        made = RandomOrder().fit(NOTHING, NOTHING, seed=seed)
        order = lists.candidates.rescored(made.score(lists.candidates, nothing(lists.candidates)), TIE)
        values.append(ndcg(order, lists.candidates, lists.gains))
    size, relevant = lists.candidates.size, 3
    discount = 1 / np.log2(np.arange(2, 12))
    expected = discount.sum() * relevant / size / discount[:relevant].sum()
    mean = np.mean(values)
    assert abs(mean - expected) < 3 * np.std(values) / np.sqrt(np.size(values))
    assert not np.array_equal(values[0], values[1])


def test_oracle_is_best_and_never_in_the_way(lists, ndcg):
    gain = Features(("gain",), lists.gains[..., None])
    oracle = Oracle().fit(NOTHING, NOTHING, seed=0)
    best = lists.candidates.rescored(oracle.score(lists.candidates, gain), TIE)
    assert np.allclose(ndcg(best, lists.candidates, lists.gains), 1)
    made = LambdaMART(trees=20).fit(lists.part(0, 250).rows(), lists.part(250, 300).rows(), seed=0)
    order = lists.candidates.rescored(made.score(lists.candidates, lists.features), TIE)
    assert ndcg(order, lists.candidates, lists.gains).mean() < 1
    assert Oracle.sees_truth
    assert not any(getattr(recipe, "sees_truth", False) for recipe in (KeepOrder, RandomOrder, LambdaMART))
