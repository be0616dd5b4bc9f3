"""Non-negative least squares by coordinate descent, one row at a time: compiled.

Given H, every row w of W minimises ½ w G wᵀ - b wᵀ over w >= 0, with G = HᵀH and b = x H. Coordinates are set one
after the other to their best value; the gradient is kept up to date, so a coordinate that stays costs nothing.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from stagelens.pipeline.core import Bool, Float32, Float64, Int32, Lists
from stagelens.pipeline.gather import some_rows
from stagelens.pipeline.threads import over_rows

SWEEPS = 500
"""Of a fold-in at most; one ends earlier, at the first sweep that moves no coordinate by more than ``STILL``."""
STILL = 1e-6
"""Share of the largest coordinate."""


@njit(cache=True, nogil=True)
def _descend(
    indptr: Any, items: Any, table: Any, gram: Any, sweeps: Any, still: Any, lo: Any, hi: Any, rows: Any
) -> None:
    width = table.shape[1]
    slope = np.empty(width, np.float64)
    for row in range(lo, hi):
        w = rows[row]
        slope[:] = 0.0
        for at in range(indptr[row], indptr[row + 1]):
            for d in range(width):
                slope[d] += table[items[at], d]
        for e in range(width):
            if w[e] != 0.0:
                for d in range(width):
                    slope[d] -= w[e] * gram[e, d]
        for _ in range(sweeps):
            moved, largest = 0.0, 0.0
            for e in range(width):
                if gram[e, e] == 0.0:
                    continue
                value = max(0.0, w[e] + slope[e] / gram[e, e])
                change = value - w[e]
                largest = max(largest, value)
                if change == 0.0:
                    continue
                w[e] = value
                moved = max(moved, abs(change))
                for d in range(width):
                    slope[d] -= change * gram[e, d]
            if moved <= still * largest:
                break


def _gram(table: Float64) -> Float64:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):  # the same last bits for any number of threads
        gram: Float64 = table.T @ table
    return gram


def _rows(indptr: Any, items: Any, table: Float64, rows: Float64, sweeps: int, still: float) -> None:
    args = (indptr, items, table, _gram(table), sweeps, still)
    over_rows(
        len(rows), lambda lo, hi: _descend(*args, lo, hi, rows), steps=0.5 * table.shape[1] ** 2 * sweeps
    )


def factorise(matrix: Any, user: Float64, item: Float64, iterations: int) -> tuple[Float64, Float64]:
    """Improve both factors of a binary matrix, the users first, one sweep each an iteration.

    Args:
        matrix: CSR [U, I]; its values are taken as 1.
        user: float64 [U, D], not negative.
        item: float64 [I, D], not negative.
        iterations: Passes.

    Returns:
        float64 [U, D] and [I, D]; rows without entries are zero.
    """
    turned = matrix.T.tocsr()
    user = np.ascontiguousarray(np.where(np.diff(matrix.indptr)[:, None] > 0, user, 0.0))
    item = np.ascontiguousarray(np.where(np.diff(turned.indptr)[:, None] > 0, item, 0.0))
    for _ in range(iterations):
        _rows(matrix.indptr, matrix.indices, item, user, 1, 0.0)
        _rows(turned.indptr, turned.indices, user, item, 1, 0.0)
    return user, item


def folded(history: Lists, table: Float32, present: Bool) -> tuple[Float32, Int32]:
    """Return the non-negative least squares of every history on the item factors; an item counts once.

    Args:
        history: Lists with Q rows.
        table: float32 [I, D], item factors, zero rows where not present.
        present: bool [I].

    Returns:
        float32 [V, D] and int32 [V], the query row of each; queries without any present item are left out.
    """
    unique = history.sorted()
    rows = np.zeros((len(history), table.shape[1]), np.float64)
    _rows(unique.indptr, unique.items, table.astype(np.float64), rows, SWEEPS, STILL)
    usable = np.zeros(len(unique.items) + 1, np.int64)
    np.cumsum(present[unique.items], out=usable[1:])
    keep = np.diff(usable[unique.indptr]) > 0
    return some_rows(rows.astype(np.float32), np.arange(len(history), dtype=np.int32), keep)
