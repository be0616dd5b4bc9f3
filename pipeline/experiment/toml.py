"""Plain data as TOML, so that what a run used can be read back as a configuration, and a recipe written on one line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any

from stagelens.pipeline.errors import ConfigError


def recipe_table(text: str, room: str) -> dict[str, Any]:
    """Return the table of a recipe that is written on one line, ``{use = "recall.ItemKNN", shrink = 10}``.

    Raises:
        ConfigError: It is not TOML.
    """
    try:
        return dict(tomllib.loads(f"value = {text}")["value"])
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f'{text}: not a TOML table ({error}); write {{use = "{room}.Name", field = value}}'
        ) from error


def to_toml(table: Mapping[str, Any]) -> str:
    """Return plain data as TOML; entries that are None are left out."""
    plain: list[str] = []
    tables: list[str] = []
    for key, value in table.items():
        if isinstance(value, Mapping) and key not in ("content", "reranker"):
            tables.append(_section(key, value))
        elif value is not None:
            plain.append(f"{_key(key)} = {_literal(value)}")
    return "\n".join([*plain, "", *tables])


def _section(name: str, table: Mapping[str, Any]) -> str:
    lines = [f"{_key(key)} = {_literal(value)}" for key, value in table.items() if value is not None]
    return "\n".join([f"[{name}]", *lines, ""])


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(str(k))} = {_literal(v)}" for k, v in value.items() if v is not None)
        return "{" + inner + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(part) for part in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)
