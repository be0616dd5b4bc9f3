"""A whole run through the console script, on a small world on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagelens.pipeline.report import page
from stagelens.pipeline.report.schema import validate

QUICK = ("--set", "measure.draws=999", "--set", "measure.latency_queries=5", "--set", "recall.size=50")


def test_json_is_the_summary_and_nothing_else(simulate, small_world: Path, tmp_path: Path) -> None:
    words = ("--dataset", str(small_world), "--stage", "recall", "--modality", "text", *QUICK, "--out", "run")
    first = simulate(*words, "--json")
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    validate(summary)
    folder = tmp_path / "run"
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8")) == summary
    assert {system["stage"] for system in summary["systems"]} == {"recall"}
    assert "Traceback" not in first.stderr

    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert (folder / "report.html").read_text(encoding="utf-8") == page.html(summary, manifest)
    assert (folder / "report.md").read_text(encoding="utf-8") == page.markdown(summary, manifest)

    again = simulate(*words, "--quiet")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    assert "Recall stage" in again.stdout
    assert again.stdout.rstrip().splitlines()[-1].endswith("run")


def test_both_stages_show_every_table(simulate, small_world: Path) -> None:
    fewer = ("--set", "measure.information=false", "--set", "rerank.base_view=false")
    done = simulate("--dataset", str(small_world), "--modality", "text", *QUICK, *fewer, COLUMNS="100")
    assert done.returncode == 0, done.stderr
    for title in (
        "Recall stage",
        "Re-rank stage",
        "End to end",
        "Where relevant items are lost",
        "Verdicts",
        "Costs",
    ):
        assert title in done.stdout
    assert "One seed" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("name", ["txt", "visual"])
def test_a_modality_that_is_not_there_gets_the_list(simulate, small_world: Path, name: str) -> None:
    done = simulate("--dataset", str(small_world), "--modality", name, "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert name in done.stderr
    assert "image" in done.stderr
    assert "text" in done.stderr
