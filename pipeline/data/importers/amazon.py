"""Amazon Reviews of 2014, 2018 and 2023: reviews or ratings, metadata, and the image vectors of 2014."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from stagelens.pipeline.data.importers.amazon_items import image_blocks, image_records, item_tables
from stagelens.pipeline.data.importers.amazon_reviews import (
    BrokenLine,
    Layout,
    json_record,
    refused,
    review_tables,
    shown,
)
from stagelens.pipeline.data.importers.files import folder, inside, regular, text_lines
from stagelens.pipeline.data.importers.reading import Reading
from stagelens.pipeline.errors import ConfigError, DataError
from stagelens.pipeline.recipe import Recipe, Role, recipe

if TYPE_CHECKING:
    import pyarrow as pa

_LINES = re.compile(r"(?P<stem>.+?)(?:\.(?P<part>train|valid|test))?\.(?:jsonl?|csv)(?:\.gz)?")
_LOOKED = 100
"""Lines looked at to tell how a file is laid out."""
_ASIN = 10


@recipe
class Amazon(Recipe):
    """Amazon Reviews: a file of reviews or ratings, or a folder with metadata and image features beside them.

    References:
        He & McAuley (2016), "Ups and Downs", WWW, arXiv:1602.01585 (2014); Ni, Li & McAuley (2019), "Justifying
        Recommendations using Distantly-Labeled Reviews and Fine-Grained Aspects", EMNLP (2018); Hou et al. (2024),
        "Bridging Language and Items for Retrieval and Recommendation", arXiv:2403.03952 (2023).
    """

    role: ClassVar[Role] = "importer"

    reviews: tuple[str, ...] = ()
    """Names of the review files in the folder; empty: the only one, or the three of a split."""
    item: Literal["parent_asin", "asin"] = "parent_asin"
    """What an item is in the reviews of 2023: the product, or each of its variants."""
    order: Literal["auto", "user-item", "item-user"] = "auto"
    """Columns of ratings without a header: 2014 begins with the user, 2018 with the item."""
    catalogue: Literal["reviewed", "all"] = "reviewed"
    """Items of the metadata and image features that are kept: those with a review, or all."""
    broken: Literal["refuse", "drop"] = "refuse"
    """A line that cannot be used: an error, or left out and counted."""

    def read(self, source: Path) -> Reading:
        """Look a source over.

        Raises:
            ConfigError: Several review files, and none named; or columns whose order cannot be told.
            DataError: Nothing to read, or a file that cannot be read.
        """
        parts, metadata, images = self._files(source)
        layouts = [self._layout(path) for path in parts]
        records = sum(map(image_records, images))
        counts: Counter[str] = Counter()
        found = _Reviewed(self, tuple(zip(parts, layouts, parts.values(), strict=True)), counts)
        vectors = {"image": partial(image_blocks, images, found.wanted, counts)} if images else {}
        notes = [f"{path.name}: {_said(layout)}" for path, layout in zip(parts, layouts, strict=True)]
        if records:
            notes.append(f"{records:,} records of image features")
        return Reading(
            events=found.events(),
            items=item_tables(metadata, found.wanted, counts, drop=self.broken == "drop"),
            vectors=vectors,
            files=(*parts, *metadata, *images),
            notes=tuple(notes),
            dropped=counts,
        )

    def _files(self, source: Path) -> tuple[dict[Path, str], list[Path], list[Path]]:
        """Return review files with their windows (empty: none), metadata and image features."""
        if source.is_file():
            return {regular(source): ""}, [], []
        entries = sorted(path for path in folder(source).iterdir() if not path.name.startswith("."))
        lines = [path for path in entries if _LINES.fullmatch(path.name)]
        metadata = [path for path in lines if path.name.startswith("meta")]
        images = [path for path in entries if path.suffix == ".b"]
        if self.reviews:
            reviews = [inside(source, name) for name in self.reviews]
        else:
            reviews = [path for path in lines if path not in metadata]
        reviews, metadata, images = (
            [inside(source, str(path.relative_to(source))) for path in paths]
            for paths in (reviews, metadata, images)
        )
        if not reviews:
            there = ", ".join(path.name for path in entries[:12]) or "nothing"
            raise DataError(
                f"{source}: no reviews; found {there}. Allowed: .json, .jsonl or .csv, plain or .gz; metadata in "
                "files that begin with meta."
            )
        return _windows(source, reviews, named=bool(self.reviews)), metadata, images

    def _layout(self, path: Path) -> Layout:
        """Return how a review file is laid out, as its first lines say."""
        looked = itertools.islice(text_lines(path), _LOOKED)
        lines = [(place, line) for place, line in looked if line.strip()]
        if not lines:
            raise DataError(f"{path}: the file holds no text. Get it again from where it came.")
        if not lines[0][1].lstrip().startswith("{") and "," in lines[0][1]:
            return self._csv_layout(path, [line.split(",") for _, line in lines])
        fault: DataError | None = None
        for place, line in lines:
            try:
                record = json_record(line)
            except BrokenLine as error:
                fault = refused(path, place, error)
            else:
                if "reviewerID" in record:
                    return Layout(("reviewerID", "asin", "overall", "unixReviewTime"))
                if "user_id" in record:
                    return Layout(("user_id", self.item, "rating", "timestamp"))
                names = ", ".join(map(shown, itertools.islice(record, 8))) or "nothing"
                fault = DataError(
                    f"{path}, line {place}: holds {names[:200]}. Allowed: reviews of 2014 and 2018 (reviewerID, asin, "
                    "overall, unixReviewTime) or of 2023 (user_id, parent_asin, rating, timestamp)."
                )
            if self.broken == "refuse":
                break
        raise fault or DataError(f"{path}: no line of reviews")

    def _csv_layout(self, path: Path, rows: list[list[str]]) -> Layout:
        header = tuple(cell.strip() for cell in rows[0])
        if "user_id" in header:
            item = self.item if self.item in header else "parent_asin"
            names = ("user_id", item, "rating", "timestamp")
            lacking = [name for name in names if name not in header]
            if lacking or len(set(header)) < len(header):
                fault = f"no column {lacking[0]!r}" if lacking else "a column stands twice"
                raise DataError(
                    f"{path}, line 1: {fault} in {', '.join(header)[:200]}. Allowed: {', '.join(names)}."
                )
            return Layout(names, header, header=True)
        if len(header) != 4:
            raise DataError(
                f"{path}, line 1: {len(header)} columns and no user_id among them. Allowed: a header with user_id, "
                "parent_asin, rating, timestamp (2023), or these four without a header (2014, 2018)."
            )
        order = self.order
        if order == "auto":
            whole = [row for row in rows if len(row) == 4]
            first, second = (sum(len(row[at]) == _ASIN for row in whole) / len(whole) for at in (0, 1))
            if not min(first, second) <= 1 / 3 < 2 / 3 <= max(first, second):
                raise ConfigError(
                    f"{path}: cannot tell which of the first two columns is the item ({rows[0][0][:40]!r}, "
                    f"{rows[0][1][:40]!r}). Say so: --set order=user-item (2014) or --set order=item-user (2018)."
                )
            order = "item-user" if first > second else "user-item"
        columns = ("user", "item") if order == "user-item" else ("item", "user")
        return Layout(("user", "item", "rating", "timestamp"), (*columns, "rating", "timestamp"))


def _windows(source: Path, reviews: Sequence[Path], *, named: bool) -> dict[Path, str]:
    """Return the window of each file: empty, or one each where they are the parts of one split."""
    parts = [_LINES.fullmatch(path.name) for path in reviews]
    windows = [(part["part"] or "") if part else "" for part in parts]
    stems = {part["stem"] if part else "" for part in parts}
    if not any(windows) and (named or len(reviews) == 1):
        return {regular(path): "" for path in reviews}
    if (
        len(stems) == 1
        and {"train", "test"} <= set(windows) <= {"train", "valid", "test"}
        and len(set(windows)) == len(windows)
    ):
        return dict(sorted(zip(map(regular, reviews), windows, strict=True), key=lambda pair: _RANK[pair[1]]))
    names = ", ".join(path.name for path in reviews[:12])
    raise ConfigError(
        f"{source}: several files could be the reviews: {names}. Say which, for instance --set "
        f"'reviews=[\"{reviews[0].name}\"]'; or the parts of one split: "
        "NAME.train.csv, NAME.valid.csv, NAME.test.csv."
    )


_RANK = {"train": 0, "valid": 1, "test": 2}


def _said(layout: Layout) -> str:
    kind = (
        "ratings without a header"
        if layout.columns and not layout.header
        else "ratings"
        if layout.columns
        else "reviews"
    )
    if layout.columns and not layout.header:
        return f"{kind}, columns {', '.join(layout.columns)}"
    return f"{kind} with {', '.join(layout.names)}"


@dataclass(slots=True)
class _Reviewed:
    """The reviews of some files, and the items that they name.

    Attributes:
        options: Of the import.
        files: Path, layout and window (or empty) of each.
        counts: Lines left out, by reason.
        items: Those named so far.
        done: Whether all reviews have been read.
    """

    options: Amazon
    files: tuple[tuple[Path, Layout, str], ...]
    counts: Counter[str]
    items: set[str] = field(default_factory=set)
    done: bool = False

    def events(self) -> Iterator[pa.Table]:
        """Yield the reviews; afterwards the items are known."""
        import pyarrow.compute as pc

        dropped = self.counts if self.options.broken == "drop" else None
        for path, layout, window in self.files:
            for table in review_tables(path, layout, dropped, {"split": window} if window else {}):
                self.items.update(pc.unique(table["item_id"]).to_pylist())
                yield table
        self.done = True

    def wanted(self, item: str) -> bool:
        """Say whether an item belongs to the catalogue."""
        if self.options.catalogue == "all":
            return True
        if not self.done:
            raise RuntimeError("the reviews are read before metadata and image features")
        return item in self.items
