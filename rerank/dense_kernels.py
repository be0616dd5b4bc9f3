"""Compiled loops of a small network: a row's result follows from that row alone, whatever block it comes in.

A matrix product of a library sums in an order that depends on the number of rows and threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def scale_rows(values, places, columns, knots, heights, gaps, made):  # type: ignore[no-untyped-def]  # numba types it
    """Write the inputs of rows: heights between knots, 0 where a value is missing, and the indicators."""
    parts = heights.shape[1]
    last = np.zeros(len(columns), np.int64)
    for column in range(len(columns)):
        for knot in range(knots.shape[1]):
            if np.isfinite(knots[column, knot]):
                last[column] = knot
    for row in range(len(places)):
        for column in range(len(columns)):
            value = values[places[row], columns[column]]
            first = column * parts
            if np.isnan(value):
                for part in range(parts):
                    made[row, first + part] = 0
                continue
            low, high = 0, last[column]
            if value <= knots[column, low]:
                high = low
            elif value >= knots[column, high]:
                low = high
            else:
                while high - low > 1:
                    middle = (low + high) // 2
                    if knots[column, middle] <= value:
                        low = middle
                    else:
                        high = middle
            weight = np.float32(0)
            if high > low:
                weight = (value - knots[column, low]) / (knots[column, high] - knots[column, low])
            for part in range(parts):
                below, above = heights[column, part, low], heights[column, part, high]
                made[row, first + part] = below + weight * (above - below)
        for place in range(len(gaps)):
            missing = np.isnan(values[places[row], columns[gaps[place]]])
            made[row, len(columns) * parts + place] = np.float32(1) if missing else np.float32(0)


@njit(cache=True, nogil=True)
def linear(rows, weight, offset, made):  # type: ignore[no-untyped-def]  # numba types it
    """Write rows @ weight + offset, every sum in the order of the inputs.

    Args:
        rows: float32 [R, X].
        weight: float32 [X, W].
        offset: float32 [W].
        made: float32 [R, W].
    """
    for row in range(rows.shape[0]):
        made[row] = offset
        for place in range(weight.shape[0]):
            value = rows[row, place]
            for unit in range(weight.shape[1]):
                made[row, unit] += value * weight[place, unit]


@njit(cache=True, nogil=True)
def normed(rows, scale, offset, made):  # type: ignore[no-untyped-def]  # numba types it
    """Write the layer norm of every row."""
    width = rows.shape[1]
    for row in range(rows.shape[0]):
        total = np.float32(0)
        for unit in range(width):
            total += rows[row, unit]
        mean = total / np.float32(width)
        square = np.float32(0)
        for unit in range(width):
            square += (rows[row, unit] - mean) ** 2
        factor = np.float32(1) / np.sqrt(square / np.float32(width) + np.float32(1e-5))
        for unit in range(width):
            made[row, unit] = (rows[row, unit] - mean) * factor * scale[unit] + offset[unit]
