"""Vectors where a channel is asked for: ``recall.Dense`` serves them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagelens.pipeline.recipe import lookup

SEARCH = "recall.Dense"
"""The channel that serves vectors."""
TAKEN = (
    "recall.base, references.systems, tune.channels and compare.interaction, and as 'vectors' of recall.Dense"
)
"""Where vectors can stand."""


def served(table: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the table of the channel that serves these vectors, with its other ``fields``; other tables as they are.

    Raises:
        ConfigError: An unknown name.
    """
    if "use" in table and lookup(str(table["use"])).role == "vectors":
        return {"use": SEARCH, "vectors": dict(table), **fields}
    return dict(table)
