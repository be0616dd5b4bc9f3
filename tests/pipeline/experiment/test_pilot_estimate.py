"""A study foreseen from pilots, from options to the folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stagelens.pipeline.data.splits import split
from stagelens.pipeline.data.write import write_dataset
from stagelens.pipeline.errors import ConfigError, DataError
from stagelens.pipeline.experiment.pilot import pilots
from stagelens.pipeline.experiment.pilot_study import default_users, estimate
from stagelens.pipeline.progress import Silent
from stagelens.pipeline.report import page
from stagelens.pipeline.report.schema import validate
from stagelens.pipeline.report.sections import sections
from stagelens.pipeline.store import Store

USERS = 500


@pytest.fixture(scope="module")
def world(make_world):
    dataset = make_world(5, users=600)
    return dataset, split(dataset)


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("pilot") / "world"
    write_dataset(world[0], place)
    return place


@pytest.fixture(scope="module")
def made(folder, make_study, tmp_path_factory):
    """An estimate of both stages, and the place of its folder and store."""
    place = tmp_path_factory.mktemp("estimate")
    study = make_study(
        **{"data.path": str(folder), "recall.weights": "equal"}
    )  # chosen ones may leave text out
    return study, estimate(study, users=USERS, out=place / "out", store=place / "store"), place


def rows(result, **wanted):
    found = result.summary["estimate"]["detectable"]
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


def test_the_folder_holds_a_valid_summary_and_a_page(made):
    _, result, _ = made
    validate(result.summary)
    assert json.loads((result.folder / "summary.json").read_text()) == result.summary
    assert (result.folder / "config.toml").is_file()
    titles = [section.title for section in sections(result.summary, complete=True)]
    assert titles[0] == "What this study would see"
    assert {"By comparison", "By slice", "With other numbers of users", "Time and memory"} <= set(titles)
    assert "Test was neither opened" in page.markdown(result.summary, result.manifest)


def test_test_is_neither_opened_nor_counted(made):
    _, result, place = made
    assert not (place / "store" / "test-opened").exists()
    assert result.manifest["test_opened"] == 0


def test_every_stage_and_comparison_is_foreseen(made):
    _, result, _ = made
    block = result.summary["estimate"]
    assert [row["stage"] for row in block["stages"]] == ["recall", "rerank", "both"]
    for row in [*block["stages"], *rows(result, family="primary")]:
        assert row["users"] == block["study"]["users"]
        assert row["low"] <= row["detectable"] <= row["high"]
        assert row["detectable"] > row["limit"]
        ends = [one["detectable"] for one in row["sizes"]]
        assert ends == sorted(ends, reverse=True)
    assert rows(result, family="primary", contrast="worth", system="base + text", stage="both")


def test_slices_hold_the_users_that_valid_lets_expect(made):
    _, result, _ = made
    whole = result.summary["estimate"]["study"]["users"]
    wanted = {"stage": "recall", "system": "base + text"}
    degrees = [row for row in rows(result, **wanted) if (row["slice"] or "").startswith("user degree")]
    assert sum(row["users"] for row in degrees) == pytest.approx(whole, abs=3)
    few = [row for row in rows(result, **wanted) if row["slice"] and row["measured"] < 25]
    assert few
    assert all(row["detectable"] is None for row in few)


def test_users_needed_follow_the_wanted_effect(made):
    study, result, place = made
    [before] = [row for row in result.summary["estimate"]["stages"] if row["stage"] == "both"]
    for effect, reachable in ((f"{1.5 * before['detectable']}", True), ("0.000001", False)):
        other = estimate(study, users=USERS, effect=effect, out=place / effect, store=place / "store")
        [row] = [row for row in other.summary["estimate"]["stages"] if row["stage"] == "both"]
        assert row["effect"] == pytest.approx(float(effect))
        assert row["detectable"] == before["detectable"]
        if reachable:
            assert row["users_low"] <= row["users_needed"] <= (row["users_high"] or np.inf)
            assert row["users_needed"] < row["users"]
        elif before["limit"] > 1e-6:
            assert row["reachable"] is False
            assert row["users_needed"] is None


def test_an_effect_in_per_cent_is_one_of_the_baseline(made):
    study, result, place = made
    margins = {row["system"]: row["effect"] for row in rows(result, family="primary", stage="both")}
    other = estimate(study, users=USERS, effect="4%", out=place / "share", store=place / "store")
    for row in rows(other, family="primary", stage="both"):
        assert row["effect"] == pytest.approx(2 * margins[row["system"]])  # the margin is 2 %


def test_a_second_estimate_runs_no_pilot(made):
    study, result, place = made
    before = sorted((place / "store" / "pilot").rglob("meta.json"))
    again = estimate(study, users=USERS, out=place / "again", store=place / "store")
    assert sorted((place / "store" / "pilot").rglob("meta.json")) == before
    for block in (again.summary["estimate"], result.summary["estimate"]):
        block["time"].pop("load")
    assert again.summary["estimate"] == result.summary["estimate"]


def test_nothing_depends_on_what_test_holds(world, make_study, tmp_path):
    dataset, windows = world
    study = make_study(**{"stage": "recall"})
    moved = replace(windows.test, item=np.roll(windows.test.item, 17))
    found = []
    for number, one in enumerate((windows, replace(windows, test=moved))):
        made, _ = pilots(study, dataset, one, f"key {number}", USERS, Silent(), Store(tmp_path / "store"))
        found.append([pilot.records for pilot in made])
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_effects_of_an_attribution_are_foreseen(folder, make_study, tmp_path):
    study = make_study(**{"data.path": str(folder), "kind": "attribute", "seeds": [0, 1, 2]})
    result = estimate(study, users=USERS, out=tmp_path / "out", store=tmp_path / "store")
    validate(result.summary)
    effects = rows(result, family="effects", contrast="effect")
    assert [(row["system"], row["stage"]) for row in effects] == [
        ("text", "recall"),
        ("text", "rerank"),
        ("all", "both"),
    ]
    for row in effects:
        assert row["parts"]["seeds"] >= 0
        assert row["detectable"] > 0
    assert result.summary["estimate"]["study"]["seeds"] == 3


def test_two_seeds_bad_effects_and_small_pilots_are_refused(folder, make_study, tmp_path):
    where = {"out": tmp_path / "out", "store": tmp_path / "store"}
    study = make_study(**{"data.path": str(folder)})
    with pytest.raises(ConfigError, match="Two seeds"):
        estimate(make_study(**{"data.path": str(folder), "seeds": [0, 1]}), **where)
    with pytest.raises(ConfigError, match=r"--effect 'much': write a share"):
        estimate(study, effect="much", **where)
    with pytest.raises(DataError, match=r"Take about \d+"):
        estimate(study, users=30, **where)
    assert not (tmp_path / "out").exists()


def test_the_default_pilot_takes_all_users_of_a_small_set(world):
    _, windows = world
    before = {*windows.history.user, *windows.labels.user, *windows.valid.user}
    assert default_users(windows, 0) == len(before)


def test_the_best_of_a_kind_stands_for_whichever_was_chosen(folder, make_study, tmp_path):
    options = {"kind": "compare", "stage": "recall", "seeds": [0], "compare.trials": 2}
    study = make_study(**{"data.path": str(folder), **options})
    result = estimate(study, users=USERS, out=tmp_path / "out", store=tmp_path / "store")
    validate(result.summary)
    primary = {(row["baseline"], row["system"]) for row in rows(result, family="primary")}
    assert {("best fusion", "best ensemble"), ("base", "best fusion"), ("base", "best ensemble")} <= primary
    pairs = {name for row in rows(result, family="pairs") for name in (row["baseline"], row["system"])}
    assert len(pairs) > 2
    assert not any(name.startswith("best") for name in pairs)
    assert {row["name"] for row in result.summary["estimate"]["time"]["phases"]} >= {"choice", "test"}
