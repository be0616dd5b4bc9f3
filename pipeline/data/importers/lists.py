"""MGCL and MCLN folders: text files with a line a user, ``user item item ...``, and features in text.

The layout (https://github.com/hfutmars/MCLN; LightGCN, LATTICE and MMGCN forks share it): ``train.txt``, ``test.txt``
and perhaps ``val.txt``; ``item2imgfeat.txt`` and ``itemtitle2vec.txt`` with a line an item, ``item number number ...``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stagelens.pipeline.data.importers.features import (
    check_items,
    feature_arrays,
    numbered,
    rows_of,
    two_files,
)
from stagelens.pipeline.data.importers.files import inside, number, text_lines
from stagelens.pipeline.data.importers.parts import BLOCK, event_table, find_parts, numbered_items
from stagelens.pipeline.data.importers.reading import Reading, VectorBlock
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.recipe import Recipe, Role, recipe

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN = {
    "train": tuple(f"train{ending}" for ending in (".txt", ".txt.gz", ".tsv")),
    "valid": tuple(f"{name}{ending}" for name in ("val", "valid") for ending in (".txt", ".txt.gz", ".tsv")),
    "test": tuple(f"test{ending}" for ending in (".txt", ".txt.gz", ".tsv")),
}
"""File names of every window, best first."""
LIST_LIMIT = 16 << 20
"""Bytes of the longest line: some two million items of one user."""
VECTOR_LIMIT = 4 << 20
"""Bytes of the longest line of numbers: some 200,000 of them."""
_FEATURES = {"item2imgfeat": "image", "itemtitle2vec": "text"}
_ROWS = 256
ListBlock = tuple[list[Any], list[Any], NDArray[np.int64]]


@recipe
class Lists(Recipe):
    """MGCL and MCLN text files: a line a user, the user's id and then the items'."""

    role: ClassVar[Role] = "importer"

    train: str | None = None
    """File of the training events; None: train.txt, train.txt.gz or train.tsv."""
    valid: str | None = None
    """File of the validation events; None: val.txt, valid.txt and others, by name."""
    test: str | None = None
    """File of the test events; None: test.txt, test.txt.gz or test.tsv."""
    ids: Literal["integer", "text"] = "integer"
    """What ids are; integers are looked at one by one, text is taken as it stands."""
    features: dict[str, str] = Field(default_factory=dict)
    """Array by modality, beside every NAME_feat.npy; row i belongs to item i."""
    ordered: bool = False
    """The items of a line are in the order of time, training before validation before test: seq is written."""

    def read(self, source: Path) -> Reading:
        """Look a folder over; lines are looked at while they are read.

        Raises:
            ConfigError: An option names a file that is not there.
            DataError: No training events, or two files of one modality.
        """
        parts = find_parts(source, KNOWN, {"train": self.train, "valid": self.valid, "test": self.test})
        arrays = feature_arrays(source, self.features)
        rows = rows_of(source, arrays)
        texts = _texts(source, arrays)
        dropped: Counter[str] = Counter()
        order = {window: place << 40 for place, window in enumerate(("train", "valid", "test"))}
        given = len(parts) > 1
        vectors: dict[str, Any] = {name: partial(_written, path, self.ids) for name, path in texts.items()}
        vectors |= {name: partial(numbered, path) for name, path in arrays.items()}
        left = sorted(entry.name for entry in source.glob("*popularity*"))
        return Reading(
            events=(
                self._table(path, window, given, some, rows)
                for window, path in parts.items()
                for some in list_blocks(path, dropped, text=self.ids == "text", first=order[window])
            ),
            items=_items(texts, rows or 0, self.ids),
            vectors=vectors,
            files=(*parts.values(), *texts.values(), *arrays.values()),
            notes=(f"{left[0]} is not read: it counts events, those of the test among them.",)
            if left
            else (),
            dropped=dropped,
        )

    def _table(self, path: Path, window: str, given: bool, some: ListBlock, rows: int | None) -> pa.Table:
        users, items, places = some
        if self.ids == "integer":
            check_items(path, np.array(items), rows, "Are these features of another set?")
        more = {"seq": places} if self.ordered else {}
        return event_table(users, items, window if given else None, **more)


def list_blocks(
    path: Path, dropped: Counter[str], *, text: bool = False, first: int = 0
) -> Iterator[ListBlock]:
    """Yield users, items and places in time [N] of a file with a line a user, in blocks.

    Args:
        path: Lines ``user item item ...``, words apart by blanks or tabs.
        dropped: Counts lines without items.
        text: Ids are text; else integers.
        first: Place of a line's first item.

    Raises:
        DataError: An id that is no integer of 64 bits, where they are integers.
    """
    users: list[Any] = []
    items: list[Any] = []
    places: list[int] = []
    for row, line in text_lines(path, limit=LIST_LIMIT):
        words = line.split()
        if len(words) < 2:
            dropped["lines without items"] += 1
            continue
        user, *some = words if text else _integers(words, path, row)
        users += [user] * len(some)
        items += some
        places += range(first, first + len(some))
        if len(items) >= BLOCK:
            yield users, items, np.array(places)
            users, items, places = [], [], []
    if items:
        yield users, items, np.array(places)


def _integers(words: list[str], path: Path, row: int) -> list[int]:
    """Return the ids of a line.

    Raises:
        DataError: A word that is no integer of 64 bits.
    """
    joined = "".join(words)
    if joined.isascii() and joined.isdecimal() and max(map(len, words)) < 19:
        return list(map(int, words))
    return [
        number(word, f"{path}, line {row}, word {place} (ids=text takes ids that are no integers)")
        for place, word in enumerate(words, 1)
    ]


def _texts(source: Path, arrays: Mapping[str, Path]) -> dict[str, Path]:
    """Return the feature files in text by modality."""
    found: dict[str, Path] = {}
    for stem, name in _FEATURES.items():
        for entry in (source / f"{stem}.txt", source / f"{stem}.txt.gz"):
            if entry.exists():
                if name in arrays or name in found:
                    raise two_files(source, name, arrays.get(name, entry.with_suffix("")), entry)
                found[name] = inside(source, entry.name)
    return found


def _items(texts: Mapping[str, Path], rows: int, ids_are: str) -> Iterator[pa.Table]:
    """Yield every item that has features, with or without events."""
    import pyarrow as pa

    yield from numbered_items(range(rows))
    seen: set[Any] = set(map(str, range(rows)) if ids_are == "text" else range(rows))
    for path in texts.values():
        fresh: dict[Any, None] = {}
        for row, line in text_lines(path, limit=VECTOR_LIMIT):
            word = next(iter(line.split(None, 1)), "")
            if word:
                item = word if ids_are == "text" else number(word, f"{path}, line {row}, word 1")
                fresh |= {} if item in seen else {item: None}
        seen |= fresh.keys()
        if fresh:
            yield pa.table({"item_id": pa.array(list(fresh))})


def _written(path: Path, ids_are: str) -> Iterator[VectorBlock]:
    """Yield the vectors of a text file.

    Raises:
        DataError: A line of another length, or a word that is no number.
    """
    kind = object if ids_are == "text" else np.int64
    width = 0
    ids: list[Any] = []
    rows: list[Any] = []
    for row, line in text_lines(path, limit=VECTOR_LIMIT):
        item, *words = line.split() or [""]
        if not words:
            if item:
                raise DataError(f"{path}, line {row}: item {item[:60]!r} without numbers.")
            continue
        width = width or len(words)
        if len(words) != width:
            raise DataError(
                f"{path}, line {row}: {len(words)} numbers after lines of {width}. Allowed: one width."
            )
        ids.append(item if ids_are == "text" else number(item, f"{path}, line {row}, word 1"))
        rows.append(_vector(words, path, row))
        if len(ids) == _ROWS:
            yield VectorBlock(np.array(ids, kind), np.stack(rows))
            ids, rows = [], []
    if ids:
        yield VectorBlock(np.array(ids, kind), np.stack(rows))


def _vector(words: list[str], path: Path, row: int) -> Any:
    try:
        with np.errstate(over="ignore"):
            return np.array(words, dtype=np.float64).astype(np.float32)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}, line {row}: not all words are numbers ({error}).") from error
