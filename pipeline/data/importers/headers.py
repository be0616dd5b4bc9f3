"""The header of a ``.npy`` file, read before anything is made of it: a hostile one must not cost memory."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stagelens.pipeline.errors import DataError

MAGIC = b"\x93NUMPY"
HEADER_LIMIT = 1 << 16
"""Bytes of the longest header that is read; NumPy writes some 100."""


class Header(NamedTuple):
    """What the header of a ``.npy`` file says.

    Attributes:
        shape: Length of every axis.
        dtype: Of the values; never Python objects, never named fields.
        fortran: Stored column after column.
        offset: Bytes before the first value.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int


def array_header(path: Path) -> Header:
    """Return the header of a ``.npy`` file whose values are all there.

    Raises:
        DataError: Not a ``.npy`` file, Python objects, or fewer bytes than the header promises.

    References:
        NumPy Enhancement Proposal 1, "A simple file format for NumPy arrays", versions 1.0 to 3.0.
    """
    with path.open("rb") as stream:
        start = stream.read(8)
        if start[:2] == b"PK":
            raise _broken(path, "is an .npz archive, not one array")
        if start[:6] != MAGIC or len(start) < 8 or start[6] not in (1, 2, 3):
            raise _broken(path, "is not a .npy file")
        width = 2 if start[6] == 1 else 4
        length = int.from_bytes(stream.read(width), "little")
        if length > HEADER_LIMIT:
            raise _broken(path, f"its header claims {length:,} bytes")
        text = stream.read(length)
    if len(text) < length:
        raise _broken(path, "truncated inside its header")
    shape, dtype, fortran = _parsed(path, text.decode("utf-8" if start[6] == 3 else "latin-1", "replace"))
    offset, count = 8 + width + length, 1
    for axis in shape:
        count *= axis  # Python's integers: no overflow
    promised, there = offset + count * dtype.itemsize, path.stat().st_size
    if there < promised:
        raise _broken(
            path, f"truncated: {there:,} bytes are fewer than the {promised:,} that its header promises"
        )
    return Header(shape, dtype, fortran, offset)


def _parsed(path: Path, text: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    try:
        said = ast.literal_eval(text.strip())
        descr, fortran, shape = said["descr"], said["fortran_order"], said["shape"]
        dtype = np.dtype(descr) if isinstance(descr, str) else None
    except (
        ValueError,
        SyntaxError,
        TypeError,
        KeyError,
        MemoryError,
        RecursionError,
        OverflowError,
    ) as error:
        raise _broken(path, "its header is not readable") from error
    if dtype is None:
        raise _broken(path, "holds named fields")
    if dtype.hasobject:
        raise _broken(path, "holds Python objects")
    if not isinstance(shape, tuple) or not all(type(axis) is int and 0 <= axis < 2**63 for axis in shape):
        raise _broken(path, f"its header names the shape {str(shape)[:60]}")
    return shape, dtype, fortran is True


def _broken(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: {found}. Allowed: one array, saved with numpy.save(path, array, allow_pickle=False)."
    )
