"""The steps of MF-BPR: of users and items together, and of a user alone with the items fixed. Compiled.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Float32, Int32, Lists
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.threads import over_rows

_STEP, _A, _B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


class Steps(NamedTuple):
    """How many steps of which size.

    Attributes:
        iterations: Draws for every pair, or for every item of a history.
        learning_rate: Step size.
        regularisation: Weight of the squared factors and biases.
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
def _has(own: Any, other: Any) -> Any:
    place = np.searchsorted(own, other)
    return place < len(own) and own[place] == other


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _pass(
    indptr: Any, items: Any, owner: Any, pool: Any, rate: Any, penalty: Any, state: Any, user: Any, item: Any
) -> None:
    width = item.shape[1] - 1
    for _ in range(len(items)):
        state += _STEP
        pair = _below(state, len(items))
        state += _STEP
        other = pool[_below(state, len(pool))]
        who = owner[pair]
        if _has(items[indptr[who] : indptr[who + 1]], other):
            continue
        u, i, j = user[who], item[items[pair]], item[other]
        score = i[width] - j[width]
        for d in range(width):
            score += u[d] * (i[d] - j[d])
        z = np.float32(1.0 / (1.0 + np.exp(score)))
        for d in range(width):
            was, gap = u[d], i[d] - j[d]
            u[d] += rate * (z * gap - penalty * was)
            i[d] += rate * (z * was - penalty * i[d])
            j[d] -= rate * (z * was + penalty * j[d])
        i[width] += rate * (z - penalty * i[width])
        j[width] -= rate * (z + penalty * j[width])


@njit(cache=True, nogil=True)
def _folded(
    indptr: Any,
    items: Any,
    digest: Any,
    table: Any,
    pool: Any,
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
        if n == 0 or len(pool) == 0:
            continue
        own = items[first : first + n]
        user = out[row]
        user[width] = 1.0
        state = _mix(seed ^ digest[row])
        for _ in range(n * iterations):
            state += _STEP
            liked = own[_below(state, n)]
            state += _STEP
            other = pool[_below(state, len(pool))]
            if _has(own, other):
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


def train(had: Lists, pool: Int32, user: Float32, item: Float32, steps: Steps) -> None:
    """Move user and item factors along the draws, in place and on one thread: the same seed gives the same bytes.

    Args:
        had: Lists of U users, each sorted and free of repeats.
        pool: int32 [N], what the other item is drawn from, evenly; a draw that the user had is skipped.
        user: float32 [U, D + 1], 1 last.
        item: float32 [I, D + 1], the bias last.
        steps: How many, how large.
    """
    owner = np.repeat(np.arange(len(had), dtype=np.int32), had.lengths)
    rate, penalty = np.float32(steps.learning_rate), np.float32(steps.regularisation)
    for number in range(steps.iterations):
        start = np.uint64(derive(steps.seed, "pass", number))
        _pass(had.indptr, had.items, owner, pool, rate, penalty, start, user, item)


def folded(
    history: Lists, digest: NDArray[np.uint64], table: Float32, present: Bool, pool: Int32, steps: Steps
) -> Float32:
    """Return float32 [Q, D + 1]: the vector of every history, 1 last; zeros where the history has no present item.

    Args:
        history: Lists with Q rows, each sorted and free of repeats.
        digest: uint64 [Q], see ``digests``.
        table: float32 [I, D + 1], item factors, the bias last.
        present: bool [I]; False for items that a history is read without.
        pool: int32 [N], what the other item is drawn from, evenly.
        steps: How many, how large.
    """
    out = np.zeros((len(history), table.shape[1]), np.float32)
    keep = present[history.items]
    kept = np.zeros(len(keep) + 1, np.int64)
    np.cumsum(keep, out=kept[1:])
    indptr, items = kept[history.indptr], history.items[keep]
    rate, penalty = np.float32(steps.learning_rate), np.float32(steps.regularisation)
    args = (indptr, items, digest, table, pool, steps.iterations, rate, penalty)
    work = 100.0 * steps.iterations * len(items) / max(len(history), 1)
    over_rows(len(history), lambda lo, hi: _folded(*args, np.uint64(steps.seed), lo, hi, out), steps=work)
    return out
