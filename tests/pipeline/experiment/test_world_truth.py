"""The truth beside the measurement, in a study of a world."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stagelens.pipeline.data.splits import split
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.pilot_study import estimate
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.experiment.world_truth import check_truth
from stagelens.pipeline.report.schema import validate
from stagelens.pipeline.report.sections import sections
from stagelens.pipeline.worlds import evened as room
from stagelens.pipeline.worlds.evened import evened
from stagelens.pipeline.worlds.generate import Generated
from stagelens.pipeline.worlds.presets import read_world

DRAWS = 12
WORLD = """
about = "A small world."
seed = 3
[world]
users = 200
items = 150
activity = 20
factors = 4
categories = 5
EXPOSURE
[world.modalities.text]
width = 8
signal = 0.9
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("truth")
    for name, exposure in (("flat", ""), ("shown", 'exposure = "popularity"')):
        (made / f"{name}.toml").write_text(WORLD.replace("EXPOSURE", exposure))
    return made


@pytest.fixture(scope="module")
def told(make_study, folder):
    options = {"data.path": f"world:{folder / 'shown.toml'}", "measure.truth": DRAWS, "modalities": ["text"]}
    study = make_study(**options, stage="both")
    return study, simulate(study, out=folder / "run", store=folder / "store")


def test_every_comparison_has_its_truth_beside_it(told):
    _, result = told
    validate(result.summary)
    rows = result.summary["world_truth"]
    judged = [c for c in result.summary["comparisons"] if c["verdict"] and not c["slice"]]
    assert len(rows) == len(judged) > 2
    for row, one in zip(rows, judged, strict=True):
        assert (row["system"], row["baseline"], row["stage"]) == (
            one["system"],
            one["baseline"],
            one["stage"],
        )
        assert row["measured"] == one["difference"]
        assert row["bias"] == pytest.approx(row["measured"] - row["true"])
        assert row["covered"] == (
            None if one["low"] == one["high"] else one["low"] <= row["true"] <= one["high"]
        )
        assert row["policy_bias"] == pytest.approx(row["true"] - row["even"])
        if row["measured"]:
            assert 0 < row["true_error"] < one["high"] - one["low"]
    alone = next(row for row in rows if row["system"] == "text" and row["stage"] == "recall")
    assert alone["policy_bias"] < -3 * (
        alone["true_error"] + alone["even_error"]
    )  # popular lists are rewarded


def test_where_fresh_logs_are_the_recorded_one_the_truth_is_what_was_measured(
    make_study, folder, monkeypatch
):
    """Every seed, every budget and every weighted sum; and what the world is asked for."""
    options = {"data.path": f"world:{folder / 'shown.toml'}", "measure.truth": 2, "modalities": ["text"]}
    options |= {"sparsity.budgets": [40], "seeds": [0, 1, 2], "measure.information": False}
    study = make_study(**options, kind="sparsity", stage="recall")
    dataset = study.data.opened()
    windows = split(dataset)
    asked = []

    def recorded(self, draw, *, start, end=None, taken=None):
        asked.append((self, draw, start, taken))
        return windows.test

    monkeypatch.setattr(Generated, "fresh", recorded)
    result = simulate(study, out=folder / "recorded", store=folder / "store-recorded")
    rows = result.summary["world_truth"]
    systems = {row["system"] for row in rows}
    assert {"base + text, area", "base + text, growth", "base + text at 40 %"} <= systems
    for row in rows:
        assert row["true"] == pytest.approx(row["measured"], abs=1e-12)
        assert row["even"] == row["true"]
    assert [draw for _, draw, _, _ in asked] == [0, 1, 0, 1]
    for world, _, start, taken in asked:
        assert start == windows.test.time.min()
        assert taken.fingerprint() == windows.train.merged(windows.valid).fingerprint()
        assert world.clocks.seed == asked[0][0].clocks.seed
    policy, even = asked[0][0].clocks, asked[2][0].clocks
    assert np.ptp(policy.exposure) > 0
    assert np.ptp(even.exposure) == 0
    assert not np.array_equal(policy.pace, even.pace)


def test_a_pilot_asks_for_no_truth(make_study, folder):
    options = {"data.path": f"world:{folder / 'shown.toml'}", "measure.truth": 3, "modalities": ["text"]}
    result = estimate(
        make_study(**options, stage="recall"), users=180, out=folder / "pilot", store=folder / "store-pilot"
    )
    assert result.summary["estimate"]
    assert "world_truth" not in result.summary


def test_the_truth_is_kept_and_shown(told, folder):
    study, result = told
    again = simulate(study, out=folder / "again", store=folder / "store")
    assert again.manifest["made"] == 0
    assert again.summary["world_truth"] == result.summary["world_truth"]
    assert (
        json.loads((result.folder / "summary.json").read_text())["world_truth"]
        == result.summary["world_truth"]
    )
    for complete in (True, False):
        [table] = [
            one for one in sections(result.summary, complete=complete) if one.title == "Measured and true"
        ]
        assert len(table.rows) == len(result.summary["world_truth"])
        assert table.columns[-2:] == ("even", "covered")


def test_even_exposure_has_no_second_truth(make_study, folder):
    options = {"data.path": f"world:{folder / 'flat.toml'}", "measure.truth": 1, "modalities": ["text"]}
    result = simulate(make_study(**options, stage="recall"), out=folder / "flat", store=folder / "store")
    for row in result.summary["world_truth"]:
        assert "even" not in row
        assert row["true_error"] is None
    validate(result.summary)


def test_without_a_world_or_its_clock_there_is_no_truth(make_study, folder, tiny_split):
    with pytest.raises(
        ConfigError, match=r"measure.truth = 5 with .*fresh logs can be made of a world alone"
    ):
        check_truth(make_study(**{"measure.truth": 5}), tiny_split)
    options = {"data.path": f"world:{folder / 'flat.toml'}", "data.split": "per-user", "measure.truth": 5}
    with pytest.raises(ConfigError, match=r"split = 'per-user'"):
        simulate(make_study(**options), out=folder / "no", store=folder / "store")
    assert not (folder / "no").exists()


def test_an_even_world_keeps_the_events_of_users_in_any_block(folder, monkeypatch):
    made = read_world(folder / "shown.toml", "shown").truth()
    windows = split(made.dataset)
    start, taken = int(windows.test.time.min()), windows.train.merged(windows.valid)
    even = evened(made, start, taken)
    assert np.all(even.clocks.exposure == 1)
    chances = [
        world.chance(np.arange(200)[:, None], np.arange(150)[None, :], start=start) for world in (made, even)
    ]
    for chance in chances:
        chance[taken.user, taken.item] = 0
    np.testing.assert_allclose(chances[1].sum(axis=1), chances[0].sum(axis=1), rtol=1e-3)
    monkeypatch.setattr(room, "CELLS", 150 * 7)
    np.testing.assert_array_equal(evened(made, start, taken).clocks.pace, even.clocks.pace)
