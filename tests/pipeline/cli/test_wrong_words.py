"""Wrong names, options and places: the nearest match or the corrected line, status 2, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagelens.pipeline.cli import main

CASES = [
    ("--sed 3", ["--sed", "Did you mean --seed?", "--seeds", "--stage"]),
    ("--json=yes", ["--json"]),
    ("--seed", ["--seed"]),
    ("--seed x", ["--seed", "integer"]),
    ("--seed -1", ["--seed"]),
    ("--threads 0", ["--threads"]),
    ("--stage recal", ["'recal'", "Did you mean 'recall'?", "both, recall, rerank"]),
    ("--device gpu", ["'gpu'", "auto, cpu, cuda"]),
    ("--seeds 2", ["two", "--seeds 3", "one seed"]),
    ("--set recall.sze=3", ["recall.sze", "recall.size"]),
    ("--set recall.size=0", ["recall.size", "0", "greater"]),
    ("--set recall.size", ["dotted.key=value"]),
    ("--set name.x=1", ["name"]),
    ("--config quikstart", ["'quikstart'", "Did you mean 'quickstart'?"]),
    ("lst", ["'lst'", "Did you mean 'list'?", "attribute, certify, compare, data, doctor"]),
    ("recall", ["--stage recall"]),
    ("quickstart", ["simulate --config quickstart"]),
    ("world:ecommerce", ["simulate --dataset world:ecommerce"]),
    ("data", ["check, describe, generate"]),
    ("data chek x", ["'chek'", "Did you mean 'check'?"]),
    ("data check", ["PATH"]),
    ("list recal", ["'recal'", "Did you mean 'recall'?"]),
    ("show recall.Dens", ["'recall.Dens'", "Did you mean 'recall.Dense'?"]),
    ("data generate world:ecomerce --out x", ["world:ecomerce", "world:ecommerce"]),
    ("data generate --out x --set usrs=5", ["usrs", "users"]),
    ("data generate --out x --set users", ["field=value"]),
    ("data describe world:ecommerce --split bytime", ["split", "bytime", "global-time"]),
    ("data describe world:ecommerce --set recall.size=5", ["data."]),
    ("--dataset world:ecomerce", ["ecomerce", "ecommerce"]),
    ("--modality txt", ["txt", "text"]),
    ("--margin big", ["margin", "big", "2%"]),
]


@pytest.mark.parametrize(("line", "said"), CASES)
def test_the_answer_names_what_is_right(
    line: str,
    said: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("simulate: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    for words in said:
        assert words in captured.err
    assert not list(tmp_path.rglob("*.parquet")), "nothing is left behind"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (
            "references.baseline=ItemKNN",
            "references: Unknown system of references.baseline 'ItemKNN'. Did you mean",
        ),
        (
            "references.tuned.mine.Item-KN.shrink=3",
            "references.tuned.mine 'Item-KN'. Did you mean 'Item-KNN'?",
        ),
        ("recall.size=0", "recall.size = 0: "),
    ],
)
def test_a_table_does_not_bury_what_is_said_of_it(
    option: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", "references", "--set", option]) == 2
    answer = capsys.readouterr().err
    assert said in answer
    assert len(answer) < 300


@pytest.mark.parametrize(
    ("line", "corrected"),
    [
        ("--seed 3 list", "simulate list"),
        ("--seed=3 list recall", "simulate list recall"),
        ("--json list", "simulate list --json"),
        ("--json --seed 3 data describe x", "simulate data describe x --json"),
        ("--set data.positive=4 --quiet data check x", "simulate data check x --set data.positive=4"),
        ("--json doctor --json", "simulate doctor --json"),
    ],
)
def test_an_option_before_a_sub_command_is_refused_with_the_corrected_line(
    line: str, corrected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.rstrip("\n").endswith(f"Write: {corrected}")
    assert captured.out == ""


def test_an_option_of_the_root_after_a_sub_command_is_told_where_it_belongs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "--seed", "3"]) == 2
    assert "It is an option of 'simulate' itself." in capsys.readouterr().err


def test_a_folder_given_as_a_word(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 2
    assert f"Write: simulate --dataset {tmp_path}" in capsys.readouterr().err
