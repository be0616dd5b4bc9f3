"""The curves of ``simulate sparsity`` as PNG and SVG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stagelens.pipeline.errors import require
from stagelens.pipeline.report.figures import clean
from stagelens.pipeline.report.section import Record

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#000000")
"""Okabe & Ito's palette, told apart by readers with any colour vision."""
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
NAMES = ("curves.png", "curves.svg")


def write(folder: Path, summary: Mapping[str, Any]) -> tuple[Path, ...]:
    """Write the curves of a sparsity study into its folder; nothing where the summary has none.

    Upper row: recall over budgets with the paired bands, what a system may have lost since everything was kept. Lower
    row: worth with its simultaneous intervals, and the margin around 0.

    Raises:
        MissingExtra: matplotlib is not installed (extra ``plots``).
        OSError: The folder cannot be written.
    """
    block = summary.get("sparsity_study")
    if not block:
        return ()
    matplotlib = require("matplotlib", "plots")
    paths = tuple(folder / name for name in NAMES)
    # Fixed ids, and letters as outlines: the same study draws the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "stagelens", "svg.fonttype": "path", "font.size": 9}):
        figure = _drawn(summary, block)
        for path in paths:
            partial = path.with_name(f".{path.name}.partial")
            undated = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            figure.savefig(partial, format=path.suffix[1:], dpi=150, metadata=undated)
            partial.replace(path)
    return paths


def _drawn(summary: Mapping[str, Any], block: Record) -> Any:
    from matplotlib.figure import Figure

    copies = re.compile(
        r"\(permuted\b"
    )  # they lie on the base's curve; their differences stand in the tables
    points = [row for row in summary["sparsity"] if "paired_low" in row and not copies.search(row["system"])]
    stages = list(dict.fromkeys(row["stage"] for row in points))
    rows = 2 if block["worth"] else 1
    figure = Figure(figsize=(7.2 * len(stages), 3.8 * rows), layout="constrained")
    axes = figure.subplots(rows, len(stages), squeeze=False)
    for column, stage in enumerate(stages):
        _curves(axes[0][column], [row for row in points if row["stage"] == stage], block)
        if rows > 1:
            _worth(axes[1][column], [row for row in block["worth"] if row["stage"] == stage], block)
    figure.suptitle(clean(f"{summary.get('name', '')} on {summary['dataset']['name']}"), fontsize=10)
    return figure


def _style(place: int) -> dict[str, Any]:
    mark = MARKS[(place + place // len(COLOURS)) % len(MARKS)]
    return {"color": COLOURS[place % len(COLOURS)], "marker": mark, "markersize": 4, "linewidth": 1.2}


def _curves(axis: Any, rows: list[Record], block: Record) -> None:
    axis.set_ylabel(f"{rows[0]['metric']}, mean over users")
    for place, system in enumerate(dict.fromkeys(row["system"] for row in rows)):
        own = [row for row in rows if row["system"] == system]
        x = _x([row["budget"] for row in own], block)
        axis.plot(x, _floats(own, "mean"), label=clean(str(system)), **_style(place))
        band = (_floats(own, "paired_low"), _floats(own, "paired_high"))
        axis.fill_between(x, *band, color=_style(place)["color"], alpha=0.1, linewidth=0)
    _ticks(axis, block)


def _worth(axis: Any, rows: list[Record], block: Record) -> None:
    axis.axhline(0.0, color="#555555", linewidth=0.8)
    axis.set_ylabel(f"worth in {rows[0]['metric']}" if rows else "worth")
    systems = list(dict.fromkeys(row["system"] for row in rows))
    reach = _x([row["budget"] for row in rows], block)
    step = (max(reach) - min(reach)) / 100 if reach else 0.0
    for place, system in enumerate(systems):
        own = [row for row in rows if row["system"] == system]
        x = _x([row["budget"] for row in own], block)
        middle = _floats(own, "difference")
        down = [a - b for a, b in zip(middle, _floats(own, "low"), strict=True)]
        up = [b - a for a, b in zip(middle, _floats(own, "high"), strict=True)]
        beside = [at + step * (place - (len(systems) - 1) / 2) for at in x]  # bars of one budget side by side
        axis.errorbar(beside, middle, yerr=[down, up], capsize=3, label=clean(str(system)), **_style(place))
        if not place:
            margin = _floats(own, "margin")
            axis.fill_between(x, [-m for m in margin], margin, color="#555555", alpha=0.12, linewidth=0)
    _ticks(axis, block)


def _x(shares: list[float], block: Record) -> list[float]:
    places = {float(row["budget"]): float(row["place"]) for row in block["budgets"]}
    return [places[share] for share in shares]


def _ticks(axis: Any, block: Record) -> None:
    budgets = {str(row["label"]): float(row["budget"]) for row in block["budgets"]}
    axis.set_xticks(_x(list(budgets.values()), block), list(budgets), rotation=45)
    axis.invert_xaxis()
    axis.set_xlabel(f"kept ({block['how']})")
    axis.grid(alpha=0.25)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _floats(rows: list[Record], name: str) -> list[float]:
    """Return numbers, NaN where there is none: a gap in the curve."""
    return [float("nan") if row[name] is None else float(row[name]) for row in rows]
