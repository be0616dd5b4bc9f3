"""A reading written as the folder that ``load_dataset`` reads: all of it or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stagelens.pipeline.core import Bool
from stagelens.pipeline.data.events import WINDOWS
from stagelens.pipeline.data.importers.arrays import Vectors, check_name, write_vectors
from stagelens.pipeline.data.importers.catalogue import Side, write_side
from stagelens.pipeline.data.importers.files import heard, inside, regular
from stagelens.pipeline.data.importers.origin import Origin, file_hashes, origin_text
from stagelens.pipeline.data.importers.reading import Reading
from stagelens.pipeline.data.importers.rows import GROUP, Rows
from stagelens.pipeline.data.importers.selection import Selection, core, first_of_pairs, positives
from stagelens.pipeline.data.importers.spool import Spool, ids_of, spool_events
from stagelens.pipeline.data.importers.vocabulary import Vocabulary
from stagelens.pipeline.data.write import all_or_nothing
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.progress import Progress, Silent


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a source.

    Attributes:
        read: Events handed over by the format.
        dropped: Lines that the format left out, by reason.
        below: Events whose value was too low, or missing.
        duplicates: Events that repeat a user and an item.
        outside: Events outside the core; ``rounds`` of removal until nothing changed.
        rounds: See ``outside``.
        users: Written; likewise ``items`` and ``events``.
        items: See ``users``.
        events: See ``users``.
        repeated: Rows of items and of users that list an id again; not written.
        impressions: Written, and left out because their user or item is not there; None without any.
        vectors: By modality.
        lists: Files of candidate lists copied beside the data.
        files: Files read and hashed.
        notes: What the format decided.
    """

    read: int
    dropped: Mapping[str, int]
    below: int
    duplicates: int
    outside: int
    rounds: int
    users: int
    items: int
    events: int
    repeated: int
    impressions: tuple[int, int] | None
    vectors: Mapping[str, Vectors]
    lists: tuple[str, ...]
    files: int
    notes: tuple[str, ...]


def land(
    reading: Reading,
    folder: Path,
    origin: Origin,
    selection: Selection = Selection(),  # noqa: B008  # a frozen value
    progress: Progress | None = None,
) -> Landed:
    """Write a reading as a data set, under a temporary name until it is complete.

    Events stay that are positive, the first of their user and item, and in the core, in the order of the
    source. Items are those that the source lists, in its order, then those of the events, sorted; with
    ``min_item`` only those of events. Users likewise. Rows of vectors are the items'.

    Args:
        reading: From an importer.
        folder: New, or an empty folder.
        origin: Goes into ``dataset.toml``.
        selection: Which events stay.
        progress: Hears of the bytes read.

    Raises:
        ConfigError: The folder is not empty, or the selection does not fit.
        DataError: The source is broken, or nothing is left of it.
        OSError: The disk is full, or the like.
    """
    with all_or_nothing(folder, "DEST") as partial:
        for name in reading.vectors:
            check_name(name)
        spool = partial / "spool"
        spool.mkdir()
        with _hearing(reading, progress or Silent()):
            landed = _write(reading, partial, spool, selection)
        with (progress or Silent()).task("hash", _size(reading)) as task:
            hashes = file_hashes(reading.files, origin.source, task.advance)
        said = origin_text(origin, _version(), hashes)
        (partial / "dataset.toml").write_text(said, encoding="utf-8")
        shutil.rmtree(spool)
    return landed


def _version() -> str:
    from importlib.metadata import version

    return version("stagelens")


def _size(reading: Reading) -> int:
    return sum(path.stat().st_size for path in set(reading.files))


@contextmanager
def _hearing(reading: Reading, progress: Progress) -> Iterator[None]:
    """Show how many bytes of the files have been read."""
    with progress.task("import", _size(reading)) as task:
        token = heard.set(task.advance)
        try:
            yield
        finally:
            heard.reset(token)


def _write(reading: Reading, partial: Path, scratch: Path, selection: Selection) -> Landed:
    users, items = Vocabulary(), Vocabulary()
    spool = spool_events(reading.events, scratch, users, items)
    high = positives(spool, selection.positive)
    unique = first_of_pairs(spool, high, len(items))
    kept, rounds = core(spool, unique, len(users), len(items), selection)
    if not kept.any():
        raise DataError(_nothing_left(spool, high, unique, selection))
    active = [
        np.bincount(codes[kept], minlength=len(known)) > 0
        for codes, known in ((spool.user, users), (spool.item, items))
    ]
    catalogue = write_side(
        partial / "items.parquet", "item_id", reading.items, items, active[1], selection.min_item > 0
    )
    people = write_side(
        partial / "users.parquet", "user_id", reading.users, users, active[0], selection.min_user > 0
    )
    if not people.listed:
        (partial / "users.parquet").unlink()
    _write_events(partial / "interactions.parquet", spool, kept, users, items)
    exposed = _write_impressions(
        partial / "impressions.parquet", reading, (users, people), (items, catalogue)
    )
    vectors = {
        name: write_vectors(partial / f"{name}.npy", opened(), items, catalogue)
        for name, opened in sorted(reading.vectors.items())
    }
    for name, source in reading.lists.items():
        target = inside(partial, name)
        if target.parent != partial or target.exists():
            raise DataError(
                f"list {name!r} cannot be written: the name is taken, or leads into another folder."
            )
        shutil.copyfile(regular(source), target)
    return Landed(
        read=len(spool),
        dropped={reason: count for reason, count in reading.dropped.items() if count},
        below=int((~high).sum()),
        duplicates=int((high & ~unique).sum()),
        outside=int((unique & ~kept).sum()),
        rounds=rounds,
        users=people.rows,
        items=catalogue.rows,
        events=int(kept.sum()),
        repeated=catalogue.repeated + people.repeated,
        impressions=exposed,
        vectors=vectors,
        lists=tuple(sorted(reading.lists)),
        files=len(set(reading.files)),
        notes=reading.notes,
    )


def _nothing_left(spool: Spool, high: Bool, unique: Bool, asked: Selection) -> str:
    left = f"{len(spool):,} events were read, {int(high.sum()):,} have the value asked for"
    return (
        f"No event is left: {left}, {int(unique.sum()):,} of these are distinct pairs, and none of them is in "
        f"the core of min_user = {asked.min_user}, min_item = {asked.min_item}. Lower these options."
    )


def _write_events(path: Path, spool: Spool, kept: Bool, users: Vocabulary, items: Vocabulary) -> None:
    import pyarrow as pa

    rows = np.flatnonzero(kept)
    user_ids, item_ids = users.ids(), items.ids()
    with Rows(path) as writer:
        for start in range(0, len(rows), GROUP):
            at = rows[start : start + GROUP]
            columns = {
                "user_id": user_ids.take(pa.array(spool.user[at])),
                "item_id": item_ids.take(pa.array(spool.item[at])),
            }
            for name, values in spool.columns.items():
                columns[name] = pa.array(np.asarray(WINDOWS)[values[at]] if name == "split" else values[at])
            writer.write(pa.table(columns))


def _write_impressions(
    path: Path, reading: Reading, people: tuple[Vocabulary, Side], catalogue: tuple[Vocabulary, Side]
) -> tuple[int, int] | None:
    import pyarrow as pa

    read = written = 0
    with Rows(path) as writer:
        for block in reading.impressions:
            known = np.ones(block.num_rows, dtype=bool)
            for name, (ids, side) in (("user_id", people), ("item_id", catalogue)):
                codes = ids.encode(ids_of(block, name, "impression", read), insert=False)
                known &= (codes >= 0) & (side.place[codes] >= 0)
            read += block.num_rows
            chosen = block.take(np.flatnonzero(known))
            for name, (ids, _) in (("user_id", people), ("item_id", catalogue)):
                kind = pa.int64() if ids.whole else pa.large_string()
                place = chosen.column_names.index(name)
                chosen = chosen.set_column(place, name, chosen.column(name).cast(kind))
            written += chosen.num_rows
            writer.write(chosen)
    if not read:
        return None
    if not written:
        path.unlink()
    return written, read - written
