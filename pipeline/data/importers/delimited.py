"""Text tables with a header line: the wanted columns, block by block, every fault with its line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stagelens.pipeline.data.importers.files import decimal, line_blocks, number
from stagelens.pipeline.errors import DataError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

_DIGITS = re.compile(r"([+-]?[0-9]{1,19})(?:\.0*)?", re.ASCII)
_DECIMAL = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


class Block(NamedTuple):
    """Some rows of a text table.

    Attributes:
        path: The file.
        lines: Number of the line of every row.
        columns: Cells by column.
    """

    path: Path
    lines: Sequence[int]
    columns: dict[str, list[str]]

    def where(self, row: int, column: str) -> str:
        """Return file, line and column of a cell."""
        return f"{self.path}, line {self.lines[row]}, column {column}"


def header(path: Path, separator: str) -> list[str]:
    """Return the names in the first line.

    Raises:
        DataError: A name stands twice, or there is none.
    """
    _, lines = next(line_blocks(path))
    names = [name.strip() for name in lines[0].split(separator)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not any(names):
        found = f"column {twice[0]!r} stands twice" if twice else "no column has a name"
        raise DataError(f"{path}, line 1: {found}. Allowed: a line of names, each once.")
    return names


def need(path: Path, names: Sequence[str], wanted: Sequence[str], option: str = "") -> None:
    """Refuse a table that lacks a column.

    Raises:
        DataError: With the nearest name.
    """
    for name in wanted:
        if name not in names:
            hint = f" Set {option} where it has another name." if option else ""
            raise DataError(f"{path}, line 1: no column {name!r}. {nearest('column', name, names)}{hint}")


def blocks(path: Path, separator: str, wanted: Sequence[str]) -> Iterator[Block]:
    """Yield the wanted columns of all rows but the header; empty lines are passed over.

    Raises:
        DataError: A line has more or fewer cells than the header.
    """
    names = header(path, separator)
    places = [names.index(name) for name in wanted]
    for first, lines in line_blocks(path):
        numbers, rows = [], []
        for line, text in enumerate(lines, first):
            if not text or line == 1:
                continue
            cells = text.split(separator)
            if len(cells) != len(names):
                raise DataError(
                    f"{path}, line {line}: {len(cells)} cells against {len(names)} columns of the header. "
                    f"Allowed: as many, parted by {separator!r}."
                )
            numbers.append(line)
            rows.append(cells)
        if rows:
            yield Block(path, numbers, {names[at]: [row[at] for row in rows] for at in places})


def texts(block: Block, column: str) -> pa.Array:
    """Return a column of ids as text.

    Raises:
        DataError: A cell is empty.
    """
    import pyarrow as pa

    cells = block.columns[column]
    if "" in cells:
        raise DataError(f"{block.where(cells.index(''), column)}: is empty. Allowed: an id.")
    return pa.array(cells, pa.large_string())


def integers(block: Block, column: str) -> pa.Array:
    """Return a column as int64.

    Raises:
        DataError: A cell is no integer of 64 bits.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = block.columns[column]
    column_texts = pa.array(cells, pa.large_string())
    if pc.all(pc.match_substring_regex(column_texts, "^-?[0-9]{1,18}$")).as_py():
        return column_texts.cast(pa.int64())
    return pa.array(
        [number(cell, partial(block.where, row, column)) for row, cell in enumerate(cells)], pa.int64()
    )


def decimals(block: Block, column: str, *, empty: bool = False) -> pa.Array:
    """Return a column as float64.

    Args:
        block: Some rows.
        column: Its name.
        empty: Allow empty cells, which become missing.

    Raises:
        DataError: A cell is no finite number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = block.columns[column]
    column_texts = pa.array([cell or None for cell in cells] if empty else cells, pa.large_string())
    if pc.all(pc.match_substring_regex(column_texts, _DECIMAL)).as_py():
        numbers = column_texts.cast(pa.float64())
        if pc.all(pc.is_finite(numbers)).as_py():
            return numbers
    values = [
        None if empty and not cell else decimal(cell, partial(block.where, row, column))
        for row, cell in enumerate(cells)
    ]
    return pa.array(values, pa.float64())


def times(block: Block, column: str) -> pa.Array:
    """Return a column as int64 where all cells are whole numbers, else as float64.

    Nanoseconds since 1970 have more digits than float64.

    Raises:
        DataError: A cell is no finite number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column_texts = pa.array(block.columns[column], pa.large_string())
    if pc.all(pc.match_substring_regex(column_texts, "^-?[0-9]{1,19}$")).as_py():
        with contextlib.suppress(pa.ArrowInvalid):  # beyond 64 bits
            return column_texts.cast(pa.int64())
    numbers = decimals(block, column)
    wholes: list[int] = []
    for cell in block.columns[column]:
        whole = _whole(cell)
        if whole is None:
            return numbers
        wholes.append(whole)
    return pa.array(wholes, pa.int64())


def _whole(cell: str) -> int | None:
    """Return the integer that a number is: of 64 bits if written in digits, else one that float64 holds exactly."""
    digits = _DIGITS.fullmatch(cell)
    if digits is not None and -(2**63) <= int(digits[1]) < 2**63:
        return int(digits[1])
    value = float(cell)
    return int(value) if value.is_integer() and abs(value) < 2**53 else None


def numeric(block: Block, column: str) -> bool:
    """Say whether all cells of a column that are not empty are written as numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pa.array([cell for cell in block.columns[column] if cell], pa.large_string())
    return bool(pc.all(pc.match_substring_regex(cells, _DECIMAL), min_count=0).as_py())


def sequences(block: Block, column: str, separator: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a column of number lists as float32 [R, D] and bool [R]: the cell holds any.

    Raises:
        DataError: A number is none, or lists differ in length.
    """
    cells = [[part for part in cell.split(separator) if part] for cell in block.columns[column]]
    width = max(map(len, cells))
    filled = np.array([bool(cell) for cell in cells])
    values = np.zeros((len(cells), width), dtype=np.float32)
    for row, cell in enumerate(cells):
        if len(cell) not in (0, width):
            where = block.where(row, column)
            raise DataError(
                f"{where}: {len(cell)} numbers against {width} elsewhere. Allowed: vectors of one width; "
                "leave out a column that holds none."
            )
        if cell:
            with np.errstate(over="ignore"):  # infinite as float32, which the check of the data reports
                values[row] = [decimal(part, partial(block.where, row, column)) for part in cell]
    return values, filled
