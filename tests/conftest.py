"""Tiny worlds, and studies on them that end in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stagelens.pipeline.core import Dataset, Split
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.data.write import write_dataset
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.workbench import Workbench
from stagelens.pipeline.worlds.world import World

MakeStudy = Callable[..., Study]
MakeBench = Callable[..., Workbench]
SIZE = 20
QUICK_TREES = {"trees": 20, "min_trees": 5, "min_rows_leaf": 10}


def world_of(seed: int, users: int = 200, **fields: Any) -> Dataset:
    text = {"text": {"width": 8, "signal": 0.8}}
    sizes = {"users": users, "items": 150, "activity": 15, "factors": 4, "categories": 5}
    return World(**{"modalities": text, **sizes, **fields}).generate(seed)


@pytest.fixture(scope="session")
def make_world() -> Callable[..., Dataset]:
    """Generate a small world: ``make_world(seed, users=200, **fields of World)``."""
    return world_of


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """200 users, 150 items, a real clock, one modality ``text``."""
    return world_of(1)


@pytest.fixture(scope="session")
def tiny_split(tiny: Dataset) -> Split:
    return split(tiny)


@pytest.fixture(scope="session")
def tiny_folder(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world as a folder on disk."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    write_dataset(tiny, folder)
    return folder


@pytest.fixture(scope="session")
def quick_trees() -> dict[str, Any]:
    """Fields of a LambdaMART that trains in a moment."""
    return dict(QUICK_TREES)


@pytest.fixture(scope="session")
def make_study(tiny_folder: Path) -> MakeStudy:
    """A quick study of the tiny folder: ``make_study(**{"recall.size": 30})``; without it, a lean one."""

    def make(**options: Any) -> Study:
        lean = {
            "data.path": str(tiny_folder),
            "recall.size": SIZE,
            "rerank.reranker": {"use": "rerank.LambdaMART", **QUICK_TREES},
            "rerank.base_view": False,
            "measure.draws": 999,
            "measure.latency_queries": 2,
            "measure.recall_k": [5, 10, 20],
            "measure.information": False,
            "measure.importance": False,
        }
        return Study.load(None, {**lean, **options})

    return make


@pytest.fixture(scope="session")
def make_bench(tmp_path_factory: pytest.TempPathFactory) -> MakeBench:
    """A workbench with a store of its own: ``make_bench(dataset, split, seed=0, refit="full", ...)``."""

    def make(dataset: Dataset, windows: Split | None = None, **options: Any) -> Workbench:
        store = options.pop("store", None) or tmp_path_factory.mktemp("store")
        seed = options.pop("seed", 0)
        return Workbench.of(dataset, windows or split(dataset), seed=seed, store=store, **options)

    return make
