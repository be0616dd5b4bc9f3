"""Slices are a second family with verdicts; secondary metrics carry an interval and no verdict."""

import numpy as np
import pytest

from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.report.schema import validate


@pytest.fixture(scope="module")
def summary(make_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("second-family")
    study = make_study(stage="recall", modalities=["text"])
    result = simulate(study, out=folder / "out", store=folder / "store")
    validate(result.summary)
    return result.summary


def test_every_worth_is_judged_in_every_slice_that_has_pairs(summary):
    [system] = [s for s in summary["systems"] if s["system"] == "base + text"]
    wanted = {f"{part['slice']} {part['value']}" for part in system["slices"] if part["n"]}
    sliced = [c for c in summary["comparisons"] if c["slice"]]
    assert {c["slice"] for c in sliced} == wanted
    assert len(wanted) > 5
    for comparison in sliced:
        assert comparison["contrast"] == "worth"
        assert not comparison["primary"]
        assert comparison["verdict"] in ("helps", "hurts", "no difference", "cannot tell")


def test_a_slice_of_everyone_repeats_the_whole(summary):
    """Text is present on every item of the tiny world, so its slice is the whole test window."""
    worth = [c for c in summary["comparisons"] if c["contrast"] == "worth"]
    whole = [c for c in worth if c["primary"]]
    present = [c for c in worth if c["slice"] == "text present"]
    assert present[0]["n"] == whole[0]["n"]
    assert np.isclose(present[0]["difference"], whole[0]["difference"], rtol=0, atol=1e-15)
    assert present[0]["p"] == pytest.approx(whole[0]["p"])


def test_secondary_metrics_have_no_verdict(summary):
    primary = [c for c in summary["comparisons"] if c["primary"]]
    secondary = [c for c in summary["comparisons"] if not c["primary"] and c["slice"] is None]
    assert [(c["baseline"], c["system"]) for c in secondary] == [
        (c["baseline"], c["system"]) for c in primary
    ]
    for comparison in secondary:
        assert comparison["metric"] == "recall@50"
        assert comparison["verdict"] is None
        assert comparison["p_adjusted"] is None
        assert comparison["low"] <= comparison["difference"] <= comparison["high"]
