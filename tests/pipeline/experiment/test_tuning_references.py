"""Tuned references: the arms are the systems of the preset, and what is found goes where their study reads it."""

from __future__ import annotations

import pandas
import pytest

from stagelens.pipeline.data.splits import split as make_split
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.references import plan_of_references
from stagelens.pipeline.experiment.tuning import arms_of, tune

pytest.importorskip("optuna", reason="extra 'tune' is not installed")

NAME = "world (seed 1)"
"""Of the tiny world."""
SYSTEMS = [
    {"name": "Item-KNN", "use": "recall.ItemKNN"},
    {"name": "SVD", "use": "recall.PureSVD"},
    {"name": "walk", "use": "recall.P3alpha", "alpha": 0.5},
    {"name": "TopPop", "use": "recall.Popular"},
]


def study(folder, **more) -> Study:
    return Study.load(
        None,
        {
            "kind": "references",
            "seeds": [0],
            "data.path": str(folder),
            "recall.size": 30,
            "measure.rank_k": [5, 10],
            "references.systems": SYSTEMS,
            "tune.trials": 3,
            "tune.metric": "ndcg@10",
            **more,
        },
    )


def test_the_arms_are_the_references_that_can_be_tuned(tiny_folder):
    arms = arms_of(study(tiny_folder))
    assert [arm.name for arm in arms] == ["Item-KNN", "SVD", "walk"]
    assert set(arms[1].space) == {"vectors.factors"}
    assert "alpha" not in arms[2].space  # what its table sets is held


@pytest.mark.parametrize("words", [["ItemKNN", "SVD"], ["Item-KNN", "recall.PureSVD"]])
def test_channels_that_are_systems_are_tuned_as_them(tiny_folder, tmp_path, words):
    asked = study(
        tiny_folder, **{"tune.channels": words, "references.tuned": {"other": {"SVD": {"factors": 2}}}}
    )
    assert [arm.name for arm in arms_of(asked)] == ["Item-KNN", "SVD"]
    result = tune(asked, out=tmp_path / "tuned", store=tmp_path / "store")
    told = Study.load(str(tmp_path / "tuned" / "best.toml"), {"data.path": str(tiny_folder)})
    assert set(told.references.tuned) == {"other", NAME}
    assert set(told.references.tuned[NAME]) == {"split", "Item-KNN", "SVD"}
    found = {one.name: one for one in plan_of_references(told, told.data.opened()).references}
    best = {arm["arm"]: arm["parameters"] for arm in result.summary["tuning"]["arms"]}
    assert found["Item-KNN"].channel.neighbours == best["Item-KNN"]["neighbours"]
    assert (found["SVD"].tuned, found["walk"].tuned) == (True, False)


def test_a_channel_that_is_no_system_is_tuned_as_a_channel(tiny_folder, tmp_path):
    held = '{use="recall.ItemKNN", similarity="dot"}'
    for words in ([held], ["ItemKNN", held], ["UserKNN"]):
        arms = arms_of(study(tiny_folder, **{"tune.channels": words}))
        assert arms[-1].name.startswith(("ItemKNN(similarity=dot)", "UserKNN"))
        assert len(arms) == len(words)
    tune(study(tiny_folder, **{"tune.channels": [held]}), out=tmp_path / "tuned", store=tmp_path / "store")
    assert Study.load(str(tmp_path / "tuned" / "best.toml")).kind == "stages"


def test_a_system_with_nothing_to_tune_is_refused_where_it_is_named(tiny_folder):
    for word in ("TopPop", "Popular"):
        with pytest.raises(ConfigError, match="TopPop: nothing to tune"):
            arms_of(study(tiny_folder, **{"tune.channels": ["ItemKNN", word]}))
    fixed = {"references.systems": SYSTEMS[3:], "references.baseline": "TopPop"}
    with pytest.raises(ConfigError, match="TopPop: nothing to tune"):
        arms_of(study(tiny_folder, **fixed))


def test_stored_values_stay_beside_new_ones_where_they_share_the_split(tiny_folder, tmp_path):
    asked = study(tiny_folder)
    own = make_split(asked.data.opened()).fingerprint()
    for number, (said, stays) in enumerate([(own[:12], True), ("0" * 12, False), (None, False)]):
        stored = {"SVD": {"factors": 3}} | ({} if said is None else {"split": said})
        given = {"tune.channels": ["Item-KNN"], "references.tuned": {NAME: stored}}
        out = tmp_path / str(number)
        tune(study(tiny_folder, **given), out=out, store=tmp_path / "store")
        found = Study.load(str(out / "best.toml")).references.tuned[NAME]
        assert set(found) == {"split", "Item-KNN", *(["SVD"] if stays else [])}
        assert found["split"] == own
        assert ("# Left out" in (out / "best.toml").read_text()) != stays


def test_no_trial_asks_for_more_neighbours_than_there_are(tiny_folder, tmp_path):
    systems = [{"name": name, "use": f"recall.{name}"} for name in ("ItemKNN", "UserKNN", "RP3beta")]
    told = study(tiny_folder, **{"references.systems": systems, "references.baseline": "ItemKNN"})
    told = told.model_copy(update={"tune": told.tune.model_copy(update={"trials": 12})})
    result = tune(told, out=tmp_path / "tuned", store=tmp_path / "store")
    trials = pandas.read_parquet(tmp_path / "tuned" / "trials.parquet")
    assert len(trials) == 36
    assert set(trials.state) <= {"complete", "duplicate"}, list(trials.reason)
    assert result.summary["tuning"]["arms"][0]["trials"] == 12


def test_what_was_found_is_what_the_study_of_references_measures(tiny_folder, tmp_path):
    result = tune(study(tiny_folder), out=tmp_path / "tuned", store=tmp_path / "store")
    best = {arm["arm"]: arm["parameters"] for arm in result.summary["tuning"]["arms"]}
    told = Study.load(str(tmp_path / "tuned" / "best.toml"), {"data.path": str(tiny_folder)})
    assert (told.kind, told.measure.rank_k, told.recall.size) == ("references", (5, 10), 30)
    plan = plan_of_references(told, told.data.opened())
    found = {one.name: one for one in plan.references}
    assert list(found) == [table["name"] for table in SYSTEMS]
    assert found["Item-KNN"].channel.neighbours == best["Item-KNN"]["neighbours"]
    assert found["SVD"].channel.vectors.factors == best["SVD"]["vectors.factors"]
    assert (found["walk"].channel.alpha, found["walk"].tuned) == (0.5, True)
    assert not found["TopPop"].tuned
