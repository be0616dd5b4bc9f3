"""Tables of an attribution: the answer first, numbers and words as they stand in the summary."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from stagelens.pipeline.report import page, tables
from stagelens.pipeline.report.schema import validate
from stagelens.pipeline.report.sections import sections

ANSWER = (
    "Does multimodality help recall more than re-ranking here? Recall more: it is worth +0.0110 | +0.0020."
)
FULL, NO_RECALL, NO_RERANK = "recall: t; re-rank: t", "recall: base; re-rank: t", "recall: t; re-rank: base"
COPY = "recall: t permuted; re-rank: t"


def effect(stage: str, value: float, verdict: str | None, **more: Any) -> dict[str, Any]:
    low, high = value - 0.004, value + 0.004
    row = {"modality": "t", "stage": stage, "metric": "ndcg@10", "effect": value, "low": low, "high": high}
    return {**row, "p_adjusted": 0.01, "share": 0.6, "verdict": verdict, "margin": 0.002, **more}


@pytest.fixture
def attributed(study_summary: dict[str, Any]) -> dict[str, Any]:
    rows = [
        effect("recall", 0.011, "helps", without=NO_RECALL, permuted=COPY),
        effect(
            "rerank", 0.002, "cannot tell", without=NO_RERANK, permuted=None, detectable=0.0057, share=None
        ),
        effect("both", 0.013, "helps", modality="all", share=1.0, without=None, permuted=None),
        effect("recall", 0.05, None, metric="hit@10", p_adjusted=None),
    ]
    gap = {"modality": "all", "metric": "ndcg@10", "difference": 0.009, "low": 0.001, "high": 0.017}
    study_summary["attribution"] = {
        "answer": ANSWER,
        "effects": rows,
        "stage_difference": [{**gap, "p_adjusted": 0.02, "verdict": "helps"}],
        "interaction": [
            {"modality": "t", "metric": "ndcg@10", "effect": -0.003, "low": -0.01, "high": 0.004}
        ],
        "cells": [{"system": FULL, "recall": ["t"], "rerank": [], "ndcg@10": 0.1234, "hit@10": 0.4}],
    }
    for baseline, contrast, difference in (
        (NO_RECALL, "worth", 0.0123),
        (COPY, "information", 0.0045),
        (NO_RERANK, "worth", -0.0031),
    ):
        study_summary["comparisons"].append(
            {
                **{"baseline": baseline, "system": FULL, "stage": "both", "metric": "ndcg@10", "slice": None},
                **{"contrast": contrast, "primary": True, "n": 9, "seeds": 1, "difference": difference},
                **{"low": difference - 0.002, "high": difference + 0.002, "p": 0.01, "p_adjusted": 0.02},
                **{"margin": 0.001, "detectable": 0.003, "verdict": "helps" if difference > 0 else "hurts"},
            }
        )
    validate(study_summary)
    return study_summary


def section(summary: dict[str, Any], title: str) -> Any:
    [found] = [one for one in sections(summary, complete=True) if one.title == title]
    return found


def test_a_page_begins_with_the_answer(attributed: dict[str, Any]) -> None:
    first = sections(attributed, complete=True)[0]
    assert first.title == "Attribution"
    assert first.explain.startswith(ANSWER)
    text = page.html(attributed, {})
    assert text.index("Does multimodality") < text.index("Worth and information") < text.index("Verdicts")
    assert "+0.0110 \\| +0.0020" in page.markdown(attributed, {})


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_ends_with_it(attributed: dict[str, Any], width: int) -> None:
    stream = io.StringIO()
    tables.show(attributed, Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    titles = [line for line in lines if line in {s.title for s in sections(attributed)}]
    assert titles[-1] == "Attribution"
    assert "Verdicts" not in titles  # worth and information stand in a table of their own
    assert max(map(len, lines)) <= width
    text = " ".join(stream.getvalue().split())
    for word in ("would have seen >= 0.0057", "+0.0123", "-0.0031", "60.0 %", "recall more", "hurts"):
        assert word in text


def test_effects_stand_with_interval_share_and_the_secondary_metric(attributed: dict[str, Any]) -> None:
    rows = section(attributed, "Attribution").rows
    assert rows[0] == (
        *("t", "recall", "+0.0110", "[+0.0070, +0.0150]", "0.010", "60.0 %", "helps", "+0.0500"),
    )
    assert rows[1][5:] == ("-", "too small to tell (would have seen >= 0.0057)", "-")
    assert rows[2][:2] == ("all", "end to end")
    assert len(rows) == 3


def test_worth_and_information_stand_side_by_side(attributed: dict[str, Any]) -> None:
    rows = section(attributed, "Worth and information at each stage").rows
    assert [row[:3] for row in rows] == [("t", "recall", "+0.0123"), ("t", "re-rank", "-0.0031")]
    assert rows[0][5] == "+0.0045"
    assert rows[1][5:] == ("-", "-", "-")


def test_the_stage_difference_is_said_in_its_own_words(attributed: dict[str, Any]) -> None:
    title = "Recall more than re-ranking?"
    assert section(attributed, title).rows[0][-1] == "recall more"
    for verdict, words in (
        ("hurts", "re-ranking more"),
        ("no difference", "no difference (within ±0.0020)"),
        ("cannot tell", "cannot tell"),
    ):
        attributed["attribution"]["stage_difference"][0] |= {"verdict": verdict, "margin": 0.002}
        assert section(attributed, title).rows[0][-1] == words


def test_cells_and_interaction_have_tables_on_a_page_alone(attributed: dict[str, Any]) -> None:
    assert section(attributed, "Cells of the factorial").rows == (("t", "-", "0.1234", "0.4000"),)
    assert section(attributed, "Interaction of the stages").rows[0][1] == "-0.0030"
    assert "Cells of the factorial" not in {one.title for one in sections(attributed)}


def test_a_block_by_the_bare_contract_is_drawn_too(study_summary: dict[str, Any]) -> None:
    assert "answer" not in study_summary["attribution"]
    first = sections(study_summary, complete=True)[0]
    assert first.title == "Attribution"
    assert first.rows[1][6] == "cannot tell"
    assert section(study_summary, "Recall more than re-ranking?").rows[0][-1] == "recall more"
