"""A study of references on a tiny world, against a ranking of the whole catalogue in plain loops."""

from __future__ import annotations

import io
import json
import math
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from stagelens.pipeline.data.splits import split as make_split
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.loo import negatives_of, ranks_among
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.references import plan_of_references
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.experiment.variants import Variant, laid_out
from stagelens.pipeline.progress import Silent
from stagelens.pipeline.recipe import load
from stagelens.pipeline.report import page, tables
from stagelens.pipeline.report.schema import validate
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.store import Store
from stagelens.recall import Dense, ItemKNN, PureSVD

SYSTEMS = [
    {"name": "Item-KNN", "use": "recall.ItemKNN", "neighbours": 10},
    {"name": "SVD", "use": "recall.PureSVD", "factors": 4},
    {"name": "TopPop", "use": "recall.Popular"},
    {"name": "Greedy", "use": "recall.ItemKNN", "neighbours": 100_000},
]
KINDS = ("ndcg", "hit", "recall", "mrr", "map", "precision")
SIZE = 40


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("references-store")


@pytest.fixture(scope="module")
def run(make_study, store, tmp_path_factory):
    """Run references: ``run(**options)``, dots written as two underscores."""

    def of(**options: Any):
        given = {"references.systems": SYSTEMS, "recall.size": SIZE, "seeds": [0]}
        given |= {key.replace("__", "."): value for key, value in options.items()}
        study = make_study(kind="references", **given)
        return study, simulate(study, out=tmp_path_factory.mktemp("run") / "out", store=store)

    return of


@pytest.fixture(scope="module")
def full(run):
    return run(protocol__name="full", measure__dcg="raw")


def bench_of(study: Study, store):
    dataset = study.data.opened()
    split = make_split(dataset, study.data.split, seed=study.data.split_seed)
    return laid_out(study, dataset, split, Variant(), seed=0, store=Store(store), progress=Silent())


def brute_ranks(fitted, window) -> list[list[int]]:
    """Ranks of every user's held-out items: all scored, seen left out, what has no score left out, cut at SIZE."""
    found = []
    items = np.arange(window.tie.size, dtype=np.int32)
    for row in range(len(window)):
        queries = window.queries_at(np.array([row]))
        score = fitted.score(queries, items[None])[0].astype(np.float64)
        score[queries.seen.items] = np.nan
        known = [i for i in items if not np.isnan(score[i])]
        order = sorted(known, key=lambda i: (-score[i], window.tie[i]))
        place = {item: rank for rank, item in enumerate(order[:SIZE], 1)}
        found.append([place.get(int(item), 0) for item in window.truth.relevant[row]])
    return found


def brute_metric(kind: str, ranks: list[int], k: int) -> float:
    hits, relevant = sorted(r for r in ranks if 0 < r <= k), len(ranks)
    gain = sum(1 / math.log2(1 + r) for r in hits)
    ideal = sum(1 / math.log2(1 + r) for r in range(1, min(relevant, k) + 1))
    return {
        "ndcg": gain / ideal,
        "dcg": gain,
        "hit": float(bool(hits)),
        "recall": len(hits) / relevant,
        "mrr": 1 / hits[0] if hits else 0.0,
        "map": sum((place + 1) / r for place, r in enumerate(hits)) / relevant,
        "precision": len(hits) / k,
    }[kind]


def told(result, width: int, notes: bool = True) -> str:
    """What a terminal shows."""
    console = Console(width=width, file=io.StringIO())
    tables.show(result.summary, console, notes=notes)
    return console.file.getvalue()


def systems(result, stage) -> dict[str, Any]:
    return {s["system"]: s for s in result.summary["systems"] if s["stage"] == stage}


@pytest.mark.parametrize("name", ["Item-KNN", "SVD", "TopPop"])
def test_every_metric_is_that_of_a_brute_force_ranking_of_the_catalogue(full, store, name):
    study, result = full
    bench = bench_of(study, store)
    arm = next(arm for arm in plan_of_references(study, bench.dataset).arms if arm.name == name)
    window = bench.windows.test
    ranks = brute_ranks(bench.fitted(arm.recall.parts[0], window), window)
    final, listed = systems(result, "both")[name]["metrics"], systems(result, "recall")[name]["metrics"]
    for kind in (*KINDS, "dcg"):
        for k in (1, 5, 10, 20):
            wanted = np.mean([brute_metric(kind, own, k) for own in ranks])
            assert final[f"{kind}@{k}"]["mean"] == pytest.approx(wanted, abs=1e-12), (kind, k)
    for k in (5, 10, 20, SIZE):
        wanted = np.mean([brute_metric("recall", own, k) for own in ranks])
        assert listed[f"recall@{k}"]["mean"] == pytest.approx(wanted, abs=1e-12)
    assert any(0 in own for own in ranks)  # lists are short of what there is to find


def test_the_summary_fits_its_schema_and_says_what_ran(full):
    _, result = full
    validate(result.summary)
    block = result.summary["references"]
    assert [row["system"] for row in block["systems"]] == ["Item-KNN", "SVD", "TopPop"]
    assert block["systems"][1]["recipe"]["vectors"]["factors"] == 4
    assert [row["tuned"] for row in block["systems"]] == [False] * 3
    assert set(systems(result, "both")) == set(systems(result, "recall")) == {"Item-KNN", "SVD", "TopPop"}
    assert result.summary["protocol"]["name"] == result.manifest["protocol"]["name"] == "full"
    for one in result.summary["systems"]:
        assert one["integration"] == "none"
        assert one["cost"]["fit_s"] >= 0
        assert len(one["cost"]["latency_ms"]) == 3
    for row in result.summary["comparisons"]:
        assert row["baseline"] == "Item-KNN"
        assert row["contrast"] == "other"
    primary = {(r["stage"], r["metric"]) for r in result.summary["comparisons"] if r["primary"]}
    assert primary == {("recall", f"recall@{SIZE}"), ("both", "ndcg@10")}


def test_a_refused_system_is_left_out_with_its_reason(full):
    _, result = full
    [gone] = result.summary["references"]["left_out"]
    assert gone["system"] == "Greedy"
    assert "neighbours = 100000" in gone["reason"]
    assert any("Greedy is left out" in note for note in result.summary["references"]["notes"])


def test_a_baseline_that_is_refused_stops_the_study(run):
    with pytest.raises(ConfigError, match=r"'Greedy' cannot run: .*neighbours = 100000"):
        run(references__baseline="Greedy")


def test_mean_ranks_are_over_every_metric_and_cut_off(full):
    _, result = full
    block = result.summary["references"]
    assert len(block["ranked"]["both"]) == len(KINDS) * 4
    assert "dcg@10" not in block["ranked"]["both"]
    final = systems(result, "both")
    for row in (row for row in block["mean_ranks"] if row["stage"] == "both"):
        ranks = []
        for name in block["ranked"]["both"]:
            means = [one["metrics"][name]["mean"] for one in final.values()]
            own = final[row["system"]]["metrics"][name]["mean"]
            ranks.append(sum(m > own for m in means) + (sum(m == own for m in means) + 1) / 2)
        assert row["mean"] == pytest.approx(np.mean(ranks))
        assert (row["best"], row["worst"], row["n"]) == (min(ranks), max(ranks), len(ranks))


def test_a_confound_is_loud_in_every_output(full):
    _, result = full
    [warning] = result.summary["warnings"]
    assert "dcg" in warning
    assert result.manifest["warnings"] == [warning]
    assert json.loads((result.folder / "manifest.json").read_text())["warnings"] == [warning]
    text = told(result, width=400, notes=False)
    assert warning in text
    page.write(result.folder, result.summary, result.manifest)
    for name in ("report.md", "report.html"):
        assert "WARNING: measure.dcg = raw" in (result.folder / name).read_text().replace("\\", "")
    assert "dcg@10" in systems(result, "both")["SVD"]["metrics"]


def test_the_best_system_stands_first_and_the_terminal_ends_with_it(full):
    _, result = full
    text = told(result, width=160)
    last = text[text.index("References: one-stage rankers") :]
    order = sorted(systems(result, "both").values(), key=lambda s: -s["metrics"]["ndcg@10"]["mean"])
    places = [last.index(f"\n{one['system']} ") for one in order]
    assert places == sorted(places)
    assert "Mean ranks" in text


def test_recall_is_all_there_is_by_default(run):
    _, result = run()
    assert {s["stage"] for s in result.summary["systems"]} == {"recall"}
    assert "loo99" not in result.summary
    assert result.summary["warnings"] == []
    for one in result.summary["systems"]:
        assert one["metrics"]["filled_share"]["mean"] is None  # nothing is filled
    text = told(result, width=160)
    assert "References: recall channels" in text


def test_tuned_values_serve_the_data_set_of_that_name_alone(make_study, tiny):
    tuned = {
        "Item-KNN": {"shrink": 7.0},
        "SVD": {"use": "recall.Dense", "vectors": {"use": "recall.PureSVD", "factors": 3}},
    }

    def channels(name: str) -> dict[str, Any]:
        options = {"references.systems": SYSTEMS[:2], "references.tuned": {name: tuned}}
        plan = plan_of_references(make_study(kind="references", **options), tiny)
        return {one.name: (one.channel, one.tuned) for one in plan.references}

    assert channels(tiny.name) == {
        "Item-KNN": (ItemKNN(neighbours=10, shrink=7.0), True),
        "SVD": (Dense(vectors=PureSVD(factors=3)), True),
    }
    assert channels("another") == {
        "Item-KNN": (ItemKNN(neighbours=10), False),
        "SVD": (Dense(vectors=PureSVD(factors=4)), False),
    }


def test_stored_values_are_named_where_they_stand(run, full):
    name = full[0].data.opened().name
    _, result = run(references__tuned={name: {"SVD": {"factors": 3}}, "another": {"TopPop": {}}})
    block = result.summary["references"]
    assert [row["tuned"] for row in block["systems"]] == [False, True, False]
    assert block["systems"][1]["recipe"]["vectors"]["factors"] == 3
    [said] = [
        note for note in block["notes"] if note.startswith(f"Values of references.tuned.{name} stand in SVD;")
    ]
    assert said.endswith("--set 'references.tuned={}' leaves them out")
    assert not any("references.tuned." in note for note in full[1].summary["references"]["notes"])


def test_values_chosen_on_another_split_are_warned_of_wherever_they_stand(run, full):
    dataset = full[0].data.opened()
    own = make_split(dataset).fingerprint()
    assert full[1].summary["dataset"]["hashes"]["split"] == own

    def of(split, told_of="SVD", **options):
        stored = {told_of: {"factors": 3} if told_of == "SVD" else {}} | ({"split": split} if split else {})
        return run(references__tuned={dataset.name: stored, "another": {"split": "0" * 8}}, **options)[1]

    unsaid = "on which split they were chosen is not said"
    for split in (own, own[:8]):
        result = of(split)
        assert result.summary["warnings"] == []
        assert not any(unsaid in note for note in result.summary["references"]["notes"])
    result = of(own, data__split="per-user")
    validate(result.summary)
    [warning] = result.summary["warnings"]
    there = result.summary["dataset"]["hashes"]["split"]
    assert f"references.tuned.{dataset.name}: the values of SVD were chosen on another split" in warning
    assert f"({own[:8]}) than this run's ({there[:8]})" in warning
    assert result.manifest["warnings"] == [warning]
    assert warning in told(result, width=600, notes=False)
    page.write(result.folder, result.summary, result.manifest)
    assert "chosen on another split" in (result.folder / "report.md").read_text()
    assert (
        of(own, told_of="TopPop", data__split="per-user").summary["warnings"] == []
    )  # no value stands there
    result = of(None, data__split="per-user")
    assert result.summary["warnings"] == []  # nothing is known
    assert any(unsaid in note for note in result.summary["references"]["notes"])


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"split": "given"}, r"references.tuned.any.split = 'given': not the fingerprint"),
        ({"split": {"factors": 3}}, "not the fingerprint"),
        ({"SVD": 3}, r"references.tuned.any.SVD = 3: write a table of fields"),
    ],
)
def test_what_is_no_split_and_no_table_of_values_is_refused(make_study, stored, said):
    with pytest.raises(ConfigError, match=said):
        make_study(kind="references", **{"references.tuned": {"any": stored}})


def test_no_system_is_called_as_the_key_of_the_split(make_study):
    systems = [*SYSTEMS, {"name": "split", "use": "recall.P3alpha"}]
    with pytest.raises(ConfigError, match="split names no system"):
        make_study(kind="references", **{"references.systems": systems})


def test_references_read_no_content(make_study, tiny):
    content = {"name": "Item-KNN", "use": "recall.Dense", "modality": "text"}
    for options, words in (
        ({"references.systems": [content]}, "reads text"),
        ({"modalities": ["text"]}, "interactions alone"),
        ({"references.systems": [{"name": "Item-KNN", "use": "rerank.KeepOrder"}]}, "expected a channel"),
    ):
        with pytest.raises(ConfigError, match=words):
            plan_of_references(make_study(kind="references", **options), tiny)


def test_the_choice_among_settings_is_made_on_valid_or_loudly_on_test(run, store):
    pytest.importorskip("optuna", reason="settings are drawn by optuna (extra tune)")
    free = [SYSTEMS[0], {"name": "SVD", "use": "recall.PureSVD"}, SYSTEMS[2]]
    found = {}
    for on in ("valid", "test"):
        options = {"references__settings": 4, "protocol__select_on": on, "references__systems": free}
        _, result = run(protocol__name="published", **options)
        validate(result.summary)
        found[on] = result
        assert len(result.summary["warnings"]) == (on == "test")
        assert any(f"chosen on {on}" in note for note in result.summary["references"]["notes"])
        knn, svd, popular = result.summary["references"]["systems"]
        assert knn["settings"] > 1
        assert svd["settings"] > 1
        assert "neighbours" not in knn["chosen"]  # what a table sets is held
        assert (popular["settings"], popular["chosen"]) == (1, {})
        own = systems(result, "both")
        if on == "test":  # what chose is what is shown
            assert knn["value"] == pytest.approx(own["Item-KNN"]["metrics"]["ndcg@10"]["mean"], abs=1e-12)
    honest, flattered = (systems(found[on], "both") for on in ("valid", "test"))
    for name in ("Item-KNN", "SVD"):
        gain = flattered[name]["metrics"]["ndcg@10"]["mean"] - honest[name]["metrics"]["ndcg@10"]["mean"]
        assert gain >= -1e-12  # the best on test cannot lose there
    best = {row["system"]: row for row in found["valid"].summary["references"]["systems"]}
    plain = {
        row["system"]: row
        for row in run(protocol__name="published", references__systems=free)[1].summary["references"][
            "systems"
        ]
    }
    for name in ("Item-KNN", "SVD"):
        assert best[name]["value"] >= plain[name]["value"]  # the first setting is the configured one


class Told(Silent):
    """Progress that remembers how many steps of every task were announced and taken."""

    def __init__(self):
        self.steps: dict[str, list[int]] = {}

    @contextmanager
    def task(self, name, total):
        taken = self.steps.setdefault(name, [total, 0])

        class Step:
            def advance(self, steps=1):
                taken[1] += steps

        yield Step()


def test_settings_are_counted_while_they_are_tried(make_study, tmp_path):
    pytest.importorskip("optuna", reason="settings are drawn by optuna (extra tune)")
    options = {"references.systems": SYSTEMS, "references.settings": 3, "recall.size": SIZE, "seeds": [0]}
    told = Told()
    simulate(
        make_study(kind="references", **options), out=tmp_path / "out", store=tmp_path / "kept", progress=told
    )
    assert told.steps["settings of references on valid"] == [8, 8]  # SVD and TopPop have nothing free


def test_loo99_is_a_block_apart_and_says_so(run, store, make_study):
    study, result = run(protocol__name="loo99")
    validate(result.summary)
    block = result.summary["loo99"]
    assert "NOT a re-rank measure" in block["note"]
    assert "not comparable" in block["note"]
    assert "10.1145/3394486.3403226" in block["note"]
    bench = bench_of(study, store)
    window = bench.windows.test
    negatives = negatives_of(window, derive(study.data.split_seed, "loo99"))
    assert block["pairs"] == window.truth.pairs
    assert block["fewest"] == (negatives >= 0).sum(axis=1).min()
    for row in block["systems"]:
        arm = next(arm for arm in plan_of_references(study, bench.dataset).arms if arm.name == row["system"])
        ranks = ranks_among(bench.fitted(arm.recall.parts[0], window), window, negatives, block=11)
        users = [ranks[window.truth.pair_row == user] for user in range(len(window))]
        hit = np.mean([np.mean(own <= 10) for own in users])
        ndcg = np.mean([np.mean([1 / math.log2(1 + r) if r <= 10 else 0.0 for r in own]) for own in users])
        assert row["hit@10"]["mean"] == pytest.approx(hit, abs=1e-12)
        assert row["ndcg@10"]["mean"] == pytest.approx(ndcg, abs=1e-12)
        assert row["hit@10"]["low"] < hit < row["hit@10"]["high"]
    text = told(result, width=200)
    assert "not a re-rank measure" in text


def test_results_do_not_depend_on_the_block(make_study, tmp_path):
    given = {
        "references.systems": SYSTEMS[:3],
        "recall.size": SIZE,
        "seeds": [0],
        "protocol.name": "loo99",
        "stage": "both",
    }
    found = []
    for block in (7, 8192):
        study = make_study(kind="references", block=block, **given)
        result = simulate(study, out=tmp_path / f"run-{block}", store=tmp_path / f"store-{block}")
        found.append(result)
    first, second = found
    assert first.summary["loo99"] == second.summary["loo99"]
    assert first.summary["fingerprint"] == second.summary["fingerprint"]
    bytes_of = [(one.folder / "measurements.parquet").read_bytes() for one in found]
    assert bytes_of[0] == bytes_of[1]


def test_tuned_values_of_systems_that_do_not_run_stay_unused_and_a_wrong_name_is_refused(make_study):
    few = {"kind": "references", "references.systems": [{"name": "Item-KNN", "use": "recall.ItemKNN"}]}
    told = make_study(**few, **{"references.tuned": {"any": {"EASE-R": {"l2": 10.0}}}})
    assert told.references.tuned["any"]["EASE-R"] == {"l2": 10.0}
    with pytest.raises(ConfigError, match=r"references.tuned.any 'EASE'.*EASE-R"):
        make_study(**few, **{"references.tuned": {"any": {"EASE": {"l2": 10.0}}}})


def test_the_preset_is_the_default_systems_at_the_published_cut_offs():
    preset = Study.load("references")
    plain = Study.load(None, {"kind": "references"}).references
    assert preset.references.model_copy(update={"tuned": {}}) == plain
    for tuned in preset.references.tuned.values():  # every stored value is one that its recipe allows
        assert len(tuned["split"]) == 64
        for table in preset.references.systems:
            made = load(
                {
                    key: value
                    for key, value in {**table, **tuned.get(table["name"], {})}.items()
                    if key != "name"
                }
            )
            assert made.label
    assert preset.kind == preset.name == "references"
    assert preset.seeds == (0, 1, 2)
    assert preset.measure.rank_k == (*range(1, 11), 15, 20, 30, 40, 50)
