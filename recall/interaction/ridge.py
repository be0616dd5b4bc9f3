"""The user step of iALS: one small system of equations a user, compiled.

With W = (c - 1) I over the n items of a history and M = YᵀY + regularisation I over all items, the step
(M + Yᵤᵀ W Yᵤ)⁻¹ Yᵤᵀ c 1 is a system of D equations, or, pushed through, of n:
M⁻¹ Yᵤᵀ (W⁻¹ + Yᵤ M⁻¹ Yᵤᵀ)⁻¹ (c / (c - 1)) 1. The smaller of the two is solved. With
``reassoc`` a sum uses every SIMD lane; its order is the compiled loop's, so a row depends on nothing but its history.

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


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _solve(a: Any, b: Any, n: Any) -> None:
    """Solve a x = b in place (x in ``b``) by Cholesky; reads and overwrites the lower triangle of ``a``."""
    for i in range(n):
        for j in range(i + 1):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = np.sqrt(total) if i == j else total / a[j, j]
        for k in range(i):
            b[i] -= a[i, k] * b[k]
        b[i] /= a[i, i]
    for i in range(n - 1, -1, -1):
        b[i] /= a[i, i]
        for k in range(i):
            b[k] -= a[i, k] * b[i]


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _ridge(
    indptr: Any,
    items: Any,
    table: Any,
    solved: Any,
    gram: Any,
    present: Any,
    extra: Any,
    lo: Any,
    hi: Any,
    out: Any,
    used: Any,
) -> None:
    width = table.shape[1]
    a = np.empty((width, width), np.float64)
    b = np.empty(width, np.float64)
    y = np.empty(width, np.float64)
    longest = 0
    for row in range(lo, hi):
        longest = max(longest, indptr[row + 1] - indptr[row])
    own = np.empty(longest, np.int64)
    for row in range(lo, hi):
        n = 0
        for at in range(indptr[row], indptr[row + 1]):
            if present[items[at]]:
                own[n] = items[at]
                n += 1
        used[row] = n
        if n < width:
            for i in range(n):
                for j in range(i + 1):
                    total = 1.0 / extra if i == j else 0.0
                    for d in range(width):
                        total += table[own[i], d] * solved[own[j], d]
                    a[i, j] = total
                b[i] = (1.0 + extra) / extra
            _solve(a, b, n)
            for d in range(width):
                total = 0.0
                for i in range(n):
                    total += b[i] * solved[own[i], d]
                out[row, d] = total
        else:
            a[:] = gram
            b[:] = 0.0
            for i in range(n):
                y[:] = table[own[i]]
                for d in range(width):
                    b[d] += (1.0 + extra) * y[d]
                    share = extra * y[d]
                    for e in range(d + 1):
                        a[d, e] += share * y[e]
            _solve(a, b, width)
            for d in range(width):
                out[row, d] = b[d]


def ridge(
    history: Lists, table: Float32, solved: Float64, gram: Float64, present: Bool, extra: float
) -> tuple[Float32, Int32]:
    """Return the user step for every history; an item counts once.

    Args:
        history: Lists with Q rows.
        table: float32 [I, D], item factors Y.
        solved: float64 [I, D], Y M⁻¹.
        gram: float64 [D, D], M.
        present: bool [I]; the others are skipped.
        extra: c - 1 > 0.

    Returns:
        float32 [V, D] and int32 [V], the query row of each; queries without any present item are left out.
    """
    unique = history.sorted()
    out = np.empty((len(history), table.shape[1]), np.float32)
    used = np.empty(len(history), np.int64)
    args = (unique.indptr, unique.items, table, solved, gram, present, float(extra))
    over_rows(len(history), lambda lo, hi: _ridge(*args, lo, hi, out, used), steps=2000.0)
    return some_rows(out, np.arange(len(history), dtype=np.int32), used > 0)
