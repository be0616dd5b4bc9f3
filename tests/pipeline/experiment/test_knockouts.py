"""Knock-outs: the same system under each treatment, at each stage, beside the intact one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.core import ModalityTable
from stagelens.pipeline.data.impute import Impute
from stagelens.pipeline.data.knockout import Availability, PermuteRows
from stagelens.pipeline.data.replacement import Constant, Noise
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment import runner
from stagelens.pipeline.experiment.knockouts import name_of_treatment, plan_of_knockouts
from stagelens.pipeline.experiment.variants import Applied, Variant, treated_tables
from stagelens.recall import Dense, ItemKNN, Popular
from stagelens.rerank import LambdaMART, Similarity

INTACT = "base + image + text"
ZERO = {"use": "pipeline.Constant", "value": "zero"}
PERMUTE = {"use": "pipeline.PermuteRows"}


@pytest.fixture(scope="module")
def shop(make_world):
    text = {"width": 8, "signal": 0.8, "redundancy": 0.5}
    image = {"width": 8, "missing": 0.2, "redundancy": 0.8}
    return make_world(2, users=120, modalities={"text": text, "image": image})


def plan(make_study, shop, study=(), **options):
    given = {f"knockouts.{name}": value for name, value in options.items()}
    return plan_of_knockouts(make_study(**dict(study), **given), shop)


def pairs(found, stage="both") -> set[tuple[str, str]]:
    return {(c.baseline[2], c.contrast) for c in found.comparisons if c.baseline[0] == stage}


# ------------------------------------------------------------ the plan


def test_every_treatment_setting_and_stage_has_a_variant_and_a_comparison(make_study, shop):
    found = plan(make_study, shop, drop=False)
    assert len(found.variants) == 3 * 3 * 3  # treatments x (two singles, whole) x stages
    assert len(found.comparisons) == 3 * 3 * (3 + 1)  # beside them one of the candidate sets
    assert {c.system for c in found.comparisons} == {("both", "own", INTACT), ("recall", "catalogue", INTACT)}
    assert {c.metric for c in found.comparisons} == {"ndcg@10", "recall@20"}
    intact = {arm.stage: arm.system for arm in found.arms if arm.name == INTACT}
    for arm in found.arms:
        if arm.variant:
            assert arm.system == intact[arm.stage]  # the same recipe, other conditions
            assert arm.modalities == ("image", "text")
    assert {arm.variant for arm in found.arms} == {"", *found.variants}


def test_a_variant_treats_what_its_name_says(make_study, shop):
    found = plan(make_study, shop, treatments=[PERMUTE], when=["both", "serve"])
    one = found.variants["text permuted at serve, rerank only"]
    assert one == Variant(treatments=(Applied("rerank", "text", "serve", PermuteRows()),))
    whole = found.variants["all permuted"].treatments
    assert {(a.stage, a.modality, a.when) for a in whole} == {
        (stage, name, "both") for stage in ("recall", "rerank") for name in ("image", "text")
    }
    for arm in found.arms:
        if arm.variant:
            treated = found.variants[arm.variant].treatments
            assert ("recall only" in arm.variant) == ({a.stage for a in treated} == {"recall"})
            assert arm.stage == "both" or "recall" in {a.stage for a in treated}


def test_contrasts_are_information_for_whole_permutations_worth_for_drop_and_other(make_study, shop):
    treatments = [ZERO, PERMUTE, {**PERMUTE, "dose": 0.5}]
    found = plan(
        make_study, shop, treatments=treatments, settings=["whole"], stages=["both"], when=["both", "serve"]
    )
    assert pairs(found) == {
        (f"{INTACT} (all zero)", "other"),
        (f"{INTACT} (all zero at serve)", "other"),
        (f"{INTACT} (all permuted)", "information"),
        (f"{INTACT} (all permuted at serve)", "other"),
        (f"{INTACT} (all permuted, dose 0.5)", "other"),
        (f"{INTACT} (all permuted, dose 0.5 at serve)", "other"),
        ("base", "worth"),
    }
    assert {c.modality for c in found.comparisons} == {None}


def test_dropped_is_absent_at_its_stage(make_study, shop):
    found = plan(make_study, shop, treatments=[], settings=["single"])
    assert not found.variants
    by_name = {arm.name: arm.system for arm in found.arms if arm.stage == "both"}
    for stage in ("recall", "rerank"):
        system = by_name[f"{INTACT} (text dropped, {stage} only)"]
        assert system.recall.reads == ({"image"} if stage == "recall" else {"image", "text"})
        read = set().union(*(group.reads for group in system.rerank.features))
        assert read == ({"image"} if stage == "rerank" else {"image", "text"})
        hidden = next(group.hidden for group in system.rerank.features if type(group).__name__ == "Evidence")
        assert hidden == (("Dense(text)",) if stage == "rerank" else ())
    assert by_name["base + image"].recall.reads == {"image"}
    assert {c.modality for c in found.comparisons} == {"text", "image"}
    assert pairs(found, "recall") == {("base + image", "worth"), ("base + text", "worth")}


def test_used_alone_is_everything_else_treated(make_study, make_world):
    three = make_world(
        3, users=60, modalities={name: {"width": 4, "signal": 0.3} for name in ("audio", "image", "text")}
    )
    options = {"treatments": [ZERO], "stages": ["both"], "drop": False}
    alone = plan(make_study, three, settings=["alone"], **options)
    assert set(alone.variants) == {"all but audio zero", "all but image zero", "all but text zero"}
    assert {a.modality for a in alone.variants["all but text zero"].treatments} == {"audio", "image"}
    two = plan(
        make_study, three, study={"modalities": ["text", "image"]}, settings=["single", "alone"], **options
    )
    assert set(two.variants) == {"text zero", "image zero"}  # with two they are the same systems
    one = plan(
        make_study, three, study={"modalities": ["text"]}, settings=["single", "whole", "alone"], **options
    )
    assert set(one.variants) == {"text zero"}


def test_one_stage_alone_is_measured_there(make_study, shop):
    recall = plan(make_study, shop, study={"stage": "recall"})
    assert {arm.stage for arm in recall.arms} == {"recall"}
    assert all({a.stage for a in v.treatments} >= {"recall"} for v in recall.variants.values())
    rerank = plan(make_study, shop, study={"stage": "rerank"})
    assert {(arm.stage, arm.view) for arm in rerank.arms} == {("rerank", "reference")}
    assert len({repr(arm.recall) for arm in rerank.arms}) == 1  # one fixed list
    assert all({a.stage for a in v.treatments} == {"rerank"} for v in rerank.variants.values())
    assert {"keep order", "base", INTACT} <= {arm.name for arm in rerank.arms}
    with pytest.raises(ConfigError, match=r"stage = 'rerank' shows nothing of knock-outs at recall"):
        plan(make_study, shop, study={"stage": "rerank"}, stages=["recall"])


def test_what_cannot_be_planned_is_refused(make_study, shop):
    with pytest.raises(ConfigError, match=r"names none. Allowed: all, image, text"):
        plan(make_study, shop, study={"modalities": ["interaction"]})
    with pytest.raises(ConfigError, match=r"recall.Popular is a channel, expected a treatment"):
        plan(make_study, shop, treatments=[{"use": "recall.Popular"}])
    with pytest.raises(ConfigError, match=r"knockouts.treatments: zero stands there twice"):
        plan(make_study, shop, treatments=[ZERO, PERMUTE, ZERO])
    flat = shop.with_modality(ModalityTable.of("flat", np.ones((shop.n_items, 3), np.float32)))
    with pytest.raises(ConfigError, match=r"all vectors of flat are equal, so a knock-out shows nothing"):
        plan(make_study, flat)
    assert plan(make_study, flat, treatments=[]).comparisons  # leaving it out can be asked


def test_names_tell_treatments_apart():
    made = [
        *(Constant(value=value) for value in ("zero", "one", "mean")),
        *(Noise(kind=kind) for kind in ("matched", "standard", "shifted")),
        PermuteRows(),
        PermuteRows(dose=0.25),
        PermuteRows(within="popularity"),
        PermuteRows(within="popularity", classes=4),
        Availability(),
        Availability(dose=0.1),
        Impute(),
        Impute(policy="from", source="text"),
    ]
    assert len({name_of_treatment(one) for one in made}) == len(made)


# ------------------------------------------------------------ downstream


def bench_under(make_bench, shop, treatment, when="both"):
    bench = make_bench(shop, split(shop))
    applied = tuple(
        Applied(stage, name, when, treatment) for stage in ("recall", "rerank") for name in ("image", "text")
    )
    return make_bench(
        shop,
        split(shop),
        treated=treated_tables(shop, bench.windows, Variant(treatments=applied), {}, seed=0),
    )


@pytest.mark.parametrize("value", ["zero", "one", "mean"])
def test_a_constant_table_returns_nothing_at_recall_and_is_unknown_at_rerank(make_bench, shop, value):
    bench = bench_under(make_bench, shop, Constant(value=value))
    window = bench.windows.test
    channel = bench.fitted(Dense(modality="text"), window)
    queries = window.queries(0, len(window))
    assert (channel.retrieve(queries, 10).item == -1).all()
    recall = Popular() | ItemKNN() | Dense(modality="text")
    candidates, _ = bench.candidates(recall, window, 0, len(window))
    without, _ = bench.candidates(Popular() | ItemKNN(), window, 0, len(window))
    np.testing.assert_array_equal(candidates.item, without.item)
    features = bench.features((Similarity(modality="image"),), recall, window, queries, candidates)
    by_name = dict(zip(features.names, np.moveaxis(features.values, 2, 0), strict=True))
    assert np.isnan(by_name["Similarity(image): mean"]).all()
    there = candidates.item >= 0
    present = shop.modalities["image"].present[candidates.item[there]]
    np.testing.assert_array_equal(by_name["Similarity(image): present"][there], present)  # zero is not absent


@pytest.mark.parametrize(
    "treatment",
    [
        Constant(),
        Constant(value="mean", dose=0.5),
        Noise(kind="shifted"),
        PermuteRows(within="popularity"),
        Availability(),
        Impute(),
    ],
)
@pytest.mark.parametrize("when", ["fit", "serve", "both"])
def test_a_whole_system_runs_under_every_treatment(make_bench, shop, quick_trees, treatment, when):
    if isinstance(treatment, Impute):
        text = shop.modalities["text"]
        values = text.values.copy()
        values[::5] = 0
        shop = replace(shop, modalities={**shop.modalities, "text": ModalityTable.of("text", values)})
    bench = bench_under(make_bench, shop, treatment, when)
    recall = replace(Popular() | ItemKNN() | Dense(modality="text") | Dense(modality="image"), size=20)
    features = (Similarity(modality="text"), Similarity(modality="image"))
    system = recall >> LambdaMART(features=features, **quick_trees)
    window = bench.windows.test
    queries = window.queries(0, len(window))
    candidates, _ = bench.candidates(recall, window, 0, len(window))
    ordered = bench.reorder(system, window, queries, candidates)
    assert (np.sort(ordered.item, axis=1) == np.sort(candidates.item, axis=1)).all()


def test_a_permutation_is_one_for_both_stages_and_a_seed(make_bench, shop):
    bench = bench_under(make_bench, shop, PermuteRows())
    tables = {(one.stage, one.modality): one.table.digest for one in bench.treated}
    assert tables["recall", "text"] == tables["rerank", "text"]
    assert tables["recall", "text"] != shop.modalities["text"].digest
    again = bench_under(make_bench, shop, PermuteRows())
    assert [one.table.digest for one in again.treated] == [one.table.digest for one in bench.treated]
    half = bench_under(make_bench, shop, PermuteRows(dose=0.5))
    for one, other in zip(bench.treated, half.treated, strict=True):
        original = shop.modalities[one.modality].values
        some = (other.table.values != original).any(axis=1)
        assert (
            not (some & ~(one.table.values != original).any(axis=1)).sum() > 2
        )  # but for chance fixed points


def test_serving_alone_leaves_what_was_learned_as_it_was(make_bench, shop):
    plain = make_bench(shop, split(shop))
    bench = bench_under(make_bench, shop, PermuteRows(), when="serve")
    text = Dense(modality="text")
    assert bench.fit_key(text, bench.windows.valid) == plain.fit_key(text, plain.windows.valid)
    assert bench.fit_key(text, bench.windows.test) != plain.fit_key(text, plain.windows.test)
    assert bench.fit_key(Popular(), bench.windows.test) == plain.fit_key(Popular(), plain.windows.test)


def test_a_study_of_knockouts_ends_with_judged_comparisons(make_study, tmp_path):
    options = {
        "kind": "knockouts",
        "seeds": [0],
        "knockouts.treatments": [ZERO, PERMUTE],
        "knockouts.stages": ["recall", "rerank"],
        "knockouts.drop": False,
    }
    found = runner.simulate(make_study(**options), out=tmp_path / "run", store=tmp_path / "store")
    primary = [one for one in found.summary["comparisons"] if one["primary"]]
    names = {one["baseline"] for one in primary if one["stage"] == "both"}
    assert {
        "base + text (text zero, recall only)",
        "base + text (text permuted, rerank only)",
    } <= names
    metrics = {s["system"]: s["metrics"] for s in found.summary["systems"] if s["stage"] == "recall"}
    zero, base = metrics["base + text (text zero)"], metrics["base"]
    assert (
        zero["recall@20"]["mean"] == base["recall@20"]["mean"]
    )  # a channel without directions hands over nothing
    changed = found.manifest["treatments"]
    assert changed
    assert all(one["before"] != one["after"] and one["fixed_points"] < 0.5 for one in changed)
    again = runner.simulate(make_study(**options), out=tmp_path / "again", store=tmp_path / "store")
    assert again.manifest["made"] == 0
    assert again.summary["comparisons"] == found.summary["comparisons"]
