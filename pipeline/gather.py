"""Compiled loops over rows of a vector table: pooled histories, dot products, normalisation.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Int32, Int64, Lists
from stagelens.pipeline.threads import over_rows


@njit(cache=True, nogil=True)
def _pool(
    indptr: Any,
    items: Any,
    position: Any,
    table: Any,
    limit: Any,
    decay: Any,
    mean: Any,
    lo: Any,
    hi: Any,
    out: Any,
    used: Any,
) -> None:
    width = table.shape[1]
    total = np.empty(width, np.float64)
    met = np.full(len(position), -1, np.int64)
    for row in range(lo, hi):
        total[:] = 0.0
        mass = 0.0
        weight = 1.0
        count = 0
        for at in range(indptr[row + 1] - 1, indptr[row] - 1, -1):  # newest first
            item = items[at]
            place = position[item]
            if place < 0 or met[item] == row:
                continue
            met[item] = row
            for d in range(width):
                total[d] += weight * table[place, d]
            mass += weight
            weight *= decay
            count += 1
            if count == limit:
                break
        used[row] = count
        scale = 1.0 / mass if mean and count else 1.0
        for d in range(width):
            out[row, d] = total[d] * scale


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _dots(vectors: Any, table: Any, place: Any, lo: Any, hi: Any, out: Any) -> None:
    # reassoc lets the sum use every SIMD lane (4x); the order of addition is fixed by the compiled loop, so a
    # pair's score depends on nothing but its two vectors.
    width = table.shape[1]
    for row in range(lo, hi):
        for k in range(place.shape[1]):
            at = place[row, k]
            if at < 0:
                out[row, k] = np.nan
                continue
            total = np.float32(0.0)
            for d in range(width):
                total += vectors[row, d] * table[at, d]
            out[row, k] = total


@njit(cache=True, nogil=True)
def _unit(rows: Any, lo: Any, hi: Any, norm: Any) -> None:
    for row in range(lo, hi):
        total = 0.0
        for d in range(rows.shape[1]):
            total += np.float64(rows[row, d]) * rows[row, d]
        length = np.sqrt(total)
        norm[row] = length
        if length > 0.0:
            for d in range(rows.shape[1]):
                rows[row, d] = rows[row, d] / length


def pooled(
    history: Lists,
    table: Float32,
    position: Int32,
    *,
    limit: int = -1,
    decay: float = 1.0,
    mean: bool = True,
) -> tuple[Float32, Int32]:
    """Add up the vectors of every history; an item counts once, where it stands last.

    Args:
        history: Lists with Q rows, oldest first.
        table: float32 [G, D].
        position: int32 [I], the row of each item in ``table``; -1: no vector, skipped.
        limit: Newest items taken; -1: all.
        decay: Weight of an item against the one after it.
        mean: Divide by the sum of the weights.

    Returns:
        float32 [V, D] and int32 [V], the query row of each; queries without any vector are left out.
    """
    out = np.empty((len(history), table.shape[1]), np.float32)
    used = np.empty(len(history), np.int32)
    args = (history.indptr, history.items, position, table, limit, float(decay), bool(mean))
    over_rows(len(history), lambda lo, hi: _pool(*args, lo, hi, out, used))
    return some_rows(out, np.arange(len(history), dtype=np.int32), used > 0)


def some_rows(vectors: Float32, owner: Int32, keep: NDArray[np.bool_]) -> tuple[Float32, Int32]:
    """Return the kept vectors and owners, without a copy where all are kept."""
    return (vectors, owner) if bool(keep.all()) else (vectors[keep], owner[keep])


def dots(vectors: Float32, table: Float32, place: Int32 | Int64) -> Float32:
    """Return float32 [V, K]: vector v times row ``place[v, k]`` of the table; NaN where that is -1."""
    out = np.empty(place.shape, np.float32)
    steps = 0.5 * place.shape[1] * table.shape[1]
    over_rows(len(place), lambda lo, hi: _dots(vectors, table, place, lo, hi, out), steps=steps)
    return out


def normalise(rows: Float32) -> NDArray[np.float64]:
    """Scale every row to length 1 in place (zero rows stay); return the old lengths, float64 [N]."""
    norm = np.empty(len(rows), np.float64)
    over_rows(len(rows), lambda lo, hi: _unit(rows, lo, hi, norm), steps=2.0 * rows.shape[1])
    return norm
