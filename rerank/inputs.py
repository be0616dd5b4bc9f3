"""The columns of a training found again, and scaled for a network by what the training rows alone say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Rows
from stagelens.pipeline.threads import over_rows

Scale = Literal["quantile", "log", "both"]
KNOTS = 65
"""Values of a column between which its inputs are straight lines."""
SAMPLE = 100_000
"""Rows whose quantiles are taken at most, evenly spaced."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """A table a column: at which values its inputs have which heights, straight lines between, level beyond.

    A heavy tail therefore ends at the largest value of the training rows, and monotone scales need no arithmetic that
    differs between machines. A missing value is 0, the mean of every input, beside an indicator of its own.

    Attributes:
        knots: float32 [F, T], rising; padded with inf.
        heights: float32 [F, P, T], for P inputs a column.
        gaps: int32 [G], columns that were missing somewhere in training: each has an indicator, 1 where missing.
    """

    knots: Float32
    heights: Float32
    gaps: NDArray[np.int32]

    @classmethod
    def fit(cls, rows: Rows, scale: Scale) -> Inputs:
        """Learn knots and heights from rows.

        Args:
            rows: Training rows.
            scale: ``quantile``: the share of rows below; ``log``: sign(x) log(1 + |x| / m) with m the median of |x|,
                above 0; ``both``: two inputs a column. Each with mean 0 and deviation 1 over the rows.
        """
        step = max(1, -(-len(rows.label) // SAMPLE))
        knots = np.full((len(rows.names), KNOTS), np.inf, np.float32)
        heights = np.zeros((len(rows.names), 2, KNOTS), np.float32)
        for column in range(len(rows.names)):
            known = rows.values[::step, column].astype(np.float64)
            known = known[np.isfinite(known)]
            if len(known):
                where, raised = _table(known)
                knots[column, : len(where)] = where
                heights[column, :, : len(where)] = raised
        kept = {"quantile": [0], "log": [1], "both": [0, 1]}[scale]
        gaps = np.flatnonzero(np.isnan(rows.values).any(axis=0)).astype(np.int32)
        return cls(knots, np.ascontiguousarray(heights[:, kept]), gaps)

    @property
    def width(self) -> int:
        """Inputs of the network."""
        columns, parts, _ = self.heights.shape
        return int(columns * parts + len(self.gaps))

    def of(self, values: Float32, places: NDArray[np.int64], columns: NDArray[np.int32]) -> Float32:
        """Return float32 [R, X] of the rows at ``places``.

        Args:
            values: float32 [N, C], any columns.
            places: int64 [R] into the rows.
            columns: int32 [F], where the columns of the training stand.
        """
        from stagelens.rerank.dense_kernels import scale_rows

        made = np.empty((len(places), self.width), np.float32)
        over_rows(
            len(places),
            lambda start, stop: scale_rows(
                values, places[start:stop], columns, self.knots, self.heights, self.gaps, made[start:stop]
            ),
            steps=20.0 * len(columns),
        )
        return made

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``read`` reads back."""
        return {"knots": self.knots, "heights": self.heights, "gaps": self.gaps}

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[Any]]) -> Inputs:
        """Read saved tables back."""
        return cls(
            np.ascontiguousarray(arrays["knots"], np.float32),
            np.ascontiguousarray(arrays["heights"], np.float32),
            np.asarray(arrays["gaps"], np.int32),
        )


def _table(known: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the knots float64 [T] of a column's values and the heights float64 [2, T] there."""
    values, counts = np.unique(known.astype(np.float32), return_counts=True)
    share = (np.cumsum(counts) - counts / 2) / len(known)  # the middle of those alike
    if len(values) > KNOTS:
        wanted = np.searchsorted(share, np.linspace(0, 1, KNOTS)).clip(0, len(values) - 1)
        kept = np.unique(np.concatenate([[0, len(values) - 1], wanted]))
        kept = kept if len(kept) <= KNOTS else np.delete(kept, 1)
    else:
        kept = np.arange(len(values))
    where = values[kept].astype(np.float64)
    size = np.abs(known[known != 0])
    unit = float(np.median(size)) if len(size) else 1.0
    raised = np.stack([share[kept], np.sign(where) * np.log1p(np.abs(where) / unit)])
    for line in raised:
        own = np.interp(known, where, line)
        deviation = float(own.std())
        line -= own.mean()
        line /= deviation if deviation > 1e-6 else np.inf  # a constant says nothing
    return where, raised
