"""Data sets from folders of Parquet, CSV and NumPy files.

A folder holds ``interactions.parquet`` or ``.csv`` (``user_id``, ``item_id``, optional ``timestamp`` or
``seq``, ``split``, ``value``), optional ``items`` and ``users`` tables, optional ``impressions`` (exposed,
not chosen), one ``NAME.npy`` per modality, and an optional ``dataset.toml`` (see ``layout``). Nothing is ever
written here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Clock, Dataset, Float32, Interactions, ModalityTable
from stagelens.pipeline.data.events import Events, read_events
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.layout import Folder, open_folder
from stagelens.pipeline.data.log import build_log, choose_positives
from stagelens.pipeline.data.side import read_feature
from stagelens.pipeline.data.tables import SHOWN, Table
from stagelens.pipeline.data.vectors import align, open_array, read_row_ids
from stagelens.pipeline.data.vocabulary import codes_in, read_side_table, union
from stagelens.pipeline.errors import DataError


def load_dataset(
    path: str,
    *,
    positive: float | None = None,
    weight: bool = False,
    columns: Mapping[str, str] | None = None,
    item_columns: Sequence[str] = (),
    user_columns: Sequence[str] = (),
) -> Dataset:
    """Return the data set of a folder; what was decided on the way stands in its notes.

    The catalogue is every row of the items table. Without one it is every item of the interactions and of the
    feature arrays' id files; with integer ids and an array without ids it is 0 to its rows - 1. Codes follow
    the table's order, else the sorted ids. Of several events of one user with one item the first counts (the
    first window where a split is given, then the earliest).

    Args:
        path: The folder.
        positive: Events with a value below this are not positives; None: every event is one.
        weight: Use the value column as event weight.
        columns: Our column name -> the file's, over ``dataset.toml``.
        item_columns: Columns of the items table that become ranker features, float32 [I].
        user_columns: Likewise of the users table, float32 [U].

    Raises:
        ConfigError: An option names a column that is not there, or leaves no positive.
        DataError: The data do not fit the contract; the message says where, what is allowed, and what to do.
    """
    dataset = read_dataset(
        path,
        Findings(strict=True),
        positive=positive,
        weight=weight,
        columns=columns,
        item_columns=item_columns,
        user_columns=user_columns,
    )
    if dataset is None:
        raise DataError(f"{path}: cannot be loaded. Next: simulate data check {path}")
    return dataset


def read_dataset(
    path: str,
    findings: Findings,
    *,
    positive: float | None = None,
    weight: bool = False,
    columns: Mapping[str, str] | None = None,
    item_columns: Sequence[str] = (),
    user_columns: Sequence[str] = (),
) -> Dataset | None:
    """Do what ``load_dataset`` does, telling ``findings``; when these are not strict, repair and go on.

    Returns:
        The data set, or None where too little is left to build one.
    """
    folder = open_folder(path, columns, findings)
    if folder is None:
        return None
    events = None if folder.interactions is None else read_events(folder.interactions, folder, findings)
    items = read_side_table(folder.items, folder, "item_id", tuple(item_columns), findings)
    users = read_side_table(folder.users, folder, "user_id", tuple(user_columns), findings)
    arrays, rows = _read_arrays(folder, findings)
    if events is None or (folder.items is not None and items is None):
        return None
    catalogue, how = _catalogue(events, items, arrays, rows, folder, findings)
    known_users = _known_users(events, users, findings)
    modalities = _modalities(arrays, rows, catalogue, how, folder, findings)
    kept = choose_positives(events, positive, weight, findings)
    log, given, clock = build_log(events, kept, catalogue, known_users, weight, folder, findings)
    if log is None:
        return None
    return Dataset(
        name=folder.name,
        interactions=log,
        given=given,
        clock=clock,
        users=known_users,
        items=catalogue,
        modalities=modalities,
        item_columns=_features(items, tuple(item_columns), catalogue, findings),
        user_columns=_features(users, tuple(user_columns), known_users, findings),
        impressions=_impressions(folder, catalogue, known_users, clock, findings),
        notes=tuple(note.replace(f"{folder.path}{os.sep}", "") for note in findings.notes()),
        source=str(path),
    )


def _read_arrays(
    folder: Folder, findings: Findings
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return the feature arrays, and the ids of their rows where a file names them."""
    arrays, rows = {}, {}
    for name, path in folder.modalities.items():
        array = open_array(path, findings)
        ids = read_row_ids(folder.row_ids[name], findings) if name in folder.row_ids else None
        if array is None or (name in folder.row_ids and ids is None):
            continue
        arrays[name] = array
        if ids is not None:
            rows[name] = ids
    return arrays, rows


def _catalogue(
    events: Events,
    items: tuple[Table, NDArray[Any]] | None,
    arrays: Mapping[str, NDArray[Any]],
    rows: Mapping[str, NDArray[Any]],
    folder: Folder,
    findings: Findings,
) -> tuple[NDArray[Any], str]:
    """Return the external ids of the catalogue, and what row i of an array belongs to, for messages."""
    if items is not None:
        ids = items[1]
        if (ids.dtype.kind == "U") != (events.item_ids.dtype.kind == "U"):
            findings.add("id-types", str(items[0].path), "item ids are text in one table only")
        return ids, f"rows of {items[0].path.name}"
    bare = [name for name in arrays if name not in rows]
    if bare and events.item_ids.dtype.kind != "U":
        n = max(len(arrays[name]) for name in bare)
        return np.arange(n), f"items (ids 0 to {n - 1}, without an items table)"
    for name in bare:
        found = f"nothing says which item row i of {len(arrays[name])} is: the item ids are text"
        remedy = f"Add items.parquet with item_id in the order of the rows, or {name}.ids.npy."
        findings.add("rows-without-ids", str(folder.modalities[name]), found, remedy=remedy)
    catalogue = events.item_ids
    for ids in rows.values():
        catalogue = union(catalogue, ids)
    return catalogue, "items of interactions"


def _known_users(
    events: Events, users: tuple[Table, NDArray[Any]] | None, findings: Findings
) -> NDArray[Any]:
    if users is None:
        return events.user_ids
    table, ids = users
    absent = events.user_ids[codes_in(ids, events.user_ids) < 0]
    if not len(absent):
        return ids
    shown = tuple(repr(value) for value in absent[:SHOWN].tolist())
    found = f"{len(absent)} users of the interactions are not listed"
    findings.add("unlisted-users", str(table.path), found, count=len(absent), examples=shown)
    if (ids.dtype.kind == "U") != (absent.dtype.kind == "U"):
        ids, absent = ids.astype(str), absent.astype(str)
    return np.concatenate([ids, absent])


def _modalities(
    arrays: Mapping[str, NDArray[Any]],
    rows: Mapping[str, NDArray[Any]],
    catalogue: NDArray[Any],
    how: str,
    folder: Folder,
    findings: Findings,
) -> dict[str, ModalityTable]:
    tables = {}
    for name, array in arrays.items():
        if name not in rows and how == "items of interactions":
            continue  # reported: nothing says which item a row is
        codes = codes_in(catalogue, rows[name]) if name in rows else None
        told = f"ids in {folder.row_ids[name].name}" if name in rows else how
        table = align(name, folder.modalities[name], array, codes, len(catalogue), told, findings)
        if table is not None:
            tables[name] = table
    return tables


def _features(
    side: tuple[Table, NDArray[Any]] | None, names: tuple[str, ...], ids: NDArray[Any], findings: Findings
) -> dict[str, Float32]:
    """Return the asked columns of a table, float32 by code; NaN for ids that the table does not list."""
    if side is None:
        return {}
    features = {}
    for name in names:
        values = read_feature(side[0], name, findings)
        features[name] = np.r_[values, np.full(len(ids) - len(values), np.nan, dtype=np.float32)]
    return features


def _impressions(
    folder: Folder, catalogue: NDArray[Any], known_users: NDArray[Any], clock: Clock, findings: Findings
) -> Interactions | None:
    """Return what was exposed, also where it was chosen later: leaving those out would tell the future."""
    if folder.impressions is None:
        return None
    events = read_events(folder.impressions, folder, findings)
    if events is None:
        return None
    user = np.r_[codes_in(known_users, events.user_ids), -1][events.user]
    item = np.r_[codes_in(catalogue, events.item_ids), -1][events.item]
    usable = (user >= 0) & (item >= 0) & ~events.broken
    if not usable.all():
        lost = np.flatnonzero(~usable)
        found = f"{len(lost)} rows name users or items outside the data set"
        shown = tuple(events.table.place(int(row)) for row in lost[:SHOWN])
        where = str(folder.impressions)
        findings.add("unknown-impressions", where, found, count=len(lost), examples=shown)
    time = None
    if events.stamps is not None and clock != "none":
        time = (events.stamps.seconds()[0] if clock == "real" else events.stamps.raw.astype(np.int64))[usable]
    elif clock == "real":
        findings.add("impressions-without-time", str(folder.impressions), "no timestamp")
    n_users, n_items = len(known_users), len(catalogue)
    return Interactions.of(user[usable], item[usable], n_users=n_users, n_items=n_items, time=time)
