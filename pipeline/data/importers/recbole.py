"""RecBole's atomic files: text tables whose headers say the type of every column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from stagelens.pipeline.data.events import WINDOWS
from stagelens.pipeline.data.importers.delimited import (
    blocks,
    decimals,
    header,
    need,
    numeric,
    sequences,
    texts,
    times,
)
from stagelens.pipeline.data.importers.files import folder, inside, regular
from stagelens.pipeline.data.importers.reading import Reading, VectorBlock
from stagelens.pipeline.errors import ConfigError, DataError
from stagelens.pipeline.recipe import Recipe, Role, recipe

if TYPE_CHECKING:
    import pyarrow as pa

TYPES = ("token", "token_seq", "float", "float_seq")
Side = Literal["user", "item"]


@recipe
class RecBole(Recipe):
    """A folder of RecBole: ``NAME.inter``, or its benchmark parts, and ``NAME.item``, ``NAME.user``.

    References:
        W. X. Zhao et al., "RecBole: Towards a Unified, Comprehensive and Efficient Framework for
        Recommendation Algorithms", CIKM 2021, arXiv:2011.01731.
    """

    role: ClassVar[Role] = "importer"

    dataset: str = ""
    """NAME of the files; empty: the only one in the folder."""
    parts: tuple[str, ...] = WINDOWS
    """Names of train, valid and test in ``NAME.PART.inter`` (``benchmark_filename``)."""
    split: Literal["auto", "given", "none"] = "auto"
    """``given`` reads the parts, ``none`` reads ``NAME.inter``, ``auto`` what is there."""
    user: str = "user_id"
    """Column of the user (``USER_ID_FIELD``)."""
    item: str = "item_id"
    """Column of the item (``ITEM_ID_FIELD``)."""
    time: str = "timestamp"
    """Column of the time (``TIME_FIELD``); not needed."""
    value: str = "rating"
    """Column of the rating (``RATING_FIELD``); not needed."""
    separator: str = Field("\t", min_length=1)
    """Between the columns (``field_separator``)."""
    inner: str = Field(" ", min_length=1)
    """Between the parts of a sequence (``seq_separator``)."""
    vectors: tuple[str, ...] = ()
    """Endings of further files whose first column is the item, for instance ``itememb``."""
    skip: tuple[str, ...] = ()
    """Columns to leave out, for instance number lists that are no vectors."""

    def read(self, source: Path) -> Reading:
        """Look a folder over.

        Raises:
            ConfigError: An option names something that is not there.
            DataError: A file is missing or broken.
        """
        root = folder(source)
        name = self.dataset or _only(root)
        events, lists = self._inter(root, name)
        sides = {side: inside(root, f"{name}.{side}") for side in ("item", "user")}
        sides = {side: path for side, path in sides.items() if path.exists()}
        measures, unread = self._measures([path for path, _ in events])
        found, dense, notes = dict(sides), {}, [*lists, *unread]
        for side, path in sides.items():
            types = self._types(path)
            need(path, list(types), [getattr(self, side)], side)
            for column in [column for column, kind in types.items() if kind == "float_seq"]:
                if side == "item":
                    dense[column] = partial(self._vectors, path, self.item, column)
                else:
                    notes.append(f"{path.name}: {column} is left out: vectors of users have no use here")
        for ending in self.vectors:
            path = inside(root, f"{name}.{ending}")
            if not path.exists():
                raise ConfigError(f"vectors = {ending!r}: there is no {path.name} in {root}")
            types = self._types(path)
            key = next(iter(types))
            found[ending] = path
            for column in [column for column, kind in types.items() if kind == "float_seq"]:
                dense[column] = partial(self._vectors, path, key, column)
        return Reading(
            events=self._events(events, measures),
            items=self._side(sides["item"], "item") if "item" in sides else (),
            users=self._side(sides["user"], "user") if "user" in sides else (),
            vectors=dense,
            files=(*(path for path, _ in events), *found.values()),
            notes=tuple(notes),
        )

    def _inter(self, root: Path, name: str) -> tuple[list[tuple[Path, str]], list[str]]:
        """Return the files of events with their windows, and what is worth saying."""
        if len(self.parts) not in (2, 3):
            raise ConfigError(f"parts = {list(self.parts)}: name train, valid and test, or train and test")
        windows = WINDOWS if len(self.parts) == 3 else (WINDOWS[0], WINDOWS[2])
        parts = [
            (inside(root, f"{name}.{part}.inter"), window)
            for part, window in zip(self.parts, windows, strict=True)
        ]
        whole = inside(root, f"{name}.inter")
        some = any(path.exists() for path, _ in parts)
        if self.split == "auto" and some and whole.exists():
            raise ConfigError(
                f"{root}: holds {whole.name} and parts of it. Say which: --set split=given, or none"
            )
        given = self.split == "given" or (self.split == "auto" and some)
        chosen = parts if given else [(whole, "")]
        notes = []
        for path, _ in chosen:
            types = self._types(regular(path))
            need(path, list(types), [self.user], "user")
            need(path, list(types), [self.item], "item")
            if f"{self.item}_list" in types:
                notes.append(f"{path.name}: events that stand in {self.item}_list alone are not read")
        return chosen, notes

    def _types(self, path: Path) -> dict[str, str]:
        """Return the type of every column.

        Raises:
            DataError: A column has none, or an unknown one.
        """
        types = {}
        for title in header(path, self.separator):
            name, _, kind = title.rpartition(":")
            if not name or kind not in TYPES:
                raise DataError(
                    f"{path}, line 1: column {title[:60]!r}. Allowed: NAME:TYPE, types {', '.join(TYPES)}."
                )
            if name not in self.skip:
                types[name] = kind
        return types

    def _measures(self, paths: list[Path]) -> tuple[list[str], list[str]]:
        """Return which of time and value are read, and what is worth saying of those that are not."""
        read, notes = [], []
        types = {path: self._types(path) for path in paths}
        for name in (self.time, self.value):
            odd = next((path for path in paths if not self._holds_numbers(path, name, types[path])), None)
            if odd is None:
                read.append(name)
            elif any(name in some for some in types.values()):
                said = f"{name}:{types[odd][name]} holds no numbers" if name in types[odd] else "has it not"
                notes.append(f"column {name} is not read: {odd.name}: {said}")
        return read, notes

    def _holds_numbers(self, path: Path, name: str, types: Mapping[str, str]) -> bool:
        """Say whether a file has a column of numbers: by its type, or a token by its first rows."""
        if types.get(name) != "token":
            return types.get(name) == "float"
        first = next(blocks(path, self.separator, [f"{name}:token"]), None)
        return first is None or numeric(first, f"{name}:token")

    def _events(self, files: list[tuple[Path, str]], optional: list[str]) -> Iterator[pa.Table]:
        import pyarrow as pa

        for path, window in files:
            types = self._types(path)
            titles = {name: f"{name}:{types[name]}" for name in (self.user, self.item, *optional)}
            for block in blocks(path, self.separator, list(titles.values())):
                columns = {
                    f"{side}_id": texts(block, titles[getattr(self, side)]) for side in ("user", "item")
                }
                if self.time in optional:
                    columns["timestamp"] = times(block, titles[self.time])
                if window:
                    columns["split"] = pa.array([window] * len(block.lines))
                if self.value in optional:
                    columns["value"] = decimals(block, titles[self.value], empty=True)
                yield pa.table(columns)

    def _side(self, path: Path, side: Side) -> Iterable[pa.Table]:
        import pyarrow as pa

        own = getattr(self, side)
        types = {name: kind for name, kind in self._types(path).items() if name == own or kind != "float_seq"}
        for block in blocks(path, self.separator, [f"{name}:{kind}" for name, kind in types.items()]):
            columns = {f"{side}_id": texts(block, f"{own}:{types[own]}")}
            for name, kind in types.items():
                title = f"{name}:{kind}"
                if name == own:
                    continue
                if kind == "float":
                    columns[name] = decimals(block, title, empty=True)
                else:
                    columns[name] = pa.array(
                        [cell or None for cell in block.columns[title]], pa.large_string()
                    )
            yield pa.table(columns)

    def _vectors(self, path: Path, key: str, column: str) -> Iterator[VectorBlock]:
        types = self._types(path)
        titles = [f"{name}:{types[name]}" for name in (key, column)]
        for block in blocks(path, self.separator, titles):
            values, filled = sequences(block, titles[1], self.inner)
            ids = np.array(texts(block, titles[0]).to_pylist(), dtype=object)
            if filled.any():
                yield VectorBlock(ids[filled], values[filled])


def _only(root: Path) -> str:
    """Return the one NAME of the folder's files.

    Raises:
        DataError: There is none, or several.
    """
    names = sorted({path.name.partition(".")[0] for path in root.glob("*.inter")})
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise DataError(f"{root}: one data set of .inter files is needed; found {found}. Set dataset=NAME.")
    return names[0]
