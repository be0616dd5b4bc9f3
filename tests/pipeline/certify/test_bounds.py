"""Figures from findings, and what the bounds say of them."""

import json

import pytest

from stagelens.pipeline.certify.bounds import BOUNDS, Bound, answer, verdict, verdicts
from stagelens.pipeline.certify.certificate import certificate
from stagelens.pipeline.certify.figures import broken, figures, mean, rate
from stagelens.pipeline.certify.instrument import code
from stagelens.pipeline.certify.page import lines, text
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.report.schema import validate

NAMES = {bound.figure: bound for bound in BOUNDS}


def many(share: float, n: int):
    return rate([True] * round(share * n) + [False] * (n - round(share * n)))


@pytest.mark.parametrize(
    ("name", "figure", "said"),
    [
        ("false_helps", many(0.025, 2000), "met"),
        ("false_helps", many(0.035, 2000), "not met"),
        ("false_helps", many(0.025, 500), "not enough worlds"),
        ("false_helps", many(0.10, 500), "not met"),
        ("false_helps", many(0.10, 499), "not enough worlds"),  # a quarter of 2000 decides against it
        ("false_helps", many(0.0, 40), "not enough worlds"),
        ("coverage", many(0.95, 1000), "met"),
        ("coverage", many(0.98, 1000), "met"),  # 97 lies within [96.9, 98.7]
        ("coverage", many(0.99, 1000), "not met"),
        ("coverage", many(0.90, 1000), "not met"),
        ("coverage", many(0.50, 249), "not enough worlds"),
        ("coverage", many(0.50, 250), "not met"),
        ("coverage", many(0.95, 100), "not enough worlds"),
        ("power", many(0.79, 300), "met"),
        ("power", many(0.87, 300), "not met"),
        ("power", many(0.60, 100), "not met"),
        ("power", many(0.80, 100), "not enough worlds"),
        ("power_twice", many(0.98, 200), "met"),
        ("power_twice", many(0.96, 200), "not met"),
        ("ordering", many(0.99, 200), "met"),
        ("absent_helps", many(0.01, 2000), "met"),
        ("absent_helps", many(0.024, 2000), "not met"),
        ("ordering", rate([]), "not enough worlds"),
    ],
)
def test_verdicts_on_figures(name, figure, said):
    assert verdict(NAMES[name], figure) == said


def test_means_have_to_lie_inside():
    bound = Bound("bias_se", "", -0.1, 0.1, "inside", 3)
    assert verdict(bound, {"value": 0.01, "low": -0.05, "high": 0.07, "n": 3}) == "met"
    assert verdict(bound, {"value": 0.06, "low": 0.0, "high": 0.12, "n": 3}) == "not met"
    assert verdict(bound, {"value": 0.0, "low": -0.5, "high": 0.5, "n": 2}) == "not enough worlds"
    assert mean([1.0, 2.0, 3.0]) == pytest.approx(
        {"value": 2, "low": 2 - 1.132, "high": 2 + 1.132, "n": 3}, abs=1e-3
    )
    assert verdict(bound, {"value": 1.0, "low": 0.9, "high": 1.1, "n": 1}) == "not met"
    assert mean([]) == {"value": None, "low": None, "high": None, "n": 0}
    assert mean([4.0])["low"] is None


def test_a_broken_instrument_is_found_out_early_and_a_sound_one_is_not_damned_early():
    assert verdict(NAMES["false_helps"], many(1.0, 4)) == "not enough worlds"
    assert verdict(NAMES["false_helps"], many(1.0, 4), broken=True) == "not met"
    assert verdict(NAMES["false_helps"], many(0.0, 4), broken=True) == "not enough worlds"
    assert verdicts({"coverage": many(0.5, 20)}, broken=True) == {"coverage": "not met"}


def test_the_answer_takes_every_verdict():
    assert answer(["met", "met"]) == "certified"
    assert answer(["met", "not enough worlds"]) == "not enough worlds"
    assert answer(["not enough worlds", "not met", "met"]) == "not certified"
    assert answer([]) == "not enough worlds"


def found() -> dict:
    def said(difference, true, **more):
        half = 0.02
        return {
            "difference": difference, "se": 0.01, "low": difference - half, "high": difference + half,
            "detectable": 0.028, "verdict": "helps" if difference > half else "cannot tell", "true": true,
            "true_error": 0.001, **more,
        }  # fmt: skip

    quiet, loud = {"helps": False, "hurts": False}, {"helps": True, "hurts": False}
    stage = [
        {**quiet, "alone": loud, "on": said(-0.01, -0.012)},
        {**loud, "alone": loud, "on": said(0.03, -0.01)},
    ]
    wide = {"low": -1.0, "high": 1.0}
    signal = [
        {"text": said(0.05, 0.04, unpaired=wide), "image": said(0.0, 0.01)},
        {"text": said(0.05, 0.01, unpaired=wide), "image": said(0.0, 0.01)},
    ]
    planted = [
        {"order": said(0.05, 0.06), "times 1": {**said(0.03, 0.03), "pilot": 0.03}, "times 2": None,
         "left out 2": "too strong", "unpaired": {"verdict": "helps"}, "stages": said(0.05, -0.06)},
        {"order": said(0.05, 0.01), "times 1": {**said(0.01, 0.03), "pilot": 0.03}, "times 2": None,
         "left out 2": "too weak", "unpaired": None, "stages": said(0.05, 0.06)},
    ]  # fmt: skip
    leaky = [said(0.3, 0.0)]
    exposed = [{"text": said(0.05, 0.04, free=0.02), "image": said(0.0, 0.01, free=0.05)}]
    kinds = {"null": stage, "leaky": leaky, "signal": signal, "planted": planted, "exposed": exposed}
    return {
        kind: [{"world": place, "both": one} for place, one in enumerate(lines)]
        for kind, lines in kinds.items()
    }


def test_figures_count_what_was_found():
    made = figures(found(), "both")
    value = {name: figure["value"] for name, figure in made.items()}
    assert value["false_helps"] == 0.5
    assert value["false_hurts"] == 0
    assert value["coverage"] == 0.5  # in the second world text's interval, from .03, leaves out .01
    assert value["bias"] == pytest.approx((0.0 + 0.015) / 2)
    assert value["power"] == 0.5
    assert made["power_twice"]["n"] == 0
    assert value["left_too_weak"] == 0
    assert (value["left_twice_too_weak"], value["left_twice_too_strong"]) == (0.5, 0.5)
    assert value["absent_measured"] == pytest.approx(0.01)
    assert (value["ordering"], made["ordering"]["n"]) == (1, 1)  # the other gap is smaller than detectable
    assert (value["stage_ordering"], made["stage_ordering"]["n"]) == (0.5, 2)
    assert value["absent_helps"] == 0.5
    assert value["absent_harm"] == pytest.approx(-0.011)
    assert value["exposure_bias"] == pytest.approx((0.02 - 0.04) / 2)
    assert value["exposure_coverage"] == 0
    spoilt = broken(found(), "both")
    assert spoilt["leaky features"]["false_helps"]["value"] == 1
    assert spoilt["no correction for the family"]["false_helps"]["value"] == 1
    assert spoilt["unpaired arms"]["coverage"]["value"] == 1
    assert spoilt["unpaired arms"]["power"] == rate([True])


def test_fewer_data_are_counted_at_recall_alone():
    covered = {"low": 0.0, "high": 0.2, "true": 0.1}
    kinds = {
        kind: [{"world": one["world"], "recall": one["both"]} for one in lines]
        for kind, lines in found().items()
    }
    for place, one in enumerate(kinds["null"]):
        one["recall"]["sparsity"] = {"helps": place == 0, "hurts": False}
    for place, one in enumerate(kinds["signal"]):
        one["recall"]["sparsity"] = [covered, covered | {"true": 0.1 + 0.2 * place}]
    for one in kinds["planted"]:
        del one["recall"]["stages"]
    made = figures(kinds, "recall")
    assert made["sparsity_helps"] == rate([True, False])
    assert made["sparsity_hurts"] == rate([False, False])
    assert made["sparsity_coverage"] == rate([True, False])  # one interval that misses is enough
    assert "sparsity_helps" not in figures(found(), "both")


def test_a_certificate_is_a_page_and_json():
    made = certificate(found(), ("both",), {"null": "0f"})
    assert (
        json.loads(json.dumps(made.summary("manifest.json")))["certification"]["both"]["false_helps"]["n"]
        == 2
    )
    assert made.verdicts["both"] == verdicts(made.figures["both"])
    said = made.summary("manifest.json")["certification"]
    assert (said["answer"], said["met"], said["broken_found"]) == ("not enough worlds", False, False)
    page = text(made)
    first, second = lines(made)
    assert first == "Not enough worlds (end to end; 2 null worlds)."
    assert second.startswith("Every broken instrument was found out: no (not: unpaired arms at end to end")
    assert f"**{first}** {second}" in page
    assert "    simulate certify --stage both --worlds 2 --write docs/certification.md\n" in page
    assert code()[:12] in page
    assert "## What is not certified" in page
    assert "| false helps | 50.0 % [9.5, 90.5] (2) | upper Wilson bound at most 4 % (nominal 2.5 %) |" in page
    assert "| leaky features | end to end | false helps | 100.0 % [20.7, 100.0] (1) | not met |" in page
    assert "- **planted** (2 worlds)." in page
    assert "600 items and 45 candidates or 260 items and 150 candidates" in page


def test_the_summary_fits_its_schema():
    made = certificate(found(), ("both",), {"null": "0f"})
    validate(made.summary("manifest.json"))
    spoilt = made.summary("manifest.json")
    spoilt["certification"]["both"]["verdicts"]["power"] = "nearly met"
    with pytest.raises(DataError, match="nearly met"):
        validate(spoilt)
