"""What the files of a data set's folder show before they are read: links, marks, and files that nobody reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.layout import Folder
from stagelens.pipeline.data.tables import SHOWN

DATA_ENDINGS = frozenset(
    ".csv .tsv .parquet .npy .npz .pt .pth .pkl .pickle .mat .h5 .hdf5 .feather .arrow "
    ".json .jsonl .gz .zip .tar .inter .item .user .kg .emb".split()
)
"""Endings of files that look like data."""
OWN = frozenset({"world.json", "truth.npz"})
"""What ``simulate data generate`` writes beside a data set."""
MARK = b"\xef\xbb\xbf"
_START = 1 << 16


def used_files(folder: Folder) -> Iterator[Path]:
    """Yield the files that loading reads."""
    for path in (folder.interactions, folder.items, folder.users, folder.impressions):
        if path is not None:
            yield path
    yield from folder.modalities.values()
    yield from folder.row_ids.values()
    if (folder.path / "dataset.toml").is_file():
        yield folder.path / "dataset.toml"


def marks(path: Path) -> tuple[bool, bool]:
    """Say whether a text file starts with a byte-order mark, and whether it has Windows line ends."""
    with path.open("rb") as stream:
        start = stream.read(_START)
    return start.startswith(MARK), b"\r\n" in start


def check_files(folder: Folder, findings: Findings) -> None:
    """Add what is odd about the files of a folder, whatever they hold."""
    used = set(used_files(folder))
    home = folder.path.resolve()
    for path in sorted(used):
        target = Path(os.path.realpath(path))  # a loop of links is reported where the folder is opened
        if not target.is_relative_to(home):
            findings.add("link-outside", str(path), f"links to {target}")
        if path.suffix == ".csv":
            _check_marks(path, findings)
    known = {path.name for path in used} | OWN
    idle = [entry for entry in sorted(folder.path.iterdir()) if _looks_like_data(entry, known)]
    if idle:
        found = f"{len(idle)} files are not read"
        shown = tuple(entry.name for entry in idle[:SHOWN])
        findings.add("unused-file", str(folder.path), found, count=len(idle), examples=shown)


def _check_marks(path: Path, findings: Findings) -> None:
    try:
        mark, windows = marks(path)
    except OSError:
        return  # reported where the table is read
    said = ["a byte-order mark"] * mark + ["Windows line ends"] * windows
    if said:
        findings.add("csv-marks", str(path), f"has {' and '.join(said)}")


def _looks_like_data(entry: Path, known: set[str]) -> bool:
    if entry.name in known or entry.name.startswith(".") or not entry.is_file():
        return False
    twin = entry.suffix == ".csv" and f"{entry.stem}.parquet" in known  # reported as two-tables
    stray = ".ids." in entry.name  # reported as ids-without-array
    return entry.suffix.lower() in DATA_ENDINGS and not twin and not stray
