"""Labels permuted within each list, train and valid: the re-ranker must order by chance.

A re-ranker taught by noise prefers something at random, and that preference is real for its test users, so the
labels are permuted five times and the interval is the one over seeds.
"""

from __future__ import annotations

import numpy as np
import pytest

from stagelens.pipeline.compose import Then
from stagelens.pipeline.evaluate.metrics import measure
from stagelens.pipeline.experiment.measure import final_lists
from stagelens.pipeline.recipe import load

TREES = {"trees": 20, "min_trees": 5, "min_rows_leaf": 50}


@pytest.mark.parametrize("refit", ["full", "cross"])
def test_a_reranker_taught_by_permuted_labels_orders_by_chance(canary, mine, refit):
    found = canary.permuted_labels(*mine, leaky=False, permute=True, trees=TREES, refit=refit)
    assert found.sings, found
    taught = canary.permuted_labels(*mine, leaky=False, permute=False, trees=TREES, refit=refit, times=3)
    assert taught.low > taught.random  # with true labels the same interval leaves chance behind
    assert found.high - found.low < 0.5 * taught.random  # and it is narrow enough to say something


def test_a_leaky_group_makes_the_canary_fail(canary, mine):
    found = canary.permuted_labels(*mine, leaky=True, permute=True, trees=TREES, times=3)
    assert found.low > found.random
    assert not found.sings


def test_the_value_of_chance_is_what_random_orders_reach(canary, mine, make_bench):
    dataset, split = mine
    store, values = make_bench(dataset, split).store, []
    system = Then(recall=canary.union(), rerank=load({"use": "rerank.RandomOrder"}))
    known = canary.permuted_labels(dataset, split, leaky=False, permute=False, trees=TREES, times=1).random
    for seed in range(25):
        bench = make_bench(dataset, split, seed=seed, store=store)
        (found,) = final_lists(bench, [system], bench.windows.test)
        values.append(measure(found.ranks, bench.windows.test.truth, ["ndcg@10"]).mean())
    assert np.std(values) > 0
    assert abs(np.mean(values) - known) < 4 * np.std(values) / np.sqrt(len(values))
