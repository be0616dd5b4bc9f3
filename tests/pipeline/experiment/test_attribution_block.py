"""What ``simulate attribute`` says of a small world: effects that add up, and one line."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from stagelens.pipeline.evaluate.shapley import ANSWERS
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.report.schema import validate


@pytest.fixture(scope="module")
def attribute(make_study, tmp_path_factory):
    """Run an attribution of the tiny world."""

    def run(**options):
        folder = tmp_path_factory.mktemp("attribution")
        study = make_study(kind="attribute", **options)
        result = simulate(study, out=folder / "out", store=folder / "store")
        validate(result.summary)
        return result

    return run


@pytest.fixture(scope="module")
def result(attribute):
    return attribute(**{"measure.information": True, "seeds": [0, 1, 2]})


@pytest.fixture(scope="module")
def block(result):
    return result.summary["attribution"]


def means(result) -> dict[str, float]:
    return {s["system"]: s["metrics"]["ndcg@10"]["mean"] for s in result.summary["systems"]}


def one(rows, **wanted):
    [row] = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    return row


def test_effects_follow_from_the_cells_means(result, block):
    mean = means(result)
    off, recall, rerank, full = (
        mean[f"recall: {r}; re-rank: {s}"]
        for r, s in [("base", "base"), ("text", "base"), ("base", "text"), ("text", "text")]
    )
    effects = block["effects"]
    at_recall = one(effects, modality="text", stage="recall", metric="ndcg@10")["effect"]
    at_rerank = one(effects, modality="text", stage="rerank", metric="ndcg@10")["effect"]
    total = one(effects, modality="all", stage="both", metric="ndcg@10")["effect"]
    assert at_recall == pytest.approx((recall - off + full - rerank) / 2, abs=1e-12)
    assert at_rerank == pytest.approx((rerank - off + full - recall) / 2, abs=1e-12)
    assert total == pytest.approx(full - off, abs=1e-12)
    assert abs(at_recall + at_rerank - total) < 1e-12
    for who in ("text", "all"):
        gap = one(block["stage_difference"], modality=who, metric="ndcg@10")
        assert gap["difference"] == pytest.approx(at_recall - at_rerank, abs=1e-12)
    pair = one(block["interaction"], modality="text", metric="ndcg@10")
    assert pair["effect"] == pytest.approx(full - recall - rerank + off, abs=1e-12)
    assert at_recall != 0


def test_cells_hold_what_is_on_and_its_means(result, block):
    mean = means(result)
    assert [(cell["recall"], cell["rerank"]) for cell in block["cells"]] == [
        ([], []),
        (["text"], []),
        ([], ["text"]),
        (["text"], ["text"]),
    ]
    for cell in block["cells"]:
        assert cell["ndcg@10"] == pytest.approx(mean[cell["system"]], abs=1e-12)
        assert cell["hit@10"] >= cell["ndcg@10"]


def test_verdicts_are_those_of_simultaneous_intervals_and_of_the_primary_metric_alone(block):
    for row in block["effects"] + block["stage_difference"]:
        if row["metric"] == "hit@10":
            assert row["verdict"] is None
            assert row["p_adjusted"] is None
            continue
        assert row["low"] < row.get("effect", row.get("difference")) < row["high"]
        assert (row["low"] > 0 or row["high"] < 0) == (row["p_adjusted"] < 0.05)
    assert {row["metric"] for row in block["effects"]} == {"ndcg@10", "hit@10"}
    assert all("verdict" not in row for row in block["interaction"])


def test_the_margin_is_a_share_of_the_empty_cell_on_valid(result, block):
    valid = result.manifest["valid"]["both/own/recall: base; re-rank: base"]
    for row in block["effects"] + block["stage_difference"]:
        wanted = pytest.approx(0.02 * valid) if row["metric"] == "ndcg@10" else None
        assert row["margin"] == wanted


def test_a_share_is_given_where_the_total_is_known_to_be_there(block):
    for metric in ("ndcg@10", "hit@10"):
        rows = [row for row in block["effects"] if row["metric"] == metric]
        total = one(rows, stage="both")
        known = total["low"] > 0 or total["high"] < 0
        for row in rows:
            assert row["share"] == (pytest.approx(row["effect"] / total["effect"]) if known else None)


def test_worth_and_information_stand_in_the_comparisons_under_the_names_given(result, block):
    made = {(c["baseline"], c["contrast"]) for c in result.summary["comparisons"] if c["primary"]}
    for stage in ("recall", "rerank"):
        row = one(block["effects"], modality="text", stage=stage, metric="ndcg@10")
        assert (row["without"], "worth") in made
        assert (row["permuted"], "information") in made
    assert one(block["effects"], stage="both", metric="ndcg@10")["without"] is None
    frame = pd.read_parquet(result.folder / "comparisons.parquet")
    assert set(frame["system"]) == {"recall: text; re-rank: text"}


def test_one_line_answers_with_the_verdict(block):
    gap = one(block["stage_difference"], modality="all", metric="ndcg@10")
    assert block["answer"].startswith("Does multimodality help recall more than re-ranking here? ")
    assert ANSWERS[gap["verdict"]] in block["answer"].lower()
    assert f"{gap['difference']:+.4f}" in block["answer"]
    assert "\n" not in block["answer"]


def test_interaction_as_a_player_is_no_part_of_what_content_does(attribute):
    result = attribute(modalities=["all", "interaction"])
    block = result.summary["attribution"]
    assert len(block["cells"]) == 16
    rows = [row for row in block["effects"] if row["metric"] == "ndcg@10"]
    players = [row for row in rows if row["modality"] in ("interaction", "text")]
    total = one(rows, modality="interaction + all", stage="both")["effect"]
    assert len(players) == 4
    assert abs(math.fsum(row["effect"] for row in players) - total) < 1e-12
    mean = means(result)
    empty, full = mean["recall: popular; re-rank: recall's order"], block["cells"][-1]["ndcg@10"]
    assert total == pytest.approx(full - empty, abs=1e-12)
    assert empty == mean["popular"]
    gaps = {row["modality"]: row["difference"] for row in block["stage_difference"] if row["margin"]}
    assert set(gaps) == {"interaction", "text", "all"}
    assert gaps["all"] == gaps["text"]
    assert one(players, modality="interaction", stage="recall")["permuted"] is None
    json.dumps(result.summary, allow_nan=False)
