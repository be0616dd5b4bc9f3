"""The interactions and impressions tables, column by column, before ids meet the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Float64, Int64
from stagelens.pipeline.data.clock import Stamps, read_stamps
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.layout import ALIASES, COLUMNS, Folder
from stagelens.pipeline.data.tables import (
    SHOWN,
    Table,
    missing_column,
    read_ids,
    read_numbers,
    read_table,
)
from stagelens.pipeline.errors import ConfigError, nearest

WINDOWS = ("train", "valid", "test")
SPLIT_LABELS = {
    **{"train": 0, "training": 0, "0": 0},
    **{"valid": 1, "val": 1, "validation": 1, "dev": 1, "1": 1},
    **{"test": 2, "testing": 2, "2": 2},
}
"""Labels of the split column, whatever their case."""


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Rows of an events table.

    Attributes:
        table: The file they come from.
        user: int64 [N] places in ``user_ids``, -1 where broken; likewise ``item``.
        user_ids: The distinct external ids, sorted; likewise ``item_ids``.
        stamps: The timestamp column, or None.
        sequence: The ``seq`` column, or None.
        given: int8 [N]: 0 train, 1 valid, 2 test, -1 without a split column.
        value: float64 [N], NaN where empty; None without such a column.
        value_name: What the file calls it.
        broken: bool [N]: rows with a reported fault, to be left out.
    """

    table: Table
    user: Int64
    item: Int64
    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    stamps: Stamps | None
    sequence: Stamps | None
    given: NDArray[np.int8]
    value: Float64 | None
    value_name: str
    broken: Bool


def read_events(path: Path, folder: Folder, findings: Findings) -> Events | None:
    """Return the events of a file, or None where the file cannot be used (only when findings are not strict).

    Raises:
        ConfigError: An option maps a column that the file does not have.
        DataError: A fault, when findings are strict.
    """
    everything = [folder.columns.get(ours, ours) for ours in COLUMNS]
    wanted = {*everything, *(alias for aliases in ALIASES.values() for alias in aliases)}
    table = read_table(path, sorted(wanted), findings)
    if table is None:
        return None
    names = _names(table, folder, findings)
    lacking = [ours for ours in ("user_id", "item_id") if ours not in names]
    for ours in lacking:
        missing_column(table, folder.columns.get(ours, ours), ours, findings)
    if lacking:
        return None
    if table.rows == 0:
        findings.add("no-rows", str(path), "has a header and no rows")
        return None
    user, user_ids = read_ids(table, names["user_id"], findings)
    item, item_ids = read_ids(table, names["item_id"], findings)
    broken = (user < 0) | (item < 0)
    moments: dict[str, Stamps | None] = {"timestamp": None, "seq": None}
    for ours in moments:
        if ours in names:
            stamps = read_stamps(table, names[ours], findings)
            broken = broken | stamps.broken
            moments[ours] = stamps
    value: Float64 | None = None
    if "value" in names:
        value, wrong = read_numbers(table, names["value"], findings)
        broken = broken | wrong
    given = np.full(table.rows, -1, dtype=np.int8)
    if "split" in names:
        given = _windows(table, names["split"], findings)
        broken = broken | (given < 0)
    return Events(
        table=table,
        user=user,
        item=item,
        user_ids=user_ids,
        item_ids=item_ids,
        stamps=moments["timestamp"],
        sequence=moments["seq"],
        given=given,
        value=value,
        value_name=names.get("value", "value"),
        broken=broken,
    )


def _names(table: Table, folder: Folder, findings: Findings) -> Mapping[str, str]:
    """Return our column name -> the file's, for the columns that are there."""
    names: dict[str, str] = {}
    optional = table.path.stem == "impressions"
    for ours in COLUMNS:
        mapped = folder.columns.get(ours)
        if mapped is None:
            found = [name for name in (ours, *ALIASES.get(ours, ())) if name in table.columns]
            names.update({ours: found[0]} if found else {})
        elif mapped in table.columns:
            names[ours] = mapped
        elif optional:
            names.update({ours: ours} if ours in table.columns else {})
        elif ours in folder.asked:
            raise ConfigError(f"columns.{ours}: " + nearest(f"column of {table.path}", mapped, table.names))
        else:
            missing_column(table, mapped, ours, findings)
    return names


def _windows(table: Table, column: str, findings: Findings) -> NDArray[np.int8]:
    """Return the given window of every row, -1 where the label is unknown (reported)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = pc.dictionary_encode(table.columns[column].cast(pa.large_string()))
    labels = [str(label) for label in encoded.dictionary.to_pylist()]
    codes = np.asarray(encoded.indices.fill_null(len(labels)))
    meaning = [SPLIT_LABELS.get(label.strip().lower(), -1) for label in labels]
    given: NDArray[np.int8] = np.asarray([*meaning, -1], dtype=np.int8)[codes]
    rows = np.flatnonzero(given < 0)
    if len(rows):
        unknown = [label for label, window in zip(labels, meaning, strict=True) if window < 0]
        said = f"unknown labels {', '.join(map(repr, unknown[:SHOWN]))}" if unknown else "empty cells"
        findings.add(
            "split-label",
            table.where(column),
            f"{len(rows)} of {table.rows} rows have {said}",
            count=len(rows),
            examples=table.examples(column, rows),
        )
    return given
