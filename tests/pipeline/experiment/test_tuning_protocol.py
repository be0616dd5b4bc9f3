"""What a search ran under goes with its values: the same windows and protocol, and no confound passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagelens.pipeline.data.splits import split
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.options import DataOptions, ProtocolOptions, Study
from stagelens.pipeline.experiment.protocols import told
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.experiment.toml import to_toml
from stagelens.pipeline.experiment.tuning import refuse_unread, tune
from stagelens.pipeline.experiment.tuning_block import searched_under
from stagelens.pipeline.report.schema import validate
from stagelens.pipeline.report.sections import heading

LATE = 1.68e9
"""A moment that leaves a tenth of the tiny world out, when its clock is read as the value."""
SYSTEMS = [{"name": "walk", "use": "recall.P3alpha"}, {"name": "TopPop", "use": "recall.Popular"}]
LEAN = {
    "stage": "recall",
    "modalities": ["interaction"],
    "recall.size": 20,
    "measure.latency_queries": 0,
    "measure.draws": 999,
    "measure.information": False,
    "measure.importance": False,
}


@pytest.mark.parametrize(
    "under",
    [
        {"data.split": "per-user", "data.split_seed": 3, "protocol.name": "published"},
        {"data.split": "leave-last-out", "protocol.mask": "train", "protocol.folds": 3},
        {
            "data.columns": {"value": "timestamp"},
            "data.positive": LATE,
            "protocol.name": "published",
            "protocol.mask": "train+valid",
        },
        {},
    ],
)
@pytest.mark.parametrize("kind", ["stages", "references"])
def test_a_study_with_the_values_has_the_windows_and_the_protocol_of_the_search(
    tiny_folder: Path, tmp_path: Path, kind: str, under: dict[str, object]
) -> None:
    pytest.importorskip("optuna", reason="the extra 'tune' is not installed")
    few = {"tune.channels": ["P3alpha"], "tune.trials": 2, "kind": kind, "seeds": [0], "recall.size": 20}
    few |= {"references.systems": SYSTEMS, "references.baseline": "walk"}
    asked = Study.load(None, {"data.path": str(tiny_folder), **few, **under})
    search = tune(asked, out=tmp_path / "tuned", store=tmp_path / "store")
    validate(search.summary)
    used = Study.load(
        str(tmp_path / "tuned" / "best.toml"),
        {"data.path": str(tiny_folder), **LEAN} if kind == "stages" else {"data.path": str(tiny_folder)},
    )
    assert used.kind == kind
    assert used.data == asked.data
    assert used.protocol == asked.protocol
    result = simulate(used, out=tmp_path / "run", store=tmp_path / "store")
    assert result.summary["dataset"]["hashes"]["split"] == search.manifest["split"]["hash"]
    unmoved = split(DataOptions(path=str(tiny_folder)).opened()).fingerprint()
    assert (search.manifest["split"]["hash"] == unmoved) == (
        not any(key.startswith("data.") for key in under)
    )
    assert result.summary["protocol"] == search.summary["protocol"] == told(asked)
    assert not [line for line in result.summary["warnings"] if "split" in line]


def test_only_what_differs_is_written_and_not_the_folder() -> None:
    assert searched_under(Study.load(None, {"data.path": "anywhere"})) == {}
    assert searched_under(Study.load(None, {"protocol.name": "published"})) == {
        "protocol": {"name": "published"}
    }
    given = {"data.path": "anywhere", "data.columns": {"value": "rating"}, "data.item_columns": ["price"]}
    found = searched_under(Study.load(None, {**given, "protocol.refit": "none"}))
    assert found == {
        "data": {"columns": {"value": "rating"}, "item_columns": ["price"]},
        "protocol": {"refit": "none"},
    }


@pytest.mark.parametrize(
    "field", sorted({*DataOptions.model_fields, *ProtocolOptions.model_fields} - {"path"})
)
def test_every_option_of_data_and_protocol_but_the_folder_goes_along(field: str, tmp_path: Path) -> None:
    changed = {
        "positive": 2.0,
        "weight": True,
        "columns": {"value": "rating"},
        "item_columns": ["a"],
        "user_columns": ["b"],
        "split": "given",
        "split_seed": 5,
        "name": "published",
        "refit": "cross",
        "folds": 3,
        "lost": "inject",
        "fit_on": "train+valid",
        "input": "train+valid",
        "mask": "train",
        "select_on": "test",
        "max_rows": 5000,
        "negatives": 7,
    }
    table = "data" if field in DataOptions.model_fields else "protocol"
    many = {"kind": "references", "references.settings": 2}
    asked = Study.load(None, {**many, f"{table}.{field}": changed[field]})
    (tmp_path / "study.toml").write_text(to_toml(searched_under(asked)))
    read = Study.load(str(tmp_path / "study.toml"), many)
    assert (read.data, read.protocol) == (asked.data, asked.protocol)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("protocol.fit_on=train+valid", r"protocol.fit_on = train\+valid changes nothing.*it is train then"),
        ("protocol.input=train+valid", r"protocol.input = train\+valid changes nothing"),
        ("protocol.select_on=test", "protocol.select_on = test changes nothing.*it is valid then"),
        ("measure.dcg=raw", "measure.dcg = raw changes nothing.*ndcg@10.*it is normalised then"),
    ],
)
def test_a_confound_that_a_search_never_reads_is_refused(assignment: str, said: str, tmp_path: Path) -> None:
    given = {"references.settings": 2, "tune.metric": "ndcg@10", "data.path": str(tmp_path / "nowhere")}
    study = Study.load("references", given, (assignment,))
    with pytest.raises(ConfigError, match=said):
        tune(study, out=tmp_path / "out", store=tmp_path / "store")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["default", "full", "published", "loo99"])
def test_named_protocols_are_searched_under_and_a_mask_is_no_confound_of_a_search(name: str) -> None:
    refuse_unread(Study.load("references", {"protocol.name": name}))
    refuse_unread(Study.load("references", {"protocol.name": name, "protocol.mask": "train"}))


@pytest.mark.parametrize("name", ["full", "loo99"])
def test_channels_found_under_a_protocol_of_references_serve_other_studies(
    name: str, tiny_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("optuna", reason="the extra 'tune' is not installed")
    plain = '{use = "recall.P3alpha", alpha = 0.5}'
    given = {"data.path": str(tiny_folder), "protocol.name": name, "protocol.mask": "train", "seeds": [0]}
    study = Study.load("references", {**given, "tune.channels": [plain], "tune.trials": 2})
    found = tune(study, out=tmp_path / "tuned", store=tmp_path / "store")
    used = Study.load(str(found.folder / "best.toml"), {"data.path": str(tiny_folder)})
    assert (used.kind, used.protocol.name, used.protocol.mask) == ("stages", "default", "train")


def test_another_protocol_is_another_folder_with_the_same_trials(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra 'tune' is not installed")
    few = {"data.path": str(tiny_folder), "tune.channels": ["P3alpha"], "tune.trials": 2}
    made = {}
    for name in ("default", "published"):
        study = Study.load(None, {**few, "protocol.name": name})
        made[name] = tune(study, out=tmp_path / name, store=tmp_path / "store")
    first, second = made.values()
    assert first.summary["fingerprint"] != second.summary["fingerprint"]
    assert second.manifest["trials_kept_from_before"] == {"P3alpha": 2}
    assert json.loads((tmp_path / "published" / "summary.json").read_text())["protocol"]["mask"] == "train"
    assert any(line.startswith("Protocol published: ") for line in heading(second.summary))
