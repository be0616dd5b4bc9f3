"""Trials of every kind: what they hold, that they repeat, and known answers where effects are large."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.certify.instrument import code, sources
from stagelens.pipeline.certify.laboratory import arm_of, fitted
from stagelens.pipeline.certify.logs import Logs
from stagelens.pipeline.certify.planting import FEWEST, NEAR, REASONS, Shared, meeting
from stagelens.pipeline.certify.pool import Batch, read, run
from stagelens.pipeline.certify.sparse import VARIANTS, thinned_family
from stagelens.pipeline.certify.trials import examine
from stagelens.pipeline.certify.worlds import KINDS, SETTINGS, setting_key, signals, study, world
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.experiment.arms import Builder
from stagelens.pipeline.experiment.sparsity import plan_of_sparsity
from stagelens.pipeline.progress import Silent


@pytest.fixture(scope="module")
def null() -> dict:
    return examine("null", 0)


def test_a_null_world_holds_every_stage_and_its_true_harm(null):
    json.dumps(null)
    for stage in ("recall", "rerank", "both"):
        one = null[stage]
        assert {"helps", "hurts", "alone", "on"} <= one.keys()
        assert one["helps"] <= one["alone"]["helps"]  # a correction never adds verdicts
        assert one["hurts"] <= one["alone"]["hurts"]
        assert one["on"]["se"] > 0
    assert null["recall"]["sparsity"].keys() == {"helps", "hurts"}
    assert null["recall"]["on"]["true"] < 0  # places of the list go to noise


def test_a_world_is_the_same_alone_and_at_one_stage(null):
    again = examine("null", 0, ("recall",))
    assert again["recall"] == null["recall"]
    assert "both" not in again


def test_a_leak_is_seen_at_every_stage():
    found = examine("leaky", 4)
    assert [found[stage]["verdict"] for stage in ("recall", "rerank", "both")] == ["helps"] * 3


def test_a_signal_world_knows_its_truth():
    found = examine("signal", 1, ("recall",))["recall"]
    for name in ("text", "image"):
        one = found[name]
        assert one["low"] <= one["difference"] <= one["high"]
        assert abs(one["difference"] - one["true"]) < 5 * one["se"]
        assert one["true_error"] < 0.15 * one["se"]
    gap = found["text"]["true"] - found["image"]["true"]
    assert np.sign(gap) == np.sign(signals("signal", 1)["text"] - signals("signal", 1)["image"])
    whole, thin, area, growth = found["sparsity"][:4]
    assert whole["difference"] == found["text"]["difference"]
    assert thin["difference"] != whole["difference"]
    for key in (
        "difference",
        "true",
    ):  # two budgets: the area is their mean, growth what the smaller one adds
        assert area[key] == pytest.approx((whole[key] + thin[key]) / 2)
        assert growth[key] == pytest.approx((thin[key] - whole[key]) / 2)
    assert growth["se"] < thin["se"] + whole["se"]
    assert found["text"]["unpaired"]["high"] - found["text"]["unpaired"]["low"] > 1.3 * (
        found["text"]["high"] - found["text"]["low"]
    )


def test_a_planted_effect_is_a_chance_of_the_full_one():
    """The system of coins, measured on logs of its own with coins of their own, against the chance times the full."""
    made, options = world("planted", 2).truth(2), study("planted", 2)
    windows = split(made.dataset)
    builder, logs = Builder(options, made.dataset), Logs.of(made, windows)
    arms = [arm_of(builder, "recall", name) for name in (None, "text", "image")]
    base, on = arms[0].key, arms[1].key
    with fitted(options, made.dataset, windows, arms, [logs.draw(draw) for draw in range(60)]) as lab:
        full = np.diff(lab.true_values([base, on], lab.draws[:30]).mean(axis=0))[0]
        shared = Shared(lab, "recall", "text", "image", 2)
        effects = []
        for draw, log in enumerate(lab.draws[30:]):
            coins = lab.with_ranks(replace(arms[1], name="coins"), shared.ranks(f"draw {draw}", 0.3))
            effects.append(np.diff(coins.true_values([base, ("recall", "catalogue", "coins")], [log])[0])[0])
    error = np.std(effects, ddof=1) / np.sqrt(len(effects))
    assert full > 20 * error  # so that another chance would be seen
    assert np.mean(effects) == pytest.approx(0.3 * full, abs=4 * error)


def test_what_is_planted_is_judged_or_left_out_with_a_reason():
    found = examine("planted", 2, ("recall",))["recall"]
    assert any(found[f"times {times}"] for times in (1, 2))
    for times in (1, 2):
        one = found[f"times {times}"]
        assert (one is None) == (found.get(f"left out {times}") in REASONS)
        if one:
            assert FEWEST <= one["chance"] <= 1
            assert one["true"] == pytest.approx(times * one["pilot"], rel=NEAR)
            assert abs(one["difference"] - one["true"]) < 5 * one["se"]


ALONE = """
import json, sys
from stagelens.pipeline.certify.sparse import VARIANTS, thinned_family
from stagelens.pipeline.certify.trials import examine
found = examine("planted", 1, ("both",))
files = [module.__file__ for name, module in sys.modules.items() if name.startswith("stagelens.")]
print(json.dumps([found, [file for file in files if file]]))
"""


@pytest.fixture(scope="module")
def alone() -> tuple[dict, list[str]]:
    """One planted world in a process of its own, and the files it took."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_stage_difference_has_a_truth_of_its_own(alone):
    stages = alone[0]["both"]["stages"]
    assert stages["low"] < stages["difference"] < stages["high"]
    assert abs(stages["true"] - stages["difference"]) < 2 * (stages["high"] - stages["low"])


def test_a_chance_is_found_where_the_effect_meets_what_is_detectable():
    def detectable(chance: float) -> float:
        return 0.01 * chance**0.5

    for full, times in ((0.02, 1), (0.02, 2), (0.015, 1)):
        chance = meeting(full, detectable, times)
        if full <= times * 0.01:
            assert chance == "too weak"
        else:
            assert chance * full == pytest.approx(times * detectable(chance), rel=NEAR)
    assert meeting(0.009, detectable, 1) == "too weak"
    assert meeting(0.1, detectable, 1) == "too strong"  # too few would be served
    steps = iter([0.01, 0.01, *[0.005, 0.01] * 12])
    assert meeting(0.02, lambda _: next(steps), 1) == "no meeting"


def test_worlds_of_a_kind_differ_by_number_alone():
    for kind in KINDS:
        assert world(kind, 3) == world(kind, 3)
        assert study(kind, 3).measure.draws == 1999
        total = sum(signals(kind, 3).values())
        assert 0 <= total <= 1
    assert signals("signal", 1) != signals("signal", 2)
    assert {world("planted", number).items for number in range(20)} == {
        items for items, _ in SETTINGS["planted"].sizes
    }
    keys = {setting_key(kind, ("recall",)) for kind in KINDS}
    assert len(keys | {setting_key("null", ("both",))}) == len(KINDS) + 1


def test_the_code_of_a_finding_is_all_that_was_loaded_for_it(alone):
    loaded = set(alone[1])
    assert len(loaded) > 50
    assert loaded <= {str(path) for path in sources().values()}


def test_other_code_makes_another_key(tmp_path, monkeypatch):
    before = setting_key("null", ("recall",))
    changed = tmp_path / "significance.py"
    name = "pipeline/evaluate/significance.py"
    changed.write_text(sources()[name].read_text() + "# another instrument\n")
    files = {**sources(), name: changed}
    monkeypatch.setattr("stagelens.pipeline.certify.instrument.sources", lambda: files)
    code.cache_clear()
    try:
        assert setting_key("null", ("recall",)) != before
    finally:
        monkeypatch.undo()
        code.cache_clear()
    assert setting_key("null", ("recall",)) == before


def test_a_run_goes_on_where_it_stopped_and_processes_change_nothing(tmp_path):
    path = tmp_path / "deep" / "null.jsonl"
    batch = Batch("null", path, 2)
    first = run([batch], ("recall",), 1, Silent())["null"]
    kept = path.read_text().splitlines()
    path.write_text(
        kept[0] + '\n[1]\n7\n{"kind": "null"}\n{"world": 1, "ki'
    )  # killed while it wrote the second
    assert set(read(path)) == {0}
    again = run([batch._replace(worlds=3)], ("recall",), 2, Silent())["null"]
    assert [one["world"] for one in again] == [0, 1, 2]
    assert again[:2] == first
    assert set(read(path)) == {0, 1, 2}


def test_fewer_data_are_judged_as_a_study_of_sparsity_judges_them():
    """The same family: terms, weights and metric of worth, area and growth."""
    made, options = world("signal", 1).truth(1), study("signal", 1)
    told = options.model_copy(
        update={
            "kind": "sparsity",
            "stage": "recall",
            "sparsity": options.sparsity.model_copy(update={"budgets": (25.0,), "tuning": "held"}),
        }
    )
    plan = plan_of_sparsity(told, made.dataset)
    builder = Builder(options, made.dataset)
    own = list(thinned_family(builder, [(None, name) for name in ("text", "image")], "sparsity"))
    theirs = {one.system[2]: one for one in plan.comparisons if one.family == "primary"}
    for one in own:
        name = (
            one.system[2]
            if "," in one.system[2] or one.system[2].endswith("25 %")
            else f"{one.system[2]} at 100 %"
        )
        other = theirs[name]
        assert one.metric == other.metric
        assert [weight for weight, _, _ in one.sum] == pytest.approx([weight for weight, _, _ in other.sum])
    everything = {"base + text + image", "base + image + text"}
    left = {name for name in theirs if not any(name.startswith(every) for every in everything)}
    assert len(left) == len(own)  # what is not examined: all modalities together
    [thin] = VARIANTS.values()
    [asked] = {variant.budget: variant for variant in plan.variants.values()}.values()
    assert (thin.budget, thin.held) == (asked.budget, asked.held)
