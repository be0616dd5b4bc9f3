"""Feature arrays: opened as memory maps, matched to the catalogue, and looked over row by row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Int64, ModalityTable
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.tables import SHOWN, read_ids, read_table

BLOCK = 65536
"""Rows looked at together."""
MOST_ROWS = 2**31 - 1
"""Items are 32-bit codes."""
UNREADABLE_ARRAY = (
    *(ValueError, EOFError, OSError, ArithmeticError, MemoryError, SyntaxError, TypeError, KeyError),
    *(RecursionError, TokenError),
)
"""What reading a broken ``.npy`` header may raise."""


def loaded(path: Path, mmap: Literal["r"] | None = None) -> NDArray[Any] | None:
    """Return the array of a ``.npy`` file, or None where an archive stands under that name.

    Raises:
        One of ``UNREADABLE_ARRAY``: Not a whole array of plain values.
    """
    with path.open("rb") as stream:
        if stream.read(2) == b"PK":  # asked first: of a broken archive NumPy leaves the file open
            return None
    found: NDArray[Any] = np.load(path, mmap_mode=mmap, allow_pickle=False)
    return found


def open_array(path: Path, findings: Findings, *, of_ids: bool = False) -> NDArray[Any] | None:
    """Return a ``.npy`` file as a read-only memory map, or None where it cannot be used.

    Args:
        path: The file.
        findings: Where faults go.
        of_ids: Expect ids [R] (integers or text), not vectors [R, D] (float16 or float32).

    Raises:
        DataError: Truncated, pickled, of another type or shape, when findings are strict.
    """
    allowed = "integers or text [R]" if of_ids else "float16 or float32 [R, D]"
    remedy = f"Allowed: {allowed}, saved with numpy.save(path, array, allow_pickle=False)."
    if not path.is_file():
        found = "is a directory, not a file" if path.is_dir() else "is a pipe or device, not a file"
        findings.add("unreadable-array", str(path), found, remedy=remedy)
        return None
    try:
        with np.errstate(over="raise"):  # a header whose shape overflows
            array = loaded(path, "r")
    except PermissionError as error:
        findings.add("no-access", str(path), f"may not be read ({error.strerror})")
        return None
    except UNREADABLE_ARRAY as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if "mmap length" in text or isinstance(error, EOFError):
            text = f"truncated: {path.stat().st_size} bytes are fewer than its header promises"
        elif "Python objects" in text or "pickle" in text:
            text = "holds Python objects, or is not a .npy file"
        findings.add("unreadable-array", str(path), f"not readable: {text}", remedy=remedy)
        return None
    if array is None:
        findings.add("unreadable-array", str(path), "is an .npz archive, not one array", remedy=remedy)
        return None
    dimensions, kinds = (1, "iuU") if of_ids else (2, "f")
    odd = array.ndim != dimensions or array.dtype.kind not in kinds or 0 in array.shape[1:]
    if odd or array.shape[0] > MOST_ROWS:
        found = f"{array.dtype} of shape {list(array.shape)}"
        findings.add("array-type", str(path), found, remedy=remedy)
        return None
    if not of_ids and array.dtype.itemsize > 4:
        findings.add("float64-array", str(path), f"values are {array.dtype}")
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    opened: NDArray[Any] = array
    return opened


def read_row_ids(path: Path, findings: Findings) -> NDArray[Any] | None:
    """Return the item id of every feature row from ``NAME.ids.npy`` or a table with ``item_id``."""
    if path.suffix == ".npy":
        array = open_array(path, findings, of_ids=True)
        if array is None or array.dtype.kind != "U":
            return None if array is None else np.asarray(array.astype(np.int64))
        points = np.ascontiguousarray(array).view(array.dtype.str[0] + "u4")
        if ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any():
            remedy = "Allowed: integers or text [R], saved with numpy.save(path, array, allow_pickle=False)."
            findings.add("unreadable-array", str(path), "holds text that is no Unicode", remedy=remedy)
            return None
        return np.asarray(array)
    table = read_table(path, None, findings)
    if table is None:
        return None
    column = "item_id" if "item_id" in table.names else table.names[0] if len(table.names) == 1 else None
    if column is None:
        found = f"no column item_id; found {', '.join(table.names)}"
        remedy = "Allowed: a table with item_id, row i naming the item of feature row i."
        findings.add("missing-column", str(path), found, remedy=remedy)
        return None
    codes, distinct = read_ids(table, column, findings)
    usable = codes >= 0
    return distinct[codes] if usable.all() else distinct[codes[usable]]


def align(
    name: str,
    path: Path,
    array: NDArray[Any],
    codes: Int64 | None,
    n_items: int,
    how: str,
    findings: Findings,
) -> ModalityTable | None:
    """Return the vectors in catalogue order, or None where rows and items do not match.

    Args:
        name: Of the modality.
        path: Of the array, for messages.
        array: float [R, D].
        codes: Catalogue code of every row, -1 where the item is not in it; None: row i is item i.
        n_items: I.
        how: What row i belongs to, for messages.
        findings: Where faults go.
    """
    where, expected = str(path), n_items if codes is None else len(codes)
    if len(array) != expected:
        found = f"{len(array)} rows against {expected} {how}"
        remedy = f"Row i must belong to row i of these; or name the items of the rows in {path.stem}.ids.npy."
        findings.add("row-count", where, found, count=abs(len(array) - expected), remedy=remedy)
        return None
    if codes is not None and not (len(codes) == n_items and (codes == np.arange(n_items)).all()):
        known = codes >= 0
        unique, count = np.unique(codes[known], return_counts=True)
        if (count > 1).any():
            found = f"{int((count > 1).sum())} items have several feature rows"
            shown = tuple(f"catalogue row {item}" for item in unique[count > 1][:SHOWN])
            findings.add("row-twice", where, found, count=int((count > 1).sum()), examples=shown)
            return None
        if not known.all():
            found = f"{int((~known).sum())} rows belong to items outside the catalogue"
            shown = tuple(f"row {row}" for row in np.flatnonzero(~known)[:SHOWN])
            findings.add("extra-rows", where, found, count=int((~known).sum()), examples=shown)
        placed = np.zeros((n_items, array.shape[1]), dtype=array.dtype)
        placed[unique] = array[np.flatnonzero(known)[np.argsort(codes[known], kind="stable")]]
        array = placed
    table = ModalityTable.of(name, array)
    return table if _report_presence(table, where, findings) else None


def _report_presence(table: ModalityTable, where: str, findings: Findings) -> bool:
    """Report rows that are no vectors; say whether any row is one."""
    broken = non_finite_rows(table.values)
    if broken.any():
        found = f"{int(broken.sum())} rows hold NaN or infinite values"
        shown = tuple(f"catalogue row {row}" for row in np.flatnonzero(broken)[:3])
        findings.add("non-finite", where, found, count=int(broken.sum()), examples=shown)
    missing = int((~table.present & ~broken).sum())
    if missing:
        found = f"{missing} of {len(table.present)} items have no vector (all-zero row or none)"
        shown = tuple(f"catalogue row {row}" for row in np.flatnonzero(~table.present & ~broken)[:SHOWN])
        findings.add("zero-vector", where, found, count=missing, examples=shown)
    if not table.present.any():
        findings.add("no-vectors", where, "no item has a usable vector", count=len(table.present))
    return bool(table.present.any())


def non_finite_rows(array: NDArray[Any]) -> Bool:
    """Return bool [R]: the row holds NaN or infinity."""
    broken = np.empty(len(array), dtype=bool)
    for start in range(0, len(array), BLOCK):
        broken[start : start + BLOCK] = ~np.isfinite(array[start : start + BLOCK]).all(axis=1)
    return broken


@dataclass(frozen=True, slots=True)
class VectorSummary:
    """What the present rows of a modality look like.

    Attributes:
        width: D.
        dtype: As stored.
        missing: Items without a vector.
        duplicate: Present rows identical to an earlier present row.
        constant: Present rows whose values are all equal.
        zero_variance: Columns with one value over all present rows.
        smallest_norm: Of the present rows, L2; likewise ``largest_norm``.
        duplicate_items: Item codes of the duplicate rows; likewise ``constant_items``.
        flat_columns: The columns of one value.
        extreme_items: The items of the smallest and the largest norm.
    """

    width: int
    dtype: str
    missing: int
    duplicate: int
    constant: int
    zero_variance: int
    smallest_norm: float
    largest_norm: float
    duplicate_items: Int64
    constant_items: Int64
    flat_columns: Int64
    extreme_items: Int64


def summarize(table: ModalityTable) -> VectorSummary:
    """Return the summary of a modality, reading it once, block by block."""
    width = table.width
    rng = np.random.Generator(np.random.PCG64(0))
    odd = rng.integers(0, 2**63, size=(width, 2), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes, norms, constant = [], [], []
    low, high = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
    items = np.flatnonzero(table.present)
    for start in range(0, len(items), BLOCK):
        rows = table.rows(items[start : start + BLOCK]) + np.float32(0)  # -0.0 becomes 0.0
        bits = np.ascontiguousarray(rows).view(np.uint32).astype(np.uint64)
        hashes.append(bits @ odd)  # wraps modulo 2**64: two universal hashes of every row
        norms.append(np.sqrt(np.einsum("rd,rd->r", rows, rows, dtype=np.float64)))
        constant.append((rows == rows[:, :1]).all(axis=1) & (width > 1))
        low, high = np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(axis=0))
    first = np.unique(np.concatenate(hashes), axis=0, return_index=True)[1] if hashes else items
    repeated = np.ones(len(items), dtype=bool)
    repeated[first] = False
    flat = items[np.concatenate(constant)] if constant else items
    norm = np.concatenate(norms) if norms else np.zeros(1)
    return VectorSummary(
        width=width,
        dtype=str(table.values.dtype),
        missing=int((~table.present).sum()),
        duplicate=int(repeated.sum()),
        constant=len(flat),
        zero_variance=int((low == high).sum()),
        smallest_norm=float(norm.min()),
        largest_norm=float(norm.max()),
        duplicate_items=items[repeated],
        constant_items=flat,
        flat_columns=np.flatnonzero(low == high),
        extreme_items=items[[int(norm.argmin()), int(norm.argmax())]] if len(items) else items,
    )
