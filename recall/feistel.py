"""A seeded random permutation of the catalogue for every user, in constant memory: compiled.

A Feistel network over the next even power of two, walked until it lands inside the catalogue, is a bijection:
place r of a user's order costs the same whatever r, and so does the way back from an item to its place.

Import this module inside functions only: numba takes a second to load.

References:
    Black & Rogaway 2002, doi:10.1007/3-540-45760-7_9 (cycle-walking and generalised Feistel ciphers on small
    domains; here 6 rounds of a mixing function, which is not meant to be secure).
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from stagelens.pipeline.core import PADDING, Float32, Int32, Lists
from stagelens.pipeline.threads import over_rows

ROUNDS = 6
_A, _B, _C = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


@njit(cache=True, nogil=True)
def _mix(x: Any) -> Any:
    x = (x + _A) & np.uint64(0xFFFFFFFFFFFFFFFF)
    x = (x ^ (x >> _30)) * _B
    x = (x ^ (x >> _27)) * _C
    return x ^ (x >> _31)


@njit(cache=True, nogil=True)
def _permute(value: Any, key: Any, half: Any, n: Any, back: Any) -> Any:
    """Return the item at a place of the order of ``key``, or with ``back`` the place of an item."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    while True:
        left, right = value >> half, value & mask
        for step in range(ROUNDS):
            if back:
                turn = np.uint64(ROUNDS - 1 - step)
                left, right = right ^ (_mix(key ^ (turn << np.uint64(32)) ^ left) & mask), left
            else:
                turn = np.uint64(step)
                left, right = right, left ^ (_mix(key ^ (turn << np.uint64(32)) ^ right) & mask)
        value = (left << half) | right
        if value < n:
            return value


@njit(cache=True, nogil=True)
def _order(
    keys: Any, half: Any, n: Any, seen_at: Any, seen: Any, lo: Any, hi: Any, item: Any, place: Any
) -> None:
    depth = item.shape[1]
    for row in range(lo, hi):
        count = 0
        for rank in range(n):
            if count == depth:
                break
            code = np.int64(_permute(np.uint64(rank), keys[row], half, np.uint64(n), False))
            at = seen_at[row] + np.searchsorted(seen[seen_at[row] : seen_at[row + 1]], code)
            if at < seen_at[row + 1] and seen[at] == code:
                continue
            item[row, count], place[row, count] = code, rank
            count += 1


@njit(cache=True, nogil=True)
def _places(keys: Any, half: Any, n: Any, items: Any, lo: Any, hi: Any, place: Any) -> None:
    for row in range(lo, hi):
        for k in range(items.shape[1]):
            if items[row, k] >= 0:
                place[row, k] = _permute(np.uint64(items[row, k]), keys[row], half, np.uint64(n), True)


def _keys(seed: int, users: Int32) -> np.ndarray[Any, np.dtype[np.uint64]]:
    with np.errstate(over="ignore"):  # wrapping is what mixing means
        mixed = users.astype(np.uint64) * _A + np.uint64(seed)
        mixed = (mixed ^ (mixed >> _30)) * _B
        return np.asarray((mixed ^ (mixed >> _27)) * _C, dtype=np.uint64)


def _half(n: int) -> np.uint64:
    return np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))


def shuffled(seed: int, users: Int32, seen: Lists, n: int, depth: int) -> tuple[Int32, Int32]:
    """Return each user's first ``depth`` unseen items and their places: int32 [Q, depth], -1 where none."""
    item = np.full((len(users), depth), PADDING, np.int32)
    place = np.full((len(users), depth), -1, np.int32)
    args = (_keys(seed, users), _half(n), n, seen.indptr, seen.items)
    over_rows(len(users), lambda lo, hi: _order(*args, lo, hi, item, place))
    return item, place


def places(seed: int, users: Int32, items: Int32, n: int) -> Int32:
    """Return int32 [Q, K]: the place of every item in its user's order, -1 for padding."""
    place = np.full(items.shape, -1, np.int32)
    args = (_keys(seed, users), _half(n), n, items)
    over_rows(len(users), lambda lo, hi: _places(*args, lo, hi, place))
    return place


def falling(place: Int32, n: int, absent: float) -> Float32:
    """Return scores that fall evenly from 1 with the place; ``absent`` where the place is -1."""
    return np.where(place >= 0, 1.0 - place / max(n, 1), absent).astype(np.float32)
