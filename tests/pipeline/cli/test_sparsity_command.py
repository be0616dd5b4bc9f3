"""``simulate sparsity`` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stagelens.pipeline.cli import main

QUICK = (
    "--seeds",
    "1",
    "--set",
    "measure.draws=999",
    "--set",
    "measure.latency_queries=0",
    "--set",
    "recall.size=20",
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--how", "unifrom"], "Did you mean 'uniform'"),
        (["--order", "newst"], "Did you mean 'newest'"),
        (["--tuning", "hold"], "Did you mean 'held'"),
        (["--policy", "means"], "Did you mean 'mean'"),
        (["--budget", "120"], "per cent, 0 to 100"),
        (["--how", "per-user", "--budget", "1.5"], "whole numbers k"),
        (["--how", "per-user", "--budget", "inf"], "whole numbers k"),
        (["--how", "per-item", "--budget", "nan"], "whole numbers k"),
        (["--stage", "rerank"], "orders given candidates"),
        (["--budget", "100"], "no budget below 100 %"),
        (["--seeds", "2"], "two trainings"),
    ],
)
def test_wrong_words_are_answered(words: list[str], message: str, capsys, tiny_folder: Path) -> None:
    assert main(["sparsity", "--dataset", str(tiny_folder), *words]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_the_words_reach_the_study_and_the_folder_has_curves(
    simulate, tiny_folder: Path, tmp_path: Path
) -> None:
    words = ("sparsity", "--dataset", str(tiny_folder), "--modality", "text", *QUICK, "--out", "run")
    more = ("--how", "per-user", "--budget", "1", "--budget", "0", "--order", "oldest", "--tuning", "held")
    done = simulate(*words, *more, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    block = summary["sparsity_study"]
    assert (block["how"], block["order"], block["tuning"]) == ("per-user", "oldest", "held")
    assert [one["label"] for one in block["budgets"]] == ["all", "k = 1", "k = 0"]
    assert summary["kind"] == "sparsity"
    drawn = {path.name for path in (tmp_path / "run").glob("curves.*")}
    assert drawn == {"curves.png", "curves.svg"} or "stagelens[plots]" in done.stderr
    again = simulate(*words, *more, "--quiet")
    assert again.stderr == ""
    assert "Recall over budgets" in again.stdout
    assert "█" in again.stdout


def test_without_matplotlib_it_is_said_and_the_run_goes_on(tiny_folder: Path, tmp_path: Path) -> None:
    words = ["sparsity", "--dataset", str(tiny_folder), "--modality", "text", "--budget", "50", *QUICK]
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from stagelens.pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no curves.png and curves.svg: matplotlib is needed" in done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    assert not list((tmp_path / "run").glob("curves.*"))
