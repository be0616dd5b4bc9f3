"""A permuted modality against another permutation of it: hardly ever a verdict that something differs.

The worlds and the comparison are those of ``benchmarks/null_verdicts.py``.
"""

from __future__ import annotations

import importlib.util
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import pytest

PLACE = Path(__file__).parents[2] / "benchmarks" / "null_verdicts.py"


@pytest.fixture(scope="module")
def null() -> ModuleType:
    spec = importlib.util.spec_from_file_location("null_verdicts", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["null_verdicts"] = module
    spec.loader.exec_module(module)
    return module


def false_ones(null: ModuleType, found: list[dict]) -> int:
    return sum(one["verdict"] not in null.NULL for one in found)


def test_a_dozen_null_worlds_at_recall(null):
    case = null.Case("recall", "equal", 1)
    found = [null.null_verdict(case, world) for world in range(12)]
    assert all(one["differs"] for one in found)  # both copies do change the lists
    assert false_ones(null, found) <= 2  # 2 % of nominal 5 % tests would have more


def test_three_null_worlds_at_rerank(null):
    case = null.Case("rerank", "valid", 1)
    found = [null.null_verdict(case, world) for world in range(3)]
    assert all(one["differs"] for one in found)
    assert false_ones(null, found) <= 1


def test_the_same_comparison_sees_a_modality_that_is_not_permuted(null):
    case = null.Case("recall", "equal", 1)
    found = [null.null_verdict(case, world, ("text~a", "text")) for world in range(12)]
    assert sum(one["verdict"] == "helps" for one in found) >= 4
    assert sum(one["verdict"] == "hurts" for one in found) == 0
    assert sum(one["difference"] > 0 for one in found) >= 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "weights", "seeds"),
    [("recall", "valid", 1), ("recall", "equal", 1), ("rerank", "valid", 1), ("rerank", "valid", 3)],
)
def test_a_hundred_null_worlds(null, monkeypatch, stage, weights, seeds):
    monkeypatch.setenv("STAGELENS_THREADS", "1")
    monkeypatch.syspath_prepend(str(PLACE.parent))  # the processes find the functions by name
    tasks = [(null.Case(stage, weights, seeds), world) for world in range(100)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = list(pool.map(null._work, tasks))
    assert false_ones(null, found) <= 5, null.summary(found)
