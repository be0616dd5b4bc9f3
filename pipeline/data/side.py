"""Columns of the items and users tables as ranker features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.tables import NULLS, Table, is_text, parse_numbers


def encode_text(values: NDArray[Any], present: NDArray[np.bool_]) -> Float32:
    """Return codes of text by falling frequency, then name: float32 [N] from 0, NaN where absent."""
    codes = np.full(len(values), np.nan, dtype=np.float32)
    names, inverse, count = np.unique(values[present], return_inverse=True, return_counts=True)
    order = np.lexsort((names, -count))
    place = np.empty(len(names), dtype=np.float32)
    place[order] = np.arange(len(names))
    codes[present] = place[inverse]
    return codes


def read_feature(table: Table, column: str, findings: Findings) -> Float32:
    """Return a column as float32 [N]: numbers as they are, booleans 0 and 1, dates as days, text as codes.

    Raises:
        DataError: The column holds lists or another type without an order, when findings are strict.
    """
    import pyarrow as pa

    values = table.columns[column]
    kind = values.type
    if is_text(values):
        return _of_text(table, column, findings)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values = values.cast(pa.timestamp("s", tz=getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        days = np.asarray(values.cast(pa.float64()).fill_null(np.nan)) / 86400
        return days.astype(np.float32)
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (numeric or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        found, shown = (
            f"values of type {kind} cannot be a feature",
            table.examples(column, np.arange(table.rows)),
        )
        findings.add("feature-type", table.where(column), found, count=table.rows, examples=shown)
        return np.full(table.rows, np.nan, dtype=np.float32)
    numbers = np.asarray(values.cast(pa.float64(), safe=False).fill_null(np.nan), dtype=np.float64)
    with np.errstate(over="ignore"):
        feature = numbers.astype(np.float32)
    feature[~np.isfinite(feature)] = np.nan
    return feature


def _of_text(table: Table, column: str, findings: Findings) -> Float32:
    values = table.columns[column]
    if table.is_text:
        numbers, broken = parse_numbers(values)
        if not broken.any():
            return numbers.astype(np.float32)
    texts = values.to_pandas().fillna("").to_numpy(dtype=str)
    present = ~np.isin(texts, NULLS) if table.is_text else texts != ""
    lowered = np.char.lower(texts[present])
    if table.is_text and np.isin(lowered, ("true", "false")).all():
        flags = np.full(table.rows, np.nan, dtype=np.float32)
        flags[present] = lowered == "true"
        return flags
    codes = encode_text(texts, present)
    distinct = int(np.nanmax(codes)) + 1 if present.any() else 0
    if distinct > 0.5 * present.sum() and distinct > 20:
        found, shown = (
            f"{distinct} distinct texts in {table.rows} rows",
            table.examples(column, np.flatnonzero(present)),
        )
        findings.add("many-categories", table.where(column), found, count=distinct, examples=shown)
    return codes
