"""Axes of a cloud of vectors, learned from the items of the fit window alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Float32, Float64

NEGLIGIBLE = 1e-9
"""Axes with a smaller share of the largest variance carry rounding noise only."""
BLOCK = 65_536


def principal(rows: Float32, taught: Bool, width: int | None = None) -> tuple[Float64, Float64]:
    """Return the principal axes about the origin, strongest first.

    Rows are centred, or not, by whoever prepared them. The largest entry of every axis is positive.

    Args:
        rows: float32 [I, D].
        taught: bool [I], the rows that count.
        width: Axes at most; None: D.

    Returns:
        float64 [D, k], orthonormal columns, and float64 [k], the mean square along each; k is smaller than
        asked for where the rows span fewer dimensions.
    """
    from scipy.linalg import eigh

    d = rows.shape[1]
    total = second_moment(rows, taught)
    first = 0 if width is None else max(0, d - width)
    if not d or not total.any():
        return np.zeros((d, 0)), np.zeros(0)
    variance, axes = eigh(total, subset_by_index=[first, d - 1])
    variance, axes = variance[::-1], axes[:, ::-1]
    keep = variance > NEGLIGIBLE * variance[0]
    variance, axes = variance[keep], axes[:, keep]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return np.asarray(axes * np.where(largest < 0, -1.0, 1.0)), np.asarray(variance)


def second_moment(rows: Float32, taught: Bool) -> Float64:
    """Return float64 [D, D]: the mean of x x' over the taught rows, zeros where there is none."""
    items = np.flatnonzero(taught)
    total: Float64 = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(items), BLOCK):
        block = rows[items[start : start + BLOCK]].astype(np.float64)
        total += block.T @ block
    return total / max(1, len(items))


def whitening(rows: Float32, taught: Bool, shrinkage: float) -> Float64:
    """Return float64 [D, k]: rows times it have the identity as their second moment, without shrinkage.

    Args:
        rows: float32 [I, D].
        taught: bool [I], the rows that count.
        shrinkage: Share of the mean variance in every axis's variance: 0 whitens fully, 1 only scales.
    """
    axes, variance = principal(rows, taught)
    mean = variance.sum() / max(1, rows.shape[1])
    return np.asarray(axes / np.sqrt((1.0 - shrinkage) * variance + shrinkage * mean))


def projected(rows: Float32, matrix: NDArray[np.floating]) -> Float32:
    """Return float32 [I, k], rows times a matrix [D, k]."""
    out = np.empty((len(rows), matrix.shape[1]), np.float32)
    for start in range(0, len(rows), BLOCK):
        out[start : start + BLOCK] = rows[start : start + BLOCK] @ matrix.astype(np.float32)
    return out
