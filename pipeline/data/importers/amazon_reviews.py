"""Lines of Amazon reviews as tables: blocks through Arrow's JSON and CSV readers, broken ones line by line.

Arrow reads a block of lines some four times faster than Python's JSON does, but it names no line of a fault and
knows nothing of lines to be left out. A block that is not plainly right is read again in smaller pieces, and those
that still are not, line by line: what comes out does not depend on the way that was taken (but for lines nested more
deeply than Python reads, which Arrow does).
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagelens.pipeline.data.importers.files import decimal, line_blocks, number
from stagelens.pipeline.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

ID_LIMIT = 256
"""Characters of the longest id; Amazon's have 10 to 36."""
PIECE = 64
"""Lines of the pieces that a block with a fault is read in."""
OURS = ("user_id", "item_id", "value", "timestamp")
_CONTROL = "[\\x00-\\x1f\\x7f]"
_UNFIT = re.compile(f"{_CONTROL}|[\ud800-\udfff]")
"""Characters of no id: control codes, and halves of surrogate pairs, which no file can hold."""
_DIGITS = ("^[0-9]{1,18}(\\.[0-9]{0,18})?$", "^-?[0-9]{1,18}$")
"""Ratings and times of a CSV file that Arrow may read: it takes more for numbers than we do."""


class BrokenLine(ValueError):
    """A line that cannot be used: why (the same words for all such lines), and what stands there."""

    def __init__(self, reason: str, found: str = "") -> None:
        super().__init__(reason, found)
        self.reason, self.found = reason, found


@dataclass(frozen=True, slots=True)
class Layout:
    """How a review file is laid out.

    Attributes:
        names: The file's names of user, item, rating and time.
        columns: All columns of a CSV file, in order; empty for lines of JSON.
        header: Whether the first line of a CSV file names its columns.
    """

    names: tuple[str, str, str, str]
    columns: tuple[str, ...] = ()
    header: bool = False

    def parsed(self, line: str) -> tuple[str, str, float, int]:
        """Return user, item, rating and time of one line.

        Raises:
            BrokenLine: The line cannot be used.
        """
        record = self._cells(line) if self.columns else json_record(line)
        user, item, rating, time = (_field(record, name) for name in self.names)
        if self.columns:
            rating, time = _cell(decimal, rating, self.names[2]), _cell(number, time, self.names[3])
        return (
            as_id(user, self.names[0]),
            as_id(item, self.names[1]),
            _rating(rating, self.names[2]),
            _time(time, self.names[3]),
        )

    def _cells(self, line: str) -> dict[str, Any]:
        cells = line.split(",")
        if len(cells) != len(self.columns):
            raise BrokenLine("wrong number of columns", f"{len(cells)} of {len(self.columns)} columns")
        return dict(zip(self.columns, cells, strict=True))

    def block(self, lines: list[str]) -> pa.Table | None:
        """Return a block read by Arrow, or None where that is not plainly right."""
        import pyarrow as pa

        text = "\n".join(lines)
        try:
            if self.columns:
                table = self._csv(text)
            # Where every line ends one object and begins the next, as many rows as lines are one row a line.
            elif text[:1] == "{" and text[-1:] == "}" and text.count("}\n{") == len(lines) - 1:
                table = self._json(text.encode())
            else:
                return None
        except pa.ArrowInvalid:
            return None
        return table if table is not None and table.num_rows == len(lines) and _plainly_right(table) else None

    def _json(self, data: bytes) -> pa.Table:
        import pyarrow as pa
        from pyarrow import json as arrow_json

        return arrow_json.read_json(
            pa.BufferReader(data),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=_schema(self.names), unexpected_field_behavior="ignore"
            ),
        ).rename_columns(list(OURS))

    def _csv(self, text: str) -> pa.Table | None:
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyarrow import csv as arrow_csv

        if "\r" in text or text[:1] == "\ufeff":
            return None
        data = text.encode()
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=list(self.columns)
            ),
            parse_options=arrow_csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(self.columns, pa.string()), include_columns=list(self.names)
            ),
        ).rename_columns(list(OURS))
        for name, digits in zip(OURS[2:], _DIGITS, strict=True):
            if not pc.all(pc.match_substring_regex(table[name], digits)).as_py():
                return None
        return table.cast(_schema(OURS))


def _schema(names: tuple[str, str, str, str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(list(zip(names, (pa.string(), pa.string(), pa.float64(), pa.int64()), strict=True)))


def _plainly_right(table: pa.Table) -> bool:
    """Say whether nothing is missing, ratings are finite and ids are such."""
    import pyarrow.compute as pc

    if any(column.null_count for column in table.columns) or not pc.all(pc.is_finite(table["value"])).as_py():
        return False
    for name in ("user_id", "item_id"):
        lengths = pc.min_max(pc.utf8_length(table[name])).as_py()
        if not 1 <= lengths["min"] <= lengths["max"] <= ID_LIMIT:
            return False
        if pc.any(pc.match_substring_regex(table[name], _CONTROL)).as_py():
            return False
    return True


def review_tables(
    path: Path, layout: Layout, dropped: Counter[str] | None, extra: Mapping[str, str]
) -> Iterator[pa.Table]:
    """Yield the reviews of a file, a block at a time.

    Args:
        path: Of lines, plain or ``.gz``.
        layout: How they are laid out.
        dropped: Counts the lines left out, by reason; None: such a line is an error.
        extra: Constant columns to be added.

    Raises:
        DataError: The file cannot be read, or holds a line that cannot be used.
    """
    import pyarrow as pa

    for first, lines in line_blocks(path):
        if layout.header and first == 1:
            first, lines = 2, lines[1:]
        for table in _block_tables(path, layout, first, lines, dropped):
            for name, value in extra.items():
                table = table.append_column(name, pa.array([value] * table.num_rows, pa.string()))
            yield table


def _block_tables(
    path: Path, layout: Layout, first: int, lines: list[str], dropped: Counter[str] | None
) -> Iterator[pa.Table]:
    table = layout.block(lines) if lines else None
    if table is not None:
        yield table
        return
    import pyarrow as pa

    made = []
    for start in range(0, len(lines), PIECE):
        piece = lines[start : start + PIECE]
        made.append(layout.block(piece) or _line_by_line(path, layout, first + start, piece, dropped))
    table = pa.concat_tables(made) if made else None
    if table is not None and table.num_rows:
        yield table


def _line_by_line(
    path: Path, layout: Layout, first: int, lines: list[str], dropped: Counter[str] | None
) -> pa.Table:
    import pyarrow as pa

    rows = []
    for place, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            rows.append(layout.parsed(line))
        except BrokenLine as fault:
            if dropped is None:
                raise refused(path, place, fault) from fault
            dropped[fault.reason] += 1
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.Table.from_arrays(
        [pa.array(values, kind) for values, kind in zip(columns, _schema(OURS).types, strict=True)],
        names=list(OURS),
    )


def refused(path: Path, line: int, fault: BrokenLine) -> DataError:
    """Return the error of a line that cannot be used."""
    found = f" ({fault.found})" if fault.found else ""
    return DataError(
        f"{path}, line {line}: {fault.reason}{found}. Mend the line, or leave such lines out and have them "
        "counted: --set broken=drop."
    )


def json_record(line: str) -> dict[str, Any]:
    """Return the object of a line: JSON, or the literals of Python that the files of 2014 hold.

    Raises:
        BrokenLine: It is neither, or no object.
    """
    try:
        record = json.loads(line, strict=False)  # tabs stand in the text of some
    except RecursionError as error:
        raise BrokenLine("not JSON", "nested too deeply") from error
    except ValueError as fault:
        record = _literal(line, fault)
    if not isinstance(record, dict):
        raise BrokenLine("not an object", shown(record))
    return record


def _literal(line: str, fault: ValueError) -> Any:
    """Return literals of Python; ``ast.literal_eval`` builds values and nothing else."""
    if line.lstrip()[:1] == "{":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of backslashes that mean nothing
                return ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            pass
    raise BrokenLine("not JSON", f"{fault}"[:120]) from fault


def _field(record: Mapping[str, Any], name: str) -> Any:
    value = record.get(name)
    if value is None:
        raise BrokenLine(f"no {name}")
    return value


def as_id(value: Any, name: str) -> str:
    """Return an id that is text of a sane length.

    Raises:
        BrokenLine: It is not.
    """
    if isinstance(value, str) and 0 < len(value) <= ID_LIMIT and not _UNFIT.search(value):
        return value
    raise BrokenLine(f"{name} is not text of 1 to {ID_LIMIT} characters", shown(value))


def _rating(value: Any, name: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            rating = float(value)
        except OverflowError:
            rating = math.inf
        if math.isfinite(rating):
            return rating
    raise BrokenLine(f"{name} is not a finite number", shown(value))


def _time(value: Any, name: str) -> int:
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(whole, int) and not isinstance(whole, bool) and -(2**63) <= whole < 2**63:
        return whole
    raise BrokenLine(f"{name} is not an integer of 64 bits", shown(value))


def _cell(read: Callable[[str, str], float], text: str, name: str) -> Any:
    """Return the number of a cell, or its text where it is none (which is then refused with its name)."""
    try:
        return read(text, name)
    except DataError:
        return text


def shown(value: Any) -> str:
    """Return a value in quotes, cut to a sane length."""
    if isinstance(value, dict | list | tuple | set):
        return f"a {type(value).__name__}"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
