"""Reading what was made elsewhere: candidate lists and ids, with messages that name file, row and column.

Import this module inside functions only: it loads pandas.
"""

from __future__ import annotations

import csv
import warnings
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Int64, content_hash
from stagelens.pipeline.data.vectors import UNREADABLE_ARRAY, loaded
from stagelens.pipeline.errors import DataError

_UNREADABLE = (OSError, ValueError, EOFError, zlib.error, pd.errors.ParserWarning)
"""What reading a broken table may raise."""
IDS = ("user_id", "item_id")
_AS_TEXT: Any = {"dtype": dict.fromkeys(IDS, str), "keep_default_na": False, "na_values": [""]}
"""``NA`` is an id like any other."""
_CANONICAL = "0|-?[1-9][0-9]{0,17}"
LISTS = "a parquet or csv file with user_id, item_id and score or rank, or a TREC run (.trec, .run, .txt)"


def existing(path: str, what: str) -> Path:
    """Return the path of a file that is there.

    Raises:
        DataError: It is not.
    """
    found = Path(path)
    if not found.is_file():
        raise DataError(f"{path}: no such file (looked in {Path.cwd()}). Expected {what}.")
    return found


def file_hash(path: str) -> str:
    """Return the content hash of a file, read anew only when it changed."""
    found = existing(path, "a file this recipe reads")
    state = found.stat()
    return _hashed(str(found.resolve()), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _hashed(path: str, _mtime_ns: int, _size: int) -> str:
    return content_hash(np.memmap(path, np.uint8, "r") if _size else np.empty(0, np.uint8))


def read_lists(path: str) -> pd.DataFrame:
    """Return the columns user_id, item_id and score (higher is better) of a file of candidate lists.

    Raises:
        DataError: Unknown format, a missing column, an empty file, or a value that is no number.
    """
    found = existing(path, LISTS)
    ending = "".join(found.suffixes[-2:]).lower()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", pd.errors.ParserWarning
            )  # of rows that are longer than they may be
            frame = _frame(found, ending)
    except _UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        said = str(error).strip() or type(error).__name__
        raise DataError(f"{path}: cannot be read: {said}. Expected {LISTS}.") from error
    return _scored(path, frame)


def _frame(found: Path, ending: str) -> pd.DataFrame:
    if ending.endswith(".parquet"):
        return pd.read_parquet(found)
    if ending.endswith((".csv", ".csv.gz")):
        return _with_ids(pd.read_csv(found, **_AS_TEXT))
    if ending.endswith((".trec", ".run", ".txt", ".trec.gz", ".run.gz")):
        names = ["user_id", "q0", "item_id", "rank", "score", "tag"]
        read: Any = {
            "sep": r"\s+",
            "header": None,
            "names": names,
            "index_col": False,
            "quoting": csv.QUOTE_NONE,
        }
        frame = _with_ids(pd.read_csv(found, **read, **_AS_TEXT))
        return frame.drop(columns="rank")  # as trec_eval does: the score decides
    raise DataError(f"{found}: unknown ending {found.suffix!r}. Expected {LISTS}.")


def _with_ids(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the same with ids that are integers throughout as such; ``007`` is text."""
    for column in IDS:
        if column in frame and frame[column].str.fullmatch(_CANONICAL).all():
            frame[column] = frame[column].astype(np.int64)
    return frame


def _scored(path: str, frame: pd.DataFrame) -> pd.DataFrame:
    for column in IDS:
        if column not in frame:
            raise DataError(
                f"{path}: no column {column!r}; found {', '.join(map(str, frame.columns))}. Rename it."
            )
        absent = np.flatnonzero(frame[column].isna())
        if len(absent):
            raise DataError(
                f"{path}: column {column!r} is empty in row {absent[0] + 1} ({len(absent)} rows)."
            )
    by = "score" if "score" in frame else "rank"
    if by not in frame:
        raise DataError(
            f"{path}: neither 'score' nor 'rank' among the columns {', '.join(map(str, frame.columns))}. Add "
            "one."
        )
    if not len(frame):
        raise DataError(f"{path}: no rows. Expected {LISTS}.")
    value = pd.to_numeric(frame[by], errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(value))
    if len(bad):
        found = str(frame[by].iloc[bad[0]])
        raise DataError(
            f"{path}: column {by!r} holds {found!r} in row {bad[0] + 1} ({len(bad)} such rows); allowed are "
            "finite numbers."
        )
    score = -value if by == "rank" else value
    return pd.DataFrame(
        {"user_id": frame["user_id"], "item_id": frame["item_id"], "score": score.astype(np.float32)}
    )


def _array(path: str, what: str) -> NDArray[Any]:
    try:
        found = loaded(existing(path, what))
    except UNREADABLE_ARRAY as error:
        raise DataError(f"{path}: cannot be read as .npy: {error}") from error
    if found is None:
        raise DataError(f"{path}: is an .npz archive, not one array; expected {what}")
    return found


def read_vectors(path: str) -> Float32:
    """Return float32 [N, D] of a ``.npy`` file.

    Raises:
        DataError: Not a two-dimensional array of numbers.
    """
    values = _array(path, "a .npy file with an array [N, D]")
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise DataError(f"{path}: holds {values.dtype} {values.shape}; expected numbers of shape [N, D].")
    return np.asarray(values, dtype=np.float32)


def read_ids(path: str, rows: int, of: str) -> NDArray[Any]:
    """Return the ids of the rows of a vector file.

    Raises:
        DataError: The count differs or an id occurs twice.
    """
    ids = _array(path, "a .npy file with one id a row")
    if ids.shape != (rows,):
        raise DataError(
            f"{path}: holds ids of shape {ids.shape}; {of} has {rows} rows, so [{rows}] is expected."
        )
    unique, first = np.unique(ids, return_index=True)
    if len(unique) != rows:
        again = np.setdiff1d(np.arange(rows), first)[0]
        raise DataError(f"{path}: id {ids[again]!r} of row {again + 1} occurs before; ids must be distinct.")
    return ids


def codes(ids: Any, vocabulary: NDArray[Any] | None, size: int) -> Int64:
    """Return int64: the code of every external id, -1 where the data set does not know it.

    Args:
        ids: External ids, integers or strings.
        vocabulary: External id of every code; None: ids are codes.
        size: Number of codes.
    """
    known = pd.Index(np.arange(size) if vocabulary is None else np.asarray(vocabulary))
    asked = pd.Index(ids)
    if pd.api.types.is_numeric_dtype(known.dtype) != pd.api.types.is_numeric_dtype(asked.dtype):
        known, asked = known.astype(str), asked.astype(str)  # 7 and "7" are one id
    return np.asarray(known.get_indexer(asked), dtype=np.int64)
