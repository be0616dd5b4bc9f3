"""Candidates with features and gains become the flat table a re-ranker is trained on.

List-wise training depends on the order of rows inside a list (LightGBM #2036): positives first raise ndcg
from the first tree, and recall order is itself a feature. So every list is shuffled by a seeded hash of
(seed, user, item), which depends neither on the block nor on the order in which recall returned the items.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import PADDING, Bool, Candidates, Features, Float32, Int32, Rows
from stagelens.pipeline.seeds import derive

UInt64 = NDArray[np.uint64]


def hashed(seed: int, *codes: NDArray[np.integer[Any]]) -> UInt64:
    """Return uint64 numbers that look random and depend on nothing but the seed and the codes.

    Args:
        seed: A derived seed.
        codes: Integer arrays that broadcast against each other.

    References:
        Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195 (the finalizer of SplitMix64, once per code).
    """
    state = np.asarray([seed], dtype=np.uint64)
    for code in codes:
        state = _mixed(state ^ _mixed(np.asarray(code).astype(np.uint64)))
    return state


def _mixed(value: UInt64) -> UInt64:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def choose_users(users: Int32, size: int, max_rows: int, *, seed: int) -> Int32:
    """Return the label users whose lists of ``size`` fit into ``max_rows`` rows, sorted.

    A seeded random choice; raising ``max_rows`` adds users and removes none.

    Args:
        users: int32, distinct codes.
        size: Candidates per list.
        max_rows: Rows at most; one user is always kept.
        seed: Study seed.
    """
    users = np.unique(users).astype(np.int32)
    count = max(1, max_rows // max(1, size))
    if len(users) <= count:
        return users
    first = np.argsort(hashed(derive(seed, "label users"), users), kind="stable")[:count]
    return np.sort(users[first])


def informative(candidates: Candidates, gains: Float32) -> Bool:
    """Return bool [Q]: lists that hold both a relevant and another candidate; the rest teach no order.

    Args:
        candidates: Q lists.
        gains: float32 [Q, K], above 0 where relevant.
    """
    positives = ((gains > 0) & candidates.found).sum(axis=1)
    found = candidates.found.sum(axis=1)
    return np.asarray((positives > 0) & (positives < found))


def rows_of(
    candidates: Candidates,
    features: Features,
    gains: Float32,
    *,
    seed: int,
    weights: Float32 | None = None,
    negatives: int | None = None,
) -> Rows:
    """Return the rows of the informative lists, shuffled inside each list.

    Lists with constant labels are dropped (``informative`` counts them); so is padding.

    Args:
        candidates: Q lists of K.
        features: float32 [Q, K, F] of the same lists.
        gains: float32 [Q, K], above 0 where relevant.
        seed: Study seed; with the user it fixes the order inside a list.
        weights: float32 [Q], one weight a list, or None.
        negatives: Candidates that are not relevant kept of each list, a random sample; None keeps all.

    Raises:
        ValueError: Shapes differ.
    """
    shape = candidates.item.shape
    if features.values.shape[:2] != shape or gains.shape != shape:
        raise ValueError(f"features {features.values.shape}, gains {gains.shape}, candidates {shape}")
    query = np.flatnonzero(informative(candidates, gains))
    user, item = candidates.user[query], candidates.item[query]
    keys = hashed(derive(seed, "rows"), user[:, None], item)
    kept = item != PADDING
    if negatives is not None:
        kept &= _sampled(
            hashed(derive(seed, "negatives"), user[:, None], item), gains[query] > 0, kept, negatives
        )
    keys[~kept] = np.iinfo(np.uint64).max
    order = np.argsort(keys, axis=1)
    sizes = kept.sum(axis=1)
    inside = np.arange(shape[1]) < sizes[:, None]
    flat = (query[:, None] * shape[1] + order)[inside]
    return Rows(
        names=features.names,
        values=features.values.reshape(gains.size, len(features.names)).take(flat, axis=0),
        label=(gains.reshape(-1).take(flat) > 0).astype(np.float32),
        group=sizes.astype(np.int32),
        weight=None if weights is None else np.repeat(weights[query].astype(np.float32), sizes),
        user=np.repeat(user, sizes),
        item=candidates.item.reshape(-1).take(flat),
    )


def _sampled(keys: UInt64, positive: Bool, found: Bool, negatives: int) -> Bool:
    """Return bool [Q, K]: every positive, and the ``negatives`` others of each list with the lowest keys."""
    other = np.where(found & ~positive, keys, np.iinfo(np.uint64).max)
    place = np.argsort(np.argsort(other, axis=1), axis=1)
    return np.asarray(positive | (found & (place < negatives)))


def no_rows(names: tuple[str, ...], *, weighted: bool = False) -> Rows:
    """Return a table with these columns and no list."""
    code = np.zeros(0, np.int32)
    nothing = np.zeros(0, np.float32)
    weight = nothing if weighted else None
    return Rows(names, np.zeros((0, len(names)), np.float32), nothing, code, weight, code, code)


def no_features(candidates: Candidates) -> Features:
    """Return a table without columns."""
    return Features((), np.zeros((*candidates.item.shape, 0), dtype=np.float32))


def joined(parts: Iterable[Rows], capacity: int | None = None) -> Rows:
    """Return the lists of all parts, one after the other.

    Args:
        parts: Tables with the same columns, at least one. With a ``capacity`` they may be made one by one by
            a generator: each is written into its place and let go, so the peak is the result and one part.
        capacity: Rows at most; None: counted, which holds all parts at once. Untouched capacity costs no
            memory.

    Raises:
        ValueError: No part, columns that differ, weights in some parts only, or more rows than the capacity.
    """
    if capacity is None:
        parts = list(parts)
        capacity = sum(len(part.label) for part in parts)
    names: tuple[str, ...] | None = None
    weighted = False
    start, groups = 0, []
    for part in parts:
        if names is None:
            names, weighted = part.names, part.weight is not None
            values = np.empty((capacity, len(names)), np.float32)
            label, weight = np.empty((2, capacity), np.float32)
            user, item = np.empty((2, capacity), np.int32)
        if part.names != names or (part.weight is not None) != weighted:
            raise ValueError(f"parts differ: columns {part.names} against {names}, or weights in only some")
        stop = start + len(part.label)
        if stop > capacity:
            raise ValueError(f"at least {stop} rows, room for {capacity}")
        values[start:stop], label[start:stop] = part.values, part.label
        user[start:stop], item[start:stop] = part.user, part.item
        if part.weight is not None:
            weight[start:stop] = part.weight
        groups.append(part.group)
        start = stop
    if names is None:
        raise ValueError("no parts to join; a table without lists is made by no_rows(names)")
    group = np.concatenate(groups)
    final = weight[:start] if weighted else None
    return Rows(names, values[:start], label[:start], group, final, user[:start], item[:start])
