"""Where an imported data set comes from, as its ``dataset.toml`` says it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """What the person who imports says.

    Attributes:
        format: Name on the command line.
        source: Path that was given.
        name: Of the data set.
        licence: As stated; empty where nothing was said.
        options: Of the format, and of the selection.
    """

    format: str
    source: Path
    name: str
    licence: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def file_hashes(
    files: Sequence[Path], root: Path, tell: Callable[[int], None] = lambda size: None
) -> dict[str, str]:
    """Return the SHA-256 of every file by its path from the source; ``tell`` hears of every block of bytes."""
    found = {}
    for path in sorted(set(files)):
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                tell(len(block))
        inner = path.relative_to(root) if path.is_relative_to(root) and path != root else Path(path.name)
        name = inner.as_posix()
        found[name if name not in found else path.as_posix()] = digest.hexdigest()
    return found


def origin_text(origin: Origin, version: str, hashes: Mapping[str, str]) -> str:
    """Return the text of ``dataset.toml``."""
    lines = [f"name = {_toml(origin.name)}"]
    if origin.licence:
        lines.append(f"license = {_toml(origin.licence)}")
    lines += [
        f"source = {_toml(origin.source.name or origin.source.resolve().name)}",
        "",
        "[import]",
        f"format = {_toml(origin.format)}",
        f"version = {_toml(version)}",
        "",
        "[import.options]",
        *(f"{key} = {_toml(value)}" for key, value in origin.options.items() if value is not None),
        "",
        "[import.sha256]",
        *(f"{_toml(name)} = {_toml(digest)}" for name, digest in hashes.items()),
        "",
    ]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return repr(value)  # TOML knows inf and nan as Python writes them
    text = str(value).encode("utf-8", "replace").decode()  # a name in a file system may be no Unicode
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
