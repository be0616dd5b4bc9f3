"""``simulate compare`` on a tiny world: equal terms, honest choice, confounds that are nothing but themselves."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from stagelens.pipeline.data.splits import split
from stagelens.pipeline.data.write import write_dataset
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.integration import choose_settings, plan_of_comparison
from stagelens.pipeline.experiment.integration_options import CompareOptions
from stagelens.pipeline.experiment.integration_parts import KINDS
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.progress import Silent
from stagelens.pipeline.report import integration as tables
from stagelens.pipeline.report.schema import validate
from stagelens.pipeline.workbench import Workbench

FUSIONS = ({"use": "fusion.Concat"}, {"use": "fusion.PCA", "width": 8})
ENSEMBLES = ({"use": "fusion.Borda"}, {"use": "fusion.WeightedSum"})
ALL = ("fit-on-valid", "select-on-test", "unnormalised-ndcg", "mask")


@pytest.fixture(scope="module")
def folder(make_world, tmp_path_factory):
    place = tmp_path_factory.mktemp("compare") / "shop"
    widths = {
        "text": {"width": 8, "signal": 0.8, "redundancy": 0.5},
        "image": {"width": 6, "signal": 0.5, "redundancy": 0.8},
    }
    write_dataset(make_world(3, users=160, modalities=widths), place)
    return place


@pytest.fixture(scope="module")
def compare(make_study, folder, tmp_path_factory):
    """Run a comparison: ``compare(store, **options)``."""

    def run(store, **options: Any):
        lean = {
            "data.path": str(folder),
            "compare.fusion": FUSIONS,
            "compare.ensemble": ENSEMBLES,
            "compare.trials": 2,
            "measure.latency_queries": 0,
        }
        study = make_study(kind="compare", **{**lean, **options})
        return simulate(study, out=tmp_path_factory.mktemp("run") / "out", store=store)

    return run


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("shared-store")


@pytest.fixture(scope="module")
def whole(compare, store):
    """Both stages, one seed, every confound."""
    return compare(store, **{"compare.confound": ALL, "output.candidates": True})


def laid_out(study, dataset, options):
    return plan_of_comparison(study.model_copy(update={"compare": options}), dataset)


def of(result, stage):
    return {s["system"]: s for s in result.summary["systems"] if s["stage"] == stage}


def block(result):
    return result.summary["integration"]


def test_the_summary_fits_its_schema(whole):
    validate(whole.summary)


def test_every_system_hands_over_exactly_size(whole):
    found = pd.read_parquet(whole.folder / "candidates.parquet")
    lengths = found.groupby(
        [c for c in ("system", "stage", "view", "user_id") if c in found], observed=True
    ).item_id
    assert (lengths.nunique() == 20).all()
    assert {s["losses"]["size"] for s in whole.summary["systems"]} == {20}


def test_both_kinds_stand_at_every_stage_beside_the_references(whole):
    names = {
        "fusion: Concat",
        "fusion: PCA(width=8)",
        "ensemble: Borda",
        "ensemble: WeightedSum",
    }
    assert names <= set(of(whole, "recall"))
    assert {"random", "popular", "base", "interaction", "image", "text"} <= set(of(whole, "recall"))
    assert names <= set(of(whole, "rerank"))
    assert {"keep order", "oracle", "base", "base + interaction", "base + text"} <= set(of(whole, "rerank"))
    assert {"base", "fusion", "ensemble"} <= set(of(whole, "both"))
    for system in whole.summary["systems"]:
        kind = system["system"].partition(":")[0].partition(" ")[0]
        assert system["integration"] == (kind if kind in KINDS else "none")
        if kind in KINDS:
            assert system["modalities"] == ["image", "text"]


def test_trials_are_equal_and_the_best_on_valid_wins(whole):
    trials = pd.DataFrame(block(whole)["trials"])
    counts = trials.groupby(["stage", "system"]).trials.sum()
    assert set(counts[counts.index.get_level_values("system") != "ensemble: Borda"]) <= {1, 2}
    kinds = trials.groupby(["stage", "integration"]).trials.sum()
    assert (kinds.xs("fusion", level="integration") == kinds.xs("ensemble", level="integration")).all()
    assert set(counts.xs("ensemble: Borda", level="system")) == {1}
    assert any("Borda has 1 of 2 trials" in note for note in block(whole)["notes"])
    for _, tried in trials.groupby(["stage", "system"]):
        assert tried.chosen.sum() == 1
        assert tried[tried.chosen].valid.item() == tried.valid.max()
    for stage in ("recall", "rerank"):
        for kind in KINDS:
            own = trials[(trials.stage == stage) & (trials.integration == kind)]
            assert block(whole)["best"][stage][kind] == own.loc[own.valid.idxmax()].system


def test_the_list_that_is_reranked_is_one_and_tells_nothing_of_content(whole):
    digests = {key: value for key, value in whole.manifest["lists"].items() if key.startswith("rerank/")}
    assert len(set(digests.values())) == 1
    for name, system in whole.manifest["systems"].items():
        stage, _, arm = name.split("/")
        if stage != "rerank" or arm in ("keep order", "random order", "oracle"):
            continue
        for member in system["rerank"].get("members", [system["rerank"]]):
            [evidence] = [g for g in member["features"] if g["use"] == "rerank.Evidence"]
            assert sorted(evidence["hidden"]) == ["Dense(image)", "Dense(text)"]
            assert not evidence["merged"]


def test_end_to_end_is_the_best_of_each_kind_and_reads_the_merged_list_alone(whole):
    systems, best = whole.manifest["systems"], block(whole)["best"]
    for kind in KINDS:
        system = systems[f"both/own/{kind}"]
        assert system["recall"] == systems[f"recall/catalogue/{best['recall'][kind]}"]
        labels = ["Dense(PureSVD)", "Dense(image)", "Dense(text)"]
        for member in system["rerank"].get("members", [system["rerank"]]):
            [evidence] = [g for g in member["features"] if g["use"] == "rerank.Evidence"]
            assert evidence["merged"]
            assert len(evidence["hidden"]) == 1 if kind == "fusion" else sorted(evidence["hidden"]) == labels


def test_families(whole):
    comparisons = pd.read_parquet(whole.folder / "comparisons.parquet")
    primary = comparisons[comparisons.primary & comparisons.verdict.notna()]
    best, alone = block(whole)["best"], {"recall": "interaction", "rerank": "base + interaction"}
    wanted = {
        (stage, system, baseline)
        for stage in ("recall", "rerank", "both")
        for system, baseline in (
            (best[stage]["ensemble"], best[stage]["fusion"]),
            (best[stage]["ensemble"], "base"),
            (best[stage]["fusion"], "base"),
            *((best[stage][kind], alone[stage]) for kind in KINDS if stage in alone),
        )
    }
    assert set(primary[["stage", "system", "baseline"]].itertuples(index=False, name=None)) == wanted
    assert (comparisons.family == "pairs").sum() == 2 * 6  # four methods at two stages
    for stage, text in block(whole)["answer"].items():
        [found] = primary[(primary.stage == stage) & (primary.baseline == best[stage]["fusion"])].to_dict(
            "records"
        )
        words = {"helps": "the ensemble is better", "hurts": "the fusion is better"}
        assert words.get(found["verdict"], found["verdict"]) in text
        assert ("Against interactions alone: fusion " in text) == (stage in alone)


def test_a_repeated_run_fits_nothing_and_the_order_of_modalities_never_matters(whole, compare, store):
    again = compare(store, modalities=["text", "image"], **{"compare.confound": ALL})
    made = {entry["kind"] for entry in again.manifest["artefacts"] if entry["made"]}
    assert made <= {"judged"}  # another study by its options; all that it is made of is there
    assert again.summary["integration"] == whole.summary["integration"]
    assert again.manifest["lists"] == whole.manifest["lists"]


# ---------------------------------------------------------------- confounds


def twins(result, confound):
    rows = [row for row in block(result)["confounds"] if row["confound"] == confound]
    assert {row["against"] for row in rows} == {"itself", "rival"}
    return rows


def test_confounds_stand_where_they_mean_something(whole):
    found = {c: {row["stage"] for row in twins(whole, c)} for c in ALL}
    assert found == {
        "fit-on-valid": {"recall", "both"},
        "mask": {"recall", "both"},
        "select-on-test": {"recall", "rerank", "both"},
        "unnormalised-ndcg": {"rerank", "both"},
    }


@pytest.mark.parametrize(
    ("confound", "changed"), [("fit-on-valid", {"fit_on", "input_on"}), ("mask", {"mask"})]
)
def test_a_twin_differs_from_its_honest_self_in_the_confound_alone(whole, folder, store, confound, changed):
    """Same recipe, same re-ranker, same lists on valid; at test just the windows of the confound differ."""
    from stagelens.pipeline.worlds.world import open_dataset

    systems, honest_name = whole.manifest["systems"], block(whole)["best"]
    for stage, view in (("recall", "catalogue"), ("both", "own")):
        name = honest_name[stage]["ensemble"]
        assert systems[f"{stage}/{view}/{name} ({confound})"] == systems[f"{stage}/{view}/{name}"]
        for row in twins(whole, confound):
            if row["stage"] == stage and row["against"] == "itself":
                assert (row["baseline"], row["system"]) == (name, f"{name} ({confound})")
    dataset = open_dataset(str(folder))
    other = {"fit_on": "train+valid", "input_on": "train+valid", "mask": "train"}
    own, twin = (
        Workbench.of(dataset, split(dataset), seed=0, store=store, **{key: other[key] for key in keys})
        for keys in ((), changed)
    )
    assert [w.key for w in own.windows.rows] == [w.key for w in twin.windows.rows]
    assert own.windows.valid.key == twin.windows.valid.key
    assert (own.windows.test.fit_key != twin.windows.test.fit_key) == (confound == "fit-on-valid")
    differs = own.windows.test.mask.fingerprint() != twin.windows.test.mask.fingerprint()
    assert differs == (confound == "mask")
    assert own.windows.test.target.fingerprint() == twin.windows.test.target.fingerprint()
    assert whole.manifest["variants"].keys() == {"fit-on-valid", "mask"}


def test_selecting_on_test_warns_and_never_loses_to_the_choice_on_valid(whole):
    assert len([w for w in block(whole)["warnings"] if w.startswith("WARNING: select-on-test")]) == 2
    for row in twins(whole, "select-on-test"):
        if row["against"] == "itself" and row["stage"] != "both":
            assert row["difference"] >= 0
    shown = tables.answer(whole.summary)
    assert "WARNING: select-on-test" in shown.explain
    assert "WARNING: select-on-test" in tables.confounds(whole.summary).explain


def test_an_honest_study_asks_nothing_of_test(make_study, folder, make_world):
    asked = []

    def values(arms, on_test=False):
        asked.append(on_test)
        return [float(len(arm.name)) for arm in arms]

    study, dataset = make_study(), make_world(3, users=30, modalities={"text": {"width": 4}})
    for confound in ((), ("fit-on-valid", "mask", "unnormalised-ndcg"), ("select-on-test",)):
        options = CompareOptions(fusion=FUSIONS, ensemble=ENSEMBLES, trials=2, confound=confound)
        plan = choose_settings(study, laid_out(study, dataset, options), values, Silent())
        assert any(asked) == (confound == ("select-on-test",)) == bool(plan.warnings)


def test_a_forgotten_ideal_adds_and_never_takes(whole, folder, store):
    for row in twins(whole, "unnormalised-ndcg"):
        assert row["metric"] == "dcg@10"
        metrics = of(whole, row["stage"])[row["baseline"]]["metrics"]
        assert "dcg@10" not in metrics  # a system is never measured by it
        if row["against"] == "itself":
            assert row["difference"] > 0
    by_hand = {(row["stage"], row["against"]): row["difference"] for row in twins(whole, "unnormalised-ndcg")}
    best = block(whole)["best"]["rerank"]
    own, rival = (
        of(whole, "rerank")[best[kind]]["metrics"]["ndcg@10"]["mean"] for kind in ("ensemble", "fusion")
    )
    manufactured = by_hand["rerank", "itself"]
    assert by_hand["rerank", "rival"] == pytest.approx(own + manufactured - rival, abs=1e-12)


def test_one_system_can_be_confounded_by_name(make_study, make_world):
    """Its rival stays the best of the other kind; end to end stands a system of this method alone."""
    study, dataset = make_study(), make_world(3, users=30, modalities={"text": {"width": 4}})
    name, confounds = "fusion: PCA(width=8)", ("fit-on-valid", "select-on-test")
    options = CompareOptions(
        fusion=FUSIONS, ensemble=ENSEMBLES, trials=2, confound=confounds, confounded=name
    )

    def values(arms, on_test=False):  # Concat is better on valid, WeightedSum better than Borda
        return [float("Concat" in arm.name) + float("Weighted" in arm.name) for arm in arms]

    plan = choose_settings(study, laid_out(study, dataset, options), values, Silent())
    assert plan.best["recall", "fusion"][2] == "fusion: Concat"
    assert {twin.honest[2] for twin in plan.twins} == {name}
    assert {twin.name for twin in plan.twins} == {f"{name} ({confound})" for confound in confounds}
    assert {twin.rival for twin in plan.twins} == {
        plan.best[s, "ensemble"] for s in ("recall", "rerank", "both")
    }
    whole = plan.arm(("both", "own", name))
    assert "PCA" in whole.recall.label
    assert whole.system != plan.arm(("both", "own", "fusion")).system


def test_tables_hold_every_row(whole):
    held = block(whole)
    assert len(tables.answer(whole.summary).rows) == 13
    assert len(tables.side_by_side(whole.summary).rows) == len(held["arms"]) == 10
    assert len(tables.confounds(whole.summary).rows) == len(held["confounds"])
    assert len(tables.pairs(whole.summary).rows) == 12
    assert len(tables.trials(whole.summary).rows) == len(held["trials"])
    assert tables.answer({"systems": [], "comparisons": []}) is None


# ---------------------------------------------------------------- refusals


def test_what_cannot_be_compared_is_answered(make_study, make_world):
    dataset = make_world(2, users=60, modalities={"text": {"width": 4}})
    study = make_study()
    with pytest.raises(ConfigError, match="leaves none"):
        laid_out(make_study(modalities=["interaction"]), dataset, CompareOptions(fusion=FUSIONS))
    merges = CompareOptions(fusion=FUSIONS, ensemble=({"merge": "quota"},))
    with pytest.raises(ConfigError, match="needs an ensemble of re-rankers"):
        laid_out(study, dataset, merges)
    assert laid_out(make_study(stage="recall"), dataset, merges).trials
    wrong = CompareOptions(fusion=FUSIONS, confound=("mask",), confounded="fusion: Concatt")
    with pytest.raises(ConfigError, match="Did you mean 'fusion: Concat'"):
        laid_out(study, dataset, wrong)
    always = make_study(**{"protocol.fit_on": "train+valid", "protocol.input": "train+valid"})
    with pytest.raises(ConfigError, match="already"):
        laid_out(always, dataset, CompareOptions(fusion=FUSIONS, confound=("fit-on-valid",)))


def test_a_confound_without_a_stage_is_said(make_study, make_world):
    dataset = make_world(2, users=60, modalities={"text": {"width": 4}})
    study = make_study(stage="recall")
    options = CompareOptions(fusion=FUSIONS, ensemble=ENSEMBLES, confound=("unnormalised-ndcg",))
    plan = choose_settings(
        study, laid_out(study, dataset, options), lambda arms, on_test=False: [0.5] * len(arms), Silent()
    )
    assert not plan.twins
    assert "unnormalised-ndcg means something at re-rank and end to end alone" in plan.warnings[0]
