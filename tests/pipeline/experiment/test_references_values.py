"""Tuned values of references: every table is read when the options are, whatever the data set at hand is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.runner import simulate

SYSTEMS = [
    {"name": "Item-KNN", "use": "recall.ItemKNN", "neighbours": 10},
    {"name": "iALS", "use": "recall.IALS"},
    {"name": "TopPop", "use": "recall.Popular"},
]


def options(tuned: dict[str, Any], systems: list[dict[str, Any]] = SYSTEMS) -> dict[str, Any]:
    return {"kind": "references", "references.systems": systems, "references.tuned": {"elsewhere": tuned}}


@pytest.mark.parametrize(
    ("tuned", "said"),
    [
        (
            {"Item-KNN": {"shrnk": 3}},
            r"references\.tuned\.elsewhere\.Item-KNN: .*'shrnk'\. Did you mean 'shrink'\?",
        ),
        ({"Item-KNN": {"shrink": -1}}, r"references\.tuned\.elsewhere\.Item-KNN .*shrink = -1"),
        ({"iALS": {"factrs": 8}}, r"elsewhere\.iALS: .*'factrs'\. Did you mean 'factors'\?"),
        ({"EASE-R": {"l3": 8}}, r"elsewhere\.EASE-R: .*'l3'"),
        ({"iALS": {"use": "recall.Dense", "vectors": {"use": "recall.IALS", "factrs": 8}}}, "'factrs'"),
    ],
)
def test_values_for_another_data_set_are_read_too(make_study, tuned: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_study(**options(tuned))


def test_stored_values_of_a_system_that_a_study_replaces_stay_unused(make_study) -> None:
    other = [{"name": "Item-KNN", "use": "recall.EASE"}, *SYSTEMS[1:]]
    make_study(**options({"Item-KNN": {"shrink": 3.0}}, other))
    make_study(**options({"Item-KNN": {"l2": 3.0}}, other))
    with pytest.raises(ConfigError, match=r"field of recall\.EASE 'exponent'"):
        make_study(**options({"Item-KNN": {"exponent": 3.0}}, other))


@pytest.mark.parametrize(("name", "close"), [("world (seed 2)", True), ("elsewhere", False)])
def test_values_under_a_name_close_to_the_data_sets_are_named(
    make_study, tmp_path: Path, name: str, close: bool
) -> None:
    told = {**options({}, [SYSTEMS[0], SYSTEMS[2]]), "seeds": [0]}
    told["references.tuned"] = {name: {"Item-KNN": {"shrink": 3.0}}}
    study = make_study(**told)
    assert study.data.opened().name == "world (seed 1)"
    notes = simulate(study, out=tmp_path / "out", store=tmp_path / "store").summary["references"]["notes"]
    [said] = [note for note in notes if note.startswith("No tuned values")]
    assert said.endswith("has some for world (seed 2), a name close to this one") == close
