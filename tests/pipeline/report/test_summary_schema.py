"""The schema accepts the contract and nothing else."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from stagelens.pipeline.errors import DataError
from stagelens.pipeline.report.schema import schema, validate

jsonschema = pytest.importorskip("jsonschema")


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_examples_fit(summary: dict[str, Any], study_summary: dict[str, Any]) -> None:
    validate(summary)
    validate(study_summary)
    validate(json.loads(json.dumps(summary)))


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(summary: dict[str, Any]) -> None:
        for part in path[:-1]:
            summary = summary[part]
        summary[path[-1]] = value

    return change


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(summary: dict[str, Any]) -> None:
        for part in path[:-1]:
            summary = summary[part]
        del summary[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (drop("fingerprint"), "fingerprint"),
        (put("extra", value=1), "extra"),
        (put("schema_version", value=2), "schema_version"),
        (put("systems", 0, "stage", value="both stages"), "systems/0/stage"),
        (put("systems", 0, "integration", value="late"), "systems/0/integration"),
        (
            put("systems", 0, "metrics", "recall at 20", value={"mean": 0, "low": 0, "high": 0, "n": 1}),
            "recall at 20",
        ),
        (drop("systems", 0, "metrics", "recall@20", "n"), "recall@20"),
        (drop("systems", 0, "losses", "index_gain"), "systems/0"),
        (put("systems", 0, "losses", "recall", value=0.7), "sum to"),
        (drop("systems", 0, "cost", "fit_s"), "systems/0/cost"),
        (put("systems", 0, "cost", "fit_s", value=math.nan), "not JSON"),
        (put("comparisons", 0, "verdict", value="better"), "comparisons/0/verdict"),
        (put("comparisons", 0, "contrast", value="permutation"), "comparisons/0/contrast"),
        (put("comparisons", 0, "p_adj", value=0.1), "comparisons/0"),
        (put("comparisons", 0, "n", value=1.5), "comparisons/0/n"),
    ],
)
def test_what_does_not_fit_is_refused(
    summary: dict[str, Any], change: Callable[[dict[str, Any]], None], place: str
) -> None:
    broken = copy.deepcopy(summary)
    change(broken)
    with pytest.raises(DataError, match="does not fit") as caught:
        validate(broken)
    assert place in str(caught.value)
