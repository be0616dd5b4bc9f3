"""The factorial of ``simulate attribute``: what is on, what is absent, what is compared."""

from __future__ import annotations

import itertools

import pytest

from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.shapley import Player
from stagelens.pipeline.experiment.arms import Builder
from stagelens.pipeline.experiment.attribution import plan_of_attribution
from stagelens.pipeline.experiment.factorial import Factorial
from stagelens.pipeline.recipe import dump

TWO = {"text": {"width": 8}, "image": {"width": 8}}
FULL = "recall: image+text; re-rank: image+text"


@pytest.fixture(scope="module")
def shop(make_world):
    return make_world(2, users=60, modalities=TWO)


def plan(make_study, shop, **options):
    return plan_of_attribution(make_study(**options), shop)


def arm(found, name: str):
    return found.arm(("both", "own", name))


def channels(found, name: str) -> list[str]:
    return [part.label for part in arm(found, name).recall.parts]


def groups(found, name: str) -> dict[str, object]:
    return {group.label: group for group in arm(found, name).system.rerank.features}


def test_two_modalities_make_sixteen_cells_with_names_that_say_what_is_on(make_study, shop):
    found = plan(make_study, shop)
    names = [a.name for a in found.arms]
    sides = ["base", "image", "text", "image+text"]
    cells = {f"recall: {r}; re-rank: {s}" for r, s in itertools.product(sides, sides)}
    assert set(names) == {"random", "popular"} | cells
    assert len(names) == 18
    assert {(a.stage, a.view) for a in found.arms} == {("both", "own")}


def test_cells_stand_in_the_order_of_the_weights():
    factorial = Factorial(("image", "text"))
    for bits, cell in enumerate(factorial.cells()):
        for place, player in enumerate(factorial.players):
            on = getattr(cell, player.stage)
            assert (player.modality in on) == bool(bits >> place & 1)
    assert cell == factorial.full


def test_off_is_absent_at_its_own_stage_alone(make_study, shop):
    found = plan(make_study, shop)
    name = "recall: image+text; re-rank: text"
    assert channels(found, name) == ["Popular", "ItemKNN", "Dense(image)", "Dense(text)"]
    assert arm(found, name).modalities == ("image", "text")
    read = groups(found, name)
    assert "Similarity(text)" in read
    assert "Similarity(image)" not in read
    assert read["Evidence"].hidden == ("Dense(image)",)
    assert not read["Evidence"].merged
    other = "recall: text; re-rank: image+text"
    assert channels(found, other) == ["Popular", "ItemKNN", "Dense(text)"]
    read = groups(found, other)
    assert {"Similarity(text)", "Similarity(image)"} <= set(read)
    assert read["Evidence"].hidden == ()
    assert read["Evidence"].merged


def test_with_the_base_on_a_cell_is_what_the_other_studies_build(make_study, shop):
    study = make_study()
    found, builder = plan_of_attribution(study, shop), Builder(study, shop)
    for recall, rerank in itertools.product(((), ("image",), ("image", "text")), repeat=2):
        name = f"recall: {'+'.join(recall) or 'base'}; re-rank: {'+'.join(rerank) or 'base'}"
        system = arm(found, name).system
        assert dump(system.recall) == dump(builder.union(recall))
        assert dump(system.rerank) == dump(builder.reranker(system.recall, rerank))


def test_worth_leaves_one_player_out_of_everything(make_study, shop):
    found = plan(make_study, shop)
    assert {(c.modality, c.baseline[2], c.system[2]) for c in found.comparisons} == {
        ("image", "recall: text; re-rank: image+text", FULL),
        ("image", "recall: image+text; re-rank: text", FULL),
        ("text", "recall: image; re-rank: image+text", FULL),
        ("text", "recall: image+text; re-rank: image", FULL),
    }
    assert {(c.contrast, c.metric) for c in found.comparisons} == {("worth", "ndcg@10")}
    asked = found.asked_on_valid()
    assert ("both", "own", "recall: base; re-rank: base") in asked  # the margin of the effects


def test_information_replaces_what_one_stage_reads_at_equal_capacity(make_study, shop):
    found = plan(make_study, shop, **{"measure.information": True})
    copies = [c for c in found.comparisons if c.contrast == "information"]
    assert len(copies) == 4
    at_recall = "recall: image+text permuted; re-rank: image+text"
    assert channels(found, at_recall) == ["Popular", "ItemKNN", "Dense(image)", "Dense(text~permuted)"]
    assert set(groups(found, at_recall)) == set(groups(found, FULL))
    assert groups(found, at_recall)["Evidence"].hidden == ()  # the copy's evidence is read as the real one's
    at_rerank = "recall: image+text; re-rank: image+text permuted"
    assert channels(found, at_rerank) == channels(found, FULL)
    assert "Similarity(text~permuted)" in groups(found, at_rerank)
    assert "Similarity(text)" not in groups(found, at_rerank)
    assert groups(found, at_rerank)["Evidence"].hidden == ()
    read = {name for a in found.arms for name in a.system.reads if "~" in name}
    assert read == {"text~permuted", "image~permuted"}  # one permutation serves both stages


def test_interaction_as_a_player(make_study, shop):
    options = {"modalities": ["text", "interaction"], "measure.information": True}
    found = plan(make_study, shop, **options)
    assert len([a for a in found.arms if "permuted" not in a.name]) == 16 + 2
    nothing = "recall: popular; re-rank: recall's order"
    assert channels(found, nothing) == ["Popular"]
    assert type(arm(found, nothing).system.rerank).__name__ == "KeepOrder"
    assert found.interaction_only(arm(found, nothing))
    # content without interaction: Popular keeps the lists full, the re-ranker reads content alone
    content = "recall: text; re-rank: text"
    assert channels(found, content) == ["Popular", "Dense(text)"]
    assert set(groups(found, content)) == {"Evidence", "Similarity(text)"}
    assert groups(found, content)["Evidence"].hidden == ("Popular",)
    assert not groups(found, content)["Evidence"].merged
    assert set(groups(found, "recall: popular; re-rank: text")) == {"Similarity(text)"}
    # interaction at one stage
    name = "recall: interaction+text; re-rank: text"
    assert channels(found, name) == ["Popular", "ItemKNN", "Dense(text)"]
    assert groups(found, name)["Evidence"].hidden == ("Popular", "ItemKNN")
    name = "recall: text; re-rank: interaction"
    assert groups(found, name)["Evidence"].hidden == ("Dense(text)",)
    assert {"History", "Popularity"} <= set(groups(found, name))
    worth = {c.modality for c in found.comparisons if c.contrast == "worth"}
    information = {c.modality for c in found.comparisons if c.contrast == "information"}
    assert worth == {"interaction", "text"}
    assert information == {"text"}


def test_a_cell_may_read_one_modality_at_recall_and_another_at_rerank():
    full = Factorial(("interaction", "text")).full
    assert full.without(Player("interaction", "rerank")).name == "recall: interaction+text; re-rank: text"
    assert full.permuted(Player("text", "recall")).rerank == ("interaction", "text")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modalities": ["interaction"], "recall.base": [{"use": "recall.Popular"}]}, "nothing beside"),
        ({"modalities": ["picture"]}, "image"),
    ],
)
def test_what_cannot_be_switched_is_refused(make_study, shop, options, words):
    with pytest.raises(ConfigError, match=words):
        plan(make_study, shop, **options)


def test_no_modality_and_too_many(make_study, make_world):
    bare = make_world(2, users=60, modalities={})
    with pytest.raises(ConfigError, match="--factor interaction"):
        plan(make_study, bare)
    many = make_world(
        2, users=60, modalities={f"m{place}": {"width": 4, "signal": 0.2} for place in range(5)}
    )
    with pytest.raises(ConfigError, match=r"1,024 cells.*--modality"):
        plan(make_study, many)
