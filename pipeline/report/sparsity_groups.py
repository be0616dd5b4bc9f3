"""For whom: the tables of ``simulate sparsity`` about groups of users and items, cold items and the index."""

from __future__ import annotations

import itertools
import math

from stagelens.pipeline.report import figures
from stagelens.pipeline.report.section import Record, Section
from stagelens.pipeline.report.sparsity import SIGNS

CROSSED = "user x item degree"


def marked(summary: Record) -> Section | None:
    """Return the systems on what a budget made cold or withheld, beside the same with everything kept."""
    rows = [row for row in _block(summary).get("marked", ()) if row["value"] in ("cold", "withheld")]
    if not rows:
        return None
    return Section(
        "Those that lost everything",
        f"{_LOST.get(_lost(rows[0]), _WITHHELD)} at the budget, beside the same with everything kept; shown: their "
        "share of all first ten places; higher is better. 95 % intervals, not simultaneous.",
        ("system", "who", "kept", "metric", "mean", "95 % interval", "users", "with everything", "shown"),
        tuple(
            (
                str(row["system"]),
                _lost(row),
                str(row["label"]),
                str(row["metric"]),
                figures.plain(row["mean"]),
                figures.interval(row["low"], row["high"]),
                figures.count(row["n"]),
                figures.plain(row["kept"]["mean"]),
                figures.share(row["shown"]),
            )
            for row in rows
        ),
        texts=4,
    )


_LOST = {
    "cold items": "Recall of relevant items without any training interaction",
    "cold users": "Recall for users without any training interaction",
}
_WITHHELD = "Recall of relevant items whose vector is withheld"


def _lost(row: Record) -> str:
    subject = str(row["slice"]).partition(" at ")[0]
    return f"cold {subject}" if row["value"] == "cold" else f"{subject} withheld"


def for_whom(summary: Record) -> Section | None:
    """Return the area by groups of users, items and time: a second family."""
    rows = [row for row in _areas(summary) if not str(row["slice"]).startswith(CROSSED)]
    if not rows:
        return None
    return Section(
        "Worth over all budgets, by group",
        "The area under the worth curve inside groups (degrees are those with everything kept), a second family with "
        "simultaneous 95 % intervals; too small to tell: less than 80 % power against an effect of the margin.",
        ("system", "group", "users", "area", "95 % interval", "p adj.", "verdict"),
        tuple(
            (
                str(row["system"]).removesuffix(", area"),
                str(row["slice"]),
                figures.count(row["n"]),
                figures.signed(row["difference"]),
                _interval(row),
                figures.probability(row["p_adjusted"]),
                figures.verdict(row),
            )
            for row in rows
        ),
        texts=2,
    )


def cross(summary: Record) -> Section | None:
    """Return the area in every cell of users by degree and items by degree."""
    rows = [row for row in _areas(summary) if str(row["slice"]).startswith(CROSSED)]
    if not rows:
        return None
    cells: dict[tuple[str, str, str], Record] = {}
    users, items = [], []
    for row in rows:
        user, _, item = str(row["slice"]).removeprefix(f"{CROSSED} ").partition(" x ")
        users.append(user)
        items.append(item)
        cells[str(row["system"]), user, item] = row
    columns = sorted(set(items), key=_first_number)
    table = tuple(
        (
            system.removesuffix(", area"),
            user,
            *(_cell(cells.get((system, user, item))) for item in columns),
        )
        for system in dict.fromkeys(str(row["system"]) for row in rows)
        for user in sorted(set(users), key=_first_number)
    )
    return Section(
        "Worth over all budgets, users by items",
        "Rows: users by training interactions; columns: relevant items by theirs, with everything kept. The area, its "
        "verdict (none: no difference, ?: cannot tell or too small to tell) and the users in the cell; the same family "
        "as the groups.",
        ("system", "users", *(f"items {item}" for item in columns)),
        table,
        texts=2,
    )


def index(summary: Record) -> Section | None:
    """Return whether an approximate index loses more of the items without a kept interaction."""
    rows = _block(summary).get("index_by_cold", ())
    if not rows:
        return None
    return Section(
        "Does the approximate index hurt cold items more?",
        "Net share of relevant items lost by the index: of items without a kept training interaction, and of the "
        "others; difference with its 95 % interval (not simultaneous); above 0 cold items lose more.",
        ("system", "kept", "cold", "warm", "difference", "95 % interval", "users cold", "users warm"),
        tuple(
            (
                str(row["system"]),
                str(row["label"]),
                figures.signed(row["cold"]),
                figures.signed(row["warm"]),
                figures.signed(row["difference"]),
                _interval(row),
                figures.count(row["n_cold"]),
                figures.count(row["n_warm"]),
            )
            for row in rows
        ),
        texts=2,
    )


def _cell(row: Record | None) -> str:
    if row is None:
        return figures.DASH
    sign = SIGNS.get(str(row["verdict"]), figures.DASH)
    return f"{figures.signed(row['difference'])} {sign} ({figures.count(row['n'])})"


def _areas(summary: Record) -> list[Record]:
    if not _block(summary):
        return []
    return [
        row
        for row in summary.get("comparisons", ())
        if row.get("slice") and str(row.get("system")).endswith(", area")
    ]


def _first_number(value: str) -> float:
    digits = "".join(itertools.takewhile(str.isdigit, value))
    return float(digits) if digits else math.inf


def _block(summary: Record) -> Record:
    return summary.get("sparsity_study") or {}


def _interval(row: Record) -> str:
    return figures.interval(row.get("low"), row.get("high"), sign=True)
