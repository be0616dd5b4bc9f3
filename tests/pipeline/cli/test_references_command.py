"""References through the console script: the protocol option, and warnings that nothing silences."""

from __future__ import annotations

import json
from pathlib import Path

from stagelens.pipeline.report.schema import validate

LEAN = (
    *(
        "--set",
        'references.systems=[{name="Item-KNN", use="recall.ItemKNN"}, {name="TopPop", use="recall.Popular"}]',
    ),
    *(
        "--set",
        "measure.draws=999",
        "--set",
        "measure.latency_queries=2",
        "--set",
        "recall.size=50",
        "--seeds",
        "1",
    ),
)


def test_a_confound_is_told_even_where_everything_else_is_quiet(simulate, small_world: Path) -> None:
    words = ("--config", "references", "--dataset", str(small_world), "--protocol", "published", *LEAN)
    done = simulate(*words, "--set", "protocol.fit_on=train+valid", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    validate(summary)
    [warning] = summary["warnings"]
    assert "fit_on" in warning
    assert done.stderr.strip() == warning
    assert {system["stage"] for system in summary["systems"]} == {"recall", "both"}
    assert summary["protocol"]["mask"] == "train"

    shown = simulate(*words, "--set", "protocol.fit_on=train+valid", COLUMNS="400")
    assert warning in shown.stdout
    assert "References: one-stage rankers" in shown.stdout
    assert warning not in simulate(*words, COLUMNS="400").stdout


def test_a_protocol_that_fits_nothing_is_refused(simulate, small_world: Path) -> None:
    done = simulate("--dataset", str(small_world), "--protocol", "full")
    assert done.returncode == 2
    assert "--config references --protocol full" in done.stderr
    assert simulate("sparsity", "--dataset", str(small_world), "--protocol", "loo99").returncode == 2
    near = simulate("--protocol", "pubished")
    assert near.returncode == 2
    assert "published" in near.stderr
