"""What loads and compiles when a recipe first works, done before a clock starts.

Libraries and kernels of a second or more would otherwise stand in the time of whichever system runs first.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any, cast

import numpy as np

from stagelens.pipeline.contracts import Channel
from stagelens.pipeline.core import Interactions, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, fields_of
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.pipeline.store import own_time

USERS, ITEMS, PAIRS, DEPTH = 120, 80, 800, 10
PLACE = "device"
"""The field that says where a recipe runs: what loads follows from it."""

_warm: set[Recipe] = set()


def warm(made: Recipe) -> None:
    """Fit a recipe like this one on a small made window and ask it once, the first time in this process.

    Likeness is the class, the classes of its parts and the device; other fields stand at their defaults, which fit
    the small window. Does nothing where a recipe reads content. What it raises is left to the real fit to say, and its
    seconds are nobody's.
    """
    with own_time(), contextlib.suppress(Exception), warnings.catch_warnings():
        like = _plain(made)
        if like.reads or like in _warm:
            return
        _warm.add(like)
        warnings.simplefilter("ignore")
        _work(like)


def _plain(made: Recipe) -> Recipe:
    kept: dict[str, Any] = {}
    for name in fields_of(type(made)):
        value = getattr(made, name)
        if isinstance(value, Recipe):
            kept[name] = _plain(value)
        elif name == PLACE:
            kept[name] = value
    return type(made)(**kept)


def _work(like: Recipe) -> None:
    draw = generator(0, "warming")
    window = Interactions.of(
        draw.integers(USERS, size=PAIRS), draw.integers(ITEMS, size=PAIRS), n_users=USERS, n_items=ITEMS
    )
    fitted = cast(Channel, like).fit(TrainingData(window), seed=0)
    if like.role == "channel":
        other = window.where(window.item % 2 == 0)  # histories that no user vector was trained on
        fitted.retrieve(Queries.of(np.arange(USERS), other, window, tie_order(0, ITEMS)), DEPTH)
