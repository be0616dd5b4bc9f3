"""Tables and pictures of a sparsity study: the answer, the curves, who it is for, what is too small to tell."""

from __future__ import annotations

import copy
import io
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from stagelens.pipeline.report import curves, figures, page, sparsity, tables
from stagelens.pipeline.report.schema import validate
from stagelens.pipeline.report.sections import sections

LABELS = (("100 %", 1.0), ("20 %", 0.2))


def judged(difference: float, half: float = 0.002, **more: Any) -> dict[str, Any]:
    low, high = difference - half, difference + half
    verdict = "helps" if low > 0 else "hurts" if high < 0 else "cannot tell"
    row = {"difference": difference, "low": low, "high": high, "p": 0.01, "p_adjusted": 0.02, "margin": 0.001}
    row |= {"detectable": 0.003, "verdict": verdict, "too_small": verdict == "cannot tell", "n": 900}
    return {**row, **more}


WHO = {
    "modality": "text",
    "system": "base + text",
    "baseline": "base",
    "stage": "recall",
    "metric": "recall@200",
}


@pytest.fixture
def thinned(study_summary: dict[str, Any]) -> dict[str, Any]:
    summary = copy.deepcopy(study_summary)
    del summary["attribution"]
    summary |= {"kind": "sparsity", "comparisons": []}
    summary["sparsity"] = [
        {
            **{"budget": share, "system": system, "metric": "recall@200", "mean": mean * share**0.1},
            **{"low": 0.1, "high": 0.3, "n": 900, "label": label, "stage": "recall"},
            **{"paired_low": mean * share**0.2, "paired_high": mean},
        }
        for system, mean in (("base", 0.2), ("text", 0.1), ("base + text", 0.22))
        for label, share in LABELS
    ]
    summary["sparsity"].append({**summary["sparsity"][0], "metric": "recall@50", "mean": 0.9})
    del summary["sparsity"][-1]["paired_low"], summary["sparsity"][-1]["paired_high"]
    worth = [judged(0.0004), judged(0.012, won_back={"share": 0.41, "low": 0.2, "high": 0.7})]
    summary["sparsity_study"] = {
        **{"answer": "Text is worth more | here.", "how": "uniform", "order": "random", "draw": 0},
        **{"tuning": "retuned", "scale": "log"},
        "budgets": [
            {"label": label, "budget": share, "place": math.log(share), "interactions": 9, "items": 3}
            for label, share in LABELS
        ],
        "worth": [
            {
                **WHO,
                "label": label,
                "budget": share,
                "information": None,
                "won_back": None,
                "relative": None,
                **row,
            }
            for (label, share), row in zip(LABELS, worth, strict=True)
        ],
        "area": [{**WHO, **judged(0.006)}],
        "growth": [{**WHO, **judged(0.0056), "relative": {"share": 0.07, "low": 0.01, "high": 0.2}}],
        "crossing": [
            {
                **WHO,
                "system": "text",
                "budget": 0.31,
                "low": 0.2,
                "high": 0.5,
                "share": 0.75,
                "ahead": "neither",
                "draws": 99,
            }
        ],
        "loss": [],
        "marked": [
            {
                **{
                    "system": "text",
                    "metric": "recall@200",
                    "slice": "items at 20 %",
                    "value": value,
                    "members": 7,
                },
                **{"label": "20 %", "budget": 0.2, "mean": 0.123, "low": 0.1, "high": 0.15, "n": 40},
                **{"kept": {"mean": 0.2, "low": 0.1, "high": 0.3, "n": 40}, "shown": 0.25},
            }
            for value in ("cold", "warm")
        ],
        "index_by_cold": [
            {
                **{
                    "label": "20 %",
                    "budget": 0.2,
                    "system": "text",
                    "cold": 0.03,
                    "warm": 0.01,
                    "difference": 0.02,
                },
                **{"low": 0.005, "high": 0.035, "n_cold": 12, "n_warm": 88},
            }
        ],
    }
    slices = {"user degree 0-4": judged(0.02), "item degree 0": judged(0.0, n=12)}
    slices |= {
        "user x item degree 0-4 x 1-4": judged(0.03, n=33),
        "user x item degree 20+ x 1-4": judged(0.0001),
    }
    named = {**WHO, "system": "base + text, area", "baseline": "base, area"}
    del named["modality"]
    more = {"contrast": "worth", "primary": False, "seeds": 3}
    summary["comparisons"] = [{**named, **more, "slice": name, **row} for name, row in slices.items()]
    validate(summary)
    return summary


def section(summary: dict[str, Any], title: str) -> Any:
    [found] = [one for one in sections(summary, complete=True) if one.title == title]
    return found


def test_a_page_begins_with_the_answer_and_escapes_it(thinned):
    first = sections(thinned, complete=True)[0]
    assert first.title == "Is content worth more where data is sparse?"
    assert first.explain.startswith("Text is worth more | here.")
    assert "Text is worth more \\| here." in page.markdown(thinned, {})
    assert "<h2>Recall over budgets</h2>" in page.html(thinned, {})


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_terminal_ends_with_the_answer(thinned, width):
    stream = io.StringIO()
    tables.show(thinned, Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    titles = [line for line in lines if line in {one.title for one in sections(thinned)}]
    assert titles[-1] == "Is content worth more where data is sparse?"
    assert {"Recall over budgets", "Worth at every budget", "Those that lost everything"} <= set(titles)
    assert "Recall stage: candidate sets" not in titles  # the curves say it shorter
    assert max(map(len, lines)) <= width


def test_curves_stand_in_one_row_a_system_with_a_sparkline(thinned):
    found = section(thinned, "Recall over budgets")
    assert found.columns == ("system", "metric", "curve", "100 %", "20 %")
    rows = {row[0]: row for row in found.rows}
    assert list(rows) == ["base", "text", "base + text"]  # the second cut-off is not shown
    assert rows["base + text"][2][0] == "█"
    assert rows["text"][2] == "▁▁"
    assert rows["base"][2] == "▇▆"
    assert rows["base"][3:] == ("0.2000", f"{0.2 * 0.2**0.1:.4f}")
    assert "chosen anew at every budget" in found.explain
    thinned["sparsity_study"]["tuning"] = "held"
    assert "chosen with everything kept" in section(thinned, "Recall over budgets").explain


def test_equal_values_and_gaps_have_bars_too():
    assert sparsity.sparkline([0.3, 0.3], 0.3, 0.3) == "▅▅"
    assert sparsity.sparkline([None, 1.0], 0.0, 1.0) == " █"


def test_worth_has_what_is_won_back_and_says_what_is_too_small_to_tell(thinned):
    rows = section(thinned, "Worth at every budget").rows
    assert rows[0][6] == "too small to tell (would have seen >= 0.0030)"
    assert rows[1][6] == "helps"
    assert rows[1][-1] == "41.0 % [20.0 %, 70.0 %]"
    assert rows[0][-1] == rows[0][-3] == "-"
    growth = section(thinned, "Is content worth more where data is sparse?").rows[0]
    assert growth[9] == "7.0 % [1.0 %, 20.0 %]"
    told = judged(0.0, verdict="cannot tell", detectable=0.0009)
    assert figures.verdict(told) == "cannot tell (would have seen >= 0.0009)"
    assert figures.verdict({**told, "detectable": None}) == "too small to tell"


def test_crossings_are_told_with_their_share_of_curves(thinned):
    title = "Is content worth more where data is sparse?"
    assert section(thinned, title).rows[0][-1] == "base at 31.0 % [20.0 %, 50.0 %] (75.0 % of curves cross)"
    block = thinned["sparsity_study"]
    block["crossing"].insert(0, {**block["crossing"][0], "baseline": "ItemKNN", "budget": 0.6})
    told = section(thinned, title).rows[0][-1]
    assert told.startswith("ItemKNN at 60.0 % [20.0 %, 50.0 %] (75.0 % of curves cross); base at 31.0 %")
    del block["crossing"][0]
    nowhere = {"budget": None, "low": None, "high": None, "share": 0.01}
    for ahead, words in (
        ("interaction", "none in range"),
        ("content", "content is ahead throughout"),
        ("neither", "not from behind with everything to ahead at the smallest"),
    ):
        thinned["sparsity_study"]["crossing"][0] |= {**nowhere, "ahead": ahead}
        assert section(thinned, title).rows[0][-1] == f"base {words} (1.0 % of curves cross)"


def test_groups_and_their_cross_have_tables(thinned):
    groups = section(thinned, "Worth over all budgets, by group")
    assert [row[1] for row in groups.rows] == ["user degree 0-4", "item degree 0"]
    assert groups.rows[0][0] == "base + text"
    assert groups.rows[1][-1].startswith("too small to tell")
    cross = section(thinned, "Worth over all budgets, users by items")
    assert cross.columns == ("system", "users", "items 1-4")
    assert cross.rows == (
        ("base + text", "0-4", "+0.0300 helps (33)"),
        ("base + text", "20+", "+0.0001 ? (900)"),
    )


def test_cold_items_and_the_index_have_tables(thinned):
    [row] = section(thinned, "Those that lost everything").rows
    assert row[:4] == ("text", "cold items", "20 %", "recall@200")
    assert row[-2:] == ("0.2000", "25.0 %")
    [row] = section(thinned, "Does the approximate index hurt cold items more?").rows
    assert row[2:6] == ("+0.0300", "+0.0100", "+0.0200", "[+0.0050, +0.0350]")


# ------------------------------------------------------------ pictures


def test_curves_are_drawn_and_the_same_study_draws_the_same_bytes(thinned, tmp_path):
    pytest.importorskip("matplotlib", reason="extra 'plots' is not installed")
    drawn = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths = curves.write(tmp_path / name, thinned)
        assert [path.name for path in paths] == ["curves.png", "curves.svg"]
        drawn.append([path.read_bytes() for path in paths])
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["curves.png", "curves.svg"]
    assert drawn[0] == drawn[1]
    assert drawn[0][0].startswith(b"\x89PNG")
    assert b"<svg" in drawn[0][1]


def test_gaps_are_drawn_as_gaps(thinned, tmp_path):
    pytest.importorskip("matplotlib", reason="extra 'plots' is not installed")
    thinned["sparsity"][0] |= {"mean": None, "paired_low": None, "paired_high": None}
    thinned["sparsity_study"]["worth"][0] |= {"low": None, "high": None, "margin": None}
    curves.write(tmp_path, thinned)
    with_gap = (tmp_path / "curves.svg").read_text()
    figure = curves._drawn(thinned, thinned["sparsity_study"])
    upper, lower = figure.axes
    assert np.isnan(upper.lines[0].get_ydata()).tolist() == [True, False]
    assert upper.lines[0].get_xdata().tolist() == [0.0, math.log(0.2)]
    assert "nan" not in with_gap
    assert lower.containers  # the other points of the worth curve stay


def test_notes_of_the_study_stand_above_the_curves(thinned):
    thinned["sparsity_study"]["notes"] = ["recall.FromFile stands in the base: look out."]
    validate(thinned)
    assert section(thinned, "Recall over budgets").explain.endswith(
        " recall.FromFile stands in the base: look out."
    )


def test_another_study_draws_nothing(study_summary, tmp_path):
    assert curves.write(tmp_path, study_summary) == ()
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_message_names_the_extra(thinned, tmp_path):
    import json

    (tmp_path / "summary.json").write_text(json.dumps(thinned), encoding="utf-8")
    code = (
        "import json, sys; sys.modules['matplotlib'] = None\n"
        "from pathlib import Path\n"
        "from stagelens.pipeline.report import curves\n"
        "curves.write(Path(sys.argv[1]), json.loads((Path(sys.argv[1]) / 'summary.json').read_text()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "MissingExtra: matplotlib is needed here and not installed" in done.stderr
    assert "stagelens[plots]" in done.stderr
    assert [path.name for path in Path(tmp_path).iterdir()] == ["summary.json"]
