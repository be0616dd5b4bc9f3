"""A union with an ensemble: everything the channels returned, scored by a rule and cut to the size."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from stagelens.fusion import Borda, CombMNZ, CombSUM, Stacking, WeightedSum
from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.core import Lists, Queries
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.metrics import measure
from stagelens.pipeline.experiment.measure import candidate_set, recall_key
from stagelens.pipeline.experiment.toml import to_toml
from stagelens.pipeline.merge import popularity_order
from stagelens.pipeline.pooling import ensemble_lists, pooled
from stagelens.pipeline.recipe import dump, load
from stagelens.recall import Dense, ItemKNN, Popular
from stagelens.rerank import Evidence, KeepOrder, LambdaMART, Popularity

PARTS = (Popular(), ItemKNN(), Dense(modality="text", device="cpu"))
ROUGH = Dense(modality="text", index="IVF16,Flat", nprobe=1, device="cpu")
SIZE = 20
RULES = {
    "CombSUM": CombSUM(),
    "CombMNZ": CombMNZ(normalise="rank"),
    "Borda": Borda(),
    "tuned": WeightedSum(),
    "given": WeightedSum(weights={"Popular": 0.0, "ItemKNN": 1.0, "Dense(text)": 0.5}),
    "stacking": Stacking(),
    "trees": Stacking(model="lightgbm", trees=10, min_rows_leaf=10),
}


def union(rule, **fields) -> Union:
    return Union(**{"parts": PARTS, "size": SIZE, "ensemble": rule, **fields})


def lists_of(rows: list[list[int]]) -> Lists:
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Lists(indptr, np.array([code for row in rows for code in row], dtype=np.int32))


def draw(seed: int, queries: int = 40, items: int = 50, depth: int = 12):
    rng = np.random.default_rng(seed)
    seen = [np.sort(rng.choice(items, rng.integers(0, items // 2), replace=False)) for _ in range(queries)]
    item = np.full((3, queries, depth), -1, dtype=np.int32)
    score = np.full(item.shape, -np.inf, dtype=np.float32)
    for c in range(3):
        for q in range(queries):
            found = rng.permutation(np.setdiff1d(np.arange(items), seen[q]))[: rng.integers(0, depth + 1)]
            item[c, q, : len(found)] = found
            score[c, q, : len(found)] = -np.sort(-np.round(rng.standard_normal(len(found)), 1))  # ties
    masked = lists_of([row.tolist() for row in seen])
    tie = rng.permutation(items).astype(np.int32)
    asked = Queries(np.arange(queries, dtype=np.int32), masked, masked, tie)
    return item, score, asked, popularity_order(rng.integers(0, 4, items).astype(np.int64), tie)


def fitted(rule, names=("a", "b", "c")):
    item, score, asked, _ = draw(0)
    nothing = pooled(names, item, score, asked).rows(np.arange(0))
    return rule.fit(nothing, None, nothing, None, seed=0)


# ---------------------------------------------------------------- the lists


@pytest.mark.parametrize("size", [1, 7, 12, 45])
def test_lists_are_what_the_definitions_say(size):
    """CombSUM of min-max scores by plain loops over dictionaries."""
    item, score, asked, filler = draw(1)
    found, filled = ensemble_lists(
        fitted(CombSUM()), ("a", "b", "c"), item, score, asked, size=size, filler=filler
    )
    found.check()
    for q in range(len(asked)):
        total: dict[int, float] = {}
        for c in range(3):
            codes = item[c, q][item[c, q] >= 0].tolist()
            values = score[c, q, : len(codes)].astype(np.float64)
            for code, value in zip(codes, values, strict=True):
                span = values.max() - values.min()
                total[code] = total.get(code, 0.0) + ((value - values.min()) / span if span else 0.0)
        kept = sorted(total, key=lambda code: (-np.float32(total[code]), asked.tie[code]))[:size]
        hidden = set(asked.seen[q].tolist())
        fill = [int(code) for code in filler if code not in total and code not in hidden][: size - len(kept)]
        whole = kept + fill
        assert found.item[q].tolist() == whole + [-1] * (size - len(whole))
        assert filled[q] == len(fill)
        np.testing.assert_allclose(found.score[q, : len(kept)], [total[code] for code in kept], rtol=1e-6)
        for place, code in enumerate(kept):
            for c in range(3):
                inside = np.flatnonzero(item[c, q] == code)
                assert found.channel_rank[q, place, c] == (inside[0] + 1 if len(inside) else 0)
                if len(inside):
                    assert found.channel_score[q, place, c] == score[c, q, inside[0]]
        assert (found.channel_rank[q, len(kept) :] == 0).all()  # filled places carry no evidence


def test_a_pool_is_everything_in_an_order_that_tells_nothing():
    item, score, asked, _ = draw(2)
    pool = pooled(("a", "b", "c"), item, score, asked)
    pool.check()
    for q in range(len(asked)):
        codes = pool.item[q][pool.found[q]]
        assert set(codes.tolist()) == set(item[:, q].ravel().tolist()) - {-1}
        assert (np.diff(asked.tie[codes]) > 0).all()
    turned = pooled(("c", "a", "b"), item[[2, 0, 1]], score[[2, 0, 1]], asked)
    assert np.array_equal(turned.item, pool.item)
    assert np.array_equal(turned.channel_rank, pool.channel_rank[..., [2, 0, 1]])


def test_what_only_a_refused_member_found_gets_no_place_but_by_popularity():
    item, score, asked, filler = draw(3)
    rule = fitted(WeightedSum(weights=(1.0, 0.0, 0.5)))
    found, filled = ensemble_lists(rule, ("a", "b", "c"), item, score, asked, size=30, filler=filler)
    counted = (found.channel_rank[..., [0, 2]] > 0).any(axis=2)
    assert (filled == found.found.sum(axis=1) - counted.sum(axis=1)).all()
    assert ((found.channel_rank[..., 1] > 0) <= counted).all()


@pytest.mark.parametrize("name", RULES)
def test_lists_do_not_depend_on_the_block_and_serving_gives_the_same(tiny, tiny_split, make_bench, name):
    bench = make_bench(tiny, tiny_split)
    system, window = union(RULES[name]), bench.windows.test
    whole, filled = bench.candidates(system, window, 0, len(window))
    whole.check()
    assert (whole.item >= 0).all()
    for start, stop in window.blocks(17):
        part, short = bench.candidates(system, window, start, stop)
        rows = slice(start, stop)
        assert part.item.tobytes() == whole.item[rows].tobytes()
        assert part.score.tobytes() == whole.score[rows].tobytes()
        assert np.array_equal(short, filled[rows])
    served = bench.retrieve(system, window, window.queries(3, 30))
    assert served.item.tobytes() == whole.item[3:30].tobytes()
    assert served.score.tobytes() == whole.score[3:30].tobytes()


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_channels_changes_no_list(tiny, tiny_split, make_bench, name):
    bench = make_bench(tiny, tiny_split)
    window = bench.windows.test
    whole, _ = bench.candidates(union(RULES[name]), window, 0, len(window))
    turned, _ = bench.candidates(union(RULES[name], parts=tuple(reversed(PARTS))), window, 0, len(window))
    assert turned.item.tobytes() == whole.item.tobytes()
    assert turned.score.tobytes() == whole.score.tobytes()


# ---------------------------------------------------------------- fitting


@pytest.mark.parametrize("refit", ["full", "cross"])
def test_a_rule_is_fitted_once_and_read_back(tiny, tiny_split, make_bench, refit):
    bench = make_bench(tiny, tiny_split, refit=refit, n_folds=3)
    system = union(Stacking())
    assert bench.rule(system).parameters == 13
    twin = make_bench(tiny, tiny_split, refit=refit, n_folds=3, store=bench.store)
    window = twin.windows.test
    first, _ = bench.candidates(system, window, 0, len(window))
    second, _ = twin.candidates(system, window, 0, len(window))
    assert first.score.tobytes() == second.score.tobytes()
    made = [entry for entry in bench.store.ledger.values() if entry.kind == "rule" and entry.made]
    assert [entry.name for entry in made] == [f"rule of {system.label}"]
    windows = {entry.name.split(" for ")[1] for entry in bench.store.ledger.values() if entry.kind == "lists"}
    assert windows == {window.name for window in (*bench.windows.rows, bench.windows.test)}


def test_a_fixed_rule_makes_no_list_of_a_window_it_does_not_read(tiny, tiny_split, make_bench):
    bench = make_bench(tiny, tiny_split)
    bench.rule(union(CombSUM()))
    assert not [entry for entry in bench.store.ledger.values() if entry.kind == "lists"]
    bench.rule(union(WeightedSum()))
    lists = [entry.name for entry in bench.store.ledger.values() if entry.kind == "lists"]
    assert len(lists) == 3
    assert all(name.endswith("for valid") for name in lists)


def test_weights_are_tuned_by_recall_of_the_lists_that_are_handed_over(tiny, tiny_split, make_bench):
    bench = make_bench(tiny, tiny_split)
    system, valid = union(WeightedSum()), bench.windows.valid
    rule = bench.rule(system)
    lists, filled = bench.candidates(system, valid, 0, len(valid))
    assert not filled.any()  # what is filled by popularity does not count while weights are chosen
    told = measure(valid.truth.ranks(lists), valid.truth, [f"recall@{SIZE}"]).mean()
    assert rule.valid == pytest.approx(told, abs=1e-12)
    assert bench.weights(system) == tuple(rule.weights[part.label] for part in PARTS)
    equal, _ = bench.candidates(union(WeightedSum(weights="equal")), valid, 0, len(valid))
    assert rule.valid >= measure(valid.truth.ranks(equal), valid.truth, [f"recall@{SIZE}"]).mean()


def test_the_key_of_candidate_sets_holds_the_rule(tiny, tiny_split, make_bench):
    bench = make_bench(tiny, tiny_split)
    window = bench.windows.test
    systems = [union(rule) for rule in RULES.values()] + [union(None), union(CombSUM(), size=10)]
    keys = [recall_key(bench, system, window) for system in systems]
    assert len(set(keys)) == len(systems)
    other = make_bench(tiny, tiny_split, seed=1)
    assert recall_key(other, systems[0], other.windows.test) != keys[0]
    found = candidate_set(bench, union(CombSUM()), window)
    assert found.filled == 0.0
    lists, _ = bench.candidates(union(CombSUM()), window, 0, len(window))
    assert np.array_equal(found.ranks, window.truth.ranks(lists))


def test_an_exact_shadow_keeps_the_rule_of_what_it_shadows(tiny, tiny_split, make_bench):
    bench = make_bench(tiny, tiny_split)
    rough = union(Stacking(), parts=(Popular(), ItemKNN(), ROUGH))
    assert not rough.is_exact
    exact, window = rough.exact(), bench.windows.test
    assert exact.ensemble == rough.ensemble
    assert bench.rule_key(rough) != bench.rule_key(exact)
    shadow, _ = bench.candidates(exact, window, 0, len(window), like=rough)
    own, _ = bench.candidates(exact, window, 0, len(window))
    assert shadow.item.tobytes() != own.item.tobytes()
    assert candidate_set(bench, rough, window).exact is not None


# ---------------------------------------------------------------- composition


def test_an_ensemble_comes_back_from_toml_and_survives_the_operators():
    rule = WeightedSum(weights={"ItemKNN": 1.0, "Popular": 0.25})
    known = Union(parts=(Popular(), ItemKNN()), ensemble=rule)
    assert load(tomllib.loads(to_toml(dump(known)))) == known
    assert known.label == "WeightedSum(min-max, 1:0.25) of Popular | ItemKNN"
    assert (Union(parts=PARTS[:2], ensemble=Borda()) | PARTS[2]).ensemble == Borda()
    assert (PARTS[2] | Union(parts=PARTS[:2], ensemble=Borda())).ensemble == Borda()
    with pytest.raises(ConfigError, match=r"\['ItemKNN', 'Popular'\].*Dense\(text\)"):
        _ = known | Dense(modality="text")
    with pytest.raises(ValueError, match="KeepOrder is a reranker, expected an ensemble"):
        Union(parts=PARTS, ensemble=KeepOrder())
    assert "ensemble" not in dump(Union(parts=PARTS))  # what was stored before stays valid


@pytest.mark.parametrize("lost", ["drop", "inject"])
def test_a_reranker_on_top_reads_the_score_of_the_rule(tiny, tiny_split, make_bench, quick_trees, lost):
    bench = make_bench(tiny, tiny_split, lost=lost)
    system = Then(
        recall=union(Stacking()), rerank=LambdaMART(features=(Evidence(), Popularity()), **quick_trees)
    )
    rows, _ = bench.training_rows(system.recall, system.rerank.features)
    merged = rows.values[:, rows.names.index("evidence: merged score")]
    assert np.isfinite(merged).all()
    window = bench.windows.valid
    queries = window.queries(0, len(window))
    candidates, _ = bench.candidates(system.recall, window, 0, len(window))
    evidence = bench.evidence(system.recall, window, queries, candidates)
    evidence.check()
    known = (evidence.channel_rank > 0).any(axis=2)
    expected = bench.rule(system.recall).score(evidence)
    if lost == "inject":
        np.testing.assert_array_equal(evidence.score[known], expected[known])
    assert evidence.item.shape == candidates.item.shape
    fitted = system.fit(tiny, tiny_split, store=bench.store.folder)
    served = fitted.recommend(fitted.workbench.windows.test.queries(0, 5))
    served.check()
