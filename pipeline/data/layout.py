"""The folder of a data set: which files it holds, and what its ``dataset.toml`` says.

``dataset.toml`` is optional. Its keys::

    name = "office"                     # shown in outputs; default: the folder's name
    license = "CC-BY-4.0"               # free text, like source, url, citation and description
    clock = "real"                      # real | order | none; default: detected
    modalities = ["text", "visual"]     # default: every NAME.npy of the folder

    [columns]                           # our name = the file's name
    value = "rating"
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
    folder = Path(path).expanduser()
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        remedy = "Give the folder that holds interactions.parquet or interactions.csv, or world:NAME."
        findings.add("error", "no-folder", str(path), f"{found}; a data set is a folder", remedy=remedy)
        return None
    said = _settings(folder, findings)
    interactions = _table(folder, "interactions", findings)
    if interactions is None:
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:12]) or "nothing"
        remedy = "Allowed: interactions.parquet or interactions.csv with columns user_id and item_id."
        findings.add(
            "error", "no-interactions", str(folder), f"no interactions file; found {there}", remedy=remedy
        )
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


def _table(folder: Path, name: str, findings: Findings) -> Path | None:
    """Return ``name.parquet`` or ``name.csv``; Parquet wins."""
    found = [
        folder / f"{name}{ending}" for ending in (".parquet", ".csv") if (folder / f"{name}{ending}").exists()
    ]
    for path in found:
        if not path.is_file():
            remedy = "Allowed: one Parquet or CSV file; join the parts into one file of this name."
            findings.add("error", "not-a-file", str(path), "is a directory, not a file", remedy=remedy)
    files = [path for path in found if path.is_file()]
    if len(files) == 2:
        effect = f"{files[0].name} is read, {files[1].name} is not."
        findings.add(
            "warning", "two-tables", str(folder), f"{name} stands here as Parquet and as CSV", effect=effect
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
        findings.add("error", "reserved-name", str(found.pop(name)), f"modality {name!r}", remedy=remedy)
    if listed is not None:
        for name in [name for name in listed if name not in found]:
            file = str(folder / "dataset.toml")
            findings.add("error", "unknown-modality", file, nearest("modality", name, found).rstrip("."))
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
            findings.add(
                "warning", "ids-without-array", str(path), "row ids without feature rows", effect=effect
            )
    return found, row_ids


def _settings(folder: Path, findings: Findings) -> dict[str, Any]:
    """Return the checked contents of ``dataset.toml``; empty without one."""
    path = folder / "dataset.toml"
    if not path.exists():
        return {}
    where = str(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        remedy = "Mend the line, or remove the file: it is optional."
        findings.add("error", "bad-toml", where, f"not valid TOML: {error}", remedy=remedy)
        return {}
    allowed: dict[str, type] = dict.fromkeys((*_TEXT_KEYS, "clock"), str) | {
        "columns": dict,
        "modalities": list,
    }
    said: dict[str, Any] = {}
    for key, value in table.items():
        if key not in allowed:
            findings.add("error", "unknown-key", where, nearest("key", key, allowed).rstrip("."))
        elif not isinstance(value, allowed[key]):
            found = f"{key} = {value!r}"
            findings.add("error", "bad-value", where, found, remedy=f"Allowed: a {allowed[key].__name__}.")
        else:
            said[key] = value
    if said.get("clock", "real") not in ("real", "order", "none"):
        found = f"clock = {said.pop('clock')!r}"
        findings.add("error", "bad-value", where, found, remedy="Allowed: real, order, none.")
    for key, value in dict(said.get("columns", {})).items():
        if key not in COLUMNS:
            findings.add(
                "error", "unknown-key", where, f"[columns]: {nearest('column', key, COLUMNS)}".rstrip(".")
            )
            del said["columns"][key]
        elif not isinstance(value, str):
            remedy = "Allowed: the name of a column, in quotes."
            findings.add("error", "bad-value", where, f"columns.{key} = {value!r}", remedy=remedy)
            del said["columns"][key]
    return said
