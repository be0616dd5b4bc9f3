"""Nested budgets: parts of the training interactions, each inside the next; what is held out never changes.

A budget is about pairs of a user and an item: every event of a pair is kept or withheld together. One order of the
training pairs is drawn from the split; a budget keeps the first of them, so a smaller budget is always part of a larger
one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Float64, Int64, Split
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.seeds import generator

How = Literal["uniform", "oldest", "newest", "per-user", "per-item", "cold-items", "cold-users"]
Order = Literal["random", "oldest", "newest"]
COUNTED = ("per-user", "per-item")
"""Budgets whose amount is a count k; that of the others is a share."""
COLD = ("cold-items", "cold-users")
"""Budgets that take all interactions of some, and none of the others'."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What is kept of the training interactions.

    Attributes:
        how: ``uniform``, ``oldest``, ``newest``: a share of all pairs. ``per-user``, ``per-item``: k pairs of each
            user or item. ``cold-items``, ``cold-users``: all pairs of a share of them, and none of the others.
        amount: The share kept, 0 to 1, or k.
        order: What is kept first, of each user or item or of the items or users themselves; not for shares of pairs.
        draw: Moves what is random; the study seed never does.

    Raises:
        ConfigError: An amount out of range, or an order that is given twice.
    """

    how: How
    amount: float
    order: Order = "random"
    draw: int = 0

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise ConfigError(nearest("budget", self.how, get_args(How)))
        if self.how in COUNTED and not (self.amount >= 0 and self.amount == int(self.amount)):
            raise ConfigError(f"budget k = {self.amount:g} ({self.how}): allowed are whole numbers from 0 on")
        if self.how not in COUNTED and not 0 <= self.amount <= 1:
            raise ConfigError(f"budget {100 * self.amount:g} % ({self.how}): allowed are 0 to 100 %")
        if self.how in ("uniform", "oldest", "newest") and self.order != "random":
            raise ConfigError(
                f"order = {self.order!r} with how = {self.how!r}: an order is for k of each and for cold items or "
                "users. Leave it out, or use how = oldest or newest."
            )


def thinned(split: Split, budget: Budget) -> Split:
    """Return the split with what the budget keeps of history and labels; valid and test stay as they are.

    With a clock, ``oldest`` and ``newest`` go by time; with an order alone, by the relative place of a pair in its
    user's sequence. A pair stands where its first event stands, equal places are in random order. Shares are rounded
    to the nearest count.

    Raises:
        ConfigError: An order in time that the split does not have.

    Example:
        >>> import numpy as np
        >>> from stagelens.pipeline.core import Interactions
        >>> log = Interactions.of(np.repeat([0, 1], 5), np.tile(np.arange(5), 2), n_users=2, n_items=5)
        >>> none = log.where(np.zeros(10, bool))
        >>> split = Split("given", log, none, none, none, "none")
        >>> [len(thinned(split, Budget("uniform", share)).train) for share in (1.0, 0.4, 0.0)]
        [10, 4, 0]
        >>> thinned(split, Budget("per-user", 2)).train.user_degree().tolist()
        [2, 2]
    """
    windows = (split.history, split.labels)
    code = np.concatenate([_codes(window.user, window.item, window.n_items) for window in windows])
    pairs, place = np.unique(code, return_inverse=True)
    first = np.full(len(pairs), np.iinfo(np.int64).max)
    np.minimum.at(first, place, np.concatenate([window.time for window in windows]))
    user, item = np.divmod(pairs, max(split.history.n_items, 1))
    kept = _kept(split, budget, user, item, first)[place]
    history, labels = np.split(kept, [len(split.history)])
    return replace(split, history=split.history.where(history), labels=split.labels.where(labels))


def _codes(user: NDArray[Any], item: NDArray[Any], n_items: int) -> Int64:
    codes: Int64 = user.astype(np.int64) * max(n_items, 1) + item
    return codes


def _kept(split: Split, budget: Budget, user: Int64, item: Int64, first: Int64) -> Bool:
    """Return bool [N]: which of the distinct training pairs the budget keeps."""
    rng = generator(budget.draw, "budget", budget.how, budget.order, split.fingerprint())
    if budget.how in COLD:
        members, owner = np.unique(item if budget.how == "cold-items" else user, return_inverse=True)
        arrival = np.full(len(members), np.iinfo(np.int64).max)
        np.minimum.at(arrival, owner, first)
        key = _key(split, budget.order, arrival.astype(np.float64), budget.how.removeprefix("cold-"))
        warm: Bool = _places(key, rng) < _share(budget.amount, len(members))
        return np.asarray(warm[owner])
    if budget.how in COUNTED:
        group = user if budget.how == "per-user" else item
        key = _key(split, budget.order, first.astype(np.float64), budget.how)
        return np.asarray(_places(key, rng, group) < budget.amount)
    order: Any = "random" if budget.how == "uniform" else budget.how
    moment = _relative(user, first) if split.clock == "order" else first.astype(np.float64)
    key = _key(split, order, moment, "pairs")
    return np.asarray(_places(key, rng) < _share(budget.amount, len(first)))


def _key(split: Split, order: Order, moment: Float64, what: str) -> Float64:
    """Return what pairs or items are sorted by; equal where the order is random.

    Raises:
        ConfigError: There is no such order in time.
    """
    if order == "random":
        return np.zeros(len(moment))
    if split.clock == "none" or (split.clock == "order" and what in ("items", "users", "per-item")):
        told = "neither a clock nor an order" if split.clock == "none" else "an order within each user alone"
        subject = what if what in ("items", "users") else "events"
        raise ConfigError(
            f"the {order} first: the data has {told}, so {subject} cannot be told older from newer. Use how = uniform, "
            "or order = random."
        )
    return moment if order == "oldest" else -moment


def _relative(user: Int64, first: Int64) -> Float64:
    """Return float64 [N]: where in its user's sequence a pair stands, 0 to 1."""
    count = np.bincount(user)
    start = np.cumsum(count) - count
    place = np.empty(len(user))
    place[np.lexsort((first, user))] = np.arange(len(user)) - start[user]
    return np.asarray((place + 0.5) / count[user])


def _places(key: Float64, rng: np.random.Generator, group: Int64 | None = None) -> Int64:
    """Return int64 [N]: the place of each by its key, equal keys in random order; within its group, where given."""
    chance = rng.random(len(key))
    by = np.lexsort((chance, key) if group is None else (chance, key, group))
    place = np.empty(len(key), dtype=np.int64)
    place[by] = np.arange(len(key))
    if group is not None:
        count = np.bincount(group)
        place -= (np.cumsum(count) - count)[group]
    return place


def _share(share: float, total: int) -> int:
    return int(np.floor(share * total + 0.5))
