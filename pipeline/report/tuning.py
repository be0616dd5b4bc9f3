"""The tables of ``simulate tune``: what every arm reached on valid, and how soon."""

from __future__ import annotations

from typing import Any

from stagelens.pipeline.report import figures
from stagelens.pipeline.report.section import Record, Section


def best(summary: Record) -> Section | None:
    """Return the best values of every arm, best arm first."""
    block = summary.get("tuning")
    if not block:
        return None
    metric = str(block["metric"])
    arms = sorted(block["arms"], key=lambda arm: -1.0 if arm["best"] is None else arm["best"], reverse=True)
    rows = []
    for arm in arms:
        cells = [figures.plain(arm["best"]), figures.plain(arm["default"]), figures.signed(arm["gain"])]
        found = figures.DASH if arm["trial"] is None else str(arm["trial"] + 1)
        counts = [str(arm["trials"]), str(arm["failed"]), str(arm["duplicates"])]
        said = _parameters(arm["parameters"])
        rows.append((str(arm["arm"]), *cells, found, *counts, figures.seconds(arm["seconds"]), said))
    on = "the fixed lists of" if block["stage"] == "rerank" else "the whole catalogue for"
    return Section(
        f"Tuned: {metric} on valid",
        f"{_budget(block)} Each arm alone on {on} {figures.count(block['users'])} users of valid. found: the trial "
        "that was best, 1 is the defaults. The best of many is flattered by what it was chosen on: compare arms and "
        "report values on test.",
        ("arm", "best", "default", "gain", "found", "trials", "failed", "repeated", "time", "values"),
        tuple(rows),
        lines=tuple(
            f"{row[0]}: {row[1]} (defaults {row[2]}, {row[3]}), found at trial {row[4]} of {row[5]}"
            + (f", {row[6]} failed" if row[6] != "0" else "")
            + (f", {row[7]} repeated" if row[7] != "0" else "")
            + f", {row[8]}; {row[9]}"
            for row in rows
        ),
    )


def so_far(summary: Record) -> Section | None:
    """Return the best value after more and more trials."""
    block = summary.get("tuning")
    if not block:
        return None
    curves = {
        str(arm["arm"]): {row["trials"]: row["value"] for row in arm["so_far"]} for arm in block["arms"]
    }
    counts = sorted({count for curve in curves.values() for count in curve})
    return Section(
        "Best so far, by trials",
        "Highest value after so many trials; a curve that still rises at its end asks for more of them.",
        ("arm", *(figures.count(count) for count in counts)),
        tuple(
            (name, *(figures.plain(curve.get(count)) for count in counts)) for name, curve in curves.items()
        ),
    )


def notes(summary: Record) -> list[str]:
    """Return what to know before trusting the values."""
    return [str(note) for note in (summary.get("tuning") or {}).get("notes", ())]


def _budget(block: Record) -> str:
    budget = block["budget"]
    parts = []
    if budget["trials"] is not None:
        parts.append(f"{figures.count(budget['trials'])} trials")
    if budget["seconds"] is not None:
        parts.append(f"{figures.seconds(budget['seconds'])}")
    sampler = "random" if block["sampler"] == "random" else "TPE"
    return f"The same budget for every arm: {' or '.join(parts)} ({sampler}). Test was not opened."


def _parameters(values: Any) -> str:
    if not values:
        return figures.DASH
    return ", ".join(
        f"{path} = {value:.4g}" if isinstance(value, float) else f"{path} = {value}"
        for path, value in values.items()
    )
