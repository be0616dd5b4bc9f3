"""The loss partition as stacked bars in inline SVG, readable without colour and without scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from stagelens.pipeline.report.figures import clean, share
from stagelens.pipeline.report.section import LOSS_WORDS, LOSSES, stage_word

# Okabe & Ito's palette, told apart by readers with any colour vision.
COLOURS = {
    "hit": "#009E73",
    "overflow": "#56B4E9",
    "ranked_below": "#0072B2",
    "index": "#F0E442",
    "recall": "#E69F00",
    "unreachable": "#999999",
}
DARK = {"hit", "ranked_below"}
"""Classes whose colour needs white writing."""

WIDTH, LABEL, BAR, STEP, TOP = 960, 260, 22, 32, 52


def loss_bars(summary: Mapping[str, Any]) -> str:
    """Return an SVG with one stacked bar per system that has a loss partition; empty where none has."""
    systems = [system for system in summary.get("systems", ()) if system.get("losses")]
    if not systems:
        return ""
    height = TOP + STEP * len(systems) + 8
    parts = [
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" width="100%" aria-labelledby="bars-title bars-text" '
        'xmlns="http://www.w3.org/2000/svg" font-family="inherit" font-size="13">',
        '<title id="bars-title">Where relevant items are lost</title>',
        f'<desc id="bars-text">One bar for each system; parts: {escape(", ".join(LOSSES))}.</desc>',
        *_legend(),
    ]
    for row, system in enumerate(systems):
        parts += _bar(system, TOP + STEP * row)
    return "\n".join([*parts, "</svg>"])


def _legend() -> list[str]:
    parts = []
    for place, name in enumerate(LOSSES):
        x = LABEL + place * 115
        parts.append(f'<rect x="{x}" y="12" width="14" height="14" fill="{COLOURS[name]}" stroke="#555"/>')
        parts.append(f'<text x="{x + 20}" y="24" fill="currentColor">{name}</text>')
    return parts


def _bar(system: Mapping[str, Any], y: int) -> list[str]:
    losses = system["losses"]
    stage = stage_word(system)
    label = clean(f"{system.get('system')} ({stage})")
    shown = label if len(label) <= 36 else f"{label[:35]}…"
    parts = [
        f'<text x="{LABEL - 8}" y="{y + 16}" text-anchor="end" fill="currentColor">{escape(shown)}'
        f"<title>{escape(label)}</title></text>"
    ]
    x = float(LABEL)
    for name in LOSSES:
        value = losses.get(name)
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            continue
        width = value * (WIDTH - LABEL - 10)
        parts.append(
            f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{BAR}" '
            f'fill="{COLOURS[name]}" stroke="#555">'
            f"<title>{escape(label)}: {name} {share(value)}, {escape(LOSS_WORDS[name])}</title></rect>"
        )
        if width > 48:
            ink = "#fff" if name in DARK else "#000"
            parts.append(
                f'<text x="{x + width / 2:.2f}" y="{y + 16}" text-anchor="middle" fill="{ink}" '
                f'pointer-events="none">{share(value)}</text>'
            )
        x += width
    return parts
