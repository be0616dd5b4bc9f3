"""Sparse linear models: coordinate descent on the Gram matrix, and stochastic steps on pairs; compiled.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Float64, Int32, Int64, Lists
from stagelens.pipeline.threads import over_rows
from stagelens.recall.interaction.products import Sparse
from stagelens.recall.seen import Room, blank, finish, keep, places

TOLERANCE = 1e-4
"""Coordinate descent ends when no weight moves by more than this share of the largest."""
DECAY, MOMENTUM, VARIANCE, TINY = 0.995, 0.9, 0.999, 1e-8
"""Of RMSprop, and the two of Adam (Kingma & Ba 2015, arXiv 1412.6980); and what keeps divisors above 0."""
TOGETHER = 4096
"""Items of one target that settle on a square of their own, and the square root of the entries kept of its Gram rows:
64 MiB each. Beyond, rows are gathered again and again."""
OPTIMISERS = ("sgd", "adagrad", "rmsprop", "adam")


@njit(cache=True, nogil=True)
def _lengths(i_at: Any, user: Any, u_at: Any, item: Any, lo: Any, hi: Any, out: Any) -> None:
    met = np.full(len(i_at) - 1, -1, np.int64)
    for i in range(lo, hi):
        for x in range(i_at[i], i_at[i + 1]):
            for y in range(u_at[user[x]], u_at[user[x] + 1]):
                if met[item[y]] != i:
                    met[item[y]] = i
                    out[i] += 1


@njit(cache=True, nogil=True)
def _fill(i_at: Any, user: Any, u_at: Any, item: Any, at: Any, lo: Any, hi: Any, col: Any, val: Any) -> None:
    both = np.zeros(len(i_at) - 1, np.float32)
    for i in range(lo, hi):
        end = at[i]
        for x in range(i_at[i], i_at[i + 1]):
            for y in range(u_at[user[x]], u_at[user[x] + 1]):
                j = item[y]
                if both[j] == 0.0:
                    col[end] = j
                    end += 1
                both[j] += 1.0
        col[at[i] : end].sort()  # rows are read far more often than they are made
        for y in range(at[i], end):
            val[y] = both[col[y]]
            both[col[y]] = 0.0


def gram(by_item: Sparse, by_user: Sparse, check: Callable[[int], object]) -> Sparse:
    """Return how many users have both items, where any has: P rows.

    Args:
        by_item: P rows of users.
        by_user: U rows of items.
        check: Called with the number of entries before they are made.
    """
    size = len(by_item.lengths)
    steps = float(by_user.lengths[by_item.column].sum()) / max(size, 1)
    args = (by_item.indptr, by_item.column, by_user.indptr, by_user.column)
    lengths = np.zeros(size, np.int64)
    over_rows(size, lambda lo, hi: _lengths(*args, lo, hi, lengths), steps=steps)
    at = np.zeros(size + 1, np.int64)
    np.cumsum(lengths, out=at[1:])
    check(int(at[-1]))
    column, value = np.empty(at[-1], np.int32), np.empty(at[-1], np.float32)
    over_rows(size, lambda lo, hi: _fill(*args, at, lo, hi, column, value), steps=steps)
    return Sparse(at, column, value)


@njit(cache=True, nogil=True)
def _row(
    x: Any, n: Any, active: Any, place: Any, at: Any, col: Any, val: Any, slot: Any, used: Any, rows: Any
) -> tuple[Any, int]:
    """Return the ``n`` entries of row x at the active items, which lie in ``rows``, and how many rows lie there."""
    if slot[x] >= 0:
        return rows[slot[x] * n : (slot[x] + 1) * n], used
    # Behind the last there is room for one that is made whenever it is asked for.
    kept = (used + 2) * n <= len(rows)
    entries = rows[used * n : (used + 1) * n]
    entries[:] = 0.0
    for y in range(at[active[x]], at[active[x] + 1]):
        other = place[col[y]]
        if other >= 0:
            entries[other] = val[y]
    if kept:
        slot[x] = used
    return entries, used + 1 if kept else used


@njit(cache=True, nogil=True)
def _moved(left: Any, own: Any, w: Any, l1: Any, l2: Any) -> Any:
    """Return the best weight of one item while the others stay."""
    return max(left + own * w - l1, 0.0) / (own + l2)


@njit(cache=True, nogil=True)
def _take(left: Any, change: Any, entries: Any) -> None:
    for y in range(len(left)):
        left[y] -= change * entries[y]


@njit(cache=True, nogil=True)
def _visit(
    w: Any,
    left: Any,
    own: Any,
    l1: Any,
    l2: Any,
    tolerance: Any,
    held: Any,
    gathered: Any,
    used: Any,
    rows: Any,
) -> tuple[bool, int]:
    """Move every weight once, those at 0 too unless ``held``; return whether all moves are small, and the rows kept."""
    moved, largest = 0.0, 0.0
    for x in range(len(w)):
        if held and w[x] == 0.0:
            continue
        new = _moved(left[x], own[x], w[x], l1, l2)
        change = new - w[x]
        if change != 0.0:
            w[x] = new
            entries, used = _row(x, len(w), *gathered, used, rows)
            _take(left, change, entries)
            moved = max(moved, abs(change))
        largest = max(largest, new)
    return moved <= tolerance * largest, used


@njit(cache=True, nogil=True)
def _settle(
    w: Any,
    left: Any,
    own: Any,
    l1: Any,
    l2: Any,
    tolerance: Any,
    sweeps: Any,
    gathered: Any,
    used: Any,
    rows: Any,
    square: Any,
) -> Any:
    """Move the weights above 0 until they stay; return the rows kept."""
    near = np.flatnonzero(w)
    n = len(near)
    if n * n > len(square):
        for _ in range(sweeps):
            done, used = _visit(w, left, own, l1, l2, tolerance, True, gathered, used, rows)
            if done:
                break
        return used
    for a in range(n):
        entries, used = _row(near[a], len(w), *gathered, used, rows)
        among = square[a * n : (a + 1) * n]
        for b in range(n):
            among[b] = entries[near[b]]
    v, rest, diagonal = w[near], left[near], own[near]
    for _ in range(sweeps):  # _visit looks its rows up: half as slow again on dense data
        moved, largest = 0.0, 0.0
        for a in range(n):
            if v[a] > 0.0:
                new = _moved(rest[a], diagonal[a], v[a], l1, l2)
                change = new - v[a]
                if change != 0.0:
                    v[a] = new
                    _take(rest, change, square[a * n : (a + 1) * n])
                    moved = max(moved, abs(change))
                largest = max(largest, new)
        if moved <= tolerance * largest:
            break
    for a in range(n):
        change = v[a] - w[near[a]]
        if change != 0.0:
            w[near[a]] = v[a]
            entries, used = _row(near[a], len(w), *gathered, used, rows)
            _take(left, change, entries)
    return used


@njit(cache=True, nogil=True)
def _descend(
    at: Any,
    col: Any,
    val: Any,
    own: Any,
    l1: Any,
    l2: Any,
    sweeps: Any,
    tolerance: Any,
    together: Any,
    tie: Any,
    at_tie: Any,
    lo: Any,
    hi: Any,
    item: Any,
    out: Any,
    key: Any,
    state: Any,
    ends: Any,
) -> None:
    place = np.full(len(own), -1, np.int64)
    rows = np.empty(max(together * together, 2 * len(own)), np.float32)
    square = np.empty(together * together, np.float32)
    nobody = np.empty(0, np.int32)
    for j in range(lo, hi):
        near, shared = col[at[j] : at[j + 1]], val[at[j] : at[j + 1]]
        # No weight can rise above 0 elsewhere: the others only take from what an item shares with this one.
        chosen = (near != j) & (shared > l1)
        active, left = near[chosen], shared[chosen].astype(np.float64)
        for x in range(len(active)):
            place[active[x]] = x
        gathered = (active, place, at, col, val, np.full(len(active), -1, np.int64))
        w, diagonal, used = np.zeros(len(active)), own[active], 0
        for _ in range(sweeps):
            done, used = _visit(w, left, diagonal, l1, l2, tolerance, False, gathered, used, rows)
            if done:
                break
            used = _settle(w, left, diagonal, l1, l2, tolerance, sweeps, gathered, used, rows, square)
        for x in range(len(active)):
            place[active[x]] = -1
        found = np.flatnonzero(w)
        bits = w[found].astype(np.float32).view(np.uint32)
        keep(active[found], bits, nobody, tie, item.shape[1], key, state)
        finish(nobody, at_tie, key, state, ends, item[j], out[j])


def elastic_net(
    square: Sparse,
    own: Float64,
    l1: float,
    l2: float,
    depth: int,
    tie: Int32,
    *,
    sweeps: int,
    tolerance: float = TOLERANCE,
    together: int = TOGETHER,
) -> tuple[Int32, Float32]:
    """Return the weights w >= 0 of every item j: the least of |x_j - X w|^2 / 2 + l2 |w|^2 / 2 + l1 |w|_1 with w_j = 0.

    Args:
        square: P rows of the Gram matrix.
        own: float64 [P], its diagonal.
        l1: See above.
        l2: See above.
        depth: Largest weights kept (K).
        tie: int32 [P]; lower wins.
        sweeps: Passes at most, over all items and, between two of these, over those with a weight.
        tolerance: See ``TOLERANCE``.
        together: See ``TOGETHER``.

    Returns:
        Places int32 [P, K] and weights float32 [P, K], largest first, padded.
    """
    item, weight = blank(len(own), depth)
    args = (*square, own, l1, l2, sweeps, tolerance, together, tie, places(tie))
    made = (item, weight.view(np.uint32))
    over_rows(len(own), lambda lo, hi: _descend(*args, lo, hi, *made, *Room.of(depth)), steps=1e5)
    return item, weight


@njit(cache=True, nogil=True)
def _unseen(items: Any, lo: Any, hi: Any, nth: Any) -> int:
    """Return the ``nth`` number from 0 that the increasing ``items[lo:hi]`` leave out."""
    low, high = 0, hi - lo
    while low < high:
        middle = (low + high) // 2
        if items[lo + middle] - middle <= nth:
            low = middle + 1
        else:
            high = middle
    return int(nth + low)


@njit(cache=True, nogil=True)
def _step(mode: Any, gradient: Any, i: Any, memory: Any, mean: Any, correction: Any) -> float:
    """Return the gradient as the optimiser scales it for item ``i``."""
    if mode == 0:
        return float(gradient)
    if mode == 1:
        memory[i] += gradient * gradient
    elif mode == 2:
        memory[i] = DECAY * memory[i] + (1.0 - DECAY) * gradient * gradient
    else:
        mean[i] = MOMENTUM * mean[i] + (1.0 - MOMENTUM) * gradient
        memory[i] = VARIANCE * memory[i] + (1.0 - VARIANCE) * gradient * gradient
        return float(mean[i] / correction[0] / (np.sqrt(memory[i] / correction[1]) + TINY))
    return float(gradient / (np.sqrt(memory[i]) + TINY))


@njit(cache=True, nogil=True)
def _epoch(
    at: Any,
    item: Any,
    draws: Any,
    users: Any,
    symmetric: Any,
    mode: Any,
    rate: Any,
    lambda_i: Any,
    lambda_j: Any,
    memory: Any,
    mean: Any,
    powers: Any,
    s: Any,
) -> None:
    correction = np.empty(2, np.float64)
    for n in range(len(draws)):
        user = users[min(int(draws[n, 0] * len(users)), len(users) - 1)]
        lo, hi = at[user], at[user + 1]
        i = item[lo + min(int(draws[n, 1] * (hi - lo)), hi - lo - 1)]
        others = len(s) - (hi - lo)
        j = _unseen(item, lo, hi, min(int(draws[n, 2] * others), others - 1))
        difference = 0.0
        for x in range(lo, hi):
            k = item[x]
            if symmetric:
                difference += s[max(i, k), min(i, k)] - s[max(j, k), min(j, k)]
            else:
                difference += s[i, k] - s[j, k]
        gradient = 1.0 / (1.0 + np.exp(difference))
        powers[0] *= MOMENTUM
        powers[1] *= VARIANCE
        correction[:] = 1.0 - powers
        up = _step(mode, gradient, i, memory, mean, correction)
        down = _step(mode, gradient, j, memory, mean, correction)
        for x in range(lo, hi):
            k = item[x]
            a, b = (max(i, k), min(i, k)) if symmetric else (i, k)
            if k != i:
                s[a, b] += rate * (up - lambda_i * s[a, b])
            a, b = (max(j, k), min(j, k)) if symmetric else (j, k)
            s[a, b] -= rate * (down + lambda_j * s[a, b])


def pairwise_steps(
    by_user: Lists,
    draws: Callable[[int], Float64],
    *,
    epochs: int,
    optimiser: str,
    symmetric: bool,
    rate: float,
    lambda_i: float,
    lambda_j: float,
    size: int,
) -> NDArray[np.float32]:
    """Return float32 [P, P]: row the candidate, column the item in the history; the lower triangle if symmetric.

    Args:
        by_user: U lists of places, each sorted.
        draws: Returns float64 [n, 3], uniform from 0 to 1: for a user, one of its items, one of the others.
        epochs: Of one draw per user who has an item and lacks one.
        optimiser: One of ``OPTIMISERS``.
        symmetric: One weight for both directions of a pair.
        rate: Learning rate.
        lambda_i: Weight of the penalty at the item that the user has.
        lambda_j: Weight of the penalty at the item that the user lacks.
        size: P.
    """
    s = np.zeros((size, size), np.float32)
    users: Int64 = np.flatnonzero((by_user.lengths > 0) & (by_user.lengths < size))
    memory, mean, powers = np.zeros(size), np.zeros(size), np.ones(2)
    mode = OPTIMISERS.index(optimiser)
    for _ in range(epochs if len(users) else 0):
        drawn = draws(len(users))
        told = (symmetric, mode, rate, lambda_i, lambda_j)
        _epoch(by_user.indptr, by_user.items, drawn, users, *told, memory, mean, powers, s)
    return s
