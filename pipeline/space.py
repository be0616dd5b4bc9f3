"""Search spaces: what may be tuned of a recipe, declared beside its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Real:
    """A number from ``low`` to ``high``, both included; ``log``: evenly by order of magnitude."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``low`` to ``high``, both included; ``log``: evenly by order of magnitude.

    ``fewer_than``: a data set must have more of these; ``ends``: it has no more, nothing lies beyond ``high``.
    """

    low: int
    high: int
    log: bool = False
    fewer_than: Literal["users", "items"] | None = field(default=None, repr=False)
    ends: bool = field(default=False, repr=False)

    def within(self, *, users: int, items: int) -> Whole:
        """Return the part of the range that a data set of this size allows."""
        most = max({"users": users, "items": items, None: self.high + 1}[self.fewer_than] - 1, 1)
        return replace(self, low=min(self.low, most), high=most, ends=True) if most < self.high else self


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values, in no order."""

    values: tuple[str | float | bool | None, ...]


Space = Mapping[str, Real | Whole | Choice]
"""By field name, dotted for a part of a part: ``vectors.factors``."""
