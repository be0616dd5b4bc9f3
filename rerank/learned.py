"""What every learned re-ranker asks of its feature groups, its training lists and the columns it scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stagelens.pipeline.core import Candidates, Features, Int32, Rows
from stagelens.pipeline.errors import ConfigError, DataError
from stagelens.pipeline.recipe import Recipe


def only_groups(value: tuple[Recipe, ...]) -> tuple[Recipe, ...]:
    """Return the same parts.

    Raises:
        ValueError: One of them is no feature group.
    """
    for part in value:
        if part.role != "features":
            raise ValueError(f"{part.label} is a {part.role or 'recipe'}, not a feature group")
    return value


def need_lists(label: str, rows: Rows) -> None:
    """Go on only where there is something to learn from.

    Raises:
        ConfigError: No column.
        DataError: No training list.
    """
    if not rows.names:
        raise ConfigError(
            f"{label} has no column to learn from: features = () or groups without columns. Add one, e.g. "
            "rerank.Popularity"
        )
    if not len(rows.group):
        raise DataError(
            "0 training lists hold a relevant and another candidate; at least 1 is needed. Raise "
            "recall.size, give the label window more interactions, or use rerank.KeepOrder"
        )


def trained_columns(names: Sequence[str], candidates: Candidates, features: Features) -> Int32:
    """Return where the columns of a training stand among features, int32 [F].

    Args:
        names: Columns, in the order of training.
        candidates: Lists [Q, K].
        features: Of these candidates; further columns do no harm.

    Raises:
        ValueError: A column of the training is absent, or the shapes differ.
    """
    if features.values.shape[:2] != candidates.item.shape:
        raise ValueError(f"features {features.values.shape}, candidates {candidates.item.shape}")
    place = {name: column for column, name in enumerate(features.names)}
    lacking = [name for name in names if name not in place]
    if lacking:
        raise ValueError(
            f"trained with {len(names)} columns, of which {lacking} are absent; the feature groups "
            "probably changed after training"
        )
    return np.array([place[name] for name in names], dtype=np.int32)
