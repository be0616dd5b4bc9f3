"""The bounds of the certificate, and whether the figures meet them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from stagelens.pipeline.certify.figures import Figure

Verdict = Literal["met", "not met", "not enough worlds"]
Answer = Literal["certified", "not certified", "not enough worlds"]
EARLY = 0.25
"""Share of the worlds of a certificate below which the sound instrument does not fail either: over many figures, looked
at after every few worlds, some interval leaves its bound out by chance."""


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
    Bound("sparsity_helps", "upper Wilson bound at most 4 % (nominal 2.5 %)", 0.0, 0.04, "high", 2000),
    Bound("sparsity_hurts", "upper Wilson bound at most 4 % (nominal 2.5 %)", 0.0, 0.04, "high", 2000),
    Bound("sparsity_coverage", "Wilson interval overlaps 93 to 97 %", 0.93, 0.97, "overlap", 1000),
    Bound("absent_helps", "upper Wilson bound at most 2.5 %", 0.0, 0.025, "high", 1000),
)


def verdict(bound: Bound, figure: Figure, *, broken: bool = False) -> Verdict:
    """Return whether a figure meets its bound.

    ``met`` takes the worlds that a certificate asks for. ``not met`` takes a quarter of them, and an interval that
    leaves the bound out, which more worlds cannot be expected to mend.

    Args:
        bound: What is asked.
        figure: What was found.
        broken: The instrument is broken on purpose. It is found out as soon as the interval leaves the bound out,
            however few the worlds: that it fails is known, the question is whether a figure shows it.
    """
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None or low is None or high is None:
        return "not enough worlds"
    if not broken and figure["n"] < EARLY * bound.worlds:
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


def verdicts(figures: Mapping[str, Figure], *, broken: bool = False) -> dict[str, Verdict]:
    """Return the verdict on every figure that has a bound."""
    return {
        bound.figure: verdict(bound, figures[bound.figure], broken=broken)
        for bound in BOUNDS
        if bound.figure in figures
    }


def answer(said: Iterable[Verdict]) -> Answer:
    """Return what verdicts say together: ``certified`` takes all of them."""
    found = set(said)
    if "not met" in found:
        return "not certified"
    return "certified" if found == {"met"} else "not enough worlds"
