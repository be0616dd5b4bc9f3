"""Sparse row products, cut to the best of each row without ever holding the whole product: compiled.

Gustavson's algorithm, one row at a time, where rows are sorted in blocks of columns whose sums stay near; what comes
out goes through the same cut as every other channel's.

Import this module inside functions only: numba takes a second to load.

References:
    Gustavson 1978, doi:10.1145/355791.355796.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from stagelens.pipeline.core import Float32, Int32, Int64, Lists
from stagelens.pipeline.threads import over_rows
from stagelens.recall.seen import Room, blank, finish, keep, places

BLOCK = 1 << 15
"""Columns summed up at once, 12 bytes each, and 8 more for what is found: they stay in a core's second cache."""


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


@njit(cache=True, nogil=True)
def _before(column: Any, lo: Any, hi: Any, end: Any) -> int:
    """Return where the increasing ``column[lo:hi]`` reach ``end``."""
    while lo < hi:
        middle = (lo + hi) // 2
        if column[middle] < end:
            lo = middle + 1
        else:
            hi = middle
    return int(lo)


@njit(cache=True, nogil=True, error_model="numpy")
def _divided(
    found: Any,
    n: Any,
    low: Any,
    total: Any,
    norm: Any,
    right: Any,
    shrink: Any,
    sets: Any,
    alpha: Any,
    beta: Any,
    value: Any,
) -> None:
    for x in range(n):
        both, other = total[found[x] - low], right[found[x]]
        if sets:
            divisor = both + alpha * max(norm - both, 0.0) + beta * max(other - both, 0.0) + shrink
        else:
            divisor = norm * other + shrink
        value[x] = both / divisor if divisor > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _best(
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
    seen_at: Any,
    seen: Any,
    tie: Any,
    at_tie: Any,
    block: Any,
    lo: Any,
    hi: Any,
    item: Any,
    out: Any,
    total: Any,
    met: Any,
    found: Any,
    value: Any,
    bits: Any,
    came: Any,
    key: Any,
    state: Any,
    ends: Any,
) -> None:
    stamp = np.int32(-1)
    for row in range(lo, hi):
        own = seen[seen_at[row] : seen_at[row + 1]]
        first, many = a_at[row], a_at[row + 1] - a_at[row]
        for x in range(many):
            came[x] = b_at[a_col[first + x]]
        for low in range(0, len(right), block):
            high = low + block
            stamp = np.int32(stamp + 1)
            n = 0
            for x in range(many):
                begin, end = came[x], b_at[a_col[first + x] + 1]
                if high < len(right):
                    if begin == end or b_col[begin] >= high:
                        continue
                    end = _before(b_col, begin + 1, min(end, begin + block), high)
                    came[x] = end
                weight = np.float64(a_val[first + x])
                for y in range(begin, end):
                    # Always stored, kept if new: whether it is cannot be foreseen, and a wrong guess costs more.
                    j = np.uint32(b_col[y] - low)
                    old = met[j] == stamp
                    found[n] = b_col[y]
                    n += 0 if old else 1
                    total[j] = (total[j] if old else 0.0) + weight * b_val[y]
                    met[j] = stamp
            _divided(found, n, low, total, left[row], right, shrink, sets, alpha, beta, value)
            keep(found[:n], bits, own, tie, item.shape[1], key, state)
        finish(own, at_tie, key, state, ends, item[row], out[row])


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


def top_products(
    a: Sparse,
    b: Sparse,
    divisor: Divisor,
    seen: Lists,
    tie: Int32,
    depth: int,
    *,
    rising: bool = False,
) -> tuple[Int32, Float32]:
    """Return the best ``depth`` unseen columns of every row of ``a @ b``.

    Args:
        a: R rows.
        b: C columns.
        divisor: What every entry is divided by.
        seen: Lists with R rows, each sorted: columns left out.
        tie: int32 [C]; lower wins.
        depth: Columns a row.
        rising: Whether the columns of every row of ``b`` rise; sums then stay in blocks.

    Returns:
        int32 [R, depth] and float32 [R, depth], padded.
    """
    rows, columns = len(a.lengths), len(tie)
    item, score = blank(rows, depth)
    block = max(min(BLOCK, columns) if rising else columns, 1)
    longest = int(a.lengths.max(initial=0))
    args = (*a, *b, *divisor, seen.indptr, seen.items, tie, places(tie), block)
    made = (item, score.view(np.uint32))
    reached = np.zeros(len(a.column) + 1, np.int64)
    np.cumsum(b.lengths[a.column], out=reached[1:])

    def work(lo: int, hi: int) -> None:
        value = np.empty(block, np.float32)
        sums = (np.zeros(block), np.full(block, -1, np.int32), np.empty(block + 1, np.int32))
        room = (value, value.view(np.uint32), np.empty(longest, np.int64), *Room.of(depth))
        _best(*args, lo, hi, *made, *sums, *room)

    over_rows(rows, work, steps=np.diff(reached[a.indptr]))
    return item, score


def products_at(a: Sparse, b: Sparse, columns: int, wanted: Int32) -> Float32:
    """Return float32 [R, K]: entries of ``a @ b`` at int32 ``wanted`` [R, K]; NaN where nothing meets."""
    out = np.empty(wanted.shape, np.float32)
    over_rows(len(wanted), lambda lo, hi: _at(*a, *b, columns, wanted, lo, hi, out))
    return out
