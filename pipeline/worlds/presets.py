"""Worlds by name: those that ship with the package, and files of the same form."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from stagelens.pipeline.core import Dataset
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.recipe import load
from stagelens.pipeline.worlds.generate import Generated
from stagelens.pipeline.worlds.world import PREFIX, World

KEYS = ("about", "seed", "world")


@dataclass(frozen=True, slots=True)
class Preset:
    """A world and the seed that fixes it.

    Attributes:
        name: After ``world:``.
        about: One line.
        world: The recipe.
        seed: Its own; the study seed never moves it.
    """

    name: str
    about: str
    world: World
    seed: int

    def truth(self) -> Generated:
        """Return the data set with what made it."""
        made = self.world.truth(self.seed)
        name = f"{PREFIX}{self.name}"
        return replace(made, dataset=replace(made.dataset, name=name, source=name))

    def open(self) -> Dataset:
        """Return the data set."""
        return self.truth().dataset


def presets() -> dict[str, Preset]:
    """Return the worlds that ship with the package by name; the reasons for their numbers stand in their files."""
    from importlib.resources import files

    folder = Path(str(files("stagelens.configs.worlds")))
    return {path.stem: read_world(path, path.stem) for path in sorted(folder.glob("*.toml"))}


def find_world(name: str) -> Preset:
    """Return a world by what follows ``world:``, a name or the path of a TOML file.

    Raises:
        ConfigError: Unknown name, or a file that holds no world.
    """
    if name.endswith(".toml"):
        return read_world(Path(name), name)
    known = presets()
    if name not in known:
        names = [f"{PREFIX}{one}" for one in known]
        raise ConfigError(
            nearest("world", f"{PREFIX}{name}", names) + f" A file works too: {PREFIX}PATH.toml."
        )
    return known[name]


def read_world(path: Path, name: str) -> Preset:
    """Return the world of a TOML file: ``about``, ``seed`` and the table ``world`` with the fields of ``World``.

    Raises:
        ConfigError: No such file, no TOML, an unknown key, or fields that ``World`` refuses.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{PREFIX}{name}: cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    for key in table:
        if key not in KEYS:
            raise ConfigError(f"{path}: " + nearest("key", key, KEYS))
    seed, fields = table.get("seed", 0), table.get("world", {})
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"{path}: seed = {seed!r}: allowed whole numbers from 0")
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: world = {fields!r}: write a table [world]")
    world = load({**fields, "use": "pipeline.World"}, where=str(path))
    return Preset(name=name, about=str(table.get("about", "")), world=cast(World, world), seed=seed)
