"""Vectors named where a channel is asked for: one rule, ``recall.Dense`` serves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.arms import Builder
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.references import plan_of_references
from stagelens.pipeline.experiment.references_options import SYSTEMS
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.experiment.tuning import arms_of, tune
from stagelens.pipeline.recipe import load
from stagelens.recall import IALS, Dense, PureSVD

POPULAR = {"use": "recall.Popular"}
SVD = {"use": "recall.PureSVD", "factors": 4}


def base(study: Study, tiny) -> list[Any]:
    return list(Builder(study, tiny).union(()).parts)


def test_every_reference_can_stand_in_the_base_as_it_stands_among_references(make_study, tiny) -> None:
    names, uses = zip(*SYSTEMS, strict=True)
    in_base = base(make_study(device="cpu", **{"recall.base": [{"use": use} for use in uses]}), tiny)
    references = plan_of_references(make_study(device="cpu", kind="references"), tiny).references
    assert [one.name for one in references] == list(names)
    assert in_base == [one.channel for one in references]
    assert Dense(vectors=IALS(), device="cpu") in in_base


def test_a_channel_stays_as_it_is_written(make_study, tiny) -> None:
    written = [POPULAR, {"use": "recall.Dense", "vectors": SVD}, {"use": "recall.ItemKNN"}]
    assert base(make_study(device="cpu", **{"recall.base": written}), tiny) == [load(one) for one in written]


def test_a_study_serves_vectors_as_one_that_spells_dense_out(make_study, tmp_path: Path) -> None:
    plain, spelt = (
        simulate(
            make_study(stage="recall", modalities=["text"], **{"recall.base": [POPULAR, one]}),
            out=tmp_path / name,
            store=tmp_path / "store",
        ).summary
        for name, one in (("plain", SVD), ("spelt", {"use": "recall.Dense", "vectors": SVD}))
    )
    assert [one["metrics"] for one in plain["systems"]] == [one["metrics"] for one in spelt["systems"]]
    assert plain["comparisons"] == spelt["comparisons"]


def test_vectors_of_the_base_are_tuned_and_take_their_own_place(make_study, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra 'tune' is not installed")
    study = make_study(**{"recall.base": [POPULAR, {"use": "recall.PureSVD"}], "tune.trials": 2})
    assert [arm.name for arm in arms_of(study)] == ["PureSVD"]
    tune(study, out=tmp_path / "out", store=tmp_path / "store")
    popular, found = Study.load(str(tmp_path / "out" / "best.toml")).recall.base
    assert popular == POPULAR
    assert isinstance(load(found).vectors, PureSVD)


@pytest.mark.parametrize(
    ("option", "table", "where"),
    [
        ("recall.content", {"use": "recall.IALS"}, "recall.content"),
        ("rerank.groups", [{"use": "recall.IALS"}], "rerank.groups"),
        ("rerank.reranker", {"use": "recall.IALS"}, "rerank.reranker"),
    ],
)
def test_a_place_that_cannot_take_vectors_says_which_can(
    make_study, tiny, option: str, table: Any, where: str
) -> None:
    builder = Builder(make_study(**{option: table}), tiny)
    with pytest.raises(ConfigError, match=rf"{where}: recall\.IALS makes vectors, .*stand in recall\.base"):
        builder.reranker(builder.union(("text",)), ("text",))


def test_operators_say_what_serves_vectors() -> None:
    with pytest.raises(
        ConfigError, match=r"PureSVD makes vectors, which recall\.Dense\(vectors=\.\.\.\) serves"
    ):
        _ = load(POPULAR) | load({"use": "recall.PureSVD"})
