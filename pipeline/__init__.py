"""StageLens: at which stage of a recommender does a modality help?

The ground of the house: what flows, contracts, recipes, data, measurement, studies, report and CLI.
Names are loaded when they are first asked for (PEP 562), so importing this costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stagelens.pipeline.native import prepare_environment

prepare_environment()

if TYPE_CHECKING:
    from stagelens.pipeline.compose import Then, Top, Union
    from stagelens.pipeline.core import (
        Candidates,
        Dataset,
        Features,
        Interactions,
        ModalityTable,
        Queries,
        Rows,
        Split,
        TrainingData,
    )
    from stagelens.pipeline.data.datasets import load_dataset
    from stagelens.pipeline.data.impute import Impute
    from stagelens.pipeline.data.knockout import Availability, PermuteRows
    from stagelens.pipeline.data.replacement import Constant, Noise
    from stagelens.pipeline.data.splits import split
    from stagelens.pipeline.data.withhold import Withhold
    from stagelens.pipeline.experiment.options import Study
    from stagelens.pipeline.experiment.runner import simulate
    from stagelens.pipeline.worlds.world import World

_WHERE = {
    "Availability": "data.knockout",
    "Candidates": "core",
    "Constant": "data.replacement",
    "Dataset": "core",
    "Features": "core",
    "Impute": "data.impute",
    "Interactions": "core",
    "ModalityTable": "core",
    "Noise": "data.replacement",
    "PermuteRows": "data.knockout",
    "Queries": "core",
    "Rows": "core",
    "Split": "core",
    "Study": "experiment.options",
    "Then": "compose",
    "Top": "compose",
    "TrainingData": "core",
    "Union": "compose",
    "Withhold": "data.withhold",
    "World": "worlds.world",
    "load_dataset": "data.datasets",
    "simulate": "experiment.runner",
    "split": "data.splits",
}

__all__ = [
    "Availability",
    "Candidates",
    "Constant",
    "Dataset",
    "Features",
    "Impute",
    "Interactions",
    "ModalityTable",
    "Noise",
    "PermuteRows",
    "Queries",
    "Rows",
    "Split",
    "Study",
    "Then",
    "Top",
    "TrainingData",
    "Union",
    "Withhold",
    "World",
    "load_dataset",
    "simulate",
    "split",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
