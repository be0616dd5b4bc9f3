"""Parquet and CSV tables as Arrow columns, and typed columns from them: ids, numbers, names.

CSV is read as text and typed here, column by column, so that one bad cell is named by its line instead of
turning a whole column into something else.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Float64, Int64
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.errors import nearest

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 3
"""Examples given with a finding."""
EXACT = float(2**53)
"""Above this a float64 no longer tells every integer from the next."""
DECIMAL_ID = r"^-?[0-9]+\.0+$"
"""Ids that a program has made of whole numbers."""
UNFOLDED = 1 << 28
"""Bytes that the columns of a table may always take."""
UNFOLDS = 200
"""And how many times the bytes of their file beyond that; real tables stay far below."""
LONGEST_HEADER = 1 << 20
"""Characters of the line that names the columns."""
STEP = 4096
"""Rows of a Parquet file unfolded together: few, because one cell may be large."""
NULLS = ("", "nan", "NaN", "NA", "N/A", "null", "NULL", "None")
"""Texts of a CSV cell that mean: nothing here."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table's columns, as they stand in the file.

    Attributes:
        path: The file.
        columns: Arrow arrays by name.
        names: Every column of the file, read or not.
        rows: Rows.
        is_text: True for CSV, where every cell is text.
    """

    path: Path
    columns: dict[str, Any]
    names: tuple[str, ...]
    rows: int
    is_text: bool

    def place(self, row: int) -> str:
        """Return how a person finds a row: the line of a CSV file, else the row counted from 0."""
        return f"line {row + 2}" if self.is_text else f"row {row}"

    def where(self, column: str) -> str:
        """Return file and column."""
        return f"{self.path}, column {column}"

    def examples(self, column: str, rows: NDArray[Any]) -> tuple[str, ...]:
        """Return the first few of these rows with their values."""
        values = self.columns[column]
        return tuple(f"{self.place(int(row))}: {values[int(row)].as_py()!r}" for row in rows[:SHOWN])


def read_table(path: Path, wanted: Sequence[str] | None, findings: Findings) -> Table | None:
    """Return the wanted columns that the file has (None: all), or None where it cannot be read.

    Raises:
        DataError: Not readable, empty, or a column stands twice, when findings are strict.
    """
    import pyarrow as pa

    try:
        return _parquet(path, wanted, findings) if path.suffix == ".parquet" else _csv(path, wanted, findings)
    except PermissionError as error:
        findings.add("no-access", str(path), f"may not be read ({error.strerror})")
        return None
    except (pa.ArrowException, UnicodeDecodeError, csv.Error, EOFError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk; Arrow gives none for a broken file
        first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if path.stat().st_size == 0:
            first = "the file is empty (0 bytes)"
        kind = "Parquet" if path.suffix == ".parquet" else "CSV in UTF-8"
        remedy = f"The file is truncated, or it is not {kind}: write it again."
        findings.add("unreadable-table", str(path), f"not readable as {kind}: {first}", remedy=remedy)
        return None


def _parquet(path: Path, wanted: Sequence[str] | None, findings: Findings) -> Table | None:
    import pyarrow as pa
    from pyarrow import parquet

    allowed = max(UNFOLDED, UNFOLDS * path.stat().st_size)
    with parquet.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        if _named_twice(path, schema.names, findings):
            return None
        chosen = [name for name in schema.names if wanted is None or name in wanted]
        batches: list[Any] = []
        size = 8 * rows * len(chosen)
        if size <= allowed:
            size = 0
            for batch in file.iter_batches(STEP, columns=chosen):
                batches.append(batch)
                size += batch.nbytes
                if size > allowed:
                    break
    if size > allowed:
        found = f"{path.stat().st_size:,} bytes unfold to more than {allowed / 2**30:,.2g} GiB"
        findings.add("oversized-table", str(path), found)
        return None
    kept = pa.schema([schema.field(schema.names.index(name)) for name in chosen])
    table = pa.Table.from_batches([batch.cast(kept) for batch in batches], kept)
    return Table(
        path, {name: _whole(table.column(name)) for name in chosen}, tuple(schema.names), rows, False
    )


def _named_twice(path: Path, names: Sequence[str], findings: Findings) -> bool:
    twice = tuple(sorted({name for name in names if names.count(name) > 1}))
    if twice:
        found = f"column {twice[0]!r} stands twice"
        findings.add("column-twice", str(path), found, count=len(twice), examples=twice[1:][:SHOWN])
    return bool(twice)


def _csv(path: Path, wanted: Sequence[str] | None, findings: Findings) -> Table | None:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv as arrow_csv

    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = stream.readline(LONGEST_HEADER)
    if len(header) == LONGEST_HEADER:
        raise EOFError(f"the first line is longer than {LONGEST_HEADER:,} characters")
    if not header.strip():
        raise EOFError("the first line is empty")
    delimiter = max(",\t;", key=header.count)
    names = tuple(name.strip() for name in next(csv.reader([header], delimiter=delimiter)))
    if _named_twice(path, names, findings):
        return None
    ragged: list[Any] = []

    def keep_ragged(row: Any) -> str:
        ragged.append(row)
        return "skip"

    table = arrow_csv.read_csv(
        path,
        read_options=arrow_csv.ReadOptions(column_names=list(names), skip_rows=1),
        parse_options=arrow_csv.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=path.stem in ("items", "users"),
            invalid_row_handler=keep_ragged,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            include_columns=[name for name in dict.fromkeys(names) if wanted is None or name in wanted],
        ),
    )
    if ragged:
        found = f"{len(ragged)} lines do not have the {len(names)} columns of the header"
        shown = tuple(f"{row.actual_columns} columns: {row.text[:60]!r}" for row in ragged[:SHOWN])
        findings.add("ragged-csv", str(path), found, count=len(ragged), examples=shown)
    columns = {
        name: pc.utf8_trim_whitespace(_whole(table.column(at))) for at, name in enumerate(table.column_names)
    }
    return Table(path, columns, names, table.num_rows, True)


def _whole(column: Any) -> Any:
    """Return one plain array: chunks joined, dictionaries decoded, 64-bit offsets for text."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or "view" in str(kind):
        column = column.cast(pa.large_string())
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def is_text(column: pa.Array) -> bool:
    """Say whether an Arrow column holds text."""
    import pyarrow as pa

    return bool(pa.types.is_large_string(column.type) or pa.types.is_string(column.type))


def missing_column(table: Table, column: str, ours: str, findings: Findings) -> None:
    """Report a column that is needed and absent."""
    found = f"no column {column!r}"
    remedy = f'{nearest("column", column, table.names)} Rename it, or map it: [columns] {ours} = "...".'
    findings.add("missing-column", str(table.path), found, remedy=remedy)


def read_ids(table: Table, column: str, findings: Findings) -> tuple[Int64, NDArray[Any]]:
    """Return the ids of a column: codes int64 [N] (-1 where broken) into the distinct ids, which are sorted.

    Ids are integers or text. Text that is all canonical integers is read as integers in CSV; in Parquet the
    type decides.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values, where = table.columns[column], table.where(column)
    kind = values.type
    if pa.types.is_floating(kind):
        values = _whole_numbers(table, column, findings)
    elif not (pa.types.is_integer(kind) or is_text(values) or pa.types.is_null(kind)):
        shown = table.examples(column, np.arange(table.rows))
        findings.add("id-type", where, f"ids of type {kind}", count=table.rows, examples=shown)
        return np.full(table.rows, -1), np.empty(0, dtype=np.int64)
    elif is_text(values):
        values = pc.if_else(pc.equal(values, ""), pa.scalar(None, values.type), values)
    encoded = pc.dictionary_encode(values)
    codes = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)
    distinct = _distinct(encoded.dictionary, table, column, findings)
    order = np.argsort(distinct, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    codes = np.where(codes >= 0, place[codes] if len(place) else -1, -1)
    distinct = distinct[order]
    empty = np.flatnonzero(codes < 0)
    if len(empty):
        rows = tuple(table.place(int(row)) for row in empty[:SHOWN])
        found = f"{len(empty)} of {table.rows} rows have no id"
        findings.add("missing-id", where, found, count=len(empty), examples=rows)
    return codes, distinct


def _whole_numbers(table: Table, column: str, findings: Findings) -> Any:
    import pyarrow as pa

    values = np.asarray(table.columns[column].fill_null(np.nan), dtype=np.float64)
    broken = np.isfinite(values) & (values != np.floor(values))
    lossy = ~broken & (np.isfinite(values) & (np.abs(values) > EXACT) | np.isinf(values))
    if lossy.any():
        rows = np.flatnonzero(lossy)
        found = f"{len(rows)} ids are decimals beyond 2^53, where digits are lost"
        remedy = "Write them as integers or as text, from the source."
        shown = table.examples(column, rows)
        findings.add("id-type", table.where(column), found, count=len(rows), examples=shown, remedy=remedy)
    if broken.any():
        rows = np.flatnonzero(broken)
        findings.add(
            "id-type",
            table.where(column),
            f"{len(rows)} ids are fractions",
            count=len(rows),
            examples=table.examples(column, rows),
        )
    usable = np.isfinite(values) & ~broken & ~lossy
    return pa.array(np.where(usable, values, 0).astype(np.int64), mask=~usable)


def _distinct(dictionary: Any, table: Table, column: str, findings: Findings) -> NDArray[Any]:
    """Return distinct ids as int64 or text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not is_text(dictionary):
        try:
            return np.asarray(dictionary.cast(pa.int64()))
        except pa.ArrowInvalid:
            texts = dictionary.cast(pa.string()).to_pylist()
            wide = [text for text in texts if text is not None and int(text) >= 2**63]
            found, remedy = f"{len(wide)} ids do not fit 64-bit integers", "Write them as text."
            where, shown = table.where(column), tuple(wide[:SHOWN])
            findings.add("id-type", where, found, count=len(wide), examples=shown, remedy=remedy)
            return np.asarray(dictionary.cast(pa.string()).to_pylist(), dtype=str)
    if table.is_text and len(dictionary):
        digits = np.asarray(pc.match_substring_regex(dictionary, r"^(0|-?[1-9][0-9]{0,18})$"))
        if digits.all():
            try:
                return np.asarray(dictionary.cast(pa.int64()))
            except pa.ArrowInvalid:  # 19 digits may not fit: text, like longer ones
                return np.asarray(dictionary.to_pylist(), dtype=str)
        named = np.flatnonzero(~digits)
        if digits.mean() >= 0.5:
            shown = tuple(repr(dictionary[int(place)].as_py()) for place in named[:SHOWN])
            found = f"{len(named)} of {len(digits)} distinct ids are not integers"
            findings.add(
                "mixed-ids",
                table.where(column),
                found,
                count=len(named),
                examples=shown,
            )
        _odd_ids(dictionary, table, column, findings)
    return np.asarray(dictionary.to_pylist() or [""], dtype=str)[: len(dictionary)]


def _odd_ids(dictionary: Any, table: Table, column: str, findings: Findings) -> None:
    """Report text ids that a program has made of numbers."""
    import pyarrow.compute as pc

    shapes = {
        "float-ids": (DECIMAL_ID, "are written as decimals"),
        "spreadsheet-ids": (r"^[0-9](\.[0-9]+)?[eE]\+[0-9]+$", "are written with an exponent"),
    }
    for code, (shape, what) in shapes.items():
        places = np.flatnonzero(np.asarray(pc.match_substring_regex(dictionary, shape)))
        if len(places):
            found = f"{len(places)} of {len(dictionary)} distinct ids {what}"
            shown = tuple(repr(dictionary[int(place)].as_py()) for place in places[:SHOWN])
            findings.add(code, table.where(column), found, count=len(places), examples=shown)


def read_numbers(table: Table, column: str, findings: Findings) -> tuple[Float64, Bool]:
    """Return a numeric column float64 [N] (NaN where empty) and the rows that are not numbers, reported."""
    import pyarrow as pa

    values = table.columns[column]
    kind = values.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        values = values.cast(pa.float64(), safe=False)
    elif is_text(values):
        return _numbers_of_text(table, column, findings)
    elif not pa.types.is_floating(kind) and not pa.types.is_null(kind):
        found, shown = f"values of type {kind}", table.examples(column, np.arange(table.rows))
        findings.add("not-numbers", table.where(column), found, count=table.rows, examples=shown)
        return np.full(table.rows, np.nan), np.ones(table.rows, dtype=bool)
    numbers = np.asarray(values.cast(pa.float64()).fill_null(np.nan), dtype=np.float64)
    return numbers, np.zeros(table.rows, dtype=bool)


def parse_numbers(texts: Any) -> tuple[Float64, Bool]:
    """Return Arrow text as float64 (NaN where empty), and a mask of the texts that are neither."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    empty = np.asarray(pc.is_in(texts, value_set=pa.array(NULLS, type=texts.type)).fill_null(True))
    empty |= np.asarray(texts.is_null())
    parsed = pd.to_numeric(pd.Series(texts.to_pandas()), errors="coerce").to_numpy(
        np.float64, na_value=np.nan
    )
    numbers = np.where(empty, np.nan, parsed)
    return numbers, np.isnan(numbers) & ~empty


def _numbers_of_text(table: Table, column: str, findings: Findings) -> tuple[Float64, Bool]:
    numbers, broken = parse_numbers(table.columns[column])
    rows = np.flatnonzero(broken)
    if len(rows):
        findings.add(
            "not-numbers",
            table.where(column),
            f"{len(rows)} of {table.rows} values are not numbers",
            count=len(rows),
            examples=table.examples(column, rows),
        )
    return numbers, broken
