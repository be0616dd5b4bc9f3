"""Search spaces: what may be tuned of a recipe, declared beside its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Real:
    """A number from ``low`` to ``high``, both included; ``log``: evenly by order of magnitude."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``low`` to ``high``, both included; ``log``: evenly by order of magnitude."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values, in no order."""

    values: tuple[str | float | bool | None, ...]


Space = Mapping[str, Real | Whole | Choice]
"""By field name, dotted for a part of a part: ``vectors.factors``."""
