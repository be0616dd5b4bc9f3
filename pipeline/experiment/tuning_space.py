"""The arms of ``simulate tune``: recipes, and what may be moved of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.experiment.serving import SEARCH, served
from stagelens.pipeline.experiment.toml import recipe_table
from stagelens.pipeline.recipe import Recipe, fields_of, load, lookup, name_of, recipes_of
from stagelens.pipeline.space import Choice, Real, Whole

Value = str | float | bool | None
Dimension = Real | Whole | Choice
EDGE = 0.01
"""Share of a range, on its own scale, that counts as its edge."""


@dataclass(frozen=True)
class Searched:
    """A recipe as it is set, and what may be moved of it.

    Attributes:
        name: Shown in tables.
        table: What a configuration says of it: ``use`` and the fields that are held.
        start: The recipe of the table.
        space: By dotted field name.
    """

    name: str
    table: Mapping[str, Any]
    start: Recipe
    space: Mapping[str, Dimension]

    @property
    def default(self) -> dict[str, Value]:
        """The values that the search starts from."""
        return {path: value_at(self.start, path) for path in self.space}

    def written(self, parameters: Mapping[str, Value]) -> dict[str, Any]:
        """Return the table with these values, as a configuration holds it."""
        table = copy.deepcopy(dict(self.table))
        for path, value in parameters.items():
            *parents, last = path.split(".")
            inner, made = table, self.start
            for parent in parents:
                made = getattr(made, parent)
                inner = inner.setdefault(parent, {"use": name_of(type(made))})
            inner[last] = value
        return table

    def recipe(self, parameters: Mapping[str, Value]) -> Recipe:
        """Return the recipe with these values.

        Raises:
            ConfigError: The recipe does not allow them.
        """
        return load(self.written(parameters), where=self.name)

    def within(self, *, users: int, items: int) -> Searched:
        """Return the arm with the ranges that a data set of this size allows."""
        ranges = {
            path: dimension.within(users=users, items=items) if isinstance(dimension, Whole) else dimension
            for path, dimension in self.space.items()
        }
        return replace(self, space=ranges)

    def edges(self, parameters: Mapping[str, Value]) -> list[str]:
        """Return the names of values at an end of their range beyond which the recipe allows more."""
        return [
            path
            for path, dimension in self.space.items()
            if not isinstance(dimension, Choice)
            and (beyond := _beyond(dimension, float(parameters[path] or 0.0))) is not None
            and self._allows({**parameters, path: beyond})
        ]

    def _allows(self, parameters: Mapping[str, Value]) -> bool:
        try:
            self.recipe(parameters)
        except ConfigError:
            return False
        return True


def value_at(made: Recipe, path: str) -> Any:
    """Return the value of a dotted field."""
    value: Any = made
    for name in path.split("."):
        value = getattr(value, name)
    return value


def space_of(made: Recipe, held: Mapping[str, Any]) -> dict[str, Dimension]:
    """Return what may be moved of a recipe and of its parts, without the fields of ``held``."""
    found: dict[str, Dimension] = {}
    for field in fields_of(type(made)):
        part = getattr(made, field)
        if isinstance(part, Recipe):
            inner = held.get(field)
            own = space_of(part, inner if isinstance(inner, Mapping) else {})
            found |= {f"{field}.{name}": dimension for name, dimension in own.items()}
    found |= type(made).space
    return {path: dimension for path, dimension in found.items() if not _holds(held, path)}


def searched(words: Iterable[str | Mapping[str, Any]], room: str, role: str) -> list[Searched]:
    """Return the arms of names (``ItemKNN``, ``recall.ItemKNN``, ``module:Class``) or tables with ``use``.

    What a table sets is held, the rest of the space is searched. Vectors are served by ``recall.Dense``.

    Raises:
        ConfigError: An unknown name, another role, nothing to tune, or an arm named twice.
    """
    arms = [_searched(word, room, role) for word in words]
    names = [arm.name for arm in arms]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(f"{', '.join(doubled)} is named twice; name every arm once, or hold a field of one")
    for place, arm in enumerate(arms):
        for other in arms[:place]:
            if (arm.start, arm.space) == (other.start, other.space):
                raise ConfigError(f"{other.name} and {arm.name} are the same search; leave one out")
    return arms


def tunable(room: str) -> list[str]:
    """Return the names of a room's recipes that have a search space."""
    return [name for name in recipes_of(room) if lookup(f"{room}.{name}").space]


def _searched(word: str | Mapping[str, Any], room: str, role: str) -> Searched:
    table = _table(word, room)
    made = load(table, where=str(table.get("use")))
    name = made.label if isinstance(word, Mapping) or word.lstrip().startswith("{") else type(made).__name__
    if role == "channel":
        table = served(table)
        made = load(table, where=SEARCH)
    if made.role != role:
        raise ConfigError(f"{name} is a {made.role or 'recipe'}, expected a {role} with a search space")
    space = space_of(made, table)
    if not space:
        known = tunable(room)
        raise ConfigError(
            f"{name}: nothing to tune: it has no search space, or every field of it is held. "
            f"With a search space: {', '.join(known) if known else '(none)'}."
        )
    held = ", ".join(f"{path}={value}" for path, value in _leaves(table))
    return Searched(f"{name}({held})" if held else name, table, made, space)


def _table(word: str | Mapping[str, Any], room: str) -> dict[str, Any]:
    if isinstance(word, Mapping):
        return dict(word)
    if word.lstrip().startswith("{"):
        return recipe_table(word, room)
    if ":" in word or "." in word:
        return {"use": word}
    if word not in recipes_of(room):
        raise ConfigError(nearest(f"{room} recipe with a search space", word, tunable(room)))
    return {"use": f"{room}.{word}"}


def _holds(held: Mapping[str, Any], path: str) -> bool:
    *parents, last = path.split(".")
    for parent in parents:
        inner = held.get(parent)
        if not isinstance(inner, Mapping):
            return False
        held = inner
    return last in held


def _leaves(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{key}.")
        elif key != "use":
            found.append((prefix + key, value))
    return found


def _beyond(dimension: Real | Whole, value: float) -> float | int | None:
    """Return a value a little outside of the range where ``value`` lies at an end of it."""
    low, high = dimension.low, dimension.high
    if high <= low:
        return None
    scale = math.log if dimension.log else float
    place = (
        (scale(value) - scale(low)) / (scale(high) - scale(low)) if value > 0 or not dimension.log else 0.0
    )
    if EDGE < place < 1 - EDGE:
        return None
    below = place <= EDGE
    if isinstance(dimension, Whole):
        if dimension.ends and not below:
            return None
        return int(low) - 1 if below else int(high) + 1
    if dimension.log:
        return low / 1.5 if below else high * 1.5
    step = EDGE * (high - low)
    return low - step if below else high + step
