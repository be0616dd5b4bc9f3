"""The names that the command line knows: recipes by room, worlds, presets, formats."""

from __future__ import annotations

import importlib
import inspect

from stagelens.pipeline.experiment.options import presets
from stagelens.pipeline.recipe import ROOMS, recipes_of

WORLD_PREFIX = "world:"


def vocabulary() -> dict[str, dict[str, str]]:
    """Return kind -> name -> one line: the rooms, ``worlds``, ``presets`` and ``formats``."""
    from stagelens.pipeline.data.importers import FORMATS

    found = {room: _recipes(room) for room in ROOMS}
    found["worlds"] = worlds()
    found["presets"] = {
        name: first_comment(path.read_text(encoding="utf-8")) for name, path in presets().items()
    }
    found["formats"] = {name: first_line(kind) for name, kind in FORMATS.items()}
    return found


def _recipes(room: str) -> dict[str, str]:
    module = importlib.import_module(f"stagelens.{room}")
    return {f"{room}.{name}": first_line(getattr(module, name)) for name in recipes_of(room)}


def worlds() -> dict[str, str]:
    """Return the embedded worlds: ``world:NAME`` -> one line."""
    from stagelens.pipeline.worlds.presets import presets as known

    return {f"{WORLD_PREFIX}{name}": world.about for name, world in known().items()}


def first_line(thing: object) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def first_comment(text: str) -> str:
    """Return the first comment line of a TOML text."""
    line = text.lstrip().partition("\n")[0]
    return line.lstrip("# ").rstrip() if line.startswith("#") else ""
