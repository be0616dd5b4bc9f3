"""``simulate certify`` through the console script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagelens.pipeline.report.schema import validate

RECALL = ("certify", "--stage", "recall", "--processes", "1", "--out", "found")


def test_a_certificate_of_one_stage_and_a_run_that_goes_on(simulate, tmp_path: Path) -> None:
    first = simulate(*RECALL, "--worlds", "1", "--json", "--write", "page.md")
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    validate(summary)
    assert set(summary["certification"]) == {"recall", "answer", "met", "broken_found"}
    assert summary["certification"]["answer"] == "not enough worlds"
    manifest = json.loads((tmp_path / "found" / "manifest.json").read_text())
    page = (tmp_path / "page.md").read_text()
    assert "    simulate certify --stage recall --worlds 1 --write docs/certification.md" in page
    assert manifest["code"][:12] in page

    files = sorted((tmp_path / "found" / "worlds").iterdir())
    held = [path.read_text() for path in files]
    assert [text.count("\n") for text in held] == [1] * 5
    again = simulate(*RECALL, "--worlds", "1", "--quiet")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    assert again.stdout.splitlines()[0] == "Not enough worlds (recall; 1 null worlds)."
    assert again.stdout.splitlines()[1].startswith("Every broken instrument was found out: ")
    assert [path.read_text() for path in files] == held  # nothing was examined again


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--stage", "recal"), 2, "Did you mean 'recall'?"),
        (("--quick", "--worlds", "3"), 2, "give one of the two"),
        (("--stage", "recall", "--worlds", "1", "--out", "taken"), 5, "taken"),
    ],
)
def test_what_cannot_be_is_refused(simulate, tmp_path: Path, words, status, said) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    done = simulate("certify", *words)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
