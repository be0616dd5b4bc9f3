"""Sparse row products, cut to the best of each row without ever holding the whole product: compiled.

Gustavson's algorithm, one row at a time; its rows go through the same cut as every other channel's.

Import this module inside functions only: numba takes a second to load.

References:
    Gustavson 1978, doi:10.1145/355791.355796.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from stagelens.pipeline.core import Float32, Int32, Int64, Lists
from stagelens.pipeline.threads import over_rows
from stagelens.recall.seen import top

BUFFER = 1 << 22
"""Entries of the product held at once (8 bytes each), at least one row; more where rows are very wide."""


class Sparse(NamedTuple):
    """Compressed rows.

    Attributes:
        indptr: int64 [R + 1].
        column: int32 [N], distinct in a row.
        value: float32 [N].
    """

    indptr: Int64
    column: Int32
    value: Float32

    @classmethod
    def of(cls, matrix: Any) -> Sparse:
        """Wrap a SciPy CSR matrix."""
        return cls(
            matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data.astype(np.float32)
        )

    @property
    def lengths(self) -> Int64:
        """int64 [R]."""
        return np.diff(self.indptr)


class Divisor(NamedTuple):
    """What an entry t of a product at row r and column c is divided by.

    ``left[r] * right[c] + shrink``; between sets
    ``t + alpha * max(left[r] - t, 0) + beta * max(right[c] - t, 0) + shrink``: what they share, and what each has
    beside it. An entry whose divisor is 0 counts as 0.

    Attributes:
        left: float32 [R].
        right: float32 [C].
        shrink: Added.
        sets: Which of the two.
        alpha: Weight of what only the row has.
        beta: Weight of what only the column has.
    """

    left: Float32
    right: Float32
    shrink: float = 0.0
    sets: bool = False
    alpha: float = 0.0
    beta: float = 0.0

    @classmethod
    def one(cls, rows: int, columns: int) -> Divisor:
        """Return the one that changes nothing."""
        return cls(np.ones(rows, np.float32), np.ones(columns, np.float32))


@njit(cache=True, nogil=True, error_model="numpy")
def _rows(
    a_at: Any,
    a_col: Any,
    a_val: Any,
    b_at: Any,
    b_col: Any,
    b_val: Any,
    left: Any,
    right: Any,
    shrink: Any,
    sets: Any,
    alpha: Any,
    beta: Any,
    first: Any,
    start: Any,
    lo: Any,
    hi: Any,
    count: Any,
    column: Any,
    value: Any,
) -> None:
    total = np.zeros(len(right), np.float64)
    met = np.full(len(right), -1, np.int32)
    for at in range(lo, hi):
        row = first + at
        stamp = np.int32(row)
        end = start[at]
        for x in range(a_at[row], a_at[row + 1]):
            weight = np.float64(a_val[x])
            for y in range(b_at[a_col[x]], b_at[a_col[x] + 1]):
                # Always stored, and kept if new: whether it is new cannot be foreseen, and a wrong guess costs more.
                j = np.uint32(b_col[y])
                old = met[j] == stamp
                column[end] = b_col[y]
                end += 0 if old else 1
                total[j] = (total[j] if old else 0.0) + weight * b_val[y]
                met[j] = stamp
        norm = left[row]
        for x in range(start[at], end):
            j = np.uint32(column[x])
            both = total[j]
            if sets:
                more, other = max(norm - both, 0.0), max(right[j] - both, 0.0)
                divisor = both + alpha * more + beta * other + shrink
            else:
                divisor = norm * right[j] + shrink
            value[x] = both / divisor if divisor > 0.0 else 0.0
        count[at] = end - start[at]


@njit(cache=True, nogil=True)
def _at(
    a_at: Any,
    a_col: Any,
    a_val: Any,
    b_at: Any,
    b_col: Any,
    b_val: Any,
    n: Any,
    wanted: Any,
    lo: Any,
    hi: Any,
    out: Any,
) -> None:
    total = np.zeros(n, np.float64)
    met = np.full(n, -1, np.int64)
    for row in range(lo, hi):
        for x in range(a_at[row], a_at[row + 1]):
            weight = np.float64(a_val[x])
            for y in range(b_at[a_col[x]], b_at[a_col[x] + 1]):
                j = b_col[y]
                if met[j] != row:
                    met[j] = row
                    total[j] = 0.0
                total[j] += weight * b_val[y]
        for k in range(wanted.shape[1]):
            j = wanted[row, k]
            out[row, k] = total[j] if j >= 0 and met[j] == row else np.nan


def _product_rows(given: tuple[Any, ...], made: tuple[Any, ...], lo: int, hi: int) -> None:
    _rows(*given, lo, hi, *made)


def pieces(bound: Int64, width: int = 0) -> Iterator[tuple[int, int, Int64, int]]:
    """Cut ragged rows into runs that fit the buffer, one row at least.

    Args:
        bound: int64 [R], the most entries of each row.
        width: Columns: whoever keeps a place for each should not do so for a handful of rows.

    Yields:
        First row, row after the last, int64 starts of its rows in the buffer, and entries needed.
    """
    ends = np.zeros(len(bound) + 1, np.int64)
    np.cumsum(bound, out=ends[1:])
    first = 0
    while first < len(bound):
        reach = ends[first] + max(BUFFER, 16 * width)
        last = max(first + 1, int(np.searchsorted(ends, reach, side="right")) - 1)
        yield first, last, ends[first:last] - ends[first], int(ends[last] - ends[first])
        first = last


def top_products(
    a: Sparse,
    b: Sparse,
    divisor: Divisor,
    seen: Lists,
    tie: Int32,
    depth: int,
) -> tuple[Int32, Float32]:
    """Return the best ``depth`` unseen columns of every row of ``a @ b``.

    Args:
        a: R rows.
        b: C columns.
        divisor: What every entry is divided by.
        seen: Lists with R rows, each sorted: columns left out.
        tie: int32 [C]; lower wins.
        depth: Columns a row.

    Returns:
        int32 [R, depth] and float32 [R, depth], padded.
    """
    rows = len(a.lengths)
    most = np.zeros(len(a.column) + 1, np.int64)
    np.cumsum(b.lengths[a.column], out=most[1:])
    bound = np.minimum(np.diff(most[a.indptr]), len(tie)) + 1  # and one that is stored and not kept
    item = np.empty((rows, depth), np.int32)
    score = np.empty((rows, depth), np.float32)
    for first, last, start, size in pieces(bound, len(tie)):
        count = np.empty(last - first, np.int64)
        column, value = np.empty(size, np.int32), np.empty(size, np.float32)
        args = (*a, *b, *divisor, first, start)
        steps = size / (last - first)
        over_rows(last - first, partial(_product_rows, args, (count, column, value)), steps=steps)
        item[first:last], score[first:last] = top(
            start, count, column, value, seen.rows(np.arange(first, last)), tie, depth
        )
    return item, score


def products_at(a: Sparse, b: Sparse, columns: int, wanted: Int32) -> Float32:
    """Return float32 [R, K]: entries of ``a @ b`` at int32 ``wanted`` [R, K]; NaN where nothing meets."""
    out = np.empty(wanted.shape, np.float32)
    over_rows(len(wanted), lambda lo, hi: _at(*a, *b, columns, wanted, lo, hi, out))
    return out
