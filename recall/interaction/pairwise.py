"""The user steps of MF-BPR with the items fixed, one history at a time: compiled.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Int32, Lists
from stagelens.pipeline.threads import over_rows

_STEP, _A, _B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


class Steps(NamedTuple):
    """How many steps of which size.

    Attributes:
        iterations: Draws for every item of the history.
        learning_rate: Step size.
        regularisation: Weight of the squared factors.
        seed: Of the draws.
    """

    iterations: int
    learning_rate: float
    regularisation: float
    seed: int


@njit(cache=True, nogil=True)
def _mix(x: Any) -> Any:
    x = (x ^ (x >> _30)) * _A
    x = (x ^ (x >> _27)) * _B
    return x ^ (x >> _31)


@njit(cache=True, nogil=True)
def _below(state: Any, bound: Any) -> Any:
    """Return a number below ``bound`` < 2**32."""
    return np.int64(((_mix(state) & _LOW) * np.uint64(bound)) >> _32)


@njit(cache=True, nogil=True)
def _folded(
    indptr: Any,
    items: Any,
    digest: Any,
    table: Any,
    until: Any,
    iterations: Any,
    rate: Any,
    penalty: Any,
    seed: Any,
    lo: Any,
    hi: Any,
    out: Any,
) -> None:
    width = table.shape[1] - 1
    for row in range(lo, hi):
        first, n = indptr[row], indptr[row + 1] - indptr[row]
        if n == 0 or until[-1] == 0:
            continue
        own = items[first : first + n]
        user = out[row]
        user[width] = 1.0
        state = _mix(seed ^ digest[row])
        for _ in range(n * iterations):
            state += _STEP
            liked = own[_below(state, n)]
            state += _STEP
            other = np.searchsorted(until, _below(state, until[-1]), side="right")
            place = np.searchsorted(own, other)
            if place < n and own[place] == other:
                continue
            score = table[liked, width] - table[other, width]
            for d in range(width):
                score += user[d] * (table[liked, d] - table[other, d])
            z = np.float32(1.0 / (1.0 + np.exp(score)))
            for d in range(width):
                user[d] += rate * (z * (table[liked, d] - table[other, d]) - penalty * user[d])


def digests(history: Lists) -> NDArray[np.uint64]:
    """Return uint64 [Q], a digest of the set of items of every list, 0 for an empty one.

    Args:
        history: Lists whose rows are free of repeats.
    """
    mixed = (history.items.astype(np.uint64) + np.uint64(1)) * _STEP
    for shift, factor in ((_30, _A), (_27, _B)):
        mixed = (mixed ^ (mixed >> shift)) * factor
    total = np.zeros(len(mixed) + 1, np.uint64)
    np.cumsum(mixed ^ (mixed >> _31), out=total[1:])
    digest: NDArray[np.uint64] = np.diff(total[history.indptr])
    return digest


def folded(
    history: Lists, digest: NDArray[np.uint64], table: Float32, degree: Int32, steps: Steps
) -> Float32:
    """Return float32 [Q, D + 1]: the vector of every history, 1 last; zeros where the history has no present item.

    Args:
        history: Lists with Q rows, each sorted and free of repeats.
        digest: uint64 [Q], see ``digests``.
        table: float32 [I, D + 1], item factors, the bias last.
        degree: int32 [I], how often an item is drawn as the other one; 0: not present, skipped.
        steps: How many, how large.
    """
    out = np.zeros((len(history), table.shape[1]), np.float32)
    keep = degree[history.items] > 0
    kept = np.zeros(len(keep) + 1, np.int64)
    np.cumsum(keep, out=kept[1:])
    indptr, items = kept[history.indptr], history.items[keep]
    rate, penalty = np.float32(steps.learning_rate), np.float32(steps.regularisation)
    args = (indptr, items, digest, table, np.cumsum(degree, dtype=np.int64), steps.iterations, rate, penalty)
    work = 100.0 * steps.iterations * len(items) / max(len(history), 1)
    over_rows(len(history), lambda lo, hi: _folded(*args, np.uint64(steps.seed), lo, hi, out), steps=work)
    return out
