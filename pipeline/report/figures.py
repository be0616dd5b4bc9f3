"""How numbers and verdicts are written for people; the files keep full precision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from stagelens.pipeline.evaluate.power import in_words

DASH = "-"
"""Shown where a number does not exist."""


def clean(text: str) -> str:
    """Drop control characters: a name in the data must not steer the reader's terminal or browser."""
    if text.isprintable():
        return text
    return "".join(letter for letter in text if letter.isprintable() or letter.isspace())


def _missing(value: object) -> bool:
    return not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value)


def plain(value: Any, digits: int = 4) -> str:
    """Return a metric, ``0.1234``; a dash where there is none."""
    return DASH if _missing(value) else f"{value:.{digits}f}"


def signed(value: Any, digits: int = 4) -> str:
    """Return a difference with its sign, ``+0.0123``."""
    return DASH if _missing(value) else f"{value:+.{digits}f}"


def interval(low: Any, high: Any, *, sign: bool = False) -> str:
    """Return ``[0.1201, 0.1267]``; a dash where either end is missing."""
    if _missing(low) or _missing(high):
        return DASH
    write = signed if sign else plain
    return f"[{write(low)}, {write(high)}]"


def share(value: Any) -> str:
    """Return a share in per cent, ``12.3 %``."""
    return DASH if _missing(value) else f"{100 * value:.1f} %"


def count(value: Any) -> str:
    """Return a whole number with thousands separated, ``12,345``."""
    return DASH if _missing(value) else f"{round(value):,}"


def seconds(value: Any) -> str:
    """Return a duration, ``0.42 s`` or ``3 min 05 s``."""
    if _missing(value):
        return DASH
    if value < 59.95:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def memory(value: Any) -> str:
    """Return bytes in a binary unit, ``12.3 MiB``."""
    if _missing(value):
        return DASH
    size = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def probability(value: Any) -> str:
    """Return a p value, ``0.012`` or ``<0.001``."""
    if _missing(value):
        return DASH
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def verdict(comparison: Mapping[str, Any]) -> str:
    """Return the verdict in words, with the size that the words depend on.

    ``no difference`` is said against the margin, ``cannot tell`` with the effect that would have been seen; it is
    ``too small to tell`` where that effect is larger than the margin, or none would have been.
    """
    given, seen = comparison.get("verdict"), comparison.get("detectable")
    word = in_words(given, comparison.get("margin"), seen) if "detectable" in comparison else given
    if word is None:
        return DASH
    if word == "no difference" and not _missing(comparison.get("margin")):
        return f"no difference (within {chr(0xB1)}{plain(comparison['margin'])})"
    if given == "cannot tell" and not _missing(seen):
        return f"{word} (would have seen >= {plain(seen)})"
    return str(word)
