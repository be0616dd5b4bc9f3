"""Side: columns of the items and users tables, as ranker columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stagelens.pipeline.core import Candidates, Features, Float32, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.recipe import Recipe, Role, recipe


@recipe
class Side(Recipe):
    """Item and user columns of the data set, unchanged. No column is no feature."""

    role: ClassVar[Role] = "features"

    columns: tuple[str, ...] = ()
    """Names of item or user columns; empty: all there are."""

    def fit(self, data: TrainingData, channels: tuple[str, ...], *, seed: int) -> FittedSide:
        """Pick the columns.

        Raises:
            ConfigError: No such column; the message lists those there are.
        """
        known = [*data.item_columns, *data.user_columns]
        for name in self.columns:
            if name not in known:
                raise ConfigError(nearest("side column", name, known))
        chosen = self.columns or known
        item = tuple(name for name in data.item_columns if name in chosen)
        user = tuple(name for name in data.user_columns if name in chosen)
        return FittedSide(
            item,
            user,
            _table([data.item_columns[name] for name in item], data.interactions.n_items),
            _table([data.user_columns[name] for name in user], data.interactions.n_users),
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedSide:
    """Picked columns.

    Attributes:
        item_names: Names of the item columns.
        user_names: Names of the user columns.
        item: float32 [I, number of item columns].
        user: float32 [U, number of user columns].
    """

    item_names: tuple[str, ...]
    user_names: tuple[str, ...]
    item: Float32
    user: Float32

    @property
    def names(self) -> tuple[str, ...]:
        """Item columns, then user columns."""
        items = tuple(f"side: item {name}" for name in self.item_names)
        return items + tuple(f"side: user {name}" for name in self.user_names)

    def compute(self, queries: Queries, candidates: Candidates) -> Features:
        """Return float32 [Q, K, F]; F may be 0."""
        values = np.empty((*candidates.item.shape, len(self.names)), np.float32)
        split = len(self.item_names)
        values[..., :split] = self.item[candidates.item]
        values[..., split:] = self.user[candidates.user][:, None, :]
        values[~candidates.found] = np.nan
        return Features(self.names, values)


def _table(columns: list[Float32], length: int) -> Float32:
    if not columns:
        return np.zeros((length, 0), np.float32)
    return np.stack(columns, axis=1).astype(np.float32)
