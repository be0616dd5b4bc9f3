"""What all tables of options are: immutable, documented, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Stage = Literal["recall", "rerank", "both"]


class Options(BaseModel):
    """Base of all option tables: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def patched(table: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table with the patch's values in place; recipes (tables with ``use``) are replaced whole."""
    out = dict(table)
    for key, value in patch.items():
        inner = out.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping) and "use" not in value:
            out[key] = patched(inner, value)
        else:
            out[key] = value
    return out
