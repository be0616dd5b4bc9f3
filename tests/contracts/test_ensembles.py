"""What every public ensemble keeps to; a new one is tested by being public."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stagelens import fusion
from stagelens.pipeline.core import Candidates, Interactions
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.recipe import dump, field_docs, load, recipes_of

USERS, ITEMS, K = 90, 200, 24
MEMBERS = ("Popular", "ItemKNN", "Dense(text)")
RULES = [name for name in recipes_of("fusion") if getattr(fusion, name).role == "ensemble"]

TREES = {"trees": 12, "min_rows_leaf": 5}
FILLED: dict[str, dict[str, Any]] = {"WeightedSum": {"metric": "ndcg@10"}}
"""What a composition fills in."""
VARIANTS: dict[str, dict[str, Any]] = {
    "CombSUM, z-score": {"use": "fusion.CombSUM", "normalise": "z-score"},
    "CombSUM, rank": {"use": "fusion.CombSUM", "normalise": "rank"},
    "CombSUM, raw": {"use": "fusion.CombSUM", "normalise": "raw"},
    "CombMNZ, rank": {"use": "fusion.CombMNZ", "normalise": "rank"},
    "ReciprocalRank, 5": {"use": "fusion.ReciprocalRank", "rrf_k": 5.0},
    "WeightedSum, equal": {"use": "fusion.WeightedSum", "weights": "equal"},
    "WeightedSum, table": {
        "use": "fusion.WeightedSum",
        "weights": {"ItemKNN": 0.4, "Popular": 0.0, "Dense(text)": 1.0},
    },
    "WeightedSum, recall": {"use": "fusion.WeightedSum", "metric": "recall@5", "normalise": "rank"},
    "Stacking, trees": {"use": "fusion.Stacking", "model": "lightgbm", **TREES},
    "Stacking, rows": {"use": "fusion.Stacking", "model": "lightgbm", "objective": "binary", **TREES},
}


def lists(seed: int) -> tuple[Candidates, Truth]:
    """Random lists with padding; members that know about two thirds; row 3 constant, row 4 empty, row 5 unknown."""
    rng = np.random.default_rng(seed)
    item = np.stack([rng.permutation(ITEMS)[:K] for _ in range(USERS)]).astype(np.int32)
    padding = np.arange(K) >= rng.integers(K // 2, K + 1, USERS)[:, None]
    padding[4] = True
    item[padding] = -1
    user = np.repeat(np.arange(USERS), 6)
    truth = Truth.of(Interactions.of(user, rng.integers(0, ITEMS, len(user)), n_users=USERS, n_items=ITEMS))
    relevant = np.array([np.isin(item[q], truth.relevant[q]) for q in range(USERS)])
    known = (rng.random((USERS, K, 3)) < 0.7) & ~padding[..., None]
    known[5] = False
    raw = rng.standard_normal((USERS, K, 3)) + relevant[..., None] * np.array([0.2, 1.5, 0.7])
    raw[3] = 0.3
    score = np.where(known, raw * np.array([100.0, 1.0, 0.01]), np.nan).astype(np.float32)
    order = np.argsort(np.argsort(-np.where(known, score, -np.inf), axis=1, kind="stable"), axis=1)
    rank = np.where(known, order + 1, 0).astype(np.int32)
    level = np.where(padding, -np.inf, 0.0).astype(np.float32)
    return Candidates(np.arange(USERS, dtype=np.int32), item, level, MEMBERS, score, rank), truth


def turned(candidates: Candidates, order: tuple[int, ...]) -> Candidates:
    """The same lists with the members in another order."""
    places = list(order)
    return replace(
        candidates,
        channels=tuple(candidates.channels[c] for c in places),
        channel_score=candidates.channel_score[..., places],
        channel_rank=candidates.channel_rank[..., places],
    )


@pytest.fixture(scope="module", params=[*RULES, *VARIANTS])
def case(request: pytest.FixtureRequest) -> SimpleNamespace:
    name = request.param
    table = VARIANTS.get(name, {"use": f"fusion.{name}"})
    recipe: Any = load({**FILLED.get(table["use"].partition(".")[2], {}), **table})
    if name == "Stacking":
        assert recipe.model == "logistic"
    rows, valid = lists(0), lists(1)
    return SimpleNamespace(
        recipe=recipe, rows=rows, valid=valid, fitted=recipe.fit(*rows, *valid, seed=0), asked=lists(2)[0]
    )


def same(one: Any, other: Any) -> bool:
    return bool(np.asarray(one).tobytes() == np.asarray(other).tobytes())


def test_every_rule_of_the_room_is_under_test() -> None:
    assert {"Borda", "CombMNZ", "CombSUM", "ReciprocalRank", "Stacking", "WeightedSum"} <= set(RULES)


def test_a_recipe_equals_its_configuration(case: SimpleNamespace) -> None:
    again = load(json.loads(json.dumps(dump(case.recipe))))
    assert again == case.recipe
    assert hash(again) == hash(case.recipe)
    assert again.label == case.recipe.label
    fields = set(dump(case.recipe)) - {"use"}
    assert fields <= set(field_docs(type(case.recipe)))
    assert case.recipe.learns <= {"rows", "valid"}


def test_a_score_exists_exactly_where_a_member_has_one(case: SimpleNamespace) -> None:
    score = case.fitted.score(case.asked)
    assert score.dtype == np.float32
    assert score.shape == case.asked.item.shape
    weights = getattr(case.fitted, "weights", {})
    counts = [weights.get(name, 1.0) > 0 for name in MEMBERS]
    known = ~np.isnan(case.asked.channel_score[..., counts])
    assert np.array_equal(np.isfinite(score), known.any(axis=2))
    assert not np.isfinite(score[4]).any()
    assert not np.isfinite(score[5]).any()


@pytest.mark.parametrize("block", [1, 7, 40])
def test_blocks_change_nothing(case: SimpleNamespace, block: int) -> None:
    whole = case.fitted.score(case.asked)
    for start in range(0, USERS, block):
        rows = slice(start, start + block)
        assert same(case.fitted.score(case.asked.rows(rows)), whole[rows])


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
def test_the_order_of_members_changes_no_bit(case: SimpleNamespace, order: tuple[int, ...]) -> None:
    (rows, truth), (valid, valid_truth) = case.rows, case.valid
    again = case.recipe.fit(turned(rows, order), truth, turned(valid, order), valid_truth, seed=0)
    whole = case.fitted.score(case.asked)
    assert same(again.score(turned(case.asked, order)), whole)
    assert same(again.score(case.asked), whole)
    assert again.parameters == case.fitted.parameters


def test_the_same_seed_gives_the_same_rule(case: SimpleNamespace) -> None:
    again = case.recipe.fit(*case.rows, *case.valid, seed=0)
    assert same(again.score(case.asked), case.fitted.score(case.asked))
    if not case.recipe.seeded:
        other = case.recipe.fit(*case.rows, *case.valid, seed=9)
        assert same(other.score(case.asked), case.fitted.score(case.asked))


def test_save_and_load_give_the_same_rule(case: SimpleNamespace) -> None:
    saved = case.fitted.save()
    assert all(array.dtype != object for array in saved.arrays.values())
    saved = replace(saved, meta=json.loads(json.dumps(dict(saved.meta))))
    again = case.recipe.load(saved)
    assert same(again.score(case.asked), case.fitted.score(case.asked))
    assert again.parameters == case.fitted.parameters >= 0


def test_an_empty_block_is_a_block(case: SimpleNamespace) -> None:
    assert case.fitted.score(case.asked.rows(np.arange(0))).shape == (0, K)


def test_what_is_not_read_need_not_be_made(case: SimpleNamespace) -> None:
    nothing = tuple(part.rows(np.arange(0)) for part in case.rows)
    rows = case.rows if "rows" in case.recipe.learns else nothing
    valid = case.valid if "valid" in case.recipe.learns else nothing
    again = case.recipe.fit(*rows, *valid, seed=0)
    assert same(again.score(case.asked), case.fitted.score(case.asked))
