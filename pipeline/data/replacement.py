"""Knock-outs that replace vectors: by one constant vector, or by noise."""

from __future__ import annotations

from typing import Literal

import numpy as np

from stagelens.pipeline.core import Float32, Float64, Int64, ModalityTable, TrainingData
from stagelens.pipeline.data.knockout import Dosed, changed
from stagelens.pipeline.recipe import recipe
from stagelens.pipeline.seeds import generator

BLOCK = 8192
"""Catalogue rows whose noise is drawn together; part of the result."""


@recipe
class Constant(Dosed):
    """Gives every treated item one vector: zeros, ones, or the mean.

    Treated items keep the modality, zero vectors too. Read from a file an all-zero row would mean that the item
    lacks it; in a treated table ``present`` alone decides, so that zero stays apart from ``Availability``. At
    dose 1 a recipe that centres its vectors finds none with a direction: a channel returns nothing, a
    similarity is unknown. At a smaller dose the treated items share one direction after centring and tie.

    References:
        Ye, Fu, Song, Zheng & Jose 2026, arXiv:2508.07399 (constant knock-outs: zeros, ones, mean).
    """

    value: Literal["zero", "one", "mean"] = "zero"
    """Every entry 0, every entry 1, or the mean vector of the items of the training interactions (of all items,
    where none of those has a vector)."""

    @property
    def seeded(self) -> bool:
        """Whether the seed decides who is treated."""
        return self.dose < 1

    def apply(self, table: ModalityTable, data: TrainingData, *, seed: int) -> ModalityTable:
        """Return the table with one vector in the treated rows.

        Raises:
            ConfigError: Nothing was treated, or it was that vector already.
        """
        items = self.drawn(table.name, np.flatnonzero(table.present), seed=seed)
        values = np.array(table.values)
        values[items] = mean_vector(table, data) if self.value == "mean" else float(self.value == "one")
        return changed(self, table, values, table.present, "Use another value.")


@recipe
class Noise(Dosed):
    """Gives every treated item a vector of independent normal noise.

    An item's noise depends on the seed, the modality's name and the item's place in the catalogue, not on dose
    or kind. Matched noise is scaled so that, at dose 1, every dimension has the mean and the standard deviation of
    the real vectors up to rounding; correlations between dimensions go. The other two kinds change scale too:
    around 1 with deviation 0.1 (the published noise) all vectors are nearly parallel.

    References:
        Ye, Fu, Song, Zheng & Jose 2026, arXiv:2508.07399 (``shifted`` is their noise).
    """

    kind: Literal["matched", "standard", "shifted"] = "matched"
    """matched: mean and deviation of each dimension. standard: N(0, 1). shifted: N(1, 0.1), 0.1 the deviation."""

    def apply(self, table: ModalityTable, data: TrainingData, *, seed: int) -> ModalityTable:
        """Return the table with noise in the treated rows.

        Raises:
            ConfigError: Nothing was treated, or noise of deviation 0 is the vectors themselves.
        """
        present = np.flatnonzero(table.present)
        treated = self.drawn(table.name, present, seed=seed)
        shift: Float64 | float = float(self.kind == "shifted")
        scale: Float64 | float = 0.1 if self.kind == "shifted" else 1.0
        if self.kind == "matched":
            mean, deviation = moments(table.values, present)
            noise_mean, noise_deviation = self._moments(table, present, seed)
            scale = np.divide(
                deviation, noise_deviation, out=np.zeros_like(deviation), where=noise_deviation > 0
            )
            shift = mean - scale * noise_mean
        values = np.array(table.values)
        largest = float(np.finfo(values.dtype).max)
        for start in range(0, len(values), BLOCK):
            rows = treated[(treated >= start) & (treated < start + BLOCK)]
            if len(rows):
                noise = shift + scale * _noise(table, start, seed)[rows - start].astype(np.float64)
                values[rows] = np.clip(noise, -largest, largest)
        return changed(self, table, values, table.present, "Use another kind.")

    def _moments(self, table: ModalityTable, items: Int64, seed: int) -> tuple[Float64, Float64]:
        """Return mean and deviation of the noise itself over the present items, float64 [D] each."""
        total, squares = np.zeros(table.width), np.zeros(table.width)
        for start in range(0, len(table.present), BLOCK):
            rows = items[(items >= start) & (items < start + BLOCK)] - start
            noise = _noise(table, start, seed)[rows].astype(np.float64)
            total += noise.sum(axis=0)
            squares += np.square(noise).sum(axis=0)
        mean = total / len(items)
        return mean, np.sqrt(np.maximum(squares / len(items) - np.square(mean), 0.0))


def _noise(table: ModalityTable, start: int, seed: int) -> Float32:
    """Return N(0, 1) for a block of the catalogue: float32 [rows of the block, D]."""
    shape = (min(BLOCK, len(table.present) - start), table.width)
    return generator(seed, "noise", table.name, start).standard_normal(shape, dtype=np.float32)


def moments(values: Float32, items: Int64) -> tuple[Float64, Float64]:
    """Return mean and standard deviation (of the population) of some rows: float64 [D] each."""
    blocks = [items[start : start + BLOCK] for start in range(0, len(items), BLOCK)]
    mean = np.zeros(values.shape[1])
    for rows in blocks:
        mean += np.asarray(values[rows], dtype=np.float64).sum(axis=0)
    mean /= max(len(items), 1)
    squares = np.zeros(values.shape[1])
    for rows in blocks:  # a second pass: differences of squares lose a small deviation beside a large mean
        squares += np.square(np.asarray(values[rows], dtype=np.float64) - mean).sum(axis=0)
    return mean, np.sqrt(squares / max(len(items), 1))


def mean_vector(table: ModalityTable, data: TrainingData) -> Float64:
    """Return the mean vector of the items of the training interactions, float64 [D]; of all, where none has one."""
    taught = np.flatnonzero(table.present & (data.interactions.item_degree() > 0))
    items = taught if len(taught) else np.flatnonzero(table.present)
    return moments(table.values, items)[0]
