"""From an events table to the log: which events count, in which order, each user-item pair once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Clock, Int64, Interactions
from stagelens.pipeline.data.clock import detect_clock
from stagelens.pipeline.data.events import Events
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.layout import Folder
from stagelens.pipeline.data.tables import SHOWN
from stagelens.pipeline.data.vocabulary import codes_in
from stagelens.pipeline.errors import ConfigError


def choose_positives(events: Events, positive: float | None, weight: bool, findings: Findings) -> Bool:
    """Return bool [N]: the events that count, and say why."""
    kept = ~events.broken
    where = events.table.where(events.value_name)
    if events.value is None:
        if positive is not None or weight:
            option = f"positive = {positive}" if positive is not None else "weight = true"
            columns = ", ".join(events.table.names)
            raise ConfigError(
                f"{option} needs a value column; {events.table.path} has {columns}. Map one: value = ..."
            )
        return kept
    value, known = events.value, kept & np.isfinite(events.value)
    span = f"{value[known].min():g} to {value[known].max():g}" if known.any() else "empty"
    if positive is None and not weight:
        findings.add("value-unused", where, f"values {span}", count=int(kept.sum()))
    if positive is not None:
        unknown = np.flatnonzero(kept & ~np.isfinite(value))
        if len(unknown):
            found, shown = f"{len(unknown)} events have no value", _places(events, unknown)
            findings.add("value-missing", where, found, count=len(unknown), examples=shown)
        before, kept = int(kept.sum()), known & (value >= positive)
        if not kept.any():
            raise ConfigError(f"positive = {positive:g}: no event has such a value in {where}; values {span}")
        found = f"{int(kept.sum())} of {before} events have a value >= {positive:g}"
        findings.add("positives", where, found, count=int(kept.sum()))
    if weight:
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero(kept & ~(np.isfinite(value) & (value > 0)))
        if len(wrong):
            shown = events.table.examples(events.value_name, wrong)
            found = f"{len(wrong)} event weights are not positive numbers"
            findings.add("bad-weight", where, found, count=len(wrong), examples=shown)
            kept[wrong] = False
        findings.add("weights", where, f"values {span}", count=int(kept.sum()))
    return kept


def _places(events: Events, rows: NDArray[np.integer[Any]]) -> tuple[str, ...]:
    return tuple(events.table.place(int(row)) for row in rows[:SHOWN])


@dataclass(frozen=True, slots=True)
class _Order:
    clock: Clock
    fine: NDArray[Any] | None
    time: Int64 | None


def _order(events: Events, folder: Folder, findings: Findings) -> _Order:
    """Return the clock, what sorts a user's events, and their time: seconds or positions."""
    stamps, sequence, table = events.stamps, events.sequence, events.table
    clock: Clock = "none"
    said = folder.clock
    if said in ("real", "order") and stamps is None and (said == "real" or sequence is None):
        found = f'clock = "{said}" and no {"timestamp" if said == "real" else "timestamp or seq"} column'
        findings.add("no-timestamps", str(table.path), found)
    if stamps is not None and said != "none":
        usable = ~events.broken
        raw = type(stamps)(stamps.raw[usable], stamps.unit, stamps.broken[usable])
        clock, why = detect_clock(events.user[usable], raw)
        if said in ("real", "order"):
            clock, why = ("real" if said == "real" else "order"), "dataset.toml says so"
        if clock == "order":
            effect = "Timestamps are positions in the user's sequence: an order, not a clock."
            findings.add("order-only", str(table.path), why, count=table.rows, effect=effect)
        elif clock == "none":
            findings.add("no-clock", str(table.path), why, count=table.rows)
    if clock == "real" and stamps is not None:
        seconds, unit = stamps.seconds()
        if unit != "s":
            findings.add("time-unit", str(table.path), f"timestamps in {unit}", count=table.rows)
        return _Order("real", stamps.raw, seconds)
    if clock == "none" and sequence is not None and said != "none":
        findings.add("order-only", str(table.path), "events are ordered by seq", count=table.rows)
        clock, stamps = "order", sequence
    if clock == "none" or stamps is None:
        return _Order("none", None, None)
    whole = stamps.raw if stamps.raw.dtype.kind == "i" else np.unique(stamps.raw, return_inverse=True)[1]
    return _Order("order", stamps.raw, whole.astype(np.int64))


def build_log(
    events: Events,
    kept: NDArray[np.bool_],
    catalogue: NDArray[Any],
    known_users: NDArray[Any],
    weight: bool,
    folder: Folder,
    findings: Findings,
) -> tuple[Interactions | None, NDArray[np.int8], Clock]:
    """Return the positives as codes in order, their given windows, and the clock."""
    place = codes_in(catalogue, events.item_ids)
    item = np.where(events.item >= 0, np.r_[place, -1][events.item], -1)
    user = np.where(events.user >= 0, np.r_[codes_in(known_users, events.user_ids), -1][events.user], -1)
    lost = np.flatnonzero((item < 0) & ~events.broken)
    if len(lost):
        unlisted = events.item_ids[place < 0]
        shown = ", ".join(repr(value) for value in unlisted[:SHOWN].tolist())
        listed = (
            f"{folder.items.name}"
            if folder.items is not None
            else f"0 to {len(catalogue) - 1}, the feature rows"
        )
        findings.add(
            "unknown-item",
            str(events.table.path),
            f"{len(lost)} rows name {len(unlisted)} items outside the catalogue ({listed}): {shown}",
            count=len(lost),
            examples=_places(events, lost),
        )
    order = _order(events, folder, findings)
    rows = np.flatnonzero(kept & (item >= 0))
    if not len(rows):
        findings.add("no-rows", str(events.table.path), "no usable event is left")
        return None, np.empty(0, np.int8), order.clock
    rows = rows[_sorting(events, order, user[rows], rows)]
    rows = rows[_first_of_pairs(user[rows] * len(catalogue) + item[rows], rows, events, findings)]
    log = Interactions.of(
        user[rows],
        item[rows],
        n_users=len(known_users),
        n_items=len(catalogue),
        time=None if order.time is None else order.time[rows],
        value=events.value[rows] if weight and events.value is not None else None,
    )
    return log, events.given[rows], order.clock


def _sorting(events: Events, order: _Order, user: Int64, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what sorts ``rows``, whose users are ``user``, by user and then as they happened."""
    keys = [] if order.fine is None else [order.fine[rows]]
    if order.clock == "real" and events.sequence is not None:
        keys.insert(0, events.sequence.raw[rows])
    return np.lexsort((*keys, user))


def idle_repeats(events: Events, folder: Folder) -> tuple[NDArray[np.int64], int]:
    """Return the rows that repeat a pair and count under no threshold, and how many cross windows.

    Such a row comes after another of its pair, in the order of loading, whose value is no smaller: whatever
    ``positive`` is, the other counts first. None are returned where the clock would be taken for another
    without them.
    """
    quiet = Findings(strict=False)
    rows = np.flatnonzero(~events.broken)
    none = np.empty(0, np.int64), 0
    if not len(rows):
        return none
    order = _order(events, folder, quiet)
    rows = rows[_sorting(events, order, events.user[rows], rows)]
    pair = events.user[rows] * len(events.item_ids) + events.item[rows]
    rows = rows[np.lexsort((np.arange(len(rows)), events.given[rows], pair))]
    pair = events.user[rows] * len(events.item_ids) + events.item[rows]
    first = np.r_[True, pair[1:] != pair[:-1]]
    owner = np.cumsum(first) - 1
    value = np.zeros(len(rows)) if events.value is None else events.value[rows]
    known = np.isfinite(value)
    rank = np.where(known, 1 + np.unique(np.where(known, value, 0.0), return_inverse=True)[1], 0)
    highest = np.maximum.accumulate(owner * (len(rows) + 2) + rank) - owner * (len(rows) + 2)
    idle = np.flatnonzero(~first & (rank <= np.r_[0, highest[:-1]]))
    across = events.given[rows[idle]] != events.given[rows[np.flatnonzero(first)]][owner[idle]]
    broken = events.broken.copy()
    broken[rows[idle]] = True
    if _order(replace(events, broken=broken), folder, quiet).clock != order.clock:
        return none
    return np.sort(rows[idle]), int(across.sum())


def _first_of_pairs(
    pair: Int64, rows: NDArray[np.int64], events: Events, findings: Findings
) -> NDArray[np.int64]:
    """Return the increasing positions in ``rows`` of the first event of every user-item pair."""
    positions, given = np.arange(len(pair)), events.given[rows]
    in_order = np.sort(pair)
    if not (in_order[1:] == in_order[:-1]).any():
        return positions
    order = np.lexsort((positions, given, pair))
    first = np.r_[True, pair[order][1:] != pair[order][:-1]]
    repeats = rows[order[~first]]
    where = str(events.table.path)
    found, shown = f"{len(repeats)} events repeat a user-item pair", _places(events, np.sort(repeats))
    findings.add("duplicate-pairs", where, found, count=len(repeats), examples=shown)
    owner = np.cumsum(first) - 1
    across = given[order] != given[order][np.flatnonzero(first)][owner]
    if across.any():
        found = f"{int(across.sum())} repeats stand in a later window of the given split than their first"
        shown = _places(events, np.sort(rows[order[across]]))
        findings.add("pairs-across-windows", where, found, count=int(across.sum()), examples=shown)
    return np.sort(order[first])
