"""The windows of a published split, each a file of its own: found by name, handed over as blocks of events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.data.importers.files import folder, inside
from stagelens.pipeline.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 1 << 17
"""Events handed over together."""


def find_parts(
    source: Path, known: Mapping[str, tuple[str, ...]], asked: Mapping[str, str | None]
) -> dict[str, Path]:
    """Return the file of every window that is there, ``train`` first.

    Args:
        source: The folder.
        known: Usual names by window, best first.
        asked: Names that options gave, by window.

    Raises:
        ConfigError: An option names a file that is not there.
        DataError: No folder, or it has no file for ``train``.
    """
    there = sorted(entry.name for entry in folder(source).iterdir())
    found: dict[str, Path] = {}
    for window, names in known.items():
        said = asked.get(window)
        if said is not None:
            found[window] = inside(source, said)
            if not found[window].exists():
                shown = ", ".join(there[:12]) or "nothing"
                raise ConfigError(f"{window} = {said!r}: no such file in {source}. Found: {shown}.")
        else:
            first = next((name for name in names if name in there), None)
            if first is not None:
                found[window] = inside(source, first)
    if "train" not in found:
        raise DataError(
            f"{source}: no file of training events; found {', '.join(there[:12]) or 'nothing'}. Usual names: "
            f"{', '.join(known['train'])}. Name another with --set train=FILE."
        )
    return found


def event_table(
    user: NDArray[Any] | list[Any], item: NDArray[Any] | list[Any], window: str | None, **more: NDArray[Any]
) -> pa.Table:
    """Return a block of events.

    Args:
        user: Ids [N].
        item: Ids [N].
        window: ``train``, ``valid`` or ``test``; None: no split is given.
        **more: Other columns [N] by name.
    """
    import pyarrow as pa

    columns = {"user_id": pa.array(user), "item_id": pa.array(item)}
    if window is not None:
        columns["split"] = pa.repeat(window, len(user))
    return pa.table(columns | {name: pa.array(values) for name, values in more.items()})


def numbered_items(ids: range) -> Iterator[pa.Table]:
    """Yield the items that rows of vectors are numbered by: all of them are part of the catalogue."""
    import pyarrow as pa

    for start in range(0, len(ids), BLOCK):
        some = ids[start : start + BLOCK]
        yield pa.table({"item_id": pa.array(np.arange(some.start, some.stop))})


def pairs_of(lists: Iterable[tuple[int, list[int]]]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield users and items [N], int64, of lists of items in blocks."""
    users: list[int] = []
    counts: list[int] = []
    items: list[int] = []
    for user, some in lists:
        users.append(user)
        counts.append(len(some))
        items.extend(some)
        if len(items) >= BLOCK or len(users) >= BLOCK:
            yield np.repeat(np.array(users, np.int64), counts), np.array(items, np.int64)
            users, counts, items = [], [], []
    if items:
        yield np.repeat(np.array(users, np.int64), counts), np.array(items, np.int64)
