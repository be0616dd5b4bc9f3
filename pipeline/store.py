"""One content-addressed store: sharing of equal work, resume after a kill, caching and provenance.

Every artefact is a folder named by the fingerprint of everything it was made from. It is written beside its place
and renamed, so it is either whole or absent. Long row-wise work (channel lists) is appended block by block and
continues where it stopped. Nothing here is pickled. The folder may be deleted at any time; it is only work saved.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.unfinished import unfinished

_nested = threading.local()


@contextlib.contextmanager
def own_time() -> Iterator[list[float]]:
    """Yield a list that holds, once left, the seconds spent inside and not in artefacts made on the way."""
    outer = getattr(_nested, "seconds", None)
    _nested.seconds = 0.0
    own: list[float] = []
    started = time.perf_counter()
    try:
        yield own
    finally:
        whole = time.perf_counter() - started
        own.append(whole - _nested.seconds)
        _nested.seconds = None if outer is None else outer + whole


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One artefact that a run asked for: what, key, whether it had to be made, and the seconds of making it alone."""

    kind: str
    name: str
    key: str
    made: bool
    wall_s: float


@dataclass(slots=True)
class Store:
    """Artefacts below one folder.

    Attributes:
        folder: Where they lie.
        ledger: What was asked for, in order, each distinct artefact once.
    """

    folder: Path
    ledger: dict[str, LedgerEntry] = field(default_factory=dict)

    def place(self, kind: str, key: str) -> Path:
        """Return the folder of an artefact, there or not."""
        return self.folder / kind / key[:2] / key

    def _enter(self, kind: str, name: str, key: str, made: bool, wall_s: float) -> None:
        known = self.ledger.get(key)
        if known is None or (made and not known.made):
            self.ledger[key] = LedgerEntry(kind, name, key, made, wall_s)

    def saved(self, kind: str, name: str, key: str, make: Callable[[], Saved]) -> Saved:
        """Return the artefact, making and keeping it where it is absent.

        Args:
            kind: What it is: ``fit``, ``ranks``, ...
            name: What a reader of the manifest calls it.
            key: Fingerprint of everything it is made from.
            make: Makes it.
        """
        place = self.place(kind, key)
        with locked(place):
            if (place / "meta.json").is_file():
                with contextlib.suppress(OSError, ValueError, EOFError):  # damaged: made anew
                    saved = read_saved(place)
                    self._enter(kind, name, key, False, float(saved.meta.get("wall_s", 0.0)))
                    return saved
                shutil.rmtree(place)
            with unfinished(place.with_name(f"{place.name}.unfinished")):
                with own_time() as own:
                    made = make()
                [wall] = own
                saved = Saved(made.arrays, {**made.meta, "name": name, "wall_s": wall})
                write_saved(place, saved)
            self._enter(kind, name, key, True, wall)
            return saved

    def rows(
        self,
        kind: str,
        name: str,
        key: str,
        total: int,
        columns: Mapping[str, tuple[str, int]],
        blocks: Callable[[int], Iterator[Mapping[str, NDArray[Any]]]],
    ) -> RowFiles:
        """Return a row-wise artefact, appending what is missing.

        Args:
            kind: What it is.
            name: For the manifest.
            key: Fingerprint.
            total: Rows when complete.
            columns: Column -> (dtype, width).
            blocks: Called with the first missing row; yields consecutive blocks of every column.
        """
        place = self.place(kind, key)
        with locked(place):
            files = RowFiles(place, total, dict(columns))
            if (place / "meta.json").is_file():
                with contextlib.suppress(OSError, ValueError, KeyError):
                    meta = json.loads((place / "meta.json").read_text())
                    if files.complete_rows() == total:
                        self._enter(kind, name, key, False, float(meta["wall_s"]))
                        return files
                shutil.rmtree(place)  # damaged: made anew
            wall = _append(place, name, files, blocks)
            self._enter(kind, name, key, True, wall)
            return files


def _append(
    place: Path, name: str, files: RowFiles, blocks: Callable[[int], Iterator[Mapping[str, NDArray[Any]]]]
) -> float:
    """Append the missing blocks beside ``place``, then rename; return the seconds it took."""
    partial = place.with_name(place.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    growing = RowFiles(partial, files.total, files.columns)
    done = growing.complete_rows()
    with own_time() as own, contextlib.ExitStack() as stack:
        if done < files.total:
            out = {c: stack.enter_context((partial / f"{c}.bin").open("r+b")) for c in files.columns}
            for column, handle in out.items():
                handle.truncate(done * files.row_bytes(column))
                handle.seek(0, os.SEEK_END)
            for block in blocks(done):
                for column, handle in out.items():
                    dtype, width = files.columns[column]
                    array = np.ascontiguousarray(block[column], dtype=dtype)
                    if array.shape[1:] != (width,):
                        raise ValueError(f"{name}: column {column} has shape {array.shape}, width {width}")
                    handle.write(array.tobytes())
                    handle.flush()
    [wall] = own
    if growing.complete_rows() != files.total:
        raise ValueError(f"{name}: {growing.complete_rows()} rows were made, {files.total} expected")
    _write_json(partial / "meta.json", {"name": name, "wall_s": wall, "rows": files.total})
    _rename(partial, place)
    return wall


@contextlib.contextmanager
def locked(place: Path) -> Iterator[None]:
    """Hold an artefact's lock: a second process that wants the same one waits and then finds it made.

    The lock is the system's and ends with its process, however that ends. Where the platform has no ``flock``,
    one process a store is the rule.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(place.name + ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class RowFiles:
    """Columns of fixed-width rows on disk, read by range so that memory is bounded by the block.

    Attributes:
        folder: Where the ``.bin`` files lie.
        total: Rows.
        columns: Column -> (dtype, width).
    """

    folder: Path
    total: int
    columns: dict[str, tuple[str, int]]

    def row_bytes(self, column: str) -> int:
        """Bytes of one row of a column."""
        dtype, width = self.columns[column]
        return int(np.dtype(dtype).itemsize * width)

    def complete_rows(self) -> int:
        """Return how many rows are whole in every column; creates missing files."""
        counts = []
        for column in self.columns:
            path = self.folder / f"{column}.bin"
            path.touch()
            counts.append(path.stat().st_size // self.row_bytes(column))
        return min([*counts, self.total])

    def read(self, column: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows [start, stop) of a column, in memory."""
        dtype, width = self.columns[column]
        with (self.folder / f"{column}.bin").open("rb") as handle:
            handle.seek(start * self.row_bytes(column))
            flat = np.fromfile(handle, dtype=dtype, count=(stop - start) * width)
        return flat.reshape(stop - start, width)


def write_saved(place: Path, saved: Saved) -> None:
    """Write arrays (``.npy``) and JSON beside ``place``, then rename."""
    for left in place.parent.glob(f"{place.name}.*.partial"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        for name, array in saved.arrays.items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        _write_json(partial / "meta.json", {**saved.meta, "arrays": sorted(saved.arrays)})
        _rename(partial, place)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(f"{place} could not be written: {error}. Is the disk full?") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def read_saved(place: Path) -> Saved:
    """Read an artefact back; arrays come into memory."""
    meta = json.loads((place / "meta.json").read_text())
    names = meta.pop("arrays", [])
    return Saved({name: np.load(place / f"{name}.npy", allow_pickle=False) for name in names}, meta)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, allow_nan=True), encoding="utf-8")


def _rename(partial: Path, place: Path) -> None:
    try:
        partial.rename(place)
    except OSError:
        if not (place / "meta.json").is_file():  # a folder without its meta.json is no artefact
            raise
        shutil.rmtree(partial)  # another process finished the same artefact first; it is equal
