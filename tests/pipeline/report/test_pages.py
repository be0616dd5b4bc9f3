"""Pages and tables say everything, escape everything and load nothing from elsewhere."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from stagelens.pipeline.report import page, tables
from stagelens.pipeline.report.bars import BAR, LABEL, WIDTH, loss_bars
from stagelens.pipeline.report.section import LOSSES
from stagelens.pipeline.report.sections import sections

MANIFEST = {"seeds": [0], "versions": {"numpy": "2.0"}}
NASTY = '<script>alert(1)</script> | `x` "quoted" & *bold* \x1b[31m'


def terminal(summary: dict[str, Any], width: int) -> str:
    stream = io.StringIO()
    tables.show(summary, Console(file=stream, width=width))
    return stream.getvalue()


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Tags:
    parser = Tags()
    parser.feed(text)
    return parser


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_terminal_says_every_verdict_in_words(summary: dict[str, Any], width: int) -> None:
    text = " ".join(terminal(summary, width).split())
    assert "helps" in text
    assert "would have seen" in text
    assert "0.0075" in text
    assert "no difference" in text
    assert "One seed" in text
    assert max(map(len, terminal(summary, width).splitlines())) <= width


def test_numbers_are_never_cut_at_eighty_columns(summary: dict[str, Any]) -> None:
    text = terminal(summary, 80)
    for system in summary["systems"]:
        if system["stage"] == "recall":
            for value in system["metrics"].values():
                assert f"{value['mean']:.4f}" in text


def test_three_seeds_are_said(summary: dict[str, Any]) -> None:
    for comparison in summary["comparisons"]:
        comparison["seeds"] = 3
    text = terminal(summary, 120)
    assert "3 seeds" in text
    assert "One seed" not in text


def test_tables_explain_themselves(summary: dict[str, Any]) -> None:
    for section in sections(summary, complete=True):
        assert section.explain.endswith(".")
        assert all(len(row) == len(section.columns) for row in section.rows), section.title
    words = " ".join(section.explain for section in sections(summary, complete=True))
    assert "higher is better" in words
    assert "lower is better" in words


def test_an_empty_summary_has_no_tables(summary: dict[str, Any]) -> None:
    summary["systems"], summary["comparisons"] = [], []
    assert sections(summary, complete=True) == []
    assert "world:ecommerce" in terminal(summary, 80)
    assert "<svg" not in page.html(summary, {})


def test_the_page_stands_alone(summary: dict[str, Any]) -> None:
    text = page.html(summary, MANIFEST)
    parsed = read(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not [value for name, value in parsed.attributes if name in ("src", "href", "xlink:href")]
    assert "url(" not in text
    assert "@import" not in text
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}


def test_everything_is_escaped(summary: dict[str, Any]) -> None:
    summary["name"] = summary["dataset"]["name"] = NASTY
    summary["systems"][1]["system"] = NASTY
    summary["systems"][1]["modalities"] = [NASTY]
    summary["comparisons"][0]["system"] = NASTY
    parsed = read(page.html(summary, {"note": NASTY}))
    assert "script" not in parsed.tags
    assert any("<script>" in text for text in parsed.text), "the words themselves are shown"
    markdown = page.markdown(summary, MANIFEST)
    assert "<script>" not in markdown
    rows = [line for line in markdown.splitlines() if "alert" in line and line.startswith("|")]
    assert rows
    for line in rows:
        above = markdown[: markdown.index(line)].splitlines()
        rule = next(text for text in reversed(above) if text.startswith("| :--"))
        assert len(re.findall(r"(?<!\\)\|", line)) == rule.count("|")
    for text in (terminal(summary, 120), markdown, page.html(summary, MANIFEST)):
        assert "\x1b" not in text


def test_markdown_and_html_hold_the_same_sections(summary: dict[str, Any]) -> None:
    titles = [section.title for section in sections(summary, complete=True)]
    assert titles[0] == "Verdicts"
    assert re.findall(r"^## (.*)$", page.markdown(summary, MANIFEST), re.M) == [*titles, "Provenance"]
    assert re.findall(r"<h2>(.*?)</h2>", page.html(summary, MANIFEST)) == [*titles, "Provenance"]


def test_bars_are_as_long_as_their_shares(summary: dict[str, Any]) -> None:
    svg = ElementTree.fromstring(loss_bars(summary))
    space = "{http://www.w3.org/2000/svg}"
    bars = [r for r in svg.iter(f"{space}rect") if r.get("height") == str(BAR)]
    systems = [s for s in summary["systems"] if s["losses"]]
    assert len(bars) == sum(s["losses"][name] > 0 for s in systems for name in LOSSES)
    by_row: dict[str, float] = {}
    for bar in bars:
        by_row[bar.get("y", "")] = by_row.get(bar.get("y", ""), 0) + float(bar.get("width", 0))
    assert len(by_row) == len(systems)
    for width in by_row.values():
        assert width == pytest.approx(WIDTH - LABEL - 10, abs=0.1)


def test_write_leaves_whole_files_only(summary: dict[str, Any], tmp_path: Path) -> None:
    page.write(tmp_path, summary, MANIFEST)
    page.write(tmp_path, summary, MANIFEST)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page.html(summary, MANIFEST)


def test_the_terminal_leaves_copies_and_second_views_to_the_report(summary: dict[str, Any]) -> None:
    copy = {**summary["systems"][2], "system": "base + text (permuted)", "modalities": ["text~permuted"]}
    view = {**summary["systems"][4], "system": "base [base list]"}
    summary["systems"] += [copy, view]
    text = terminal(summary, 200)
    assert "text~permuted" not in text
    assert "[base list]" not in text
    assert "2 more systems" in text
    assert "against base + text (permuted)" in " ".join(terminal(summary, 80).split()), "the comparison stays"
    assert "text~permuted" in page.html(summary, MANIFEST)
    assert "base [base list]" in page.html(summary, MANIFEST)


def test_several_families_are_told_apart(summary: dict[str, Any]) -> None:
    first = {**summary["comparisons"][0], "family": "loss", "system": "base at 20 %"}
    summary["comparisons"] = [{**c, "family": "primary"} for c in summary["comparisons"]] + [first]
    (verdicts,) = [section for section in sections(summary) if section.title == "Verdicts"]
    assert verdicts.columns[:2] == ("family", "system")
    assert [row[0] for row in verdicts.rows] == ["primary"] * (len(verdicts.rows) - 1) + ["loss"]
    assert verdicts.rows[-1][1] == "base at 20 %"


def test_worth_comes_first_and_other_last(summary: dict[str, Any]) -> None:
    summary["comparisons"].insert(0, {**summary["comparisons"][0], "contrast": "other", "system": "text"})
    (verdicts,) = [section for section in sections(summary) if section.title == "Verdicts"]
    contrasts = [row[4] for row in verdicts.rows]
    assert contrasts == ["worth", "worth", "worth", "information", "other"]
    assert [row[2] for row in verdicts.rows[:3]] == ["recall", "re-rank", "end to end"]
