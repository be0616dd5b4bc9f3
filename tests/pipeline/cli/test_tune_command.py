"""``simulate tune`` through the console script, killed and gone on with too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from stagelens.pipeline.cli import main
from stagelens.pipeline.report.schema import validate

pytest.importorskip("optuna", reason="the extra 'tune' is not installed")

TOYS = str(Path(__file__).parents[1] / "experiment")
SLOW = '{use = "tuning_toys:Spoiled", pause = 0.05}'
SCRIPT = str(Path(sys.executable).parent / "simulate")


def trials(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "trials.parquet").drop(columns="seconds")


def test_json_alone_then_tables_from_what_is_kept_then_a_study(
    simulate, small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    words = ("tune", "--dataset", str(small_world), "--channel", "ItemKNN", "--channel", "PureSVD")
    some = ("--trials", "3", "--metric", "ndcg@10", "--out", "tuned")
    first = simulate(*words, *some, "--json")
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    validate(summary)
    assert summary["kind"] == "tune"
    assert [arm["arm"] for arm in summary["tuning"]["arms"]] == ["ItemKNN", "PureSVD"]
    assert not (tmp_path / "runs" / ".store" / "test-opened").exists()
    before = trials(tmp_path / "tuned")

    again = simulate(*words, *some, "--quiet")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    for said in ("Tuned: ndcg@10 on valid", "Best so far", "vectors.factors = ", "Test was not opened"):
        assert said in again.stdout
    assert again.stdout.rstrip().splitlines()[-1].endswith("tuned")
    assert (tmp_path / "tuned" / "report.html").is_file()
    pd.testing.assert_frame_equal(trials(tmp_path / "tuned"), before)
    monkeypatch.chdir(tmp_path)
    assert main(["tune", "--config", "tuned/config.toml", "--out", "tuned", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fingerprint"] == summary["fingerprint"]

    lean = ("--stage", "recall", "--modality", "interaction", "--set", "measure.latency_queries=0")
    assert main(["--dataset", str(small_world), "--config", "tuned/best.toml", *lean, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert "Dense(PureSVD" in (tmp_path / made["manifest"]).read_text()


def test_killed_and_run_again_gives_the_trials_of_an_undisturbed_run(
    simulate, small_world: Path, tmp_path: Path
) -> None:
    words = ["tune", "--dataset", str(small_world), "--channel", SLOW, "--channel", "tuning_toys:Spoiled"]
    words += ["--trials", "16", "--out", "tuned"]
    calm, broken = tmp_path / "calm", tmp_path / "broken"
    for folder in (calm, broken):
        folder.mkdir()
    done = simulate(*words, cwd=calm, PYTHONPATH=TOYS)
    assert done.returncode == 0, done.stderr

    process = subprocess.Popen(
        [SCRIPT, *words],
        cwd=broken,
        env={**os.environ, "PYTHONPATH": TOYS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 120
        while sum(log.read_bytes().count(b"\n") for log in broken.rglob("*.jsonl")) < 9:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (broken / "tuned" / "summary.json").exists()
    ended = {log: log.read_bytes() for log in broken.rglob("*.jsonl")}
    assert 9 <= sum(text.count(b"\n") for text in ended.values()) < 32

    resumed = simulate(*words, cwd=broken, PYTHONPATH=TOYS)
    assert resumed.returncode == 0, resumed.stderr
    assert "goes on after" in resumed.stderr
    assert all(log.read_bytes().startswith(text.rpartition(b"\n")[0]) for log, text in ended.items())
    pd.testing.assert_frame_equal(trials(broken / "tuned"), trials(calm / "tuned"))
    assert (broken / "tuned" / "best.toml").read_bytes() == (calm / "tuned" / "best.toml").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--channel", "ItemKN"), "Did you mean 'ItemKNN'"),
        (("--channel", "Popular"), "no search space"),
        (("--metric", "recal@20"), "Unknown metric 'recal'"),
        (("--metric", "dcg@20"), "use ndcg"),
        (("--sampler", "grid"), "Unknown sampler 'grid'"),
        (("--seconds", "0"), "tune.seconds"),
        (("--channel", "ItemKNN", "--reranker", "LambdaMART"), "one kind at a time"),
        (("--seeds", "2"), "two trainings give one degree of freedom"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], small_world: Path, tmp_path: Path, monkeypatch, words, said
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tune", "--dataset", str(small_world), "--trials", "2", *words]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""
    assert not list(tmp_path.rglob("*.jsonl"))


def test_help_has_examples_and_says_that_test_stays_shut(simulate) -> None:
    done = simulate("tune", "--help")
    assert done.returncode == 0
    assert "--channel ItemKNN --channel PureSVD" in done.stdout
    assert "test is not opened" in done.stdout
    assert "best.toml" in done.stdout
