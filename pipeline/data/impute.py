"""Imputation: vectors for the items that lack a modality. No imputation is the third policy: they stay absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from stagelens.pipeline.core import Float64, Int64, ModalityTable, TrainingData
from stagelens.pipeline.data.knockout import Dosed, changed
from stagelens.pipeline.data.replacement import BLOCK, mean_vector
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import recipe

PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 5))
"""Tried as multiples of the mean eigenvalue of the source's covariance: 1e-4 to 100, two a decade."""
NO_VARIANCE = 1e-12
"""Directions with a smaller share of the largest eigenvalue are rounding noise."""


@recipe
class Impute(Dosed):
    """Gives items that lack a modality a vector: the mean, or what another modality predicts.

    The mean is that of the items of the training interactions. The prediction is linear, by ridge regression on the
    items of the training interactions that have both modalities; the penalty is chosen among 13 by generalized
    cross-validation, one for all dimensions. Items without the source stay absent. The table becomes float32.
    A recipe that centres by the same mean finds no direction in a mean row and takes it for absent; one that centres
    by other items' mean (another fold) finds one direction shared by all mean rows.

    References:
        Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634 (ridge).
        Golub, Heath & Wahba 1979, doi:10.1080/00401706.1979.10489751 (generalized cross-validation).
    """

    dose: float = Field(default=1.0, ge=0, le=1)
    """Share of the items that can be filled which are filled."""
    policy: Literal["mean", "from"] = "mean"
    """mean: the mean vector. from: predicted from ``source``."""
    source: str | None = None
    """The modality predicted from; with ``policy = "from"`` only."""

    def __post_init__(self) -> None:
        if (self.policy == "from") != (self.source is not None):
            raise ValueError(
                f"policy = {self.policy!r} and source = {self.source!r}: 'from' needs a source, "
                "e.g. source = \"text\"; 'mean' takes none"
            )

    @property
    def seeded(self) -> bool:
        """Whether the seed decides who is filled."""
        return self.dose < 1

    def apply(self, table: ModalityTable, data: TrainingData, *, seed: int) -> ModalityTable:
        """Return the table with fewer missing rows.

        Raises:
            ConfigError: Nothing to fill or to fill from, no such source, the table itself as the source, or no
                item that has both.
        """
        source = None if self.source is None else self._source(table, data)
        open_to = ~table.present if source is None else ~table.present & source.present
        items = np.flatnonzero(open_to)
        if not len(items) or not table.present.any():
            raise ConfigError(
                f"{self!r} changed nothing in modality {table.name!r}: {int((~table.present).sum())} of "
                f"{len(table.present)} items lack it"
                + (f", none of them has {source.name!r}." if source is not None else ".")
                + (" No item has it, so there is nothing to fill from." if not table.present.any() else "")
            )
        items = self.drawn(table.name, items, seed=seed)
        values = np.array(table.values, dtype=np.float32)
        if source is None:
            values[items] = mean_vector(table, data)
        else:
            both = table.present & source.present & (data.interactions.item_degree() > 0)
            if not both.any():
                raise ConfigError(
                    f"{self!r}: no item of the training interactions has both {table.name!r} and "
                    f'{source.name!r}, so one cannot be predicted from the other. Use policy = "mean".'
                )
            ridge = Ridge.fit(source, table, np.flatnonzero(both))
            for start in range(0, len(items), BLOCK):
                rows = items[start : start + BLOCK]
                values[rows] = ridge.predict(source, rows)
        present = table.present.copy()
        present[items] = True
        return changed(self, table, values, present)

    def _source(self, table: ModalityTable, data: TrainingData) -> ModalityTable:
        if self.source == table.name:
            others = sorted(set(data.modalities) - {table.name})
            raise ConfigError(
                f"{self!r}: {table.name!r} cannot be predicted from itself. "
                f"Other modalities: {', '.join(others) or '(none)'}."
            )
        return data.modality(str(self.source))


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """A linear map between two modalities.

    Attributes:
        weights: float64 [D source, D target].
        source_mean: float64 [D source].
        target_mean: float64 [D target].
        penalty: Chosen, as a multiple of the mean eigenvalue.
    """

    weights: Float64
    source_mean: Float64
    target_mean: Float64
    penalty: float

    @classmethod
    def fit(cls, source: ModalityTable, target: ModalityTable, items: Int64) -> Ridge:
        """Fit on some items in closed form; means are not penalised."""
        from scipy.linalg import eigh

        source_mean, target_mean = _mean(source, items), _mean(target, items)
        gram = np.zeros((source.width, source.width))
        cross = np.zeros((source.width, target.width))
        total = 0.0
        for start in range(0, len(items), BLOCK):
            rows = items[start : start + BLOCK]
            x = source.rows(rows).astype(np.float64) - source_mean
            y = target.rows(rows).astype(np.float64) - target_mean
            gram += x.T @ x
            cross += x.T @ y
            total += float(np.square(y).sum())
        values, vectors = eigh(gram, overwrite_a=True, check_finite=False)
        real = values > NO_VARIANCE * max(float(values[-1]), 0.0)
        values, vectors = values[real], vectors[:, real]
        if not len(values):  # one item, or equal ones: the mean is all there is to say
            return cls(np.zeros_like(cross), source_mean, target_mean, 0.0)
        rotated = vectors.T @ cross
        explained = np.square(rotated).sum(axis=1) / values
        unit = float(values.sum()) / source.width
        scores = [_gcv(values, explained, total, len(items), penalty * unit) for penalty in PENALTIES]
        best = max(
            range(len(PENALTIES)), key=lambda place: (-scores[place], place)
        )  # ties: the larger penalty
        weights = vectors @ (rotated / (values + PENALTIES[best] * unit)[:, None])
        return cls(weights, source_mean, target_mean, PENALTIES[best])

    def predict(self, source: ModalityTable, items: Int64) -> Float64:
        """Return float64 [len(items), D target]."""
        return self.target_mean + (source.rows(items).astype(np.float64) - self.source_mean) @ self.weights


def _mean(table: ModalityTable, items: Int64) -> Float64:
    total = np.zeros(table.width)
    for start in range(0, len(items), BLOCK):
        total += table.rows(items[start : start + BLOCK]).sum(axis=0, dtype=np.float64)
    return total / len(items)


def _gcv(values: Float64, explained: Float64, total: float, n: int, penalty: float) -> float:
    """Return the generalized cross-validation score: residual squares over squared residual freedom."""
    shrunk = values / (values + penalty)
    residual = total - float(((2 * shrunk - np.square(shrunk)) * explained).sum())
    freedom = n - 1 - float(shrunk.sum())
    return max(residual, 0.0) / freedom**2 if freedom > 1e-6 * n else float("inf")
