"""What all tables of options are: immutable, documented, unknown keys refused."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Stage = Literal["recall", "rerank", "both"]


class Options(BaseModel):
    """Base of all option tables: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
