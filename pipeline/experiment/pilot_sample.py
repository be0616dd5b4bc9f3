"""The data of a pilot: some users with their whole histories, every item, and nothing of the test window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stagelens.pipeline.core import Bool, Dataset, Int32, Interactions, Split
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.seeds import generator

TUNING = 0.25
"""Share of the sampled valid users who stop training early and choose weights; the others are measured."""
FEWEST = 25
"""Users whom every sample must leave to be measured; their variance is known within a third or so."""


def active_users(split: Split) -> Int32:
    """Return the codes of users with anything before test, increasing."""
    windows = (split.history, split.labels, split.valid)
    return np.unique(np.concatenate([window.user for window in windows])).astype(np.int32)


def measured_users(split: Split, seed: int) -> Bool:
    """Return bool [U]: valid users who are measured; those left out tune."""
    held = np.zeros(split.valid.n_users, dtype=bool)
    held[split.valid.user] = True
    return held & (generator(seed, "pilot", "tuning").random(len(held)) >= TUNING)


def disjoint_samples(split: Split, users: int, samples: int, seed: int) -> list[Int32]:
    """Return disjoint samples of active users, equally large, ``users`` in all.

    Raises:
        DataError: There are fewer users, or a sample leaves too few to tune on or to measure.
    """
    active = active_users(split)
    if users > len(active):
        raise DataError(
            f"a pilot on {users:,} users: the data set has {len(active):,} before test; ask for at most so many"
        )
    order = generator(seed, "pilot", "users").permutation(active)
    size = users // samples
    parts = [np.sort(order[place * size : (place + 1) * size]) for place in range(samples)]
    measured = measured_users(split, seed)
    tuning = np.zeros(len(measured), dtype=bool)
    tuning[split.valid.user] = True
    tuning &= ~measured
    fewest = min(min(measured[part].sum() for part in parts), 2 * min(tuning[part].sum() for part in parts))
    if fewest < FEWEST:
        needed = _needed(split, samples)
        raise DataError(
            f"a pilot on {users:,} users leaves {fewest} to measure in a sample, {FEWEST} are needed: of "
            f"{len(active):,} users {len(split.valid.users()):,} have something in valid. "
            + (
                f"Take about {needed:,} (--pilot {needed})."
                if needed <= len(active)
                else "The data set is too small for a pilot: run the study itself."
            )
        )
    return parts


def _needed(split: Split, samples: int) -> int:
    """Return about how many users a pilot needs, with room for chance."""
    share = len(split.valid.users()) / max(len(active_users(split)), 1)
    smallest = max(FEWEST / (1 - TUNING), FEWEST / 2 / TUNING)
    return int(np.ceil(1.5 * samples * smallest / max(share, 1e-9) / 10)) * 10


def sample_of(dataset: Dataset, split: Split, users: Int32, seed: int) -> tuple[Dataset, Split]:
    """Return the data set and the windows of a pilot: valid users are divided, some tune, the others are measured.

    In the windows that are returned ``test`` holds what valid holds of the measured users: the study's own test
    window is not read. User codes are new, item codes as before.

    Args:
        dataset: The whole.
        split: Its windows.
        users: int32, increasing: who is in the sample.
        seed: Of the pilot.
    """
    history, labels, valid = (_of(log, users) for log in (split.history, split.labels, split.valid))
    measured = measured_users(split, seed)[users][valid.user]
    windows = Split(
        split.kind, history, labels, valid.where(~measured), valid.where(measured), split.clock, split.notes
    )
    log = history.merged(labels).merged(valid)
    shown = dataset.impressions
    small = replace(
        dataset,
        interactions=log,
        given=np.full(len(log), -1, dtype=np.int8),
        users=dataset.users[users],
        user_columns={name: column[users] for name, column in dataset.user_columns.items()},
        impressions=None if shown is None else _of(shown, users),
    )
    return small, windows


def _of(log: Interactions, users: Int32) -> Interactions:
    """Return the events of these users under new codes: the place in ``users``."""
    place = np.full(log.n_users, -1, dtype=np.int32)
    place[users] = np.arange(len(users), dtype=np.int32)
    code = place[log.user]
    keep = code >= 0
    return replace(log.where(keep), user=code[keep], n_users=len(users))
