"""Recipes: frozen, validated values that equal their configuration.

A recipe holds hyper-parameters and nothing else. It imports no heavy library; its ``fit`` returns a fitted object
of another type. A room's ``__all__`` is its vocabulary: ``use = "recall.ItemKNN"`` means the attribute ``ItemKNN``
of ``stagelens.recall``, and ``use = "their_pkg.module:Class"`` reaches outside.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import inspect
import json
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Literal, TypeVar, dataclass_transform

import pydantic
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.space import Space

ROOMS = ("pipeline", "recall", "rerank", "fusion")
CODE_EPOCH = 2
"""Raise when code changes results, so that stored artefacts of older code are not used."""

GIVEN = 80
"""Characters of a value at most that an error repeats: a table of options would bury what is said of it."""

Role = Literal[
    "",
    "channel",
    "vectors",
    "reranker",
    "features",
    "treatment",
    "fusion",
    "ensemble",
    "world",
    "system",
    "importer",
    "queries",
]


class Recipe:
    """Base of all recipes. Subclasses are made with the ``recipe`` decorator."""

    role: ClassVar[Role] = ""
    space: ClassVar[Space] = {}
    """What ``simulate tune`` may move, over which range; what is not here stays as it is set."""

    @property
    def seeded(self) -> bool:
        """Whether ``fit`` uses its seed; if not, it is fitted once whatever the number of seeds."""
        return False

    @property
    def label(self) -> str:
        """The short name shown in tables and used for evidence columns."""
        return type(self).__name__

    @property
    def reads(self) -> frozenset[str]:
        """Names of the modalities that this recipe reads (interactions are not counted)."""
        found: set[str] = set()
        for value in vars(self).values():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Recipe):
                    found |= part.reads
        return frozenset(found)

    def inputs(self) -> tuple[str, ...]:
        """Return content hashes of the files it reads beside the data set; part of its fingerprint."""
        found: list[str] = []
        for value in vars(self).values():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Recipe):
                    found += part.inputs()
        return tuple(found)

    def __or__(self, other: Recipe) -> Recipe:
        """Merge two channels, keeping evidence."""
        from stagelens.pipeline.compose import union

        return union(self, other)

    def __rshift__(self, other: Recipe) -> Recipe:
        """Then: hand the result to the next stage."""
        from stagelens.pipeline.compose import then

        return then(self, other)


R = TypeVar("R", bound=type)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field, dataclasses.field))
def recipe(cls: R) -> R:
    """Make a class a recipe: a frozen, keyword-only, validated dataclass; unknown fields are refused."""
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, strict=False, validate_default=True)
    made: R = pydantic_dataclass(frozen=True, kw_only=True, config=config)(cls)  # type: ignore[assignment]  # the class it is given
    return made


def name_of(cls: type) -> str:
    """Return the ``use`` name of a recipe class."""
    parts = cls.__module__.split(".")
    if parts[0] == "stagelens" and len(parts) > 1 and parts[1] in ROOMS:
        return f"{parts[1]}.{cls.__name__}"
    return f"{cls.__module__}:{cls.__name__}"


def lookup(use: str) -> type[Recipe]:
    """Return the recipe class of a ``use`` name.

    Raises:
        ConfigError: Unknown room, name or module, or the attribute is not a recipe.
    """
    if ":" in use:
        module_name, _, attribute = use.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"use = {use!r} cannot be loaded: {error}. Allowed: module:Class.") from error
    else:
        room, _, attribute = use.partition(".")
        if room not in ROOMS:
            raise ConfigError(nearest("room", room, ROOMS) + " Write room.Name, for instance recall.ItemKNN.")
        module = importlib.import_module(f"stagelens.{room}")
        vocabulary = recipes_of(room)
        if attribute not in vocabulary:
            raise ConfigError(nearest(f"{room} recipe", attribute, vocabulary))
        found = getattr(module, attribute)
    cls: Any = found
    if not (isinstance(cls, type) and issubclass(cls, Recipe)):
        raise ConfigError(f"use = {use!r} names {found!r}, which is not a recipe")
    return cls


@cache
def recipes_of(room: str) -> tuple[str, ...]:
    """Return the names of the recipes in a room's vocabulary, sorted."""
    module = importlib.import_module(f"stagelens.{room}")
    names = []
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, type) and issubclass(value, Recipe) and "__dataclass_fields__" in vars(value):
            names.append(name)
    return tuple(sorted(names))


def fields_of(cls: type[Recipe]) -> list[str]:
    """Return the names of a recipe's fields, in order."""
    made: Any = cls  # the decorator makes it a dataclass, which a type checker cannot see here
    return [field.name for field in dataclasses.fields(made)]


def _plain(value: Any) -> Any:
    if isinstance(value, Recipe):
        return dump(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    return value


def dump(value: Recipe) -> dict[str, Any]:
    """Return the recipe as plain data; fields that are None are left out (TOML has no null)."""
    fields = {name: _plain(getattr(value, name)) for name in fields_of(type(value))}
    return {"use": name_of(type(value)), **{k: v for k, v in fields.items() if v is not None}}


def load(data: Mapping[str, Any], *, where: str = "recipe") -> Recipe:
    """Build a recipe from plain data.

    Raises:
        ConfigError: No ``use``, unknown name, unknown field (with the nearest match) or a value out of range.
    """
    if "use" not in data:
        raise ConfigError(
            f"{where}: no 'use' in {dict(data)!r}; write use = \"room.Name\", e.g. recall.ItemKNN"
        )
    cls = lookup(str(data["use"]))
    known = fields_of(cls)
    fields: dict[str, Any] = {}
    for key, value in data.items():
        if key == "use":
            continue
        if key not in known:
            raise ConfigError(f"{where}: " + nearest(f"field of {data['use']}", key, known))
        fields[key] = _loaded(value, f"{where}.{key}")
    try:
        return cls(**fields)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where} ({data['use']}): {explain(error)}") from error


def _loaded(value: Any, where: str) -> Any:
    if isinstance(value, Mapping) and "use" in value:
        return load(value, where=where)
    if isinstance(value, list | tuple):
        return tuple(_loaded(part, f"{where}[{place}]") for place, part in enumerate(value))
    return value


def explain(error: pydantic.ValidationError) -> str:
    """Return one line per fault: field, what was given where that is short, what is allowed."""
    lines = []
    for fault in error.errors():
        message = fault["msg"].removeprefix("Value error, ")
        place = ".".join(str(part) for part in fault["loc"])
        given = repr(fault.get("input"))
        given = f" = {given}" if len(given) <= GIVEN else ""
        lines.append(f"{place}{given}: {message}" if place else message)  # or of all fields
    return "; ".join(lines)


def fingerprint(*parts: Any) -> str:
    """Return the hex SHA-256 of recipes, strings, numbers and nested plain data, and of the code epoch."""
    text = json.dumps([CODE_EPOCH, _plain(parts)], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def field_docs(cls: type) -> dict[str, str]:
    """Return the documentation string under each field of a recipe class, own and inherited."""
    docs: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        except (OSError, TypeError, IndentationError):
            continue
        if not isinstance(body, ast.ClassDef):
            continue
        for statement, follower in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(follower, ast.Expr)
                and isinstance(follower.value, ast.Constant)
                and isinstance(follower.value.value, str)
            ):
                docs[statement.target.id] = inspect.cleandoc(follower.value.value)
    return docs
