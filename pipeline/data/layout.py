"""The folder of a data set: which files it holds, and what its ``dataset.toml`` says.

``dataset.toml`` is optional. Its keys::

    name = "office"                     # shown in outputs; default: the folder's name
    license = "CC-BY-4.0"               # free text, like source, url, citation and description
    clock = "real"                      # real | order | none; default: detected
    modalities = ["text", "visual"]     # default: every NAME.npy of the folder

    [columns]                           # our name = the file's name
    value = "rating"

    [import]                            # written by ``simulate data import``; not read
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.errors import ConfigError, nearest

COLUMNS = ("user_id", "item_id", "timestamp", "seq", "split", "value")
"""Our names of the columns of ``interactions``; any of them can be mapped to another name in the file."""
ALIASES = {"value": ("rating",)}
"""Names that are understood without a mapping."""
RESERVED = ("interaction", "all")
"""Names that mean something else on the command line, so no modality may bear them."""
LONGEST_TOML = 1 << 20
"""Bytes of a ``dataset.toml``: it holds a few lines."""
_TEXT_KEYS = ("name", "license", "source", "url", "citation", "description")


@dataclass(frozen=True, slots=True)
class Folder:
    """What a data set's folder holds.

    Attributes:
        path: The folder.
        name: From ``dataset.toml``, else the folder's name.
        interactions: File, or None where it is missing.
        items: File or None; likewise ``users`` and ``impressions``.
        modalities: Feature array by modality, sorted by name.
        row_ids: File that names the item of every feature row, by modality.
        columns: Our column name -> the file's, from ``dataset.toml`` and then options.
        asked: The column names that options asked for (a wrong one is a wrong option, not wrong data).
        clock: From ``dataset.toml``, or None.
    """

    path: Path
    name: str
    interactions: Path | None
    items: Path | None = None
    users: Path | None = None
    impressions: Path | None = None
    modalities: Mapping[str, Path] = field(default_factory=dict)
    row_ids: Mapping[str, Path] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    clock: str | None = None


def open_folder(path: str, columns: Mapping[str, str] | None, findings: Findings) -> Folder | None:
    """Return what a folder holds, or None where it cannot be used at all (only when findings are not strict).

    Raises:
        ConfigError: ``columns`` maps a name that is not ours.
        DataError: No folder, no interactions, or a broken ``dataset.toml``, when findings are strict.
    """
    for ours in columns or {}:
        if ours not in COLUMNS:
            raise ConfigError(f"columns.{ours}: " + nearest("column", ours, COLUMNS))
    folder = _listed(path, findings)
    if folder is None:
        return None
    said = _settings(folder, findings)
    interactions = _table(folder, "interactions", findings)
    if interactions is None:
        names = sorted(entry.name for entry in folder.iterdir())
        there = ", ".join(names[:12]) or "nothing"
        findings.add("no-interactions", str(folder), f"no interactions file; found {there}")
    arrays, row_ids = _arrays(folder, said.get("modalities"), findings)
    return Folder(
        path=folder,
        name=said.get("name", folder.resolve().name),
        interactions=interactions,
        items=_table(folder, "items", findings),
        users=_table(folder, "users", findings),
        impressions=_table(folder, "impressions", findings),
        modalities=arrays,
        row_ids=row_ids,
        columns={**said.get("columns", {}), **(columns or {})},
        asked=frozenset(columns or {}),
        clock=said.get("clock"),
    )


def _listed(path: str, findings: Findings) -> Path | None:
    """Return the folder if there is one that can be listed; report links in it that lead nowhere."""
    folder = Path(path).expanduser()
    try:
        if not folder.is_dir():
            found = "is a file" if folder.exists() else "does not exist"
            findings.add("no-folder", str(path), f"{found}; a data set is a folder")
            return None
        entries = sorted(folder.iterdir())
        lost = [entry for entry in entries if entry.is_symlink() and not entry.exists()]
    except PermissionError as error:
        findings.add("no-access", str(path), f"may not be read ({error.strerror})")
        return None
    except OSError as error:  # a name too long, or a loop of links
        findings.add("no-folder", str(path), f"cannot be opened ({error.strerror}); a data set is a folder")
        return None
    for entry in lost:
        if entry.suffix in (".npy", ".parquet", ".csv", ".toml"):
            findings.add("broken-link", str(entry), f"links to {entry.readlink()}, which is not there")
    return folder


def _table(folder: Path, name: str, findings: Findings) -> Path | None:
    """Return ``name.parquet`` or ``name.csv``; Parquet wins."""
    found = [
        folder / f"{name}{ending}" for ending in (".parquet", ".csv") if (folder / f"{name}{ending}").exists()
    ]
    for path in found:
        if not path.is_file():
            found_there = "directory" if path.is_dir() else "pipe or device"
            findings.add("not-a-file", str(path), f"is a {found_there}, not a file")
    files = [path for path in found if path.is_file()]
    if len(files) == 2:
        effect = f"{files[0].name} is read, {files[1].name} is not."
        findings.add(
            "two-tables",
            str(folder),
            f"{name} stands here as Parquet and as CSV",
            examples=tuple(file.name for file in files),
            effect=effect,
        )
    return files[0] if files else None


def _arrays(
    folder: Path, listed: list[str] | None, findings: Findings
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the feature arrays and their row-id files by modality."""
    found = {
        path.name[:-4]: path for path in sorted(folder.glob("*.npy")) if not path.name.endswith(".ids.npy")
    }
    for name in [name for name in found if name in RESERVED]:
        remedy = f"Rename the file; {' and '.join(RESERVED)} mean something else on the command line."
        findings.add("reserved-name", str(found.pop(name)), f"modality {name!r}", remedy=remedy)
    if listed is not None:
        for name in [name for name in listed if name not in found]:
            file = str(folder / "dataset.toml")
            findings.add("unknown-modality", file, nearest("modality", name, found).rstrip("."))
        found = {name: path for name, path in found.items() if name in listed}
    row_ids = {}
    for name in found:
        for ending in (".ids.npy", ".ids.parquet", ".parquet"):
            path = folder / f"{name}{ending}"
            if path.is_file():
                row_ids[name] = path
                break
    for path in sorted(folder.glob("*.ids.*")):
        name = path.name.partition(".ids.")[0]
        if name not in found and (listed is None or name in listed):
            effect = f"It is not used: there is no {name}.npy."
            findings.add("ids-without-array", str(path), "row ids without feature rows", effect=effect)
    return found, row_ids


def _settings(folder: Path, findings: Findings) -> dict[str, Any]:
    """Return the checked contents of ``dataset.toml``; empty without one."""
    path = folder / "dataset.toml"
    if not path.exists():
        return {}
    where = str(path)
    if not path.is_file() or path.stat().st_size > LONGEST_TOML:
        found = "not a file" if not path.is_file() else f"{path.stat().st_size} bytes"
        findings.add("bad-toml", where, f"{found}; allowed: a file of at most {LONGEST_TOML} bytes")
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except PermissionError as error:
        findings.add("no-access", where, f"may not be read ({error.strerror})")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        findings.add("bad-toml", where, f"not valid TOML: {error}")
        return {}
    allowed: dict[str, type] = dict.fromkeys((*_TEXT_KEYS, "clock"), str) | {
        "columns": dict,
        "import": dict,
        "modalities": list,
    }
    said: dict[str, Any] = {}
    for key, value in table.items():
        if key not in allowed:
            findings.add("unknown-key", where, nearest("key", key, allowed).rstrip("."))
        elif not isinstance(value, allowed[key]):
            found = f"{key} = {value!r}"
            findings.add("bad-value", where, found, remedy=f"Allowed: a {allowed[key].__name__}.")
        elif isinstance(value, list) and not all(isinstance(name, str) for name in value):
            findings.add("bad-value", where, f"{key} = {value!r}", remedy="Allowed: names in quotes.")
        else:
            said[key] = value
    if said.get("clock", "real") not in ("real", "order", "none"):
        found = f"clock = {said.pop('clock')!r}"
        findings.add("bad-value", where, found, remedy="Allowed: real, order, none.")
    for key, value in dict(said.get("columns", {})).items():
        if key not in COLUMNS:
            findings.add("unknown-key", where, f"[columns]: {nearest('column', key, COLUMNS)}".rstrip("."))
            del said["columns"][key]
        elif not isinstance(value, str):
            remedy = "Allowed: the name of a column, in quotes."
            findings.add("bad-value", where, f"columns.{key} = {value!r}", remedy=remedy)
            del said["columns"][key]
    return said
