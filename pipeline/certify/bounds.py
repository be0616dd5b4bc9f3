"""The bounds of the certificate, and whether the figures meet them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stagelens.pipeline.certify.figures import Figure

Verdict = Literal["met", "not met", "not enough worlds"]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure has to satisfy.

    Attributes:
        figure: Name of the figure.
        says: The bound in words.
        lowest: Smallest allowed.
        highest: Largest allowed.
        of: ``value``; of its interval, ``high``: the upper end, ``overlap``: some, ``inside``: all.
        worlds: How many worlds a certificate takes.
    """

    figure: str
    says: str
    lowest: float
    highest: float
    of: Literal["value", "high", "overlap", "inside"]
    worlds: int


BOUNDS = (
    Bound("false_helps", "upper Wilson bound at most 4 % (nominal 2.5 %)", 0.0, 0.04, "high", 2000),
    Bound("false_hurts", "upper Wilson bound at most 4 % (nominal 2.5 %)", 0.0, 0.04, "high", 2000),
    Bound("coverage", "Wilson interval overlaps 93 to 97 %", 0.93, 0.97, "overlap", 1000),
    Bound("bias_se", "interval within 0.1 standard errors of 0", -0.1, 0.1, "inside", 1000),
    Bound("power", "80 % +- 6", 0.74, 0.86, "value", 200),
    Bound("power_twice", "at least 97 %", 0.97, 1.0, "value", 100),
    Bound("ordering", "at least 95 %", 0.95, 1.0, "value", 200),
    Bound("stage_ordering", "at least 95 %", 0.95, 1.0, "value", 200),
    Bound("absent_helps", "upper Wilson bound at most 2.5 %", 0.0, 0.025, "high", 1000),
)


def verdict(bound: Bound, figure: Figure) -> Verdict:
    """Return whether a figure meets its bound.

    ``not met`` as soon as more worlds could not be expected to mend it: the interval leaves the bound out. ``met``
    takes the worlds that a certificate asks for.
    """
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None or low is None or high is None:
        return "not enough worlds"
    if high < bound.lowest or low > bound.highest:
        return "not met"
    if figure["n"] < bound.worlds:
        return "not enough worlds"
    holds = {
        "value": bound.lowest <= value <= bound.highest,
        "high": high <= bound.highest,
        "overlap": True,
        "inside": bound.lowest <= low and high <= bound.highest,
    }
    return "met" if holds[bound.of] else "not met"


def verdicts(figures: Mapping[str, Figure]) -> dict[str, Verdict]:
    """Return the verdict on every figure that has a bound."""
    return {
        bound.figure: verdict(bound, figures[bound.figure]) for bound in BOUNDS if bound.figure in figures
    }
