"""The learned re-ranker of a study by its name: ``mlp``, ``rerank.MLP``, ``module:Class`` or a TOML table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.experiment.toml import recipe_table
from stagelens.pipeline.recipe import fields_of, lookup, recipes_of

ROOM = "rerank"


def named_reranker(word: str) -> dict[str, Any]:
    """Return the table of a name, upper and lower case alike.

    Raises:
        ConfigError: An unknown name, or broken TOML.
    """
    if word.lstrip().startswith("{"):
        return recipe_table(word, ROOM)
    if ":" in word:
        return {"use": word}
    known = {name.lower(): name for name in _learned()}
    name = word.lower().removeprefix(f"{ROOM}.")
    if name not in known:
        raise ConfigError(nearest("re-ranker", word, known))
    return {"use": f"{ROOM}.{known[name]}"}


def placed_reranker(word: str, table: Mapping[str, Any]) -> Any:
    """Return what a name puts in the place of a configuration's re-ranker: the same recipe keeps its values."""
    made = named_reranker(word)
    before = table.get("rerank")
    before = before.get("reranker") if isinstance(before, Mapping) else None
    if isinstance(before, Mapping) and set(made) == {"use"} and before.get("use") == made["use"]:
        return before
    return made


def with_device(table: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return the table with a device, where the recipe has one and the table says nothing of it."""
    fields = fields_of(lookup(str(table["use"]))) if "use" in table else []
    return {"device": device, **table} if "device" in fields else dict(table)


def _learned() -> list[str]:
    """Return the re-rankers of the room that read feature groups."""
    found = []
    for name in recipes_of(ROOM):
        cls = lookup(f"{ROOM}.{name}")
        if cls.role == "reranker" and "features" in fields_of(cls):
            found.append(name)
    return found
