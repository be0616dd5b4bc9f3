"""The tables of ``simulate estimate``: what a study would see, how many users an effect needs, what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stagelens.pipeline.report import figures
from stagelens.pipeline.report.section import Record, Section, stage_word

_READING = (
    "detectable: the true difference found with 80 % power at the simultaneous 95 % level; effect: the one wanted, by "
    "default the margin; users needed: of test, to see it; none: no number is enough. In brackets what another sample "
    "might say (90 %, from two)."
)
_SEEN = ("users", "detectable", "between", "effect", "users needed", "between")


def stages(summary: Record) -> Section | None:
    """Return what a typical comparison of every stage would see: the headline."""
    rows = _block(summary).get("stages") or ()
    if not rows:
        return None
    return Section(
        "What this study would see",
        f"{_READING} A typical comparison of the stage.",
        ("stage", "metric", *_SEEN),
        tuple((stage_word(row), str(row["metric"]), *_seen(row)) for row in rows),
        texts=2,
        lines=tuple(f"{stage_word(row)}, {row['metric']}: {_sentence(row)}" for row in rows),
    )


def comparisons(summary: Record) -> Section | None:
    """Return what every comparison, or effect, would see."""
    rows = [row for row in _rows(summary) if not row["slice"] and row["family"] in ("primary", "effects")]
    if not rows:
        return None
    return Section(
        "By comparison",
        f"{_READING} owed to: shares of the error's square.",
        ("system", "against", "stage", "metric", *_SEEN, "owed to users / items / trainings"),
        tuple((*_names(row), stage_word(row), str(row["metric"]), *_seen(row), _parts(row)) for row in rows),
        texts=4,
        lines=tuple(
            f"{' against '.join(_names(row))}, {stage_word(row)}, {row['metric']}: {_sentence(row)}"
            for row in rows
        ),
    )


def slices(summary: Record) -> Section | None:
    """Return what every worth would see in every slice."""
    rows = [row for row in _rows(summary) if row["slice"]]
    return _sliced(rows, "By slice", "")


def widest_slices(summary: Record) -> Section | None:
    """Return the slices of one comparison a stage: the last, which has all modalities on."""
    last: dict[Any, tuple[str, str]] = {}
    for row in _rows(summary):
        if row["slice"] and row["view"] != "base":
            last[row["stage"]] = _names(row)
    rows = [row for row in _rows(summary) if row["slice"] and last.get(row["stage"]) == _names(row)]
    return _sliced(rows, "By slice, everything on", " The other comparisons stand in the report.")


def _sliced(rows: Sequence[Record], title: str, more: str) -> Section | None:
    if not rows:
        return None
    return Section(
        title,
        "users: of test, expected from valid. A dash: too few in the pilot, or nothing differed there. Slices of items "
        f"go by the degree in the data that the systems were fitted on.{more}",
        ("system", "stage", "slice", *_SEEN),
        tuple((_names(row)[0], stage_word(row), str(row["slice"]), *_seen(row)) for row in rows),
        texts=3,
    )


def sizes(summary: Record) -> Section | None:
    """Return the smallest detectable effect of a typical comparison at other numbers of users."""
    rows = [row for row in _block(summary).get("stages") or () if row.get("sizes")]
    if not rows:
        return None
    counts = [figures.count(one["users"]) for one in rows[0]["sizes"]]
    return Section(
        "With other numbers of users",
        "Smallest detectable effect of a typical comparison, by the users of test, all else as it is; any: what no "
        "number of users gets below, because it is owed to items that users share, and to trainings.",
        ("stage", "metric", *counts, "any"),
        tuple(
            (
                stage_word(row),
                str(row["metric"]),
                *(figures.plain(one["detectable"]) for one in row["sizes"]),
                figures.plain(row["limit"]),
            )
            for row in rows
        ),
        texts=2,
    )


def costs(summary: Record) -> Section | None:
    """Return the time and memory of the study, by phase."""
    block = _block(summary)
    if not block:
        return None
    time, memory = block["time"], block["memory"]
    by_name = {row["name"]: row for row in memory["phases"]}
    rows = [
        (
            "load",
            figures.seconds(time["load"]),
            figures.seconds(time["load"]),
            figures.DASH,
            figures.DASH,
            figures.DASH,
        )
    ]
    for row in time["phases"]:
        held = by_name.get(row["name"], {})
        rows.append((str(row["name"]), *_spent(row), *_held(held)))
    whole = {name: time[name] + time["load"] for name in ("pilot", "expected", "low", "high")}
    rows.append(("all", *_spent(whole), *_held(memory)))
    return Section(
        "Time and memory",
        "pilot: the largest one; study: what is expected, if nothing is in the store yet; between: what the pilots "
        f"allow, on a machine as busy as it was; {figures.seconds(time['processor'])} of processor time. Memory: the "
        "highest resident in the phase.",
        ("phase", "pilot", "study", "between", "memory", "memory between"),
        tuple(rows),
    )


def _block(summary: Record) -> Record:
    return summary.get("estimate") or {}


def _rows(summary: Record) -> Sequence[Record]:
    return _block(summary).get("detectable") or ()


def _names(row: Record) -> tuple[str, str]:
    if row["family"] == "effects":
        kind = str(row["contrast"]).replace("_", " ")
        return (f"{kind} of {row['system']}", str(row["baseline"]))
    return str(row["system"]), str(row["baseline"])


def _seen(row: Record) -> tuple[str, ...]:
    known = row["reachable"] is not None
    return (
        figures.count(row["users"]),
        figures.plain(row["detectable"]),
        figures.interval(row["low"], row["high"]),
        figures.plain(row["effect"]),
        _users(row["users_needed"], known),
        f"[{_users(row['users_low'], known)}, {_users(row['users_high'], known)}]" if known else figures.DASH,
    )


def _users(count: Any, known: bool) -> str:
    return "none" if known and count is None else figures.count(count)


def _parts(row: Record) -> str:
    parts = row["parts"]
    whole = sum(parts.values()) if parts else 0.0
    if not whole:
        return figures.DASH
    return " / ".join(f"{100 * parts[name] / whole:.0f} %" for name in ("users", "items", "seeds"))


def _sentence(row: Record) -> str:
    if row["detectable"] is None:
        return "equal in every pilot, or too few users."
    seen = f"{figures.count(row['users'])} users see {figures.plain(row['detectable'])} "
    seen += f"{figures.interval(row['low'], row['high'])}"
    if not row["effect"]:
        return f"{seen}."
    if row["reachable"] is False:
        stays = f"{figures.plain(row['limit'])} is owed to items and trainings alone"
        least = "" if row["users_low"] is None else f" (at best {figures.count(row['users_low'])})"
        return f"{seen}; no number of users sees {figures.plain(row['effect'])}{least}: {stays}."
    times = row["users_needed"] / max(row["users"], 1)
    needs = f"{figures.count(row['users_needed'])} users, {times:.2g} times as many"
    return f"{seen}; {figures.plain(row['effect'])} needs {needs}."


def _spent(row: Record) -> tuple[str, str, str]:
    between = f"{figures.seconds(row['low'])} to {figures.seconds(row['high'])}"
    return figures.seconds(row["pilot"]), figures.seconds(row["expected"]), between


def _held(row: Record) -> tuple[str, str]:
    if not row:
        return figures.DASH, figures.DASH
    return figures.memory(row["expected"]), f"{figures.memory(row['low'])} to {figures.memory(row['high'])}"
