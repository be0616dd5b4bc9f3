"""A world whose items are all examined alike, and whose users are as active as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stagelens.pipeline.core import Float64, Int64, Interactions, Lists
from stagelens.pipeline.worlds.generate import Generated

ROUNDS = 8
"""Corrections of a user's pace, each by the ratio of the events wanted and expected."""
CELLS = 1 << 22
"""Chances in memory at once."""


def evened(made: Generated, start: int, taken: Interactions) -> Generated:
    """Return the world under even exposure from ``start`` on.

    Every user's pace is set anew, so that as many events are expected of the user as under the world's own policy.

    Args:
        made: The world.
        start: First second of the span, Unix time.
        taken: What users took before; these pairs never come again.
    """
    n_items, held = made.dataset.n_items, taken.lists()
    pace, exposure = made.clocks.pace.copy(), np.ones_like(made.clocks.exposure)
    even = replace(made, clocks=replace(made.clocks, exposure=exposure, pace=pace))
    step = max(CELLS // n_items, 1)
    for low in range(0, made.dataset.n_users, step):
        users = np.arange(low, min(low + step, made.dataset.n_users))
        gone = held.rows(users)
        wanted = _expected(made, users, gone, start)
        for _ in range(ROUNDS):  # the clocks share this array, so every round sees the last one's paces
            found = np.maximum(_expected(even, users, gone, start), 1e-12)
            pace[users] *= np.where(wanted > 0, wanted / found, 1.0)
    return even


def _expected(made: Generated, users: Int64, gone: Lists, start: int) -> Float64:
    """Return float64: how many events of some users a log holds on average."""
    chance = made.chance(users[:, None], np.arange(made.dataset.n_items)[None, :], start=start)
    chance[np.repeat(np.arange(len(users)), gone.lengths), gone.items] = 0.0
    total: Float64 = chance.sum(axis=1)
    return total
