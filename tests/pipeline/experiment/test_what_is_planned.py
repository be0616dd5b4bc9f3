"""``--stage`` and ``--modality`` make the systems and comparisons that the questions need."""

from __future__ import annotations

import pytest

from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment import estimate
from stagelens.pipeline.experiment.arms import chosen_modalities, plan_of
from stagelens.pipeline.experiment.references import plan_of_references


@pytest.fixture(scope="module")
def shop(make_world):
    return make_world(2, users=60, modalities={"text": {"width": 8}, "image": {"width": 8}})


def plan(make_study, shop, **options):
    return plan_of(make_study(**options), shop)


def names(found, stage: str, view: str | None = None) -> list[str]:
    return [arm.name for arm in found.arms if arm.stage == stage and view in (None, arm.view)]


def contrasts(found, kind: str) -> set[tuple[str, str, str]]:
    return {(c.system[0], c.baseline[2], c.system[2]) for c in found.comparisons if c.contrast == kind}


def test_recall_of_one_modality_shows_it_alone_the_base_and_its_worth(make_study, shop):
    found = plan(make_study, shop, stage="recall", modalities=["text"])
    assert names(found, "recall") == ["random", "popular", "base", "text", "base + text"]
    assert not names(found, "rerank")
    assert not names(found, "both")
    assert contrasts(found, "worth") == {("recall", "base", "base + text")}
    assert {c.metric for c in found.comparisons} == {"recall@20"}


def test_information_adds_permuted_copies_of_both_kinds(make_study, shop):
    options = {"stage": "recall", "modalities": ["text"], "measure.information": True, "measure.copies": 3}
    found = plan(make_study, shop, **options)
    assert contrasts(found, "information") == {
        ("recall", "base + text (permuted)", "base + text"),
        ("recall", "base + text (permuted within popularity)", "base + text"),
    }
    hidden = [arm.name for arm in found.arms if not arm.shown]
    assert len(hidden) == 4
    assert all(len(c.copies) == 3 for c in found.comparisons if c.contrast == "information")


def test_rerank_of_one_modality_orders_the_base_candidates_with_and_without_it(make_study, shop):
    found = plan(make_study, shop, stage="rerank", modalities=["text"])
    assert names(found, "rerank") == ["keep order", "random order", "oracle", "base", "base + text"]
    assert not names(found, "recall")
    assert {arm.recall.label for arm in found.arms} == {"Popular | ItemKNN"}
    assert contrasts(found, "worth") == {("rerank", "base", "base + text")}
    assert {c.metric for c in found.comparisons} == {"ndcg@10"}


def test_both_stages_of_all_modalities(make_study, shop):
    found = plan(make_study, shop, **{"rerank.base_view": True})
    assert found.modalities == ("image", "text")
    assert names(found, "both") == [
        "random",
        "popular",
        "base",
        "base + image",
        "base + text",
        "base + image + text",
    ]
    assert {"base", "base + image", "base + text", "base + image + text"} <= set(names(found, "recall"))
    reference = {arm.recall.label for arm in found.arms if arm.view == "reference"}
    assert reference == {"Popular | ItemKNN | Dense(image) | Dense(text)"}
    assert {arm.recall.label for arm in found.arms if arm.view == "base"} == {"Popular | ItemKNN"}
    for comparison in found.comparisons:  # never across stages or lists
        assert comparison.baseline[:2] == comparison.system[:2]
    for view in ("reference", "base"):  # one fixed list is shared by every re-ranker of a view
        assert len({repr(arm.recall) for arm in found.arms if arm.view == view}) == 1


def test_interaction_names_the_base(make_study, shop):
    found = plan(make_study, shop, modalities=["interaction"])
    assert found.modalities == ()
    assert names(found, "recall") == ["random", "popular", "base"]
    assert names(found, "both") == ["random", "popular", "base"]
    assert not any(arm.system.reads for arm in found.arms)


def test_modalities_repeat_without_effect_and_a_wrong_one_gets_the_list(make_study, shop):
    assert chosen_modalities(make_study(modalities=["text", "interaction", "text"]), shop) == ("text",)
    with pytest.raises(ConfigError, match=r"'txt'.*Did you mean 'text'.*all, image, interaction, text"):
        plan(make_study, shop, modalities=["txt"])


def test_a_part_of_the_wrong_role_is_refused_where_it_stands(make_study, shop):
    with pytest.raises(
        ConfigError, match=r"recall\.base: rerank\.Evidence is a features, expected a channel"
    ):
        plan(make_study, shop, **{"recall.base": [{"use": "rerank.Evidence"}]})


@pytest.mark.parametrize("stage", ["recall", "rerank", "both"])
def test_what_is_off_is_absent(make_study, shop, stage):
    """Off at recall: no channel. Off at re-rank: no group, no evidence of its channel, no merged score or rank."""
    found = plan(make_study, shop, stage=stage, **{"rerank.base_view": True, "measure.information": True})
    for arm in found.arms:
        on = set(arm.modalities)
        if arm.stage in ("recall", "both"):
            assert arm.recall.reads == on or arm.name in ("random", "popular")
        groups = getattr(getattr(arm.system, "rerank", None), "features", ())
        assert set().union(*(group.reads for group in groups)) == (on if groups else set())
        for group in groups:
            if type(group).__name__ == "Evidence":
                off = {part.label for part in arm.recall.parts if part.reads - on}
                assert set(group.hidden) == off
                assert group.merged is (not off)


def test_a_study_without_rerankers_is_not_timed_as_if_it_taught_any(make_study, tiny, tiny_split):
    def seconds(**options):
        study = make_study(**{"measure.latency_queries": 0, **options})
        return estimate.estimate_seconds(study, plan_of(study, tiny), tiny, tiny_split)

    recall, both = seconds(stage="recall"), seconds(stage="both")
    assert estimate.START < recall < both
    cross = {"protocol.refit": "cross", "protocol.folds": 20}  # windows that teach re-rankers alone
    assert seconds(stage="recall", **cross) == recall
    assert seconds(stage="both", **cross) > both


def test_references_with_settings_are_timed_with_all_of_them(make_study, tiny, tiny_split):
    def seconds(settings, seeds=(0,)):
        study = make_study(kind="references", seeds=list(seeds), **{"references.settings": settings})
        return estimate.estimate_seconds(study, plan_of_references(study, tiny), tiny, tiny_split)

    one, eleven = seconds(1) - estimate.START, seconds(11) - estimate.START
    assert 2 * one < eleven < 11 * one
    more = seconds(11, (0, 1, 2)) - seconds(1, (0, 1, 2))
    assert more == pytest.approx(eleven - one)  # the first seed alone chooses
