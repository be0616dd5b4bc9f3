"""Named protocols: what they set, who may override it, what is refused, and how loudly confounds are told."""

from __future__ import annotations

import tomllib

import pytest

from stagelens.pipeline.cli.options import Asked
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.axes import cells_of
from stagelens.pipeline.experiment.options import ProtocolOptions, Study
from stagelens.pipeline.experiment.protocols import PROTOCOLS, told, warnings_of
from stagelens.pipeline.experiment.toml import to_toml
from stagelens.pipeline.experiment.variants import Variant, laid_out
from stagelens.pipeline.progress import Silent
from stagelens.pipeline.store import Store

TRAIN, LONGER = "train", "train+valid"
WINDOWS = ("fit_on", "input", "mask", "select_on")
RESOLVED = {
    "default": (TRAIN, TRAIN, LONGER, "valid"),
    "full": (TRAIN, TRAIN, LONGER, "valid"),
    "published": (TRAIN, TRAIN, TRAIN, "valid"),
    "loo99": (TRAIN, TRAIN, LONGER, "valid"),
}


def load(*assignments: str, config: str | None = None, **options: str) -> Study:
    return Study.load(config, {key.replace("__", "."): value for key, value in options.items()}, assignments)


def windows(study: Study) -> tuple[str, ...]:
    return tuple(getattr(study.protocol, field) for field in WINDOWS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_name_resolves_to_the_fields_it_says(name):
    asked = load(kind="references", protocol__name=name)
    assert windows(asked) == RESOLVED[name]
    assert asked.protocol.name == name
    assert windows(load("kind=references", f"protocol.name={name}")) == RESOLVED[name]
    assert tuple(getattr(ProtocolOptions(name=name), field) for field in WINDOWS) == RESOLVED[name]
    assert Asked(protocol=name).study(kind="references").protocol == asked.protocol


def test_without_a_name_the_protocol_is_the_default():
    assert load().protocol == load(protocol__name="default").protocol == ProtocolOptions()


def test_what_is_set_stands_and_a_name_given_later_takes_its_place(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text('[protocol]\nname = "published"\nfit_on = "train+valid"\nfolds = 7\n')
    beside = load(config=str(file))
    assert windows(beside) == (LONGER, TRAIN, TRAIN, "valid")
    over = load(config=str(file), protocol__name="default")
    assert windows(over) == RESOLVED["default"]
    assert over.protocol.folds == 7  # no protocol speaks of folds
    by_set = load("protocol.mask=train", config=str(file), protocol__name="default")
    assert windows(by_set) == (TRAIN, TRAIN, TRAIN, "valid")
    assert windows(load("protocol.input=train+valid", "protocol.name=published")) == (
        TRAIN,
        LONGER,
        TRAIN,
        "valid",
    )


def test_the_resolved_study_reads_back_the_same(tmp_path):
    tuned = {"a set (seed 1)": {"SVD": {"factors": 9}, "NMF": {"use": "recall.NMF", "factors": 4}}}
    study = Study.load(
        "references", {"protocol.name": "published", "protocol.mask": LONGER, "references.tuned": tuned}
    )
    file = tmp_path / "config.toml"
    file.write_text(to_toml(study.model_dump(mode="json")))
    assert tomllib.loads(file.read_text())["protocol"]["mask"] == LONGER
    assert Study.load(str(file)) == study


def test_axes_may_name_a_protocol():
    study = Study.load(
        None, {"axes": {"protocol": {"ours": {}, "theirs": {"protocol": {"name": "published"}}}}}
    )
    found = cells_of(study)
    assert windows(found["ours"]) == RESOLVED["default"]
    assert windows(found["theirs"]) == RESOLVED["published"]


def test_published_differs_from_default_in_the_mask_of_test_alone(tiny, tiny_split, tmp_path):
    laid = {}
    for name in ("default", "published"):
        study = load(protocol__name=name)
        parts = (study, tiny, tiny_split, Variant())
        laid[name] = laid_out(*parts, seed=0, store=Store(tmp_path), progress=Silent()).windows
    ours, theirs = laid["default"], laid["published"]
    assert [row.key for row in ours.rows] == [row.key for row in theirs.rows]
    assert ours.valid.key == theirs.valid.key
    for part in ("fit", "input", "target"):
        assert getattr(ours.test, part).fingerprint() == getattr(theirs.test, part).fingerprint()
    assert theirs.test.mask.fingerprint() == tiny_split.train.fingerprint()
    assert ours.test.mask.fingerprint() == tiny_split.train.merged(tiny_split.valid).fingerprint()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol.name": "publishd"}, "published"),
        ({"protocol.name": "full"}, "--config references --protocol full"),
        ({"protocol.name": "loo99", "kind": "attribute"}, "--config references --protocol loo99"),
        ({"protocol.name": "full", "kind": "references", "stage": "recall"}, "one-stage"),
        ({"kind": "references", "stage": "rerank"}, "no re-ranker"),
        ({"kind": "references", "protocol.select_on": "test"}, "references.settings"),
        ({"kind": "compare", "protocol.select_on": "test"}, "--confound select-on-test"),
        ({"protocol.select_on": "test"}, "kind = stages"),
        ({"kind": "references", "references.baseline": "Item-KN"}, "Item-KNN"),
        ({"kind": "references", "references.tuned": {"x": {"SDV": {}}}}, "SVD"),
        ({"kind": "references", "references.systems": [{"use": "recall.EASE"}]}, "needs a name"),
        (
            {"kind": "references", "references.systems": [{"name": "a", "use": "recall.EASE"}] * 2},
            "stands there twice",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_way_out(options, words):
    with pytest.raises(ConfigError, match=words):
        Study.load(None, options)


def test_the_stage_of_references_follows_the_protocol_unless_it_is_named():
    assert [load(kind="references", protocol__name=name).stage for name in PROTOCOLS] == [
        "recall",
        "both",
        "both",
        "recall",
    ]
    assert load(kind="references").stage == "recall"
    assert load(kind="references", protocol__name="published", stage="recall").stage == "recall"
    assert load(kind="references", stage="both").stage == "both"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_named_protocol_alone_is_no_confound(name):
    assert warnings_of(load(kind="references", protocol__name=name)) == []


@pytest.mark.parametrize(
    ("assignment", "word"),
    [
        ("protocol.fit_on=train+valid", "fit_on"),
        ("protocol.input=train+valid", "input"),
        ("protocol.mask=train+valid", "mask"),
        ("protocol.select_on=test", "TEST"),
        ("measure.dcg=raw", "dcg"),
    ],
)
def test_every_confound_alone_is_told_in_one_loud_line(assignment, word):
    study = load(assignment, "references.settings=2", kind="references", protocol__name="published")
    [line] = warnings_of(study)
    assert line.startswith("WARNING: ")
    assert word in line
    key, _, value = assignment.partition("=")
    assert told(study)[key.rpartition(".")[2]] == value


def test_a_confound_of_an_axis_is_told_with_its_place():
    axes = {"fit": {"ours": {}, "longer": {"protocol": {"fit_on": LONGER}}}}
    [line] = warnings_of(Study.load(None, {"axes": axes}))
    assert "axes.fit.longer" in line
