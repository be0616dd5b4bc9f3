"""What a sparsity study lays out: the same systems at every budget, and the comparisons between them."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from stagelens.pipeline.cli import sparsity as command
from stagelens.pipeline.compose import Then
from stagelens.pipeline.core import ModalityTable
from stagelens.pipeline.data.thinning import Budget
from stagelens.pipeline.data.withhold import Withhold
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.curves import Axis
from stagelens.pipeline.experiment.arms import Comparison
from stagelens.pipeline.experiment.kinds import plan_of_stages
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.sparsity import plan_of_sparsity
from stagelens.pipeline.experiment.sparsity_options import How, Policy, SparsityOptions
from stagelens.pipeline.experiment.variants import Applied, Variant
from stagelens.pipeline.report import sparsity as report


@pytest.fixture(scope="module")
def shop(tiny):
    """The tiny world with a second modality that a fifth of the items lack."""
    rng = np.random.default_rng(0)
    text = tiny.modalities["text"].values
    image = (text @ rng.standard_normal((text.shape[1], 6)) + rng.standard_normal((len(text), 6))).astype(
        np.float32
    )
    image[rng.permutation(len(image))[:30]] = 0
    return tiny.with_modality(ModalityTable.of("image", image))


@pytest.fixture
def plan(make_study, shop):
    def lay(dataset=shop, study=(), **options):
        given = {f"sparsity.{name}": value for name, value in options.items()}
        return plan_of_sparsity(make_study(kind="sparsity", **dict(study), **given), dataset)

    return lay


def named(found: list[Comparison], family: str) -> list[tuple[str, str]]:
    return [(c.baseline[2], c.system[2]) for c in found if c.family == family]


def test_the_same_systems_stand_at_every_budget(plan, make_study, shop):
    found = plan(budgets=[100, 50, 5], tuning="held")
    assert [point.label for point in found.points] == ["100 %", "50 %", "5 %"]
    assert found.variants == {
        "50 %": Variant(budget=Budget("uniform", 0.5), held=True),
        "5 %": Variant(budget=Budget("uniform", 0.05), held=True),
    }
    assert len({arm.key for arm in found.arms}) == len(found.arms)
    systems = {
        "random",
        "popular",
        "ItemKNN",
        "base",
        "text",
        "image",
        "base + text",
        "base + image",
        "base + image + text",
    }
    assert {curve.system for curve in found.curves} == systems
    for curve in found.curves:
        arms = [found.arm(key) for key in curve.keys]
        assert len({repr(arm.system) for arm in arms}) == 1  # one recipe
        if curve.system == "random":
            assert len(set(curve.keys)) == 1  # no budget changes chance
        else:
            assert [arm.variant for arm in arms] == ["", "50 %", "5 %"]
            assert [arm.name for arm in arms] == [f"{curve.system} at {p.label}" for p in found.points]
    plain = plan_of_stages(make_study(stage="recall"), shop)
    same = {arm.name: arm.system for arm in plain.arms if not arm.name.startswith("random")}
    for name, system in same.items():  # what 'simulate' measures, at 100 %
        assert found.arm(("recall", "catalogue", f"{name} at 100 %")).system == system


def test_the_primary_family_is_worth_its_area_and_its_growth(plan):
    found = plan(budgets=[50, 5], study={"modalities": ["text"]})
    primary = [c for c in found.comparisons if c.family == "primary"]
    assert named(primary, "primary") == [
        ("base at 100 %", "base + text at 100 %"),
        ("base at 50 %", "base + text at 50 %"),
        ("base at 5 %", "base + text at 5 %"),
        ("base, area", "base + text, area"),
        ("base, growth", "base + text, growth"),
    ]
    assert {c.contrast for c in primary} == {"worth"}
    area, growth = primary[3:]
    assert [(low, high) for _, low, high in area.terms] == [(c.baseline, c.system) for c in primary[:3]]
    weights = np.array([weight for weight, _, _ in area.terms])
    assert weights.sum() == pytest.approx(1)
    place = np.log([1, 0.5, 0.05])
    assert weights @ place == pytest.approx(place[-1] / 2)  # trapezoids on a log scale
    np.testing.assert_allclose([w for w, _, _ in growth.terms], weights - [1, 0, 0])
    loss = named(found.comparisons, "loss")
    assert loss == [
        (f"{system} at 100 %", f"{system} at {label}")
        for system in ("popular", "ItemKNN", "base", "text", "base + text")
        for label in ("50 %", "5 %")
    ]
    assert named(found.comparisons, "alone")[1] == ("ItemKNN at 50 %", "text at 50 %")


def test_information_is_a_family_of_its_own(plan):
    found = plan(budgets=[10], study={"measure.information": True, "modalities": ["text"]})
    assert named(found.comparisons, "information") == [
        (f"base + text (permuted) at {label}", f"base + text at {label}") for label in ("100 %", "10 %")
    ]
    assert {c.contrast for c in found.comparisons if c.family == "information"} == {"information"}


def test_a_channel_alone_is_measured_by_what_it_returns(plan):
    found = plan(budgets=[50], how="cold-items")
    parts = {curve.system: curve.part for curve in found.curves}
    assert {name for name, part in parts.items() if part == "channel"} == {"ItemKNN"}
    for curve in found.curves:
        for key in curve.keys:
            assert found.arm(key).filled == (curve.system not in ("ItemKNN", "text", "image"))
    assert ("random", "text at 50 %") in named(found.comparisons, "chance")
    [chance] = [c for c in found.comparisons if c.family == "chance" and c.modality == "text"]
    assert chance.slices == ("items at 50 %",)
    values = {(mark.slice, mark.value): int(mark.members.sum()) for mark in found.marked}
    known = int((found.degrees["100 %"] > 0).sum())
    assert values["items at 50 %", "cold"] == pytest.approx(known / 2, abs=1)
    assert sum(values.values()) == known


def test_counts_are_budgets_too(plan, tiny_split):
    found = plan(how="per-user", budgets=[0, 2], order="newest")
    assert [point.label for point in found.points] == ["all", "k = 2", "k = 0"]
    assert found.variants["k = 2"].budget == Budget("per-user", 2, "newest")
    assert found.points[2].share == 0
    assert found.points[1].share == pytest.approx(found.degrees["k = 2"].sum() / len(tiny_split.train))
    degree = tiny_split.train.user_degree()
    assert found.axis == Axis("count", pytest.approx(degree[degree > 0].mean()))
    places = found.axis.places(np.array([point.share for point in found.points]))
    assert places[1] == pytest.approx(np.log(1 + found.degrees["k = 2"].sum() / (degree > 0).sum()))
    assert places[2] == 0.0


def test_a_base_of_popularity_alone_is_what_content_is_held_against(plan):
    found = plan(budgets=[50], study={"modalities": ["text"], "recall.base": [{"use": "recall.Popular"}]})
    assert not [curve for curve in found.curves if curve.part == "channel"]
    assert named(found.comparisons, "alone")[1] == ("base at 50 %", "text at 50 %")


def test_every_interaction_channel_has_a_curve_and_a_file_a_warning(plan):
    base = [{"use": "recall.Popular"}, {"use": "recall.ItemKNN"}, {"use": "recall.FromFile", "path": "x.csv"}]
    found = plan(budgets=[50], study={"modalities": ["text"], "recall.base": base})
    assert len([curve for curve in found.curves if curve.part == "channel"]) == 2
    [note] = found.notes
    assert "recall.FromFile" in note
    assert plan(budgets=[50]).notes == ()


def test_a_budget_that_withholds_nothing_is_named(plan):
    notes = plan(how="per-user", budgets=[100_000, 1]).notes
    assert notes == ("k = 100000 withholds nothing: its systems are those with everything kept.",)


def test_a_thinned_modality_leaves_the_base_alone(plan):
    found = plan(how="modality", budgets=[40])
    curves = {curve.system: curve for curve in found.curves}
    assert len(set(curves["base"].keys)) == 1
    assert {
        *("base + image", "base + image, mean", "base + image, from text"),
        *("base + text", "base + text, mean", "base + text, from image"),
    } == {curve.system for curve in found.curves if curve.part == "on"}
    variants = {arm.name: found.variants.get(arm.variant) for arm in found.arms}
    assert variants["base + text, mean at 100 %"] is None  # every item has a text: nothing to fill
    withhold = Withhold(share=0.4, policy="from", source="text")
    applied = tuple(Applied(stage, "image", "both", withhold) for stage in ("recall", "rerank"))
    assert variants["base + image, from text at 40 %"] == Variant(treatments=applied)
    assert variants["base + image, mean at 100 %"].treatments[0].treatment == Withhold(
        share=1.0, policy="mean"
    )
    assert {mark.slice for mark in found.marked} == {"image at 40 %", "text at 40 %"}
    assert not found.degrees
    primary = named(found.comparisons, "primary")
    assert ("base", "base + image, from text at 40 %") in primary
    assert ("base, area", "base + image, from text, area") in primary


def test_both_stages_have_curves_and_families_of_one_primary_family(plan):
    found = plan(budgets=[50], study={"stage": "both", "modalities": ["text"]})
    final = [arm for arm in found.arms if arm.stage == "both"]
    assert {arm.name.partition(" at ")[0] for arm in final} == {"random", "popular", "base", "base + text"}
    assert all(isinstance(arm.system, Then) for arm in final if arm.name.startswith("base"))
    metrics = {(c.metric, c.system[0]) for c in found.comparisons if c.family == "primary"}
    assert metrics == {("recall@20", "recall"), ("ndcg@10", "both")}


def test_without_content_the_base_is_compared_with_popularity(plan):
    found = plan(budgets=[50], study={"modalities": ["interaction"]})
    assert named(found.comparisons, "primary") == [
        ("popular at 100 %", "base at 100 %"),
        ("popular at 50 %", "base at 50 %"),
    ]
    assert {curve.system for curve in found.curves} == {"random", "popular", "ItemKNN", "base"}


def test_what_shows_nothing_of_budgets_is_refused(plan, shop):
    with pytest.raises(ConfigError, match=r"stage = 'rerank' orders given candidates.*both"):
        plan(study={"stage": "rerank"})
    for field in ("fit_on", "input"):
        with pytest.raises(ConfigError, match=f"protocol.{field} = 'train\\+valid'.*Use 'train'"):
            plan(study={f"protocol.{field}": "train+valid"})
    with pytest.raises(ConfigError, match="no budget below 100 %"):
        plan(budgets=[100])
    with pytest.raises(ConfigError, match=r"'interaction'.*names none"):
        plan(how="modality", study={"modalities": ["interaction"]})
    alone = replace(shop, modalities={"text": shop.modalities["text"]})
    with pytest.raises(ConfigError, match=r"'from' predicts.*has text alone"):
        plan(how="modality", policies=["absent", "from"], dataset=alone)
    curves = {
        one.system for one in plan(how="modality", budgets=[50], dataset=alone).curves if one.part == "on"
    }
    assert curves == {"base + text", "base + text, mean"}  # by default, what the data allows
    with pytest.raises(ConfigError, match=r"measure.copies = 3.*Use 1"):
        plan(study={"measure.copies": 3})
    with pytest.raises(ConfigError, match=r"a budget leaves nothing.*use linear"):
        plan(how="per-user", scale="log")
    with pytest.raises(ConfigError, match=r"neither a clock nor an order"):
        plan(how="newest", budgets=[50], dataset=replace(shop, clock="none"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budgets": [120]}, "per cent, 0 to 100"),
        ({"budgets": [2.5], "how": "per-user"}, "whole numbers k from 0"),
        ({"order": "newest"}, "leave it out"),
        ({"budgets": [0, 50], "scale": "log"}, "no place for budget 0"),
        ({"policies": ["mean"]}, "how = 'uniform' leave them out"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Study.load(
            None, {"kind": "sparsity", **{f"sparsity.{name}": value for name, value in options.items()}}
        )


def test_what_can_be_thinned_is_named_alike_everywhere():
    ways = get_args(How)
    assert command.HOW == ways
    assert tuple(report.HOW) == ways
    assert command.POLICIES == get_args(Policy)


def test_the_defaults_are_those_of_the_study():
    study = Study.load(None, {"kind": "sparsity"})
    assert (study.stage, study.seeds, study.name) == ("recall", (0, 1, 2), "sparsity")
    assert study.sparsity.amounts == (0.8, 0.6, 0.4, 0.2, 0.1, 0.05)
    assert SparsityOptions(how="per-item").amounts == (10, 5, 3, 2, 1, 0)
    assert SparsityOptions(how="cold-items", budgets=(50, 100, 90, 50)).amounts == (0.9, 0.5)
