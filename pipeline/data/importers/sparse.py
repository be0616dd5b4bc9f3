"""A sparse matrix of users by items, checked and cut into blocks of entries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.data.importers.pickled import Sparse
from stagelens.pipeline.errors import DataError

BLOCK = 1 << 20
"""Entries looked at together."""


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A matrix whose parts fit each other; its indices are looked at block by block.

    Attributes:
        path: The file, for messages.
        shape: Users and items.
        format: ``csr``, ``csc`` or ``coo``.
        major: Row (csc: column) of every entry [N]; csr and csc: where each one's entries start [n + 1].
        minor: Column (csc: row) of every entry [N].
        values: Of every entry [N].
    """

    path: Path
    shape: tuple[int, int]
    format: str
    major: NDArray[Any]
    minor: NDArray[Any]
    values: NDArray[Any]

    @classmethod
    def of(cls, path: Path, stated: Sparse) -> Matrix:
        """Return the matrix that a pickle states.

        Raises:
            DataError: A part is missing, of another type or length, or holds a value that is no number.
        """
        state = stated.state or {}
        shape = state.get("_shape")
        if not (isinstance(shape, tuple) and len(shape) == 2 and all(_length(axis) for axis in shape)):
            raise _broken(path, f"a matrix of shape {_short(shape)}")
        if stated.format == "coo":
            coords = state.get("coords", (state.get("row"), state.get("col")))
            if not isinstance(coords, tuple) or len(coords) != 2:
                raise _broken(path, "a matrix without rows and columns")
            major, minor = coords
        else:
            major, minor = state.get("indptr"), state.get("indices")
        parts: list[NDArray[Any]] = []
        for name, part, kinds in zip(
            ("rows", "columns", "values"),
            (major, minor, state.get("data")),
            ("iu", "iu", "biuf"),
            strict=True,
        ):
            if not isinstance(part, np.ndarray) or part.ndim != 1 or part.dtype.kind not in kinds:
                raise _broken(path, f"a matrix whose {name} are no array of numbers")
            parts.append(part)
        made = cls(path, shape, stated.format, *parts)
        made._check()
        return made

    def _check(self) -> None:
        count = len(self.minor)
        if len(self.values) != count or (self.format == "coo" and len(self.major) != count):
            raise _broken(self.path, f"{count:,} entries with {len(self.values):,} values")
        if self.format == "coo":
            return
        groups = self.shape[self.format == "csc"]
        starts = self.major
        fits = len(starts) == groups + 1 and starts[0] == 0 and starts[-1] == count
        if not fits or (starts[1:] < starts[:-1]).any():
            raise _broken(self.path, f"starts that do not divide {count:,} entries into {groups:,} groups")

    def kinds(self) -> tuple[int, bool]:
        """Return how many entries are zero, and whether any value is neither 0 nor 1.

        Raises:
            DataError: A value is not finite.
        """
        zeros, other = 0, False
        for start in range(0, len(self.values), BLOCK):
            block = self.values[start : start + BLOCK]
            if not np.isfinite(block).all():
                place = start + int(np.flatnonzero(~np.isfinite(block))[0])
                raise _broken(self.path, f"entry {place:,} is {self.values[place]}")
            zeros += int((block == 0).sum())
            other = other or bool(((block != 0) & (block != 1)).any())
        return zeros, other

    def blocks(self) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        """Yield row, column (int64) and value of the entries [N] that are not zero, as they are stored.

        Raises:
            DataError: An index lies outside the shape.
        """
        for start in range(0, len(self.minor), BLOCK):
            stop = min(start + BLOCK, len(self.minor))
            if self.format == "coo":
                major = self.major[start:stop]
            else:
                place = np.arange(start, stop, dtype=self.major.dtype)
                major = np.searchsorted(self.major, place, side="right") - 1
            sides = [major, self.minor[start:stop]]
            row, column = sides[::-1] if self.format == "csc" else sides
            for name, index, size in (("row", row, self.shape[0]), ("column", column, self.shape[1])):
                wrong = np.flatnonzero((index < 0) | (index >= size))
                if len(wrong):
                    place_of = start + int(wrong[0])
                    raise _broken(
                        self.path, f"entry {place_of:,} names {name} {index[wrong[0]]} of {size:,} {name}s"
                    )
            values = self.values[start:stop]
            kept = values != 0
            yield row[kept].astype(np.int64), column[kept].astype(np.int64), values[kept]


def _length(axis: Any) -> bool:
    return type(axis) is int and 0 < axis < 2**63


def _short(value: Any) -> str:
    fine = isinstance(value, tuple) and len(value) < 5 and all(type(part) is int for part in value)
    return str(value)[:60] if fine else "that is none"


def _broken(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: {found}. Allowed: a SciPy matrix of users by items (csr, csc or coo), as scipy.sparse keeps it."
    )
