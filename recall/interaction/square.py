"""Square matrices of weights between items, held whole: whether they fit, their other half, their best of each row."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Int32, Int64, Lists
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.seeds import tie_order

STRIP = 512
"""Rows copied at once."""


def free_bytes() -> int:
    """Return the bytes that this process may still take: the least of what the system and its control group leave.

    Where a system does not say, its whole memory.
    """
    found: list[int] = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable"))
        found.append(1024 * int(line.split()[1]))
    with suppress(OSError, ValueError):  # "max": no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        found.append(max(limit - int((group / "memory.current").read_text()), 0))
    if not found:
        with suppress(ValueError, OSError, AttributeError):
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=1 << 62)


def need(label: str, what: str, needed: int, instead: str) -> None:
    """Refuse what does not fit.

    Raises:
        ConfigError: More bytes are needed than are free.
    """
    free = free_bytes()
    if needed > free:
        raise ConfigError(
            f"{label}: {what} need {needed:,} bytes ({needed / 2**30:.1f} GiB) and {free:,} are free "
            f"({free / 2**30:.1f} GiB). {instead}"
        )


def mirror(square: NDArray[Any]) -> None:
    """Copy the lower triangle of [P, P] onto the upper one, in place."""
    for lo in range(0, len(square), STRIP):
        hi = min(lo + STRIP, len(square))
        square[:lo, lo:hi] = square[lo:hi, :lo].T
        corner = square[lo:hi, lo:hi]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T


def best_of_rows(square: Float32, keep: int, *, by_size: bool) -> tuple[Int32, Float32]:
    """Return the columns with the largest entries of every row, the diagonal left out.

    Args:
        square: float32 [P, P].
        keep: Columns a row (K), ties by a fixed order.
        by_size: Of either sign; else the highest.

    Returns:
        int32 [P, K], padded, and their entries float32 [P, K].
    """
    from stagelens.recall.seen import top

    size = len(square)
    column, entry = np.empty((size, keep), np.int32), np.empty((size, keep), np.float32)
    tie = tie_order(0, size)
    for lo in range(0, size, STRIP):
        rows = np.arange(lo, min(lo + STRIP, size))
        start: Int64 = np.arange(len(rows), dtype=np.int64) * size
        part = np.ascontiguousarray(square[rows])
        key = np.abs(part) if by_size else part
        own = Lists(np.arange(len(rows) + 1, dtype=np.int64), rows.astype(np.int32))
        codes = np.tile(np.arange(size, dtype=np.int32), len(rows))
        found, _ = top(start, np.full(len(rows), size), codes, key.ravel(), own, tie, keep)
        column[rows] = found
        entry[rows] = np.take_along_axis(part, np.maximum(found, 0), axis=1)
    return column, entry
