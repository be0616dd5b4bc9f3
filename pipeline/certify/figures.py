"""From what was found in each world to the figures of the certificate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from stagelens.pipeline.certify.planting import REASONS
from stagelens.pipeline.certify.worlds import MODALITIES, Kind
from stagelens.pipeline.evaluate.proportions import wilson

Found = Mapping[str, Any]
Z = 1.959963984540054


class Figure(TypedDict):
    """A rate with Wilson's 95 % interval, or a mean over worlds with its normal one; None without worlds."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def rate(hits: Iterable[bool]) -> Figure:
    """Return the share of trials in which something happened."""
    trials = list(hits)
    if not trials:
        return {"value": None, "low": None, "high": None, "n": 0}
    count = sum(map(bool, trials))
    low, high = wilson(count, len(trials))
    return {"value": count / len(trials), "low": low, "high": high, "n": len(trials)}


def mean(values: Iterable[float]) -> Figure:
    """Return the mean over worlds; without an interval where there are fewer than two."""
    given = np.array(list(values), dtype=np.float64)
    n = len(given)
    if n < 2:
        return {"value": float(given[0]) if n else None, "low": None, "high": None, "n": n}
    middle, half = float(given.mean()), Z * float(given.std(ddof=1)) / math.sqrt(n)
    return {"value": middle, "low": middle - half, "high": middle + half, "n": n}


def figures(found: Mapping[Kind, Sequence[Found]], stage: str) -> dict[str, Figure]:
    """Return the figures of the sound instrument at one stage."""
    null = [one[stage] for one in found.get("null", ())]
    signal = [one[stage] for one in found.get("signal", ())]
    planted = [one[stage] for one in found.get("planted", ())]
    measured = [one[name] for one in signal for name in MODALITIES]
    orders = [one["order"] for one in planted]
    made: dict[str, Figure] = {
        "false_helps": rate(one["helps"] for one in null),
        "false_hurts": rate(one["hurts"] for one in null),
        "power": rate(one["verdict"] == "helps" for one in _at(planted, 1)),
        "power_twice": rate(one["verdict"] == "helps" for one in _at(planted, 2)),
        "bias": mean(_average(_gap(one[name]) for name in MODALITIES) for one in signal),
        "bias_se": mean(
            _average(_gap(one[name]) / one[name]["se"] for name in MODALITIES)
            for one in signal
            if all(one[name]["se"] for name in MODALITIES)
        ),
        "coverage": rate(all(_covers(one[name], one[name]["true"]) for name in MODALITIES) for one in signal),
        "ordering": rate(_right(one) for one in orders if _clear(one)),
        "absent_helps": rate(one["on"]["verdict"] == "helps" for one in null),
        "absent_hurts": rate(one["on"]["verdict"] == "hurts" for one in null),
        "absent_harm": mean(one["on"]["true"] for one in null if "true" in one["on"]),
        "absent_measured": mean(one["on"]["difference"] for one in null if "true" in one["on"]),
        "absent_coverage": rate(_covers(one["on"], one["on"]["true"]) for one in null if "true" in one["on"]),
        "coverage_strong": rate(_covers(one, one["true"]) for one in orders),
        "truth_error": mean(one["true_error"] / one["se"] for one in measured if one["se"]),
        "planted_gap": mean(one["true"] / one["pilot"] - 1 for one in _at(planted, 1)),
    }
    for times, name in ((1, "left"), (2, "left_twice")):
        for reason in REASONS:
            made[f"{name}_{reason.replace(' ', '_')}"] = rate(
                one.get(f"left out {times}") == reason for one in planted
            )
    if stage == "both":
        stages = [one["stages"] for one in planted]
        made["stage_ordering"] = rate(_right(one) for one in stages if _clear(one))
    if stage == "recall":
        made["sparsity_helps"] = rate(one["sparsity"]["helps"] for one in null)
        made["sparsity_hurts"] = rate(one["sparsity"]["hurts"] for one in null)
        made["sparsity_coverage"] = rate(
            all(_covers(said, said["true"]) for said in one["sparsity"]) for one in signal
        )
    exposed = [one[stage][name] for one in found.get("exposed", ()) for name in MODALITIES]
    if exposed:
        made["exposure_bias"] = mean(one["true"] - one["free"] for one in exposed)
        made["exposure_coverage"] = rate(_covers(one, one["free"]) for one in exposed)
    return made


def broken(found: Mapping[Kind, Sequence[Found]], stage: str) -> dict[str, dict[str, Figure]]:
    """Return the figures of the broken instruments at one stage, by what is broken."""
    null = [one[stage]["alone"] for one in found.get("null", ())]
    leaky = [one[stage] for one in found.get("leaky", ())]
    signal = [one[stage] for one in found.get("signal", ())]
    planted = [one[stage] for one in found.get("planted", ())]
    alone = [one[name] for one in signal for name in MODALITIES[:1]]
    return {
        "leaky features": {"false_helps": rate(one["verdict"] == "helps" for one in leaky)},
        "unpaired arms": {
            "coverage": rate(_covers(one["unpaired"], one["true"]) for one in alone),
            "power": rate(
                one["unpaired"]["verdict"] == "helps" for one in planted if one["unpaired"] is not None
            ),
        },
        "no correction for the family": {
            "false_helps": rate(one["helps"] for one in null),
            "false_hurts": rate(one["hurts"] for one in null),
        },
    }


def _average(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _at(planted: Sequence[Found], times: int) -> list[Found]:
    return [one[f"times {times}"] for one in planted if one[f"times {times}"] is not None]


def _gap(one: Found) -> float:
    return float(one["difference"] - one["true"])


def _covers(one: Found, true: float) -> bool:
    return bool(one["low"] <= true <= one["high"])


def _clear(one: Found) -> bool:
    return bool(abs(one["true"]) > one["detectable"])


def _right(one: Found) -> bool:
    return bool(np.sign(one["difference"]) == np.sign(one["true"]))
