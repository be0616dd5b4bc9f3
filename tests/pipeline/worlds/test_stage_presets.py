"""The worlds of one stage have their effect there alone, by the truth of fitted systems."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from stagelens.pipeline.worlds.presets import presets

MARGIN = 0.02
"""Of the base: what studies call too small to matter."""
PLACE = Path(__file__).parents[3] / "benchmarks" / "stage_truth.py"


@pytest.fixture(scope="module")
def effects() -> Callable[..., dict[str, float]]:
    spec = importlib.util.spec_from_file_location("stage_truth", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.effects


@pytest.mark.slow
def test_the_effect_at_recall_alone(effects):
    found = effects(presets()["recall-only"].truth(), "text", draws=10)
    assert found["worth recall"] > 0.5
    assert abs(found["worth rerank"]) < MARGIN * found["base rerank"]
    assert found["effect recall"] > 0.1
    assert (
        abs(found["effect rerank"]) < MARGIN * found["effect both"]
    )  # with everything off next to nothing is found


@pytest.mark.slow
def test_the_effect_at_rerank_alone(effects):
    found = effects(presets()["rerank-only"].truth(), "text", draws=10)
    assert found["base recall"] == 1
    assert found["worth recall"] == 0
    assert abs(found["effect recall"]) < MARGIN * found["base rerank"]
    assert found["worth rerank"] > 0.015
    assert found["effect rerank"] > 0.015
