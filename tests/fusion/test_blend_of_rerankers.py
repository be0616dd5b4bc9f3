"""Separate re-rankers whose scores a rule combines."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from stagelens.fusion import Blend, Borda, CombSUM, Stacking, WeightedSum
from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.metrics import measure
from stagelens.pipeline.experiment.measure import candidate_set, final_lists, importance
from stagelens.pipeline.experiment.toml import to_toml
from stagelens.pipeline.recipe import dump, load
from stagelens.pipeline.rows import no_rows
from stagelens.recall import Dense, ItemKNN, Popular
from stagelens.rerank import Evidence, KeepOrder, LambdaMART, Oracle, Popularity, RandomOrder, Similarity

UNION = Union(parts=(Popular(), ItemKNN(), Dense(modality="text", device="cpu")), size=20, weights="equal")
QUICK = {"trees": 15, "min_trees": 5, "min_rows_leaf": 10}
BASE = LambdaMART(features=(Evidence(hidden=("Dense(text)",), merged=False), Popularity()), **QUICK)
TEXT = LambdaMART(features=(Popularity(), Similarity(modality="text")), **QUICK)
RULES = {
    "CombSUM": CombSUM(),
    "z-score": CombSUM(normalise="z-score"),
    "Borda": Borda(),
    "tuned": WeightedSum(),
    "given": WeightedSum(weights={"LambdaMART": 0.3, "LambdaMART(text)": 0.7}),
    "stacking": Stacking(),
    "trees": Stacking(model="lightgbm", trees=10, min_rows_leaf=10),
}


def blend(rule=None, members=(BASE, TEXT)) -> Blend:
    return Blend(members=members, rule=rule or CombSUM())


@pytest.fixture(scope="module")
def bench(tiny, tiny_split, make_bench):
    return make_bench(tiny, tiny_split)


@pytest.fixture(scope="module")
def alone(bench):
    """The orders of the members on test, each on its own, and the candidates' evidence."""
    return {name: orders(bench, member)[0] for name, member in (("base", BASE), ("text", TEXT))}


def orders(bench, *rerankers):
    window = bench.windows.test
    systems = [Then(recall=UNION, rerank=one) for one in rerankers]
    [(_, _, _, ordered)] = list(bench.orders(systems, window))
    return ordered


# ---------------------------------------------------------------- the recipe


def test_members_have_distinct_names_that_last():
    assert blend().names == ("LambdaMART", "LambdaMART(text)")
    assert blend().label == "CombSUM(min-max) of LambdaMART + LambdaMART(text)"
    assert blend().reads == {"text"}
    twins = blend(members=(BASE, TEXT, LambdaMART(features=TEXT.features, trees=16)))
    assert twins.names[0] == "LambdaMART"
    assert len(set(twins.names)) == 3
    turned = blend(members=twins.members[::-1])
    assert dict(zip(turned.members, turned.names, strict=True)) == dict(
        zip(twins.members, twins.names, strict=True)
    )
    assert turned.label == twins.label


def test_it_reads_every_group_of_its_members_once():
    assert len(blend().features) == 3
    assert blend(members=(KeepOrder(), RandomOrder())).features == ()


def test_it_comes_back_from_toml():
    system = UNION >> blend(RULES["given"])
    assert load(tomllib.loads(to_toml(dump(system)))) == system


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"members": (BASE,)}, "at least 2"),
        ({"members": (BASE, Popularity())}, "Popularity is a features, a blend takes re-rankers"),
        ({"members": (BASE, Oracle())}, "Oracle reads the truth"),
        ({"members": (BASE, BASE)}, "occurs twice"),
        ({"rule": BASE}, "LambdaMART is a reranker, expected an ensemble"),
        ({"rule": WeightedSum(weights=(1.0, 1.0, 1.0))}, "3 weights for 2 members"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        Blend(**{"members": (BASE, TEXT), "rule": CombSUM(), **fields})


def test_outside_of_a_composition_it_says_how_it_is_fitted():
    with pytest.raises(ConfigError, match=r"channels >> Blend"):
        blend().fit(no_rows(()), no_rows(()), seed=0)


# ---------------------------------------------------------------- fitted


def test_members_that_also_stand_alone_are_fitted_once(tiny, tiny_split, make_bench):
    bench = make_bench(tiny, tiny_split)
    systems = [Then(recall=UNION, rerank=one) for one in (BASE, TEXT, *map(blend, RULES.values()))]
    assert not bench.has_reranker(systems[-1])
    for system in reversed(systems):
        bench.reranker(system)
        assert bench.has_reranker(system)
    made = [entry for entry in bench.store.ledger.values() if entry.made]
    assert sum(entry.kind == "rerank" for entry in made) == 2
    assert sum(entry.kind == "rule" for entry in made) == len(RULES)
    assert sum(entry.kind == "rows" for entry in made) == 1
    twin = make_bench(tiny, tiny_split, store=bench.store)
    for system in systems:
        first, second = bench.reranker(system), twin.reranker(system)
        assert first.parameters == second.parameters
    [one, two] = [bench.reranker(system).parameters for system in systems[:2]]
    tuned = bench.reranker(systems[2 + list(RULES).index("tuned")])
    assert tuned.parameters == one + two + 2
    assert bench.reranker(systems[2]).parameters == one + two
    key = bench.reranker_key(systems[2])
    apart = sum(bench.fit_seconds[bench.reranker_key(system)] for system in systems[:2])
    assert bench.fit_seconds[key] >= apart > 0


def test_its_order_is_the_rule_on_the_orders_of_its_members(bench, alone):
    """Borda and CombSUM from the final lists of the members alone, by plain loops."""
    tie = bench.windows.test.tie
    [points, summed] = orders(bench, blend(Borda()), blend(CombSUM()))
    for q in range(len(points)):
        lists = [alone[name].rows(np.array([q])) for name in ("base", "text")]
        count = int(lists[0].found.sum())
        borda: dict[int, float] = {}
        total: dict[int, float] = {}
        for one in lists:
            score = one.score[0, :count].astype(np.float64)
            span = (score.max() - score.min()) or 1.0
            for place in range(count):
                code = int(one.item[0, place])
                borda[code] = borda.get(code, 0) + count - place
                total[code] = total.get(code, 0) + (score[place] - score.min()) / span
        for found, value in ((points, borda), (summed, total)):
            wanted = sorted(value, key=lambda code: (-np.float32(value[code]), tie[code]))
            assert found.item[q, :count].tolist() == wanted


@pytest.mark.parametrize("name", RULES)
def test_blocks_and_the_order_of_members_change_nothing(bench, name):
    first = Then(recall=UNION, rerank=blend(RULES[name]))
    window = bench.windows.test
    whole = orders(bench, first.rerank)[0]
    whole.check()
    for start, stop in window.blocks(23):
        queries = window.queries(start, stop)
        served = bench.reorder(first, window, queries, bench.candidates(UNION, window, start, stop)[0])
        assert served.item.tobytes() == whole.item[start:stop].tobytes()
        assert served.score.tobytes() == whole.score[start:stop].tobytes()
    turned = orders(bench, blend(RULES[name], members=(TEXT, BASE)))[0]
    assert turned.item.tobytes() == whole.item.tobytes()


def test_weights_are_tuned_by_ndcg_on_valid(bench):
    system, valid = Then(recall=UNION, rerank=blend(WeightedSum())), bench.windows.valid
    rule = bench.reranker(system).rule
    candidates, _ = bench.candidates(UNION, valid, 0, len(valid))
    ordered = bench.reorder(system, valid, valid.queries(0, len(valid)), candidates)
    told = measure(valid.truth.ranks(ordered), valid.truth, ["ndcg@10"]).mean()
    assert rule.valid == pytest.approx(told, abs=1e-9)
    assert sorted(rule.weights) == ["LambdaMART", "LambdaMART(text)"]


@pytest.mark.parametrize("refit", ["none", "cross"])
def test_other_windows_and_policies_fit_too(tiny, tiny_split, make_bench, refit):
    bench = make_bench(tiny, tiny_split, refit=refit, n_folds=3, lost="inject")
    system = Then(recall=UNION, rerank=blend(Stacking()), top=5)
    served = system.fit(tiny, tiny_split, store=bench.store.folder)
    assert served.recommend(served.workbench.windows.test.queries(0, 9)).item.shape == (9, 5)
    assert bench.reranker(system).parameters > 9


def test_baselines_blend_and_blends_nest(bench):
    [whole] = orders(bench, blend(members=(KeepOrder(), blend(Borda()))))
    whole.check()
    [plain, both] = orders(bench, KeepOrder(), blend(members=(KeepOrder(), RandomOrder())))
    assert plain.item.tobytes() != both.item.tobytes()


def test_studies_measure_it_as_any_other(bench):
    systems = [Then(recall=UNION, rerank=one) for one in (BASE, blend(WeightedSum()))]
    found = final_lists(bench, systems, bench.windows.test)
    assert len(found) == 2
    again = final_lists(bench, systems[1:], bench.windows.test)
    assert np.array_equal(again[0].ranks, found[1].ranks)
    leaned = importance(bench, systems[1], 2000)
    assert {"text"} <= {record["group"] for record in leaned}
    # A blend grows no trees: not known, which is not 0.
    assert {record["gain"] for record in leaned} == {None}
    assert any(record["permutation"] for record in leaned)
    assert sum(record["gain"] for record in importance(bench, systems[0], 2000)) == pytest.approx(1)


def test_shares_of_candidate_sets_do_not_depend_on_the_block(tiny, tiny_split, make_bench):
    recall = Union(parts=UNION.parts, size=30, ensemble=Borda())
    benches = [make_bench(tiny, tiny_split, block=block) for block in (8192, 97, 37, 7)]
    found = [candidate_set(bench, recall, bench.windows.test) for bench in benches]
    assert 0 < found[0].tied < 1
    assert {(one.tied, one.filled, one.digest) for one in found} == {
        (found[0].tied, found[0].filled, found[0].digest)
    }
