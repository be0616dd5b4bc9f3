"""Parity of every normalisation and rule with ranx, where ranx has it."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from stagelens.fusion import Borda, CombMNZ, CombSUM, ReciprocalRank, WeightedSum
from stagelens.fusion.normalise import by_rank, min_max, z_score
from stagelens.pipeline.core import Candidates

QUERIES, ITEMS = 30, 40
NAMES = ("a", "b", "c")
WEIGHTS = {"a": 0.4, "b": 1.0, "c": 0.05}


def lists() -> Candidates:
    """Every member knows about half of the items; query 0 has a constant list, query 1 one of a single item."""
    rng = np.random.default_rng(0)
    score = rng.standard_normal((QUERIES, ITEMS, 3)) * np.array([1.0, 100.0, 0.01])
    score[rng.random(score.shape) < 0.5] = np.nan
    score[0, :, 1] = np.where(np.isnan(score[0, :, 1]), np.nan, 5.0)
    score[1, 1:, 2] = np.nan
    score[1, 0, 2] = 3.0
    score = score.astype(np.float32)
    order = np.argsort(np.argsort(-np.nan_to_num(score, nan=-np.inf), axis=1, kind="stable"), axis=1)
    rank = np.where(np.isnan(score), 0, order + 1).astype(np.int32)
    item = np.tile(np.arange(ITEMS, dtype=np.int32), (QUERIES, 1))
    level = np.zeros(item.shape, np.float32)
    return Candidates(np.arange(QUERIES, dtype=np.int32), item, level, NAMES, score, rank)


def runs(ranx, asked: Candidates):
    """One run a member, items in the order of their ranks: equal scores keep it."""
    made = []
    for c in range(3):
        run = {}
        for q in range(QUERIES):
            places = np.flatnonzero(asked.channel_rank[q, :, c])
            places = places[np.argsort(asked.channel_rank[q, places, c])]
            run[f"q{q:02d}"] = {f"{k}": float(asked.channel_score[q, k, c]) for k in places}
        made.append(ranx.Run(run, name=NAMES[c]))
    return made


def ordered_as(asked: Candidates, theirs) -> Candidates:
    """The same lists with the ranks of the runs: what ties is put in an order of their own by ranx."""
    rank = np.zeros_like(asked.channel_rank)
    for c, run in enumerate(theirs):
        for q in range(QUERIES):
            for place, key in enumerate(run.run[f"q{q:02d}"].keys()):
                rank[q, int(key), c] = place + 1
    untied = slice(1, None)  # only query 0 has equal scores in a list
    assert np.array_equal(rank[untied], asked.channel_rank[untied])
    return replace(asked, channel_rank=rank)


def table(run) -> np.ndarray:
    """float64 [Q, K] of a run, NaN where an item is absent."""
    out = np.full((QUERIES, ITEMS), np.nan)
    for q in range(QUERIES):
        for key, value in dict(run.run[f"q{q:02d}"]).items():
            out[q, int(key)] = value
    return out


@pytest.fixture(scope="module")
def ranx():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ranx compiles with deprecated numba options
        yield pytest.importorskip("ranx")


pytestmark = pytest.mark.slow  # ranx compiles for minutes when it is first used


@pytest.mark.parametrize("name", ["min_max", "zmuv", "rank"])
@pytest.mark.filterwarnings("ignore")
def test_normalisations_agree(ranx, name):
    from ranx.normalization import norm_switch

    theirs = runs(ranx, lists())
    asked = ordered_as(lists(), theirs)
    ours = {
        "min_max": min_max(asked.channel_score),
        "zmuv": z_score(asked.channel_score),
        "rank": by_rank(asked.channel_rank),
    }[name]
    for c, run in enumerate(theirs):
        np.testing.assert_allclose(ours[..., c], table(norm_switch(name)(run)), atol=1e-9)


RULES = {
    "sum of min-max": (CombSUM(), "min-max", "sum", {}),
    "sum of z-scores": (CombSUM(normalise="z-score"), "zmuv", "sum", {}),
    "sum of ranks": (CombSUM(normalise="rank"), "rank", "sum", {}),
    "sum of scores": (CombSUM(normalise="raw"), None, "sum", {}),
    "mnz of min-max": (CombMNZ(), "min-max", "mnz", {}),
    "mnz of ranks": (CombMNZ(normalise="rank"), "rank", "mnz", {}),
    "reciprocal ranks": (ReciprocalRank(), None, "rrf", {"k": 60}),
    "other reciprocal ranks": (ReciprocalRank(rrf_k=7.0), None, "rrf", {"k": 7}),
    "borda": (Borda(), None, "bordafuse", {}),
    "weighted min-max": (
        WeightedSum(weights=WEIGHTS),
        "min-max",
        "wsum",
        {"weights": list(WEIGHTS.values())},
    ),
    "weighted z-scores": (
        WeightedSum(weights=WEIGHTS, normalise="z-score"),
        "zmuv",
        "wsum",
        {"weights": list(WEIGHTS.values())},
    ),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.filterwarnings("ignore")
def test_rules_agree(ranx, name):
    rule, norm, method, params = RULES[name]
    members = runs(ranx, lists())
    asked = ordered_as(lists(), members)
    none = asked.rows(np.arange(0))
    ours = rule.fit(none, None, none, None, seed=0).score(asked)
    theirs = table(ranx.fuse(members, norm=norm, method=method, params=params))
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    np.testing.assert_allclose(ours, theirs, rtol=2e-7, atol=1e-7)
