"""Amazon's metadata as item tables, and the image vectors of 2014."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stagelens.pipeline.data.importers.amazon_reviews import BrokenLine, as_id, json_record, refused
from stagelens.pipeline.data.importers.files import LINE_LIMIT, line_blocks, regular
from stagelens.pipeline.data.importers.reading import VectorBlock
from stagelens.pipeline.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

WIDTH = 4096
ASIN = 10
RECORD = ASIN + 4 * WIDTH
"""Bytes of a record of the image features: an item's id and float32 values, little-endian."""
TEXTS = ("title", "description", "categories", "brand", "image")
"""Text columns of the item table; ``price`` is the only number."""
META_LINE = 16 * LINE_LIMIT
"""Bytes of the longest line of metadata: lists of related items grow long."""
ROWS = 1024
"""Rows of image vectors handed over together (16 MiB)."""
_PRICE = re.compile(r"\$?\s*([0-9]{1,3}(?:,[0-9]{3})*|[0-9]{1,9})(\.[0-9]{1,4})?", re.ASCII)
Wanted = Callable[[str], bool]


def item_tables(
    paths: Sequence[Path], wanted: Wanted, counts: Counter[str], *, drop: bool
) -> Iterator[pa.Table]:
    """Yield the metadata of the wanted items, each once (the first line of an item counts).

    Args:
        paths: Files of lines, plain or ``.gz``.
        wanted: Says whether an item is part of the catalogue.
        counts: Counts the lines left out, by reason.
        drop: Leave out lines that cannot be used.

    Raises:
        DataError: A file cannot be read, or holds a line that cannot be used.
    """
    import pyarrow as pa

    kinds = {"item_id": pa.string(), **dict.fromkeys(TEXTS, pa.string()), "price": pa.float64()}
    seen: set[str] = set()
    for path in paths:
        for first, lines in line_blocks(path, limit=META_LINE):
            rows = []
            for place, line in enumerate(lines, first):
                row = _row(path, place, line, counts, drop)
                if row is None or not wanted(row["item_id"]):
                    continue
                if row["item_id"] in seen:
                    counts["metadata: an item again"] += 1
                    continue
                seen.add(row["item_id"])
                rows.append(row)
            if rows:
                yield pa.table(
                    {name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()}
                )


def _row(path: Path, place: int, line: str, counts: Counter[str], drop: bool) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        record = json_record(line)
        name = "parent_asin" if "parent_asin" in record else "asin"
        return {"item_id": as_id(record.get(name), name), **fields(record)}
    except BrokenLine as fault:
        if not drop:
            raise refused(path, place, fault) from fault
        counts[f"metadata: {fault.reason}"] += 1
        return None


def fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return title, description, categories, brand, image (text) and price (a number) of a record, or None each."""
    categories = record.get("categories") or record.get("category")
    return {
        "title": _text(record.get("title"), " "),
        "description": _text(record.get("description"), " "),
        "categories": _text(categories, " > "),
        "brand": _text(record.get("brand") or record.get("store"), " "),
        "image": _image(record),
        "price": _price(record.get("price")),
    }


def _text(value: Any, between: str) -> str | None:
    """Return text; lists are joined, lists of lists with semicolons."""
    if isinstance(value, list | tuple):
        parts = [
            between.join(filter(None, map(_plain, part))) if isinstance(part, list | tuple) else _plain(part)
            for part in value
        ]
        nested = any(isinstance(part, list | tuple) for part in value)
        return ("; " if nested else between).join(filter(None, parts)) or None
    return _plain(value) or None


def _plain(value: Any) -> str:
    """Return text without halves of surrogate pairs, which no file can hold; nothing for other values."""
    if not isinstance(value, str):
        return ""
    return value.encode("utf-8", "replace").decode().replace("\0", " ").strip()


def _image(record: Mapping[str, Any]) -> str | None:
    """Return the address of an item's first image, the largest of its sizes."""
    for name in ("imUrl", "imageURLHighRes", "imageURL", "images", "image"):
        value = record.get(name)
        first = value[0] if isinstance(value, list | tuple) and value else value
        if isinstance(first, Mapping):  # 2023: sizes of one image
            first = next((first[size] for size in ("hi_res", "large", "thumb") if first.get(size)), None)
        elif isinstance(first, list | tuple):
            first = None
        if found := _plain(first):
            return found
    return None


def _price(value: Any) -> float | None:
    """Return a price; a range, page code or anything else is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 <= value < 1e12 else None
    match = _PRICE.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1].replace(",", "") + (match[2] or "")) if match else None


def image_records(path: Path) -> int:
    """Return the number of records of a file of image features.

    Raises:
        DataError: No file, or it ends inside a record.
    """
    size = regular(path).stat().st_size
    records, rest = divmod(size, RECORD)
    if rest:
        raise DataError(
            f"{path}, record {records}: the file ends after {rest:,} of its {RECORD:,} bytes ({ASIN} of the item's "
            f"id, {WIDTH} float32). It is truncated, or not of image features: get it again."
        )
    return records


def image_blocks(paths: Sequence[Path], wanted: Wanted, counts: Counter[str]) -> Iterator[VectorBlock]:
    """Yield the image vectors of the wanted items, each once.

    Raises:
        DataError: A file ends inside a record, or the id of a record is not plain text.

    References:
        He & McAuley (2016), "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback", AAAI,
        arXiv:1510.01784, whose deep CNN features these files hold.
    """
    layout = np.dtype([("id", "u1", (ASIN,)), ("values", "<f4", (WIDTH,))])
    seen: set[str] = set()
    for path in paths:
        records = np.memmap(path, layout, "r", shape=(image_records(path),))
        for start in range(0, len(records), ROWS):
            block = records[start : start + ROWS]
            ids = [_asin(path, start + row, bytes(value)) for row, value in enumerate(block["id"])]
            rows = []
            for row, item in enumerate(ids):
                if item in seen:
                    counts["image features: an item again"] += 1
                elif wanted(item):
                    seen.add(item)
                    rows.append(row)
            if rows:
                yield VectorBlock(np.asarray([ids[row] for row in rows], dtype=str), block["values"][rows])


def _asin(path: Path, record: int, data: bytes) -> str:
    try:
        text = data.decode("ascii").rstrip(" ")
    except UnicodeDecodeError:
        text = ""
    if not text.isalnum():
        raise DataError(
            f"{path}, record {record}: the item's id is {data!r}. Allowed: {ASIN} letters and digits, then "
            f"{WIDTH} float32 values."
        )
    return text
