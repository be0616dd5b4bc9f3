"""Sums over rows of a square matrix, and the Gram matrix of sparse columns: compiled.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Int32, Lists
from stagelens.pipeline.threads import over_rows
from stagelens.recall.interaction.products import Sparse


@njit(cache=True, nogil=True)
def _gram(i_at: Any, user: Any, u_at: Any, item: Any, lo: Any, hi: Any, out: Any) -> None:
    for i in range(lo, hi):
        for x in range(i_at[i], i_at[i + 1]):
            for y in range(u_at[user[x]], u_at[user[x] + 1]):
                if item[y] > i:
                    break
                out[i, item[y]] += 1.0


@njit(cache=True, nogil=True)
def _sum_rows(at: Any, place: Any, weight: Any, lo: Any, hi: Any, out: Any) -> None:
    for row in range(lo, hi):
        total = out[row]
        total[:] = 0.0
        for x in range(at[row], at[row + 1]):
            source = weight[place[x]]
            for j in range(len(total)):
                total[j] += source[j]


@njit(cache=True, nogil=True)
def _sum_at(at: Any, place: Any, weight: Any, wanted: Any, lo: Any, hi: Any, out: Any) -> None:
    for row in range(lo, hi):
        for k in range(wanted.shape[1]):
            out[row, k] = np.nan
            if wanted[row, k] < 0 or at[row] == at[row + 1]:
                continue
            total = np.float32(0.0)
            for x in range(at[row], at[row + 1]):
                total += weight[place[x], wanted[row, k]]
            out[row, k] = total


def gram(by_item: Sparse, by_user: Sparse, out: NDArray[Any]) -> None:
    """Add how many users have both items to the lower triangle of ``out`` [P, P]; rows of ``by_user`` are sorted."""
    steps = float(by_user.lengths[by_item.column].sum()) / max(len(out), 1)
    args = (by_item.indptr, by_item.column, by_user.indptr, by_user.column)
    over_rows(len(out), lambda lo, hi: _gram(*args, lo, hi, out), steps=steps)


def sum_rows(lists: Lists, weight: Float32) -> Float32:
    """Return float32 [Q, P]: the sum of the rows of ``weight`` [P, P] at the places of each list, in their order."""
    out = np.empty((len(lists), weight.shape[1]), np.float32)
    steps = len(lists.items) * weight.shape[1] / max(len(lists), 1)
    over_rows(
        len(lists), lambda lo, hi: _sum_rows(lists.indptr, lists.items, weight, lo, hi, out), steps=steps
    )
    return out


def sum_at(lists: Lists, weight: Float32, wanted: Int32) -> Float32:
    """Return float32 [Q, K]: the same sums at the places ``wanted`` [Q, K]; NaN at -1 and where a list is empty."""
    out = np.empty(wanted.shape, np.float32)
    over_rows(len(wanted), lambda lo, hi: _sum_at(lists.indptr, lists.items, weight, wanted, lo, hi, out))
    return out
