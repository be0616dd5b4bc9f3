"""Tuned references: the arms are the systems of the preset, and what is found goes where their study reads it."""

from __future__ import annotations

import pandas
import pytest

from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.references import plan_of_references
from stagelens.pipeline.experiment.tuning import arms_of, tune

pytest.importorskip("optuna", reason="extra 'tune' is not installed")

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
    [named] = arms_of(study(tiny_folder, **{"tune.channels": ["ItemKNN"]}))
    assert named.name == "ItemKNN"


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
