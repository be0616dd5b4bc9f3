"""``simulate estimate`` through the console script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagelens.pipeline.report.schema import validate

LEAN = (
    *("--stage", "recall", "--modality", "text", "--pilot", "240"),
    *("--set", "measure.draws=999", "--set", "measure.latency_queries=2", "--set", "recall.size=30"),
    *("--set", "measure.information=false", "--set", 'recall.weights="equal"'),
)


def test_json_is_the_summary_then_the_tables_come_from_the_store(
    simulate, small_world: Path, tmp_path: Path
) -> None:
    words = ("estimate", "--dataset", str(small_world), *LEAN, "--out", "foreseen")
    first = simulate(*words, "--json")
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    validate(summary)
    assert summary["estimate"]["pilot"]["users"] == 240
    assert not (tmp_path / "runs" / ".store" / "test-opened").exists()

    again = simulate(*words, "--quiet")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    for said in (
        "What this study would see",
        "With other numbers of users",
        "Time and memory",
        "users needed",
    ):
        assert said in again.stdout
    assert again.stdout.rstrip().splitlines()[-1].endswith("foreseen")
    assert (tmp_path / "foreseen" / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--pilot", "30"), 3, "a pilot on 30 users leaves"),
        (("--pilot", "9000"), 3, "ask for at most so many"),
        (("--effect", "big"), 2, "--effect 'big': write a share"),
        (("--seeds", "2"), 2, "two trainings give one degree of freedom"),
        (("--kind", "atribute"), 2, "attribute"),
        (("--kind", "attribute", "--stage", "recall"), 2, "--stage"),
    ],
)
def test_what_cannot_be_foreseen_is_refused(simulate, small_world: Path, words, status, said) -> None:
    done = simulate("estimate", "--dataset", str(small_world), *words)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_help_has_examples_and_says_that_test_stays_shut(simulate) -> None:
    done = simulate("estimate", "--help")
    assert done.returncode == 0
    assert "simulate estimate --dataset path/to/data --effect" in done.stdout
    assert "Test is not opened" in done.stdout
