"""From external ids to codes: the users and items of a data set, in table order or sorted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Int64
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.layout import Folder
from stagelens.pipeline.data.tables import SHOWN, Table, missing_column, read_ids, read_table
from stagelens.pipeline.errors import ConfigError, nearest


def codes_in(vocabulary: NDArray[Any], ids: NDArray[Any]) -> Int64:
    """Return the place of every id in the vocabulary: int64, -1 where it is not there.

    Integers and text are compared as text.
    """
    if (vocabulary.dtype.kind == "U") != (ids.dtype.kind == "U"):
        vocabulary, ids = vocabulary.astype(str), ids.astype(str)
    if not len(vocabulary):
        return np.full(len(ids), -1, dtype=np.int64)
    order = np.argsort(vocabulary, kind="stable")
    place = order[np.minimum(np.searchsorted(vocabulary, ids, sorter=order), len(vocabulary) - 1)]
    return np.where(vocabulary[place] == ids, place, -1).astype(np.int64)


def union(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Return the sorted distinct ids of both, as text where one of them is text."""
    if (first.dtype.kind == "U") != (second.dtype.kind == "U"):
        first, second = first.astype(str), second.astype(str)
    joined: NDArray[Any] = np.unique(np.concatenate([first, second]))
    return joined


def read_side_table(
    path: Path | None, folder: Folder, ours: str, features: tuple[str, ...], findings: Findings
) -> tuple[Table, NDArray[Any]] | None:
    """Return the items or users table and its ids in table order; None without a usable one.

    Args:
        path: The file, or None.
        folder: For the name of the id column.
        ours: ``item_id`` or ``user_id``.
        features: Columns that options asked for.
        findings: Where faults go.

    Raises:
        ConfigError: A feature column that the table does not have, or there is no table.
        DataError: A fault, when findings are strict.
    """
    option = f"{ours.removesuffix('_id')}_columns"
    if path is None:
        if features:
            side = ours.removesuffix("_id") + "s"
            raise ConfigError(
                f"{option} = {list(features)}: there is no {side}.parquet or {side}.csv in {folder.path}"
            )
        return None
    mapped = folder.columns.get(ours, ours)
    table = read_table(path, [mapped, ours, *features], findings)
    if table is None:
        return None
    for name in features:
        if name not in table.names:
            raise ConfigError(f"{option}: " + nearest(f"column of {path}", name, table.names))
    column = mapped if mapped in table.columns else ours
    if column not in table.columns:
        missing_column(table, column, ours, findings)
        return None
    if table.rows == 0:
        findings.add("no-rows", str(path), "has no rows")
        return None
    codes, distinct = read_ids(table, column, findings)
    usable = codes[codes >= 0]
    count = np.bincount(usable, minlength=len(distinct))
    if (count > 1).any():
        twice = np.flatnonzero(count > 1)
        shown = tuple(repr(value) for value in distinct[twice[:SHOWN]].tolist())
        found = f"{len(twice)} ids stand in more than one row"
        findings.add("id-twice", table.where(column), found, count=len(twice), examples=shown)
    if len(usable) < len(codes) or (count > 1).any():
        return None
    return table, distinct[codes]
