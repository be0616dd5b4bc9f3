"""Which events stay: positives, the first of every pair, and the core of active users and items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool
from stagelens.pipeline.data.importers.spool import Spool
from stagelens.pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked of events.

    Attributes:
        positive: The least value of an event that stays; None: any.
        min_user: The fewest events of a user that stays, counted after all else was left out.
        min_item: Likewise of an item; 1 leaves out the items of no event.
    """

    positive: float | None = None
    min_user: int = 0
    min_item: int = 0


def positives(spool: Spool, least: float | None) -> Bool:
    """Return bool [N]: the value is at least this one; a missing value is not.

    Raises:
        ConfigError: The source has no values.
    """
    if least is None:
        return np.ones(len(spool), dtype=bool)
    if "value" not in spool.columns:
        raise ConfigError(f"positive = {least:g}: the source has no values. Leave this option out.")
    with np.errstate(invalid="ignore"):
        return np.asarray(spool.columns["value"] >= least)


def first_of_pairs(spool: Spool, kept: Bool, n_items: int) -> Bool:
    """Return bool [N]: kept, and the first of its user and item.

    First means: in the earliest window, there at the earliest time, there first in the source.
    """
    rows = np.flatnonzero(kept)
    pair = spool.user[rows] * np.int64(n_items) + spool.item[rows]
    order = np.argsort(pair, kind="stable")
    in_order = pair[order]
    same = in_order[1:] == in_order[:-1]
    if not same.any():
        return kept
    several = order[np.r_[same, False] | np.r_[False, same]]  # members of pairs that stand more than once
    several = np.sort(several)
    at = rows[several]
    keys: list[NDArray[Any]] = [
        spool.columns[name][at] for name in ("seq", "timestamp", "split") if name in spool.columns
    ]
    ranked = np.lexsort((*keys, pair[several]))
    later = np.r_[False, pair[several][ranked][1:] == pair[several][ranked][:-1]]
    left = kept.copy()
    left[at[ranked[later]]] = False
    return left


def core(spool: Spool, kept: Bool, n_users: int, n_items: int, asked: Selection) -> tuple[Bool, int]:
    """Return bool [N], the kept events of the core, and the rounds until nothing changed.

    The core is the largest set of events in which every user and every item has at least the events asked
    for; the order of removal does not matter (Seidman 1983, Batagelj and Zaversnik 2003).

    References:
        V. Batagelj and M. Zaversnik, "An O(m) algorithm for cores decomposition of networks", 2003,
        arXiv:cs/0310049; here with a least degree for either side.
    """
    if asked.min_user <= 1 and asked.min_item <= 1:
        return kept, 0
    from stagelens.pipeline.data.importers.kernels import peel

    rows = np.flatnonzero(kept)
    ends = np.empty((2, len(rows)), dtype=np.int32)
    ends[0], ends[1] = spool.user[rows], spool.item[rows]
    ends[1] += n_users
    n = n_users + n_items
    degree = np.bincount(ends[0], minlength=n) + np.bincount(ends[1], minlength=n)
    indptr = np.r_[0, np.cumsum(degree)].astype(np.int64)
    edges = np.concatenate([np.argsort(side, kind="stable") for side in ends])  # users come before items
    least = np.repeat([asked.min_user, asked.min_item], [n_users, n_items]).astype(np.int32)
    alive, gone = np.ones(len(rows), dtype=bool), degree == 0
    rounds = peel(
        ends, indptr, edges, degree.astype(np.int32), least, alive, gone, np.empty(n, dtype=np.int32)
    )
    left = np.zeros(len(kept), dtype=bool)
    left[rows[alive]] = True
    return left, int(rounds)
