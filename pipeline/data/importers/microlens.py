"""MicroLens folders: events in CSV, titles, likes and views, and features with a row an item.

The layout (https://github.com/westlake-repl/MicroLens, the 50k and 100k sets; ``SET`` is ``MicroLens-50k`` or alike):
``SET_pairs.csv`` (user, item, timestamp in milliseconds) or ``SET_pairs.tsv`` (a line a user, items in order of time),
``SET_titles.csv`` or ``SET_title_en.csv``, ``SET_likes_and_views.txt``, ``tags_to_summary.csv``, and
``extracted_modality_features/SET_image_features_CLIPRN50.npy`` and its like: items are numbered from 1, so row i
belongs to item i + 1. A folder of arrays ``ID.npy``, one an item, is read too.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from stagelens.pipeline.data.importers.features import asked_file, numbered, two_files
from stagelens.pipeline.data.importers.files import (
    array,
    folder,
    inside,
    number,
    regular,
    text_lines,
)
from stagelens.pipeline.data.importers.headers import array_header
from stagelens.pipeline.data.importers.lists import list_blocks
from stagelens.pipeline.data.importers.parts import BLOCK, event_table
from stagelens.pipeline.data.importers.reading import Reading, VectorBlock
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.recipe import Recipe, Role, recipe

if TYPE_CHECKING:
    import pyarrow as pa

_FEATURES = "extracted_modality_features"
_WORDS = {
    "image": "image",
    "cover": "image",
    "video": "video",
    "audio": "audio",
    "text": "text",
    "title": "text",
}
_NAMES = {
    "user": ("user", "userid", "user_id"),
    "item": ("item", "itemid", "item_id", "videoid", "video_id"),
    "timestamp": ("timestamp", "time"),
}
_PAIR = re.compile(r"([0-9]{1,18}),([0-9]{1,18}),([0-9]{1,18})", re.ASCII)
_ROWS = 1 << 14


class _Files(NamedTuple):
    """What lies in the folder; only ``pairs`` is needed."""

    pairs: Path
    titles: Path | None
    counts: Path | None
    tags: Path | None
    vectors: dict[str, Path]


@recipe
class MicroLens(Recipe):
    """MicroLens folders: pairs with timestamps, titles, likes and views, feature arrays with a row an item."""

    role: ClassVar[Role] = "importer"

    first_item: int = 1
    """Item that row 0 of the feature arrays belongs to; the published arrays start at item 1."""
    features: dict[str, str] = Field(default_factory=dict)
    """Array, or folder of arrays, by modality; over those found by the words image, text, video, audio."""
    likes: bool = True
    """Read likes and views as columns of items; they were counted after the events."""

    def read(self, source: Path) -> Reading:
        """Look a folder over; lines are looked at while they are read.

        Raises:
            DataError: No pairs, or two files of one kind.
        """
        files = _found(source, self.likes, self.features)
        dropped: Counter[str] = Counter()
        ranked = files.pairs.name.endswith(".tsv")
        notes = []
        if files.counts is not None:
            notes.append(
                f"{files.counts.name}: likes and views were counted after the events, so as features of a "
                "ranker they tell it the future."
            )
        return Reading(
            events=(
                event_table(users, items, None, seq=places)
                for users, items, places in list_blocks(files.pairs, dropped)
            )
            if ranked
            else _pairs(files.pairs),
            items=self._items(files),
            vectors={name: partial(self._vectors, path) for name, path in files.vectors.items()},
            files=tuple(
                file
                for path in (files.pairs, files.titles, files.counts, files.tags, *files.vectors.values())
                if path is not None
                for file in ([of for _, of in _singles(path)] if path.is_dir() else [path])
            ),
            notes=tuple(notes),
            dropped=dropped,
        )

    def _vectors(self, path: Path) -> Iterator[VectorBlock]:
        if not path.is_dir():
            yield from numbered(path, self.first_item)
            return
        for item, file in _singles(path):
            values = np.atleast_2d(array(file, dimensions=_axes(file)))
            if len(values) != 1:
                raise DataError(f"{file}: {len(values)} rows. Allowed: one vector, of the item in its name.")
            yield VectorBlock(np.array([item]), values)

    def _items(self, files: _Files) -> Iterator[pa.Table]:
        """Yield every item that has a title, counts, a tag or a row of features."""
        counts = dict(_counted(files.counts)) if files.counts else {}
        tags = dict(_rows_of(files.tags)) if files.tags else {}
        others = {*counts, *tags}
        for path in files.vectors.values():
            if path.is_dir():
                others.update(item for item, _ in _singles(path))
            else:
                others.update(range(self.first_item, self.first_item + len(array(path))))
        seen: set[int] = set()
        block: list[tuple[int, str | None]] = []
        for item, title in _rows_of(files.titles) if files.titles else ():
            seen.add(item)
            block.append((item, title))
            if len(block) == _ROWS:
                yield _item_table(block, files, counts, tags)
                block = []
        block += [(item, None) for item in sorted(others - seen)]
        for start in range(0, len(block), _ROWS):
            yield _item_table(block[start : start + _ROWS], files, counts, tags)


def _axes(path: Path) -> int:
    """Return 1 or 2: the axes that the vector of one item has."""
    return min(max(len(array_header(regular(path)).shape), 1), 2)


def _found(source: Path, likes: bool, asked: Mapping[str, str]) -> _Files:
    one = partial(_one, folder(source))
    pairs = one("*_pairs.csv") or one("*_pairs.csv.gz") or one("*_pairs.tsv")
    if pairs is None:
        there = ", ".join(sorted(entry.name for entry in source.iterdir())[:12]) or "nothing"
        raise DataError(
            f"{source}: no file of pairs; found {there}. Allowed: NAME_pairs.csv or NAME_pairs.tsv."
        )
    vectors = {name: asked_file(source, name, file) for name, file in asked.items()}
    for place in (source, source / _FEATURES):
        for entry in sorted(place.iterdir()) if place.is_dir() else ():
            name = next((_WORDS[word] for word in _WORDS if word in entry.name.lower()), None)
            array_like = entry.suffix == ".npy" or (entry.is_dir() and any(entry.glob("*.npy")))
            if name is None or "feat" not in entry.name.lower() or not array_like or entry.name == _FEATURES:
                continue
            if name in asked:
                continue
            if name in vectors:
                raise two_files(source, name, vectors[name], entry)
            vectors[name] = inside(source, str(entry.relative_to(source)))
    return _Files(
        pairs,
        one("*_titles.csv") or one("*_title_en.csv"),
        one("*_likes_and_views.txt") if likes else None,
        one("tags_to_summary.csv"),
        vectors,
    )


def _one(source: Path, pattern: str) -> Path | None:
    found = sorted(source.glob(pattern))
    if len(found) > 1:
        raise DataError(f"{source}: {found[0].name} and {found[1].name}. Allowed: one file {pattern}.")
    return inside(source, found[0].name) if found else None


def _singles(path: Path) -> list[tuple[int, Path]]:
    """Return item and file of a folder of arrays, by item."""
    return sorted(
        (number(entry.stem, f"{entry}, its name"), inside(path, entry.name)) for entry in path.glob("*.npy")
    )


def _pairs(path: Path) -> Iterator[pa.Table]:
    """Yield the events of ``user,item,timestamp``; a first line of names may stand before them."""
    order = (0, 1, 2)
    users: list[int] = []
    items: list[int] = []
    times: list[int] = []
    for row, line in text_lines(path):
        said = _PAIR.fullmatch(line)
        if said is not None and max(order) < 3:
            numbers = list(map(int, said.groups()))
        elif not line.strip():
            continue
        else:
            words = [word.strip().strip('"') for word in line.split(",")]
            if row == 1 and not words[0].lstrip("-").isdecimal():
                order = _columns(words, path)
                continue
            if len(words) <= max(order):
                raise DataError(f"{path}, line {row}: {len(words)} cells. Allowed: user, item and timestamp.")
            numbers = [0] * len(words)
            for name, place in zip(_NAMES, order, strict=True):
                numbers[place] = number(words[place], f"{path}, line {row}, {name}")
        users.append(numbers[order[0]])
        items.append(numbers[order[1]])
        times.append(numbers[order[2]])
        if len(users) == BLOCK:
            yield event_table(users, items, None, timestamp=np.array(times))
            users, items, times = [], [], []
    if users:
        yield event_table(users, items, None, timestamp=np.array(times))


def _columns(names: list[str], path: Path) -> tuple[int, int, int]:
    lower = [name.lower() for name in names]
    places = []
    for ours, known in _NAMES.items():
        place = next((lower.index(name) for name in known if name in lower), None)
        if place is None:
            raise DataError(
                f"{path}, line 1: no column {ours!r}; found {', '.join(names)[:80]}. Allowed: {', '.join(known)}."
            )
        places.append(place)
    return places[0], places[1], places[2]


def _rows_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield item and text of a CSV file; commas that stand outside of quotes belong to the text."""
    lines = (f"{line}\n" for _, line in text_lines(path))
    reader = csv.reader(lines)
    try:
        for place, cells in enumerate(reader):
            if not cells:
                continue
            if place == 0 and not cells[0].lstrip("-").isdecimal():
                continue  # names
            if len(cells) < 2:
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells. Allowed: item and text."
                )
            yield number(cells[0], f"{path}, line {reader.line_num}, item"), ",".join(cells[1:]).strip()
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not readable as CSV ({error}).") from error


def _counted(path: Path) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield item, likes and views of a file of tabs."""
    for row, line in text_lines(path):
        words = line.split()
        if not words or (row == 1 and not words[0].isdecimal()):
            continue
        if len(words) != 3:
            raise DataError(f"{path}, line {row}: {len(words)} words. Allowed: item, likes, views.")
        where = f"{path}, line {row} (likes=false leaves this file out)"
        yield number(words[0], where), (number(words[1], where), number(words[2], where))


def _item_table(
    block: list[tuple[int, str | None]],
    files: _Files,
    counts: dict[int, tuple[int, int]],
    tags: dict[int, str],
) -> pa.Table:
    import pyarrow as pa

    ids = [item for item, _ in block]
    columns = {"item_id": pa.array(ids, pa.int64())}
    if files.titles is not None:
        columns["title"] = pa.array([title for _, title in block], pa.large_string())
    if files.tags is not None:
        columns["category"] = pa.array([tags.get(item) for item in ids], pa.large_string())
    if files.counts is not None:
        for place, name in enumerate(("likes", "views")):
            found = (counts.get(item) for item in ids)
            columns[name] = pa.array([None if some is None else some[place] for some in found], pa.int64())
    return pa.table(columns)
