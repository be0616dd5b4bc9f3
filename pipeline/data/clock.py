"""Timestamps: from whatever the file holds to Unix seconds or positions, and which of the two they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Clock, Int64
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.tables import Table, is_text, parse_numbers

UNITS = (("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000))
"""Units of integer stamps and how many make a second."""
RUN_SHARE = 0.95
"""Share of users whose stamps must be consecutive integers for the stamps to be positions."""


@dataclass(frozen=True, slots=True, eq=False)
class Stamps:
    """A column of moments in its own resolution.

    Attributes:
        raw: int64 or float64 [N], in ``unit``.
        unit: ``s``, ``ms``, ``us``, ``ns``, or None where the file does not say.
        broken: bool [N], rows without a usable moment (reported).
    """

    raw: NDArray[Any]
    unit: str | None
    broken: Bool

    def seconds(self) -> tuple[Int64, str]:
        """Return Unix seconds (rounded down) and the unit; where the file does not say, the size decides.

        Today is 1.7e9 in seconds, 1.7e12 in milliseconds, 1.7e15 in microseconds, 1.7e18 in nanoseconds.
        """
        unit = self.unit
        if unit is None:
            largest = float(np.abs(self.raw).max()) if len(self.raw) else 0.0
            unit = next((name for name, scale in UNITS if largest < 1e11 * scale), "ns")
        scale = dict(UNITS)[unit]
        return np.floor_divide(self.raw, scale).astype(np.int64), unit


def moment(seconds: int, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    """Return Unix seconds as a date in UTC, or as their number where the calendar has no such year."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return f"second {seconds}"


def read_stamps(table: Table, column: str, findings: Findings) -> Stamps:
    """Return the moments of a column: integers, floats, dates, times, or text of these.

    Raises:
        DataError: Another type, or rows without a moment, when findings are strict.
    """
    import pyarrow as pa

    values = table.columns[column]
    kind = values.type
    unit: str | None = None
    empty = np.asarray(values.is_null())
    raw: NDArray[Any]
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        unit = str(kind.unit) if pa.types.is_timestamp(kind) else "s"
        values = values if pa.types.is_timestamp(kind) else values.cast(pa.timestamp(unit), safe=False)
        raw = np.asarray(values.cast(pa.int64()).fill_null(0))
    elif pa.types.is_integer(kind):
        raw = np.asarray(values.fill_null(0))
        empty |= raw > np.iinfo(np.int64).max
        raw = np.where(empty, 0, raw).astype(np.int64)
    elif pa.types.is_floating(kind):
        raw = np.asarray(values.fill_null(np.nan), dtype=np.float64)
    elif is_text(values):
        raw, unit = _of_text(values)
    else:
        found, shown = f"values of type {kind}", table.examples(column, np.arange(table.rows))
        remedy = "Allowed: integers, numbers, dates or date-times."
        findings.add(
            "bad-timestamp", table.where(column), found, count=table.rows, examples=shown, remedy=remedy
        )
        return Stamps(np.zeros(table.rows, np.int64), None, np.ones(table.rows, dtype=bool))
    if raw.dtype.kind == "f":
        empty |= ~(np.abs(raw) < 2.0**63)
        raw = np.where(empty, 0.0, raw)
        raw = raw.astype(np.int64) if (raw == np.floor(raw)).all() else raw
    rows = np.flatnonzero(empty)
    if len(rows):
        findings.add(
            "bad-timestamp",
            table.where(column),
            f"{len(rows)} of {table.rows} rows have no usable moment",
            count=len(rows),
            examples=table.examples(column, rows),
        )
    return Stamps(raw, unit, empty)


def _of_text(values: Any) -> tuple[NDArray[Any], str | None]:
    """Return text as numbers or, where most are not, as ISO dates in microseconds; NaN where neither."""
    import pandas as pd

    numbers, broken = parse_numbers(values)
    if broken.mean() < 0.5 if len(broken) else True:
        return numbers, None
    parsed = pd.to_datetime(pd.Series(values.to_pandas()), format="ISO8601", errors="coerce", utc=True)
    micros = parsed.astype("datetime64[us, UTC]").astype("int64").to_numpy()
    return np.where(parsed.isna().to_numpy(), np.nan, micros.astype(np.float64)), "us"


def detect_clock(user: Int64, stamps: Stamps) -> tuple[Clock, str]:
    """Return what stamps are, and why: a real clock, positions in each user's own sequence, or nothing.

    Positions are recognised by every user starting at the same stamp, or by nearly every user's stamps being
    consecutive integers: neither happens with a clock.

    Args:
        user: int64 [N] user codes.
        stamps: Their moments.
    """
    raw = stamps.raw
    if len(raw) == 0 or raw.min() == raw.max():
        return "none", "every stamp is the same"
    size = int(user.max()) + 1
    count = np.bincount(user, minlength=size)
    first, last = np.full(size, raw.max()), np.full(size, raw.min())
    np.minimum.at(first, user, raw)
    np.maximum.at(last, user, raw)
    starts = first[count > 0]
    if len(starts) > 1 and (starts == starts[0]).all():
        return "order", f"every user starts at the same stamp, {starts[0]}"
    several = count > 1
    runs = (last - first)[several] == count[several] - 1
    if len(runs) > 1 and runs.mean() >= RUN_SHARE:
        return "order", "the stamps of a user are consecutive integers"
    return "real", "users start at different stamps"
