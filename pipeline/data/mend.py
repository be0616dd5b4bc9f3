"""A data set's folder written anew with the faults mended that can be mended without a guess.

Two rules: what loading leaves out or reads in another way is written as it is read, so the data set loaded from
the new folder is the same; and ids that a program has turned into decimals become whole numbers again. Everything
else is copied as it is. The old folder is only read.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool
from stagelens.pipeline.data.check_files import MARK, marks
from stagelens.pipeline.data.codes import KINDS
from stagelens.pipeline.data.datasets import read_dataset
from stagelens.pipeline.data.events import read_events
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.layout import Folder, open_folder
from stagelens.pipeline.data.log import idle_repeats
from stagelens.pipeline.data.tables import DECIMAL_ID, Table, is_text, read_table
from stagelens.pipeline.data.vectors import BLOCK, non_finite_rows, open_array, read_row_ids
from stagelens.pipeline.data.vocabulary import codes_in, read_side_table
from stagelens.pipeline.data.write import all_or_nothing, write_array
from stagelens.pipeline.errors import ConfigError

_TABLES = ("interactions", "items", "users", "impressions")
_WHOLE_ID = r"^((0|-?[1-9][0-9]{0,17})(\.0+)?)?$"
_LOSING = frozenset({"ragged-csv", "column-twice", "unreadable-table", "oversized-table", "no-access"})
"""Faults of a table that cannot be read whole: it is copied as it is."""


@dataclass(frozen=True, slots=True)
class Mended:
    """What was done about one kind of fault in one file.

    Attributes:
        code: The kind of fault.
        where: Name of the file.
        count: How many there were, in the unit of the kind.
        done: What was done.
    """

    code: str
    where: str
    count: int
    done: str


def mend(path: str, target: Path, *, columns: Mapping[str, str] | None = None) -> list[Mended]:
    """Write a mended copy of a data set's folder, all of it or nothing; return what was done.

    Args:
        path: The folder; it is only read.
        target: A new or an empty folder outside it.
        columns: As in ``load_dataset``.

    Raises:
        ConfigError: The target lies in the folder, or holds something.
        DataError: There is no such folder, or no interactions in it.
        OSError: The disk is full, or a file may not be read or written; nothing is left behind.
    """
    source = Path(path).expanduser()
    if target.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"--fix {target} lies inside {path}: give a new folder elsewhere")
    folder = open_folder(path, columns, Findings(strict=False))
    if folder is None or folder.interactions is None:
        open_folder(path, columns, Findings(strict=True))  # tells what is wrong
        raise ConfigError(f"{path}: nothing that could be mended")
    done: list[Mended] = []
    with all_or_nothing(target, "--fix") as partial:
        _copy(folder, partial, done)
        copied = open_folder(str(partial), columns, Findings(strict=False))
        assert copied is not None
        _mend_ids(copied, folder.modalities, done)
        _mend_events(copied, done)
        for name in folder.modalities:
            _mend_array(name, folder, copied, done)
        _mend_sides(copied, columns, done)
    order = {code: place for place, code in enumerate(KINDS)}
    return sorted(done, key=lambda entry: (order[entry.code], entry.where))


def _said(code: str, where: str, count: int) -> Mended:
    return Mended(code, where, count, KINDS[code].mend)


def _copy(folder: Folder, partial: Path, done: list[Mended]) -> None:
    """Copy the files but the arrays, without those that nobody reads for certain."""
    arrays = {path.name for path in folder.modalities.values()}
    stray = {path.name for path in folder.path.glob("*.ids.*")}
    stray -= {path.name for path in folder.row_ids.values()}
    home = folder.path.resolve()
    for entry in sorted(folder.path.iterdir()):
        if not entry.is_file() or entry.name.startswith("."):
            continue
        if not entry.resolve().is_relative_to(home):
            done.append(_said("link-outside", entry.name, 1))
        twin = entry.with_suffix(".parquet")
        if entry.suffix == ".csv" and entry.stem in _TABLES and twin.is_file():
            done.append(_said("two-tables", entry.name, 1))
        elif entry.name in stray and not (folder.path / f"{entry.name.partition('.ids.')[0]}.npy").exists():
            done.append(_said("ids-without-array", entry.name, 1))
        elif entry.suffix == ".csv" and entry.stem in _TABLES and any(marks(entry)):
            _without_marks(entry, partial / entry.name)
            done.append(_said("csv-marks", entry.name, 1))
        elif entry.name not in arrays:
            shutil.copyfile(entry, partial / entry.name)


def _without_marks(source: Path, target: Path) -> None:
    """Copy a text file without a byte-order mark and with plain line ends."""
    with source.open("rb") as old, target.open("wb") as new:
        held = old.read(1 << 20).removeprefix(MARK)
        while held:
            more = old.read(1 << 20)
            cut = len(held) - 1 if held.endswith(b"\r") and more else len(held)
            new.write(held[:cut].replace(b"\r\n", b"\n"))
            held = held[cut:] + more


def _whole(path: Path | None) -> Table | None:
    """Return a table with all its columns if every row of it can be read."""
    if path is None:
        return None
    quiet = Findings(strict=False)
    table = read_table(path, None, quiet)
    return None if any(fault.code in _LOSING for fault in quiet.faults) else table


def _write(table: Table, columns: Mapping[str, Any]) -> None:
    """Write a table over itself, as the kind of file that it is."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    changed = pa.table({name: columns[name] for name in table.names})
    if table.is_text:
        csv.write_csv(changed, str(table.path), csv.WriteOptions(quoting_style="needed"))
    else:
        parquet.write_table(changed, table.path)


def _keep(table: Table, kept: Bool) -> None:
    import pyarrow as pa

    _write(table, {name: values.filter(pa.array(kept)) for name, values in table.columns.items()})


def _mend_ids(folder: Folder, modalities: Iterable[str], done: list[Mended]) -> None:
    """Take ``.0`` off ids where every id of the column is a whole number, and no other file would lose them by it."""
    import pyarrow.compute as pc

    paths = [path for path in (folder.interactions, folder.items, folder.users, folder.impressions) if path]
    found = {path: _decimal_columns(path, folder) for path in paths}
    keep = {ours for columns in found.values() for ours, whole in columns.values() if not whole}
    if any(_decimal_row_ids(name, folder) for name in modalities):
        keep.add("item_id")
    for path, columns in found.items():
        chosen = [name for name, (ours, _) in columns.items() if ours not in keep]
        table = _whole(path) if chosen else None
        if table is None:
            continue
        mended, count = dict(table.columns), 0
        for name in chosen:
            values = mended[name]
            count += len(pc.unique(values.filter(pc.match_substring_regex(values, DECIMAL_ID))))
            mended[name] = pc.replace_substring_regex(values, r"\.0+$", "")
        _write(table, mended)
        done.append(_said("float-ids", path.name, count))


def _decimal_columns(path: Path, folder: Folder) -> dict[str, tuple[str, bool]]:
    """Return the columns of ids that hold decimals: ours, and whether ``.0`` can be taken off all of its ids."""
    import pyarrow.compute as pc

    table = _whole(path)
    if table is None:
        return {}
    found = {}
    for ours in ("user_id", "item_id"):
        name = folder.columns.get(ours, ours)
        name = name if name in table.columns else ours
        values = table.columns.get(name)
        if values is not None and is_text(values):
            if pc.any(pc.match_substring_regex(values, DECIMAL_ID)).as_py():
                whole = table.is_text and pc.all(pc.match_substring_regex(values, _WHOLE_ID)).as_py()
                found[name] = (ours, bool(whole))
    return found


def _decimal_row_ids(name: str, folder: Folder) -> bool:
    """Say whether the ids of an array's rows are text with decimals; these files stay as they are."""
    path = _ids_file(name, folder)
    ids = None if path is None else read_row_ids(path, Findings(strict=False))
    return (
        ids is not None and ids.dtype.kind == "U" and any(re.match(DECIMAL_ID, text) for text in ids.tolist())
    )


def _mend_events(folder: Folder, done: list[Mended]) -> None:
    """Leave out repeats of a pair that count under no threshold."""
    table = _whole(folder.interactions)
    if table is None:
        return
    events = read_events(table.path, folder, Findings(strict=False))
    if events is None:
        return
    rows, across = idle_repeats(events, folder)
    if not len(rows):
        return
    kept = np.ones(table.rows, dtype=bool)
    kept[rows] = False
    _keep(table, kept)
    if across:
        done.append(_said("pairs-across-windows", table.path.name, across))
    done.append(_said("duplicate-pairs", table.path.name, len(rows)))


def _mend_array(name: str, folder: Folder, copied: Folder, done: list[Mended]) -> None:
    """Write an array as loading reads it: float32, zeros where not finite, rows of known items."""
    path = folder.modalities[name]
    array = open_array(path, Findings(strict=False))
    if array is None:
        _copy_or_skip(path, copied.path)
        return
    wide = np.load(path, mmap_mode="r", allow_pickle=False).dtype.itemsize > 4
    broken = non_finite_rows(array)
    kept = _kept_rows(name, array, copied, done)
    if wide:
        done.append(_said("float64-array", path.name, 1))
    if (broken & kept).any():
        done.append(_said("non-finite", path.name, int((broken & kept).sum())))
    if not (wide or broken.any() or not kept.all()):
        shutil.copyfile(path, copied.path / path.name)
        return

    def blocks() -> Iterator[NDArray[Any]]:
        for start in range(0, len(array), BLOCK):
            chosen = kept[start : start + BLOCK]
            block = array[start : start + BLOCK][chosen]
            yield np.where(broken[start : start + BLOCK][chosen, None], np.zeros_like(block), block)

    write_array(copied.path / path.name, (int(kept.sum()), array.shape[1]), array.dtype, blocks())


def _copy_or_skip(path: Path, folder: Path) -> None:
    if path.is_file():
        shutil.copyfile(path, folder / path.name)


def _kept_rows(name: str, array: NDArray[Any], copied: Folder, done: list[Mended]) -> Bool:
    """Return bool [R]: rows of items of the catalogue, each once; the file of ids is cut alike."""
    every = np.ones(len(array), dtype=bool)
    path = _ids_file(name, copied)
    quiet = Findings(strict=False)
    ids = None if path is None else read_row_ids(path, quiet)
    side = read_side_table(copied.items, copied, "item_id", (), Findings(strict=False))
    if path is None or ids is None or len(ids) != len(array) or quiet.faults:
        return every
    kept = every if side is None else codes_in(side[1], ids) >= 0
    if not kept.all():
        done.append(_said("extra-rows", f"{name}.npy", int((~kept).sum())))
    first, owner = np.unique(ids, return_index=True, return_inverse=True)[1:]
    again = np.flatnonzero((first[owner] != np.arange(len(ids))) & kept)
    if len(again) and all(np.array_equal(array[row], array[first[owner[row]]], True) for row in again):
        kept = kept.copy()
        kept[again] = False
        done.append(_said("row-twice", f"{name}.npy", len(np.unique(owner[again]))))
    if not kept.all():
        if path.suffix == ".npy":
            np.save(path, ids[kept], allow_pickle=False)
        else:
            table = _whole(path)
            assert table is not None
            _keep(table, kept)
    return kept


def _ids_file(name: str, copied: Folder) -> Path | None:
    """Return the copied file of row ids; the array itself is not there yet."""
    endings = (".ids.npy", ".ids.parquet", ".parquet")
    paths = (copied.path / f"{name}{ending}" for ending in endings)
    return next((path for path in paths if path.is_file()), None)


def _mend_sides(copied: Folder, columns: Mapping[str, str] | None, done: list[Mended]) -> None:
    """Add users that are not listed, and leave out exposures of what the data set lacks."""
    dataset = read_dataset(f"{copied.path}{os.sep}", Findings(strict=False), columns=columns)
    if dataset is None:
        return
    side = read_side_table(copied.users, copied, "user_id", (), Findings(strict=False))
    table = _whole(copied.users)
    if side is not None and table is not None and len(dataset.users) > len(side[1]):
        _add_users(table, copied, dataset.users[len(side[1]) :])
        done.append(_said("unlisted-users", table.path.name, len(dataset.users) - len(side[1])))
    table = _whole(copied.impressions)
    if table is None:
        return
    events = read_events(table.path, copied, Findings(strict=False))
    if events is None:
        return
    user = np.r_[codes_in(dataset.users, events.user_ids), -1][events.user]
    item = np.r_[codes_in(dataset.items, events.item_ids), -1][events.item]
    kept = (user >= 0) & (item >= 0) | (events.user < 0) | (events.item < 0)
    if not kept.all() and kept.any():
        _keep(table, kept)
        done.append(_said("unknown-impressions", table.path.name, int((~kept).sum())))


def _add_users(table: Table, folder: Folder, ids: NDArray[Any]) -> None:
    """Append rows with an id and nothing else."""
    import pyarrow as pa

    name = folder.columns.get("user_id", "user_id")
    name = name if name in table.columns else "user_id"
    empty: Callable[[Any], Any] = (
        (lambda kind: pa.array([""] * len(ids), kind))
        if table.is_text
        else (lambda kind: pa.nulls(len(ids), kind))
    )
    changed = {}
    for column, values in table.columns.items():
        more = pa.array(ids.tolist()) if column == name else empty(values.type)
        if column == name and more.type != values.type:
            text = pa.types.is_string(more.type) or pa.types.is_large_string(values.type)
            kind = pa.large_string() if text else values.type
            more, values = more.cast(kind), values.cast(kind)
        changed[column] = pa.concat_arrays([values, more])
    _write(table, changed)
