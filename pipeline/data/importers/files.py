"""Files of strangers, read safely: text line by line, arrays as memory maps, numbers and paths looked at first."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path, PureWindowsPath
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.data.importers.headers import array_header
from stagelens.pipeline.data.importers.reading import VectorBlock
from stagelens.pipeline.errors import DataError

LINE_LIMIT = 1 << 20
"""Bytes of the longest line that is read, unless a format allows more."""
BOMB_RATIO = 200
"""A gzip that grows beyond this is refused: text of people and catalogues grows 3 to 30 times."""
BOMB_FREE = 64 << 20
"""Bytes that a gzip may grow to whatever its ratio; a file of equal lines is small and honest."""
BLOCK_BYTES = 8 << 20
"""Bytes of vectors handed over together."""
heard: ContextVar[Callable[[int], None] | None] = ContextVar("heard", default=None)
"""Who wants to know how many bytes of the files have been read; see ``tell``."""
_CHUNK = 1 << 20
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)


def tell(size: int) -> None:
    """Report bytes of a file as read, where they are not read by the functions here."""
    listener = heard.get()
    if listener is not None:
        listener(size)


def regular(path: Path) -> Path:
    """Return the path of a file that holds something.

    Raises:
        DataError: There is none, or it is a directory, a pipe or a device, or it is empty.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a directory. Allowed: a file.")
    if not path.exists():
        raise DataError(
            f"{path}: there is no such file. Check the path; 'simulate data import --help' has examples."
        )
    if not path.is_file():
        raise DataError(f"{path}: is a pipe or a device. Allowed: a file.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes). Get it again from where it came.")
    return path


def folder(path: Path) -> Path:
    """Return the path of a folder.

    Raises:
        DataError: There is none, or it is a file.
        OSError: It may not be read.
    """
    if not path.exists():
        raise DataError(
            f"{path}: there is no such folder. Check the path; 'simulate data import --help' has examples."
        )
    if not path.is_dir():
        raise DataError(f"{path}: is a file. Allowed: a folder.")
    with os.scandir(path):  # a search for files would pass over one that may not be read
        return path


def text_lines(
    path: Path, *, limit: int = LINE_LIMIT, max_bytes: int | None = None
) -> Iterator[tuple[int, str]]:
    """Yield number (from 1) and text of every line of a UTF-8 file, plain or ``.gz``; see ``line_blocks``."""
    for first, lines in line_blocks(path, limit=limit, max_bytes=max_bytes):
        yield from enumerate(lines, first)


def line_blocks(
    path: Path, *, limit: int = LINE_LIMIT, max_bytes: int | None = None
) -> Iterator[tuple[int, list[str]]]:
    r"""Yield the number of a line (from 1) and the lines from there on, without their ends, a block at a time.

    A byte order mark and ``\r\n`` are removed. At most about a MiB and one line are held.

    Args:
        path: A text file in UTF-8; gzip is told by the name (``.gz``).
        limit: Bytes of the longest line.
        max_bytes: Bytes of the whole text; None: any number.

    Raises:
        DataError: No file, a directory, empty, not UTF-8, a truncated or corrupt gzip, one that grows
            too much, or a line too long.
    """
    number, rest, total = 1, b"", 0
    for chunk in _chunks(regular(path)):
        if total == 0:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        total += len(chunk)
        if max_bytes is not None and total > max_bytes:
            raise DataError(f"{path}: holds more than {max_bytes:,} bytes of text, the most allowed here.")
        whole, end, tail = chunk.rpartition(b"\n")
        if end:
            lines = _decoded(path, number, rest + whole, limit)
            yield number, lines
            number, rest = number + len(lines), tail
        else:
            rest += tail
        if len(rest) > limit + 1:  # a carriage return may follow
            raise _too_long(path, number, limit)
    if rest:
        yield number, _decoded(path, number, rest, limit)
    elif number == 1:
        raise DataError(f"{path}: the file holds no text. Get it again from where it came.")


def _decoded(path: Path, number: int, data: bytes, limit: int) -> list[str]:
    """Return the lines of whole lines; ``number`` is that of the first."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + data.count(b"\n", 0, error.start)
        raise DataError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. Allowed: text in UTF-8; "
            "write the file again in this encoding."
        ) from error
    if "\0" in text:
        line = number + text.count("\n", 0, text.index("\0"))
        raise DataError(
            f"{path}, line {line}: holds a zero byte. Allowed: text in UTF-8, not UTF-16 or binary."
        )
    lines = text.replace("\r\n", "\n").removesuffix("\r").split("\n")
    if len(data) > limit:
        for place, line_text in enumerate(lines):
            if len(line_text) > limit or (
                len(line_text) * 4 > limit and len(line_text.encode()) > limit
            ):  # a character has at most four bytes
                raise _too_long(path, number + place, limit)
    return lines


def _too_long(path: Path, number: int, limit: int) -> DataError:
    return DataError(
        f"{path}, line {number}: is longer than {limit:,} bytes, the most allowed. Is it a text file of lines?"
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        if path.suffix != ".gz":
            for chunk in _blocks(stream):
                tell(len(chunk))
                yield chunk
            return
        with gzip.GzipFile(fileobj=stream) as packed:
            grown = told = 0
            for chunk in _unpacked(path, packed):
                grown += len(chunk)
                read = max(stream.tell(), 1)
                tell(read - told)
                told = read
                if grown > BOMB_FREE and grown > BOMB_RATIO * read:
                    raise DataError(
                        f"{path}: {read:,} bytes of gzip grew to more than {grown:,} "
                        f"(allowed: {BOMB_RATIO} times). Is this the right file? Unpack it yourself if it is."
                    )
                yield chunk


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _unpacked(path: Path, packed: gzip.GzipFile) -> Iterator[bytes]:
    try:
        yield from _blocks(io.BufferedReader(packed, _CHUNK))
    except EOFError as error:
        raise DataError(f"{path}: the gzip is truncated. Get it again from where it came.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: not readable as gzip ({error}). Get it again from where it came."
        ) from error


def inside(root: Path, name: str) -> Path:
    """Return the path of something that data name, which must lie inside a folder.

    Raises:
        DataError: The name is absolute, climbs out with ``..``, or a link leads out.
    """
    parts = name.replace("\\", "/").split("/")
    plain = bool(name.strip()) and "\0" not in name and ".." not in parts
    if plain and not name.startswith(("/", "\\", "~")) and not PureWindowsPath(name).drive:
        path = root / name
        with contextlib.suppress(OSError, RuntimeError):  # a link to itself
            if path.resolve().is_relative_to(root.resolve()):
                return path
    raise DataError(f"{root}: names {name!r}, which leaves this folder. Allowed: a file inside of it.")


def array(path: Path, *, dimensions: int = 2, kinds: str = "f") -> NDArray[Any]:
    """Return a ``.npy`` file as a read-only memory map.

    Args:
        path: The file.
        dimensions: Number of axes that it must have.
        kinds: NumPy's letters of the allowed kinds: ``f`` floats, ``iu`` integers, ``U`` text.

    Raises:
        DataError: No file, truncated, Python objects, no rows, of another kind or shape.
    """
    header = array_header(regular(path))
    if header.dtype.kind not in kinds or len(header.shape) != dimensions:
        names = {"f": "floats", "i": "integers", "u": "unsigned integers", "U": "text"}
        allowed = " or ".join(names.get(kind, kind) for kind in kinds)
        raise DataError(
            f"{path}: holds {header.dtype} of shape {list(header.shape)}. Allowed: {allowed} with "
            f"{dimensions} axes."
        )
    if 0 in header.shape or not header.dtype.itemsize:
        raise DataError(f"{path}: holds nothing (shape {list(header.shape)}). Allowed: at least one row.")
    order: Literal["C", "F"] = "F" if header.fortran else "C"
    mapped: NDArray[Any] = np.memmap(path, header.dtype, "r", header.offset, header.shape, order)
    return mapped


def number(text: str, where: str | Callable[[], str]) -> int:
    """Return an integer.

    Args:
        text: Digits, perhaps a minus sign before them.
        where: File, line and column, for the message; or what makes it, called for a fault alone.

    Raises:
        DataError: Not an integer (``12.0`` is none), or beyond 64 bits.
    """
    if _INTEGER.fullmatch(text):
        value = int(text)
        if -(2**63) <= value < 2**63:
            return value
    raise DataError(
        f"{_said(where)}: {_shown(text)}. Allowed: an integer of 64 bits, without a decimal point."
    )


def decimal(text: str, where: str | Callable[[], str]) -> float:
    """Return a finite number; see ``number``.

    Raises:
        DataError: Not a number, not finite, or beyond float64.
    """
    if _DECIMAL.fullmatch(text):
        value = float(text)
        if abs(value) != float("inf"):
            return value
    raise DataError(f"{_said(where)}: {_shown(text)}. Allowed: a finite number with a decimal point.")


def _said(where: str | Callable[[], str]) -> str:
    return where if isinstance(where, str) else where()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def vector_blocks(ids: NDArray[Any], values: NDArray[Any]) -> Iterator[VectorBlock]:
    """Yield the rows of an array in blocks, with their ids.

    Args:
        ids: External item ids [R], integers or text.
        values: float [R, D], perhaps a memory map.

    Raises:
        DataError: The counts differ.
    """
    if len(ids) != len(values):
        raise DataError(f"{len(values)} rows of vectors against {len(ids)} item ids. Allowed: one each.")
    step = max(1, BLOCK_BYTES // max(1, values.shape[1] * values.dtype.itemsize))
    for start in range(0, len(values), step):
        block = values[start : start + step]
        tell(block.nbytes)
        yield VectorBlock(ids[start : start + step], block)
