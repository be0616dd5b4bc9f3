"""Feature arrays of a folder whose row i belongs to item i: found by their usual names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.data.importers.files import array, inside, vector_blocks
from stagelens.pipeline.data.importers.reading import VectorBlock
from stagelens.pipeline.errors import ConfigError, DataError

_NAMES = re.compile(r"(?:(?P<name>\w+?)_feats?|Feature(?P<kind>Video|Audio|Text)_\w+)\.npy", re.ASCII)
_MODALITY = {"v": "visual", "a": "audio", "t": "text", "Video": "visual", "Audio": "audio", "Text": "text"}


def feature_arrays(source: Path, asked: Mapping[str, str]) -> dict[str, Path]:
    """Return the file of every modality: ``NAME_feat.npy``, ``v_feats.npy`` and alike, and those asked for.

    Args:
        source: The folder.
        asked: File by modality, over what is found.

    Raises:
        ConfigError: A file asked for is not there.
        DataError: Two files of one modality.
    """
    found = {name: asked_file(source, name, file) for name, file in asked.items()}
    for entry in sorted(source.iterdir()):
        said = _NAMES.fullmatch(entry.name)
        if said is None:
            continue
        word = said["name"] or said["kind"]
        name = _MODALITY.get(word, word)
        if name in asked or entry.name in asked.values():
            continue
        if name in found:
            raise two_files(source, name, found[name], entry)
        found[name] = inside(source, entry.name)
    return dict(sorted(found.items()))


def asked_file(source: Path, name: str, file: str) -> Path:
    """Return the file that an option names for a modality.

    Raises:
        ConfigError: It is not there.
    """
    path = inside(source, file)
    if not path.exists():
        raise ConfigError(f"features.{name} = {file!r}: there is no such file in {source}.")
    return path


def two_files(source: Path, name: str, first: Path, second: Path) -> DataError:
    """Return the error for two files of one modality."""
    return DataError(
        f"{source}: {first.name} and {second.name} are both features of {name!r}. Choose one with --set "
        f"'features={{{name}=\"{first.name}\"}}'."
    )


def rows_of(source: Path, files: Mapping[str, Path], columns: int | None = None) -> int | None:
    """Return the rows that all arrays have; None without any.

    Args:
        source: The folder, for messages.
        files: By modality.
        columns: Items that a matrix has, or None.

    Raises:
        DataError: They differ, or one is not an array of floats [I, D].
    """
    rows = {path.name: len(array(path)) for path in files.values()}
    if columns is not None:
        rows["the columns of the matrix"] = columns
    if len(set(rows.values())) > 1:
        shown = ", ".join(f"{name} {count:,}" for name, count in rows.items())
        raise DataError(f"{source}: {shown} items. Allowed: the same everywhere; row i belongs to item i.")
    return next(iter(rows.values()), None) if files else None


def check_items(path: Path, items: NDArray[np.int64], rows: int | None, remedy: str) -> None:
    """Refuse items that have no row.

    Args:
        path: File of the events, for the message.
        items: Ids [N].
        rows: Of the arrays; None: there are none.
        remedy: Next step, a sentence.

    Raises:
        DataError: An item is below 0, or not below ``rows``.
    """
    if rows is not None and len(items) and not 0 <= items.min() <= items.max() < rows:
        wrong = int(items.min() if items.min() < 0 else items.max())
        raise DataError(
            f"{path}: item {wrong} has no row in features of {rows:,} rows (row i belongs to item i). {remedy}"
        )


def numbered(path: Path, first: int = 0) -> Iterator[VectorBlock]:
    """Yield the rows of an array, items numbered from ``first``."""
    values = array(path)
    return vector_blocks(np.arange(first, first + len(values)), values)
