"""Windows: what fits recall, what teaches the re-ranker, what tunes, and what is opened once.

* ``given``: the data set's own train, valid and test. Without valid: 10 % of each user's train, seeded.
* ``global-time``: history, labels, valid and test are the first 70 %, then 10 % each of all events by time;
  events of one moment stay together.
* ``leave-last-out``: a user's last event is test, the one before it valid, the one before that labels, the
  rest history. A user with 3 events has no labels, with 2 no valid either, with 1 only history.
* ``per-user``: a seeded 10 % of each user's events, at least one, is test, another valid. A user with 2
  events has no valid, with 1 only history.

Where a rule leaves labels open (given, per-user) they are 10 % of each user's train, at least one: the last
ones where there is an order, seeded ones otherwise. Ten per cent of a user is rounded to the nearest count,
and taken only from users with at least 3 interactions. The study seed never moves a split; ``seed`` is the
split's own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Dataset, Float64, Int64, Interactions, Split
from stagelens.pipeline.data.clock import moment
from stagelens.pipeline.errors import ConfigError, DataError, nearest
from stagelens.pipeline.seeds import generator

KINDS = ("auto", "given", "global-time", "leave-last-out", "per-user")
WINDOWS = ("history", "labels", "valid", "test")
HISTORY, LABELS, VALID, TEST = range(4)
SHARE = 0.1
"""Share of a user's interactions in each held-out window."""
FEWEST = 3
"""Interactions that a user must have before a share is taken."""
CUTS = (0.7, 0.8, 0.9)
"""Where global time is cut."""

Windows = NDArray[np.int8]


def split(dataset: Dataset, kind: str = "auto", *, seed: int = 0) -> Split:
    """Return the windows of a data set; what was decided stands in their notes.

    Args:
        dataset: Its own split, its clock and its interactions decide.
        kind: A rule by name, or ``auto``: given, else global-time with a real clock, else leave-last-out with
            an order, else per-user.
        seed: Moves the random part, nothing else.

    Raises:
        ConfigError: Unknown kind, or one that the data cannot serve.
        DataError: A window would be empty.
    """
    chosen = _choose(dataset, kind)
    rules: dict[str, Callable[[Dataset, int], tuple[Windows, list[str]]]] = {
        "given": _given,
        "global-time": _global_time,
        "leave-last-out": _leave_last_out,
        "per-user": _per_user,
    }
    window, notes = rules[chosen](dataset, seed)
    counts = np.bincount(window, minlength=len(WINDOWS))
    if not counts.all():
        sizes = ", ".join(f"{name} {count}" for name, count in zip(WINDOWS, counts, strict=True))
        empty = WINDOWS[int(np.argmin(counts))]
        remedy = (
            " A user needs at least 3 interactions before one is held out." if chosen != "global-time" else ""
        )
        raise DataError(
            f"{dataset.source or dataset.name}: split {chosen!r} leaves {empty} empty ({sizes}).{remedy} "
            f"Give a fuller split column, more interactions, or another data.split: {', '.join(KINDS)}."
        )
    log = dataset.interactions
    history, labels, valid, test = (log.where(window == code) for code in range(4))
    return Split(chosen, history, labels, valid, test, dataset.clock, tuple(notes))


def folds(train: Interactions, n: int, *, seed: int) -> NDArray[np.int8]:
    """Return the fold of every training interaction: int8 [N], 0 to n - 1, balanced within each user.

    A user's interactions are permuted and dealt round-robin from a random fold on, so the folds of one user
    differ by at most one interaction, and short histories do not all fill the first folds.

    Args:
        train: Interactions sorted by user.
        n: Folds, 2 to 127.
        seed: Of the study.
    """
    if not 2 <= n <= 127:
        raise ConfigError(f"folds = {n}: allowed 2 to 127")
    rng = generator(seed, "folds")
    start = rng.integers(0, n, size=train.n_users)
    place = _place_in_user(train.user, rng.random(len(train)))
    return ((place + start[train.user]) % n).astype(np.int8)


def _choose(dataset: Dataset, kind: str) -> str:
    if kind not in KINDS:
        raise ConfigError("data.split: " + nearest("split", kind, KINDS))
    has_given, clock = bool((dataset.given >= 0).all() and len(dataset.given)), dataset.clock
    if kind == "auto":
        if has_given:
            return "given"
        return {"real": "global-time", "order": "leave-last-out", "none": "per-user"}[clock]
    fits = {
        "given": (has_given, "the interactions have no split column"),
        "global-time": (clock == "real", f"the clock is {clock!r}: no timestamps, or only positions"),
        "leave-last-out": (clock != "none", "the interactions have neither a timestamp nor a seq column"),
        "per-user": (True, ""),
    }
    good, why = fits[kind]
    if not good:
        possible = ", ".join(name for name, (fit, _) in fits.items() if fit)
        name = dataset.source or dataset.name
        raise ConfigError(
            f"data.split = {kind!r} does not fit {name}: {why}. Allowed here: auto, {possible}."
        )
    return kind


def _place_in_user(user: NDArray[np.int32], key: NDArray[np.generic]) -> Int64:
    """Return the place of every row of a sorted ``user`` among its user's rows by key: int64 [N]."""
    place = np.empty(len(user), dtype=np.int64)
    count = np.bincount(user)
    start = np.cumsum(count) - count
    place[np.lexsort((key, user))] = np.arange(len(user)) - start[user]
    return place


def _last(user: NDArray[np.int32], key: NDArray[np.generic], take: Int64) -> Bool:
    """Return bool [N]: among the ``take[user]`` rows of their user with the largest keys."""
    count = np.bincount(user, minlength=len(take))
    chosen: Bool = _place_in_user(user, key) >= (count - take)[user]
    return chosen


def _share_of(count: Int64) -> Int64:
    """Return a tenth of each count, rounded, at least one; none below ``FEWEST``."""
    tenth = np.maximum(np.floor(count * SHARE + 0.5), 1).astype(np.int64)
    return np.where(count >= FEWEST, tenth, 0)


def _held_out(log: Interactions, rows: NDArray[np.int64], key: Float64 | Int64) -> NDArray[np.int64]:
    """Return the positions of a tenth of each user's ``rows``: those with the largest keys."""
    user = log.user[rows]
    take = _share_of(np.bincount(user, minlength=log.n_users))
    return rows[_last(user, key[rows], take)]


def _mark_labels(dataset: Dataset, window: Windows, seed: int) -> str:
    """Mark labels inside the train rows of ``window``; return the note."""
    log, rows = dataset.interactions, np.flatnonzero(window == HISTORY)
    if dataset.clock == "none":
        key: Float64 | Int64 = generator(seed, "split", "labels").random(len(log))
        how = f"drawn with seed {seed}"
    else:
        key, how = np.arange(len(log)), "the last ones"
    window[_held_out(log, rows, key)] = LABELS
    return f"labels: 10 % of each user's train with at least {FEWEST} interactions, {how}"


def _given(dataset: Dataset, seed: int) -> tuple[Windows, list[str]]:
    log = dataset.interactions
    window = np.asarray([HISTORY, VALID, TEST], dtype=np.int8)[dataset.given]
    notes = ["given split"]
    if not (window == VALID).any():
        key = generator(seed, "split", "valid").random(len(log))
        window[_held_out(log, np.flatnonzero(window == HISTORY), key)] = VALID
        notes = [f"given split; no valid in it: 10 % of train per user with at least {FEWEST} (seed {seed})"]
    notes.append(_mark_labels(dataset, window, seed))
    return window, notes


def _global_time(dataset: Dataset, seed: int) -> tuple[Windows, list[str]]:
    time = dataset.interactions.time
    in_order = np.sort(time)
    cuts = in_order[[min(int(len(time) * cut), len(time) - 1) for cut in CUTS]]
    window = np.searchsorted(cuts, time, side="right").astype(np.int8)
    days = ", ".join(moment(int(cut), "%Y-%m-%d %H:%M") for cut in cuts)
    counts = np.bincount(window, minlength=4) / max(len(time), 1)
    shares = "/".join(f"{100 * share:.0f}" for share in counts)
    notes = [f"real clock: global time, cut at {days} UTC ({shares} % of events)"]
    trained = np.unique(dataset.interactions.user[window <= LABELS])
    tested = np.unique(dataset.interactions.user[window == TEST])
    cold = len(np.setdiff1d(tested, trained))
    if cold:
        notes.append(f"{cold} of {len(tested)} test users have no training interaction; they count")
    return window, notes


def _leave_last_out(dataset: Dataset, seed: int) -> tuple[Windows, list[str]]:
    log = dataset.interactions
    count = np.bincount(log.user, minlength=log.n_users)
    from_end = count[log.user] - 1 - _place_in_user(log.user, np.arange(len(log)))
    window = np.full(len(log), HISTORY, dtype=np.int8)
    size = count[log.user]
    window[(from_end == 0) & (size >= 2)] = TEST
    window[(from_end == 1) & (size >= 3)] = VALID
    window[(from_end == 2) & (size >= 4)] = LABELS
    reason = (
        "order only"
        if dataset.clock == "order"
        else "real clock, by request: train may hold later events than test"
    )
    notes = [f"{reason}: leave-last-out (test last, valid second last, labels third last)"]
    short = [int((count == n).sum()) for n in (1, 2, 3)]
    if any(short):
        notes.append(
            f"short users: {short[0]} with 1 event (history only), {short[1]} with 2 (no valid, no labels), "
            f"{short[2]} with 3 (no labels)"
        )
    return window, notes


def _per_user(dataset: Dataset, seed: int) -> tuple[Windows, list[str]]:
    log = dataset.interactions
    count = np.bincount(log.user, minlength=log.n_users).astype(np.int64)
    place = _place_in_user(log.user, generator(seed, "split", "per-user").random(len(log)))
    test, valid = _share_of(count), _share_of(count)
    test[count == 2] = 1
    window = np.full(len(log), HISTORY, dtype=np.int8)
    window[place < (test + valid)[log.user]] = VALID
    window[place < test[log.user]] = TEST
    reason = "no clock and no order" if dataset.clock == "none" else "by request"
    notes = [f"{reason}: per-user 8:1:1 (seed {seed})", _mark_labels(dataset, window, seed)]
    short = int((count == 1).sum())
    if short:
        notes.append(f"short users: {short} with 1 event (history only)")
    return window, notes
