"""Parity of the ranking metrics with ranx and trec_eval (through pytrec_eval)."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from stagelens.pipeline.core import Candidates, Interactions
from stagelens.pipeline.evaluate.metrics import measure
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.seeds import tie_order

CUTS = (1, 3, 5, 10, 20, 40)
OURS = [f"{kind}@{k}" for kind in ("recall", "precision", "hit", "mrr", "map", "ndcg") for k in CUTS]
RANX = {
    "recall": "recall",
    "precision": "precision",
    "hit": "hit_rate",
    "mrr": "mrr",
    "map": "map",
    "ndcg": "ndcg",
}
TREC = {"recall": "recall", "precision": "P", "hit": "success", "map": "map_cut", "ndcg": "ndcg_cut"}
OFFICE = Path(__file__).parents[3] / "shared" / "data" / "amazon_office"


def random_system(seed: int, levels: int | None) -> tuple[Truth, Candidates]:
    """A truth and lists in strictly falling order, or with ``levels`` tied scores in the seeded order."""
    rng = np.random.default_rng(seed)
    users, depth, n_items = 150, 40, 300
    user = np.repeat(np.arange(users), rng.integers(1, 30, users))
    truth = Truth.of(
        Interactions.of(user, rng.integers(0, n_items, len(user)), n_users=users, n_items=n_items)
    )
    item = np.stack([rng.permutation(n_items)[:depth] for _ in range(users)]).astype(np.int32)
    for row in range(users):
        item[row, rng.integers(1, depth + 1) :] = -1  # lists of every length
    score = np.where(item >= 0, -np.arange(depth), -np.inf).astype(np.float32)
    lists = Candidates.from_channel("a", truth.user, item, score)
    if levels is not None:
        tied = rng.integers(0, levels, item.shape).astype(np.float32)
        lists = lists.rescored(tied, tie_order(seed, n_items))
    return truth, lists


def strict(lists: Candidates) -> dict[str, dict[str, float]]:
    """Return the run with scores that spell our order out, for libraries that sort by score themselves."""
    return {
        str(user): {str(item): float(lists.size - place) for place, item in enumerate(row) if item >= 0}
        for user, row in zip(lists.user, lists.item, strict=True)
    }


def qrels(truth: Truth) -> dict[str, dict[str, int]]:
    return {str(user): {str(item): 1 for item in truth.relevant[row]} for row, user in enumerate(truth.user)}


def real_system() -> tuple[Truth, Candidates]:
    """Popularity lists on a real test window; many items tie in popularity."""
    import pandas as pd

    frame = pd.read_parquet(OFFICE / "interactions.parquet")
    test = frame["split"].isin(["test", 2])
    users, items = (pd.factorize(frame[name])[0] for name in ("user_id", "item_id"))
    n_users, n_items = users.max() + 1, items.max() + 1
    truth = Truth.of(Interactions.of(users[test], items[test], n_users=n_users, n_items=n_items)).rows(
        np.arange(500)
    )
    popularity = np.bincount(items[~test], minlength=n_items).astype(np.float32)
    rng = np.random.default_rng(0)
    item = np.stack(
        [rng.choice(n_items, 40, replace=False, p=popularity / popularity.sum()) for _ in range(500)]
    )
    flat = Candidates.from_channel("a", truth.user, item.astype(np.int32), np.zeros(item.shape, np.float32))
    return truth, flat.rescored(popularity[item], tie_order(0, n_items))


def case(name: str) -> tuple[Truth, Candidates]:
    if name == "real":
        if not OFFICE.exists():
            pytest.skip("the real data set amazon_office is not here")
        return real_system()
    return random_system(*{"strict": (0, None), "tied": (1, 3), "all tied": (2, 1)}[name])


CASES = ["strict", "tied", "all tied", pytest.param("real", marks=pytest.mark.data)]


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_trec_eval(name):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    truth, lists = case(name)
    ours = measure(truth.ranks(lists), truth, OURS)
    assert ours[:, OURS.index("recall@40")].mean() > 0
    asked = {f"{theirs}.{','.join(map(str, CUTS))}" for theirs in TREC.values()}
    found = pytrec_eval.RelevanceEvaluator(qrels(truth), asked).evaluate(strict(lists))
    for kind, theirs in TREC.items():
        for k in CUTS:
            expected = [found[str(user)][f"{theirs}_{k}"] for user in truth.user]
            assert np.abs(ours[:, OURS.index(f"{kind}@{k}")] - expected).max() <= 1e-12, (kind, k)
    for k in CUTS:  # trec_eval's reciprocal rank has no cut-off: cut the run
        cut = pytrec_eval.RelevanceEvaluator(qrels(truth), {"recip_rank"}).evaluate(strict(lists.top(k)))
        expected = [cut[str(user)]["recip_rank"] for user in truth.user]
        assert np.abs(ours[:, OURS.index(f"mrr@{k}")] - expected).max() <= 1e-12, k


@pytest.mark.slow  # ranx compiles for a minute when it is first used
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_ranx(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ranx compiles with deprecated numba options
        ranx = pytest.importorskip("ranx")
        truth, lists = case(name)
        ours = measure(truth.ranks(lists), truth, OURS)
        theirs = [f"{RANX[kind]}@{k}" for kind, _, k in (text.partition("@") for text in OURS)]
        found = ranx.evaluate(
            ranx.Qrels(qrels(truth)), ranx.Run(strict(lists)), theirs, return_mean=False, make_comparable=True
        )
    order = np.argsort([str(user) for user in truth.user])  # make_comparable sorts the users as text
    for column, metric in enumerate(theirs):
        assert np.abs(ours[order, column] - found[metric]).max() <= 1e-12, metric


def test_tied_scores_are_why_the_order_is_handed_over():
    """Given the tied scores themselves, trec_eval breaks ties by id: another list, another figure."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    truth, lists = case("tied")
    tied = {
        str(user): {str(item): float(score) for item, score in zip(items, scores, strict=True) if item >= 0}
        for user, items, scores in zip(lists.user, lists.item, lists.score, strict=True)
    }
    found = pytrec_eval.RelevanceEvaluator(qrels(truth), {"ndcg_cut.5", "recall.40"}).evaluate(tied)
    ours = measure(truth.ranks(lists), truth, ["ndcg@5", "recall@40"])
    theirs = np.array([[found[str(u)]["ndcg_cut_5"], found[str(u)]["recall_40"]] for u in truth.user])
    assert np.abs(ours[:, 1] - theirs[:, 1]).max() <= 1e-12  # the same sets
    assert np.abs(ours[:, 0] - theirs[:, 0]).max() > 0.1  # in another order
    by_id = [sorted(run, key=lambda code: (run[code], code), reverse=True) for run in tied.values()]
    item = np.full(lists.item.shape, -1, dtype=np.int32)
    for row, ids in enumerate(by_id):
        item[row, : len(ids)] = [int(code) for code in ids]
    again = Candidates.from_channel("a", truth.user, item, lists.score)
    redone = measure(truth.ranks(again), truth, ["ndcg@5"])[:, 0]
    assert np.abs(redone - theirs[:, 0]).max() <= 1e-12  # handed their order, we get their figure
