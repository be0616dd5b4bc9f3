"""list, show, doctor and data: what a person looks at before a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stagelens.pipeline.cli import doctor, main
from stagelens.pipeline.data.importers import FORMATS
from stagelens.pipeline.experiment.options import presets
from stagelens.pipeline.recipe import ROOMS, recipes_of


def answer(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert main(list(words)) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_list_holds_every_recipe_world_and_preset_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(answer(capsys, "list", "--json"))
    for room in ROOMS:
        assert sorted(found[room]) == [f"{room}.{name}" for name in recipes_of(room)]
    assert "world:ecommerce" in found["worlds"]
    assert sorted(found["presets"]) == sorted(presets())
    for entries in found.values():
        for name, line in entries.items():
            assert line, f"{name} has no line of documentation"
    text = answer(capsys, "list")
    for entries in found.values():
        for name in entries:
            assert name in text


def test_list_of_one_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(json.loads(answer(capsys, "list", "recall", "--json"))) == ["recall"]


@pytest.mark.parametrize("room", ROOMS)
def test_every_recipe_shows_its_fields_with_documentation(
    room: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import dataclasses
    import importlib

    from stagelens.pipeline.recipe import field_docs

    module = importlib.import_module(f"stagelens.{room}")
    for name in recipes_of(room):
        text = answer(capsys, "show", f"{room}.{name}")
        cls = getattr(module, name)
        for field in dataclasses.fields(cls):
            assert field.name in text, f"{room}.{name}.{field.name}"
            assert field.name in field_docs(cls), f"{room}.{name}.{field.name} has no documentation string"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_shows_its_options_with_documentation(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from stagelens.pipeline.recipe import field_docs, fields_of

    assert name in json.loads(answer(capsys, "list", "formats", "--json"))["formats"]
    text = answer(capsys, "show", name)
    for field in fields_of(FORMATS[name]):
        assert field in text
        assert field in field_docs(FORMATS[name]), f"{name}.{field} has no documentation string"


def test_show_finds_a_name_without_its_room(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "show", "ItemKNN") == answer(capsys, "show", "recall.ItemKNN")


def test_show_gives_a_preset_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "show", "quickstart") == presets()["quickstart"].read_text(encoding="utf-8")


def test_show_gives_the_values_of_a_world(capsys: pytest.CaptureFixture[str]) -> None:
    text = answer(capsys, "show", "world:ecommerce")
    assert "text" in text
    assert "signal" in text


def test_doctor_finds_this_machine_fit(capsys: pytest.CaptureFixture[str]) -> None:
    found = {check["name"]: check for check in json.loads(answer(capsys, "doctor", "--json"))}
    assert {
        "versions",
        "faiss",
        "gpu",
        "lightgbm",
        "openmp runtime",
        "OMP_WAIT_POLICY",
        "threads",
        "disk",
    } == set(found)
    assert found["lightgbm"]["state"] == "ok"
    assert found["OMP_WAIT_POLICY"]["found"] == "PASSIVE"


def test_doctor_fails_only_for_what_is_needed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note = doctor.Check("gpu", "note", "none")
    broken = doctor.Check("disk", "broken", "full", "free some space")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: [note],))
    assert "fit" in answer(capsys, "doctor")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: [note, broken],))
    text = answer(capsys, "doctor", status=1)
    assert "free some space" in text
    assert "Broken: disk." in text


def test_doctor_sees_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def refuse(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    (check,) = doctor.disk()
    assert check.state == "broken"
    assert "--out" in check.remedy


def test_a_generated_world_is_a_data_set(small_world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (small_world / "interactions.parquet").is_file()
    made = json.loads((small_world / "world.json").read_text(encoding="utf-8"))
    assert (made["seed"], made["users"], made["items"]) == (3, 250, 300)
    found = json.loads(answer(capsys, "data", "check", str(small_world), "--json"))
    assert found["usable"]
    assert "error" not in {fault["severity"] for fault in found["faults"]}
    statistics = json.loads(answer(capsys, "data", "describe", str(small_world), "--json"))
    assert (statistics["users"], statistics["items"]) == (250, 300)
    text = answer(capsys, "data", "describe", str(small_world))
    assert "interactions" in text
    assert "global-time" in text


def test_generate_writes_into_a_new_folder_only(
    small_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (small_world / "interactions.parquet").stat().st_mtime_ns
    assert main(["data", "generate", "--out", str(small_world)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert (small_world / "interactions.parquet").stat().st_mtime_ns == before


def test_check_says_what_is_broken_and_ends_with_status_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "interactions.csv").write_text("user,item\n1,2\n", encoding="utf-8")
    text = answer(capsys, "data", "check", str(tmp_path), status=3)
    assert "user_id" in text
    assert "cannot be used" in text
    faults = json.loads(answer(capsys, "data", "check", str(tmp_path), "--json", status=3))
    assert faults["faults"][0]["severity"] == "error"


def test_a_world_can_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert "can be used" in answer(capsys, "data", "check", "world:ecommerce")
