"""A data set written as a folder: all of it or nothing."""

from __future__ import annotations

import glob
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Dataset, Interactions
from stagelens.pipeline.data.events import WINDOWS
from stagelens.pipeline.errors import ConfigError

Extra = str | bytes | Mapping[str, NDArray[Any]]


def write_dataset(
    dataset: Dataset,
    folder: Path,
    extra: Mapping[str, Extra] | None = None,
    *,
    items: Mapping[str, NDArray[Any]] | None = None,
    users: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write the folder that ``load_dataset`` reads, under a temporary name until it is complete.

    Absent vectors are written as zero rows, which means absent.

    Args:
        dataset: What to write.
        folder: New, or an empty folder.
        extra: Further files by name: text, bytes, or named arrays (written as ``.npz`` without pickle).
        items: Raw item columns [I] by name, instead of the data set's coded ones.
        users: Likewise of the users.

    Raises:
        ConfigError: The folder exists and is not empty.
    """
    with all_or_nothing(Path(folder), "--out") as partial:
        _write_tables(dataset, partial, items, users)
        for name, table in dataset.modalities.items():
            values = np.array(table.values)
            values[~table.present] = 0
            np.save(partial / f"{name}.npy", values, allow_pickle=False)
        for name, content in (extra or {}).items():
            _write_extra(partial / name, content)


@contextmanager
def all_or_nothing(folder: Path, option: str) -> Iterator[Path]:
    """Give a hidden folder to write into that becomes ``folder`` at the end, or is removed on any error.

    Args:
        folder: New, or an empty folder.
        option: The option that names it, for messages.

    Raises:
        ConfigError: The folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} exists and is not an empty folder: give another {option}, or remove it first"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f"{_hidden(folder)}{uuid.uuid4().hex[:8]}"
    partial.mkdir()
    try:
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def left_behind(folder: Path) -> list[Path]:
    """Return the hidden folders beside ``folder`` that work killed outright has left (or that runs now), sorted."""
    return sorted(folder.parent.glob(f"{glob.escape(_hidden(folder))}*"))


def _hidden(folder: Path) -> str:
    return f".{folder.resolve().name}.partial-"


def write_array(path: Path, shape: tuple[int, int], dtype: Any, blocks: Iterable[NDArray[Any]]) -> None:
    """Write a ``.npy`` file block by block, through ordinary writes: a full disk is an error, not a crash."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for block in blocks:
            stream.write(np.ascontiguousarray(block, dtype=dtype).data)


def _write_tables(
    dataset: Dataset,
    folder: Path,
    items: Mapping[str, NDArray[Any]] | None,
    users: Mapping[str, NDArray[Any]] | None,
) -> None:
    log = dataset.interactions
    columns = _log_columns(dataset, log)
    if (dataset.given >= 0).all() and len(dataset.given):
        columns["split"] = np.asarray(WINDOWS)[dataset.given]
    if (log.value != 1).any():
        columns["value"] = log.value
    _parquet(folder / "interactions.parquet", columns)
    item_columns = dataset.item_columns if items is None else items
    user_columns = dataset.user_columns if users is None else users
    _parquet(folder / "items.parquet", {"item_id": dataset.items, **item_columns})
    _parquet(folder / "users.parquet", {"user_id": dataset.users, **user_columns})
    if dataset.impressions is not None:
        _parquet(folder / "impressions.parquet", _log_columns(dataset, dataset.impressions))
    said = f"name = {json.dumps(dataset.name)}\nclock = {json.dumps(dataset.clock)}\n"
    (folder / "dataset.toml").write_text(said, encoding="utf-8")


def _log_columns(dataset: Dataset, log: Interactions) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "user_id": dataset.users[log.user],
        "item_id": dataset.items[log.item],
    }
    if dataset.clock != "none" and log.time.any():
        columns["timestamp" if dataset.clock == "real" else "seq"] = log.time
    return columns


def _parquet(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)


def _write_extra(path: Path, content: Extra) -> None:
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, allow_pickle=False, **content)
