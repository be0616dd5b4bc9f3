"""A permuted modality against another permutation of it: the interval hardly ever leaves 0 out, at any stage.

The worlds and the comparison are those of ``benchmarks/exact_null.py``, which runs a thousand. ``simulate certify``
examines its own null worlds with the studies' instrument; here the parts are put together by hand.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

PLACE = Path(__file__).parents[2] / "benchmarks" / "exact_null.py"


@pytest.fixture(scope="module")
def null() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exact_null", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["exact_null"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def worlds(null) -> list[dict]:
    return [null.compare(world, stages=("recall", "both")) for world in range(2)]


def test_null_worlds_differ_and_are_not_judged_to(null, worlds):
    for stage in ("recall", "both"):
        assert all(world[stage]["differs"] for world in worlds)  # both copies do change the lists
        assert all(world[stage]["p"] >= 0.001 for world in worlds)
        assert any(world[stage]["verdict"] in null.NULL for world in worlds)


def test_a_world_is_the_same_every_time_and_alone(null, worlds):
    again = null.compare(1, stages=("recall",))
    assert again["recall"] == worlds[1]["recall"]


@pytest.mark.slow
def test_a_dozen_null_worlds_at_recall(null):
    found = [null.compare(world, stages=("recall",))["recall"] for world in range(12)]
    assert sum(one["p"] < 0.05 for one in found) <= 2  # 2 % of nominal 5 % tests would have more


@pytest.mark.slow
def test_the_same_comparison_sees_a_modality_that_is_not_permuted(null):
    found = [null.compare(w, stages=("recall",), names=("text~a", "text"))["recall"] for w in range(12)]
    assert sum(one["verdict"] == "helps" for one in found) >= 4
    assert sum(one["verdict"] == "hurts" for one in found) == 0
    assert sum(one["difference"] > 0 for one in found) >= 10


@pytest.mark.slow
def test_weights_chosen_on_valid_are_another_setting(null):
    """The default of studies: channels of noise are mostly refused, and refused ones change nothing."""
    one = null.compare(1, null.Setting(weights="valid"), ("recall",))
    assert one["setting"] == {"weights": "valid", "seeds": 1, "alpha": 0.05}
    assert one["recall"]["p"] == 1 or one["recall"]["differs"]


@pytest.mark.slow
def test_a_run_goes_on_where_it_stopped(null, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(PLACE.parent))  # the process finds the functions by name
    path = tmp_path / "worlds.jsonl"
    worlds = [null.compare(world) for world in range(3)]
    lines = [json.dumps(world) for world in worlds[:2]]
    path.write_text("\n".join(lines) + '\n{"world": 2, "sett')  # killed while it wrote the third
    assert set(null.read(path, null.Setting())) == {0, 1}
    made = null.run(path, 3, null.Setting(), 1)
    assert made[0] == worlds[0]
    assert made[2] == worlds[2]  # from a process of its own
    assert set(null.read(path, null.Setting())) == {0, 1, 2}
    with pytest.raises(ValueError, match="name another file"):
        null.read(path, null.Setting(seeds=3))


def test_the_table_counts_what_left_zero_out(null):
    def world(p: float, verdict: str) -> dict:
        return {"recall": {"p": p, "p_user": p / 10, "verdict": verdict, "differs": True}}

    found = [world(0.5, "cannot tell")] * 28 + [world(0.04, "helps"), world(0.03, "no difference")]
    text = null.table(found)
    assert "recall        0.0667  [0.0185, 0.2132]          0.0333" in text
    assert "rerank" not in text


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "seeds"), [("equal", 1), ("valid", 1), ("equal", 3)])
def test_forty_null_worlds(null, monkeypatch, tmp_path, weights, seeds):
    monkeypatch.syspath_prepend(str(PLACE.parent))
    found = null.run(tmp_path / "worlds.jsonl", 40, null.Setting(weights, seeds), 2)
    for stage in null.STAGES:
        out = sum(world[stage]["p"] < 0.05 for world in found.values())
        assert null.wilson(out, len(found))[0] <= 0.05, null.table(found.values())
