"""MMRec: a ``.inter`` table with codes and a split, and one array of features per modality."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stagelens.pipeline.data.events import WINDOWS
from stagelens.pipeline.data.importers.delimited import (
    Block,
    blocks,
    decimals,
    header,
    integers,
    need,
    times,
)
from stagelens.pipeline.data.importers.files import array, folder, inside, number, text_lines, vector_blocks
from stagelens.pipeline.data.importers.reading import Reading, VectorBlock
from stagelens.pipeline.errors import ConfigError, DataError
from stagelens.pipeline.recipe import Recipe, Role, recipe

if TYPE_CHECKING:
    import pyarrow as pa

MISSED = "missed_img_itemIDs.csv"
"""Items whose image features MMRec's preprocessing has filled with the mean."""
_ENDING = "_feat.npy"


@recipe
class MMRec(Recipe):
    """A folder of MMRec: ``NAME.inter`` and ``*_feat.npy``.

    References:
        X. Zhou, "MMRec: Simplifying Multimodal Recommendation", 2023, arXiv:2302.03497.
    """

    role: ClassVar[Role] = "importer"

    inter: str = ""
    """File of the interactions; empty: the only ``.inter`` file of the folder."""
    separator: str = Field("\t", min_length=1)
    """Between the columns (``field_separator``)."""
    user: str = "userID"
    """Column of the user (``USER_ID_FIELD``)."""
    item: str = "itemID"
    """Column of the item (``ITEM_ID_FIELD``)."""
    time: str = "timestamp"
    """Column of the time (``TIME_FIELD``); not needed."""
    value: str = "rating"
    """Column of the rating; not needed."""
    label: str = "x_label"
    """Column of the split, 0 train, 1 valid, 2 test (``inter_splitting_label``); not needed."""
    features: dict[str, str] = Field(default_factory=dict)
    """File by modality, beside every ``*_feat.npy``."""
    filled_is_absent: bool = True
    """Take the mean out of the image rows that ``missed_img_itemIDs.csv`` names: these items lack an image."""

    def read(self, source: Path) -> Reading:
        """Look a folder over.

        Raises:
            ConfigError: An option names a file that is not there.
            DataError: A file is missing or broken.
        """
        root = folder(source)
        path = self._inter(root)
        names = header(path, self.separator)
        need(path, names, [self.user], "user")
        need(path, names, [self.item], "item")
        arrays = {name: array(file) for name, file in self._arrays(root).items()}
        rows = _rows(arrays, root)
        missed = inside(root, MISSED) if self.filled_is_absent and "image" in arrays else None
        absent = _missed(missed) if missed and missed.is_file() else np.empty(0, dtype=np.int64)
        if len(absent) and not (0 <= absent.min() and absent.max() < rows):
            raise DataError(
                f"{root / MISSED}: names item {absent.max()}. Allowed: 0 to {rows - 1}, rows of the features."
            )
        notes = [f"{path.name}: no column {self.label}, so there is no split"] * (self.label not in names)
        if len(absent):
            notes.append(f"{MISSED}: {len(absent)} image rows hold the mean of the others; written as absent")
        used = [path, *self._arrays(root).values(), *([root / MISSED] if len(absent) else [])]
        return Reading(
            events=self._events(path, names, rows),
            items=_catalogue(rows),
            vectors={
                name: _opened(values, absent if name == "image" else absent[:0])
                for name, values in arrays.items()
            },
            files=tuple(used),
            notes=tuple(notes),
        )

    def _inter(self, root: Path) -> Path:
        if self.inter:
            path = inside(root, self.inter)
            if not path.exists():
                raise ConfigError(f"inter = {self.inter!r}: there is no such file in {root}")
            return path
        found = sorted(root.glob("*.inter"))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise DataError(
                f"{root}: one .inter file is needed; found {names}. Name it: --set inter=NAME.inter"
            )
        return inside(root, found[0].name)

    def _arrays(self, root: Path) -> dict[str, Path]:
        found = {path.name.removesuffix(_ENDING): path.name for path in sorted(root.glob(f"*{_ENDING}"))}
        return {name: inside(root, file) for name, file in (found | self.features).items()}

    def _events(self, path: Path, names: list[str], rows: int) -> Iterator[pa.Table]:
        optional = [name for name in (self.time, self.value, self.label) if name in names]
        for block in blocks(path, self.separator, [self.user, self.item, *optional]):
            yield self._table(block, rows)

    def _table(self, block: Block, rows: int) -> pa.Table:
        import pyarrow as pa

        columns = {"user_id": integers(block, self.user), "item_id": integers(block, self.item)}
        items = np.asarray(columns["item_id"])
        wrong = np.flatnonzero((items < 0) | (items >= rows)) if rows else np.empty(0, dtype=np.int64)
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                f"{block.where(row, self.item)}: item {items[row]}. Allowed: 0 to {rows - 1}, the rows of the features."
            )
        if self.time in block.columns:
            columns["timestamp"] = times(block, self.time)
        if self.label in block.columns:
            columns["split"] = _windows(block, self.label)
        if self.value in block.columns:
            columns["value"] = decimals(block, self.value, empty=True)
        return pa.table(columns)


def _windows(block: Block, column: str) -> pa.Array:
    import pyarrow as pa

    windows = dict(zip(("0", "1", "2"), WINDOWS, strict=True))
    found = [windows.get(cell) for cell in block.columns[column]]
    if None in found:
        row = found.index(None)
        cell = block.columns[column][row]
        raise DataError(
            f"{block.where(row, column)}: {cell[:60]!r}. Allowed: 0 (train), 1 (valid), 2 (test)."
        )
    return pa.array(found)


def _rows(arrays: dict[str, NDArray[Any]], root: Path) -> int:
    """Return the rows of all arrays, 0 without one.

    Raises:
        DataError: They differ.
    """
    counts = {name: len(values) for name, values in arrays.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(
            f"{root}: features of different numbers of rows ({said}). Allowed: row i is item i in each."
        )
    return next(iter(counts.values()), 0)


def _missed(path: Path) -> NDArray[np.int64]:
    if path.stat().st_size == 0:  # nothing was missed
        return np.empty(0, dtype=np.int64)
    found = [number(text.strip(), f"{path}, line {line}") for line, text in text_lines(path) if text.strip()]
    return np.array(sorted(set(found)), dtype=np.int64)


def _catalogue(rows: int) -> Iterator[pa.Table]:
    """Yield every row of the features as an item: MMRec's ids are their places."""
    import pyarrow as pa

    step = 1 << 16
    for start in range(0, rows, step):
        yield pa.table({"item_id": np.arange(start, min(start + step, rows))})


def _opened(values: NDArray[Any], absent: NDArray[np.int64]) -> Callable[[], Iterator[VectorBlock]]:
    return partial(_vectors, values, absent)


def _vectors(values: NDArray[Any], absent: NDArray[np.int64]) -> Iterator[VectorBlock]:
    for block in vector_blocks(np.arange(len(values)), values):
        kept = ~np.isin(block.ids, absent)
        yield VectorBlock(block.ids[kept], block.values[kept]) if len(absent) else block
