"""What a reader must know before reading the figures of an estimate."""

from __future__ import annotations

from collections.abc import Sequence

from stagelens.pipeline.core import Split
from stagelens.pipeline.experiment.pilot import Pilot, Record

TWICE = 2.0
"""Figures that another sample might double or halve are said to be so."""
CARRIED = 0.75
"""Share of the squared error owed to items from which on a few of them carry it."""


def notes_of(rows: Sequence[Record], union: Pilot, users: int, active: int, split: Split) -> list[str]:
    """Return one line for everything that makes figures less sure.

    Args:
        rows: What is foreseen, with parts.
        union: The largest pilot.
        users: Of test.
        active: Users with anything before test.
        split: The windows of the whole.
    """
    notes = [
        "Measured on valid users who tuned nothing. Test was neither opened nor counted as opened; of it only the "
        "number of users is used."
    ]
    if split.kind == "global-time":
        notes.append(
            "Test lies later than valid. Systems mostly find less there and so differ less: the figures rather err on "
            "the large side."
        )
    per_user = [len(window) / max(len(window.users()), 1) for window in (split.valid, split.test)]
    if max(per_user) > 1.25 * min(per_user):
        notes.append(
            f"A user has {per_user[0]:.1f} held-out items in valid and {per_user[1]:.1f} in test: the error of one "
            "user's difference may be another there."
        )
    if union.measured < 0.1 * users:
        notes.append(
            f"{union.measured:,} users were measured, the study has {users:,}: what its error owes to items is known "
            "roughly. A larger --pilot tells more."
        )
    if union.users < 0.6 * active:
        notes.append(
            f"The pilot's systems learned from {union.users:,} of {active:,} users. Two systems mostly differ less "
            "when they learn from more: again rather too large than too small."
        )
    return notes + _of_comparisons(rows)


def _of_comparisons(rows: Sequence[Record]) -> list[str]:
    headline = [row for row in rows if row["family"] in ("primary", "effects")]
    known = [row for row in headline if row["detectable"]]
    notes = []
    apart = [row for row in known if not row["high"] or row["high"] > TWICE**2 * row["low"]]
    if apart:
        notes.append(
            f"{len(apart)} of {len(known)} comparisons: another sample might say twice as much or half. Where merge "
            "weights or a setting are chosen on valid, another choice is another comparison."
        )
    carried = [row for row in known if row["parts"]["items"] > CARRIED * sum(row["parts"].values())]
    if carried:
        notes.append(
            f"{len(carried)} of {len(known)} comparisons owe more than {100 * CARRIED:.0f} % of the error's square to "
            "items: a few popular ones, which another window or training weighs otherwise. Read them as orders of "
            "magnitude."
        )
    if len(known) < len(headline):
        notes.append(
            f"{len(headline) - len(known)} comparisons: the systems were equal in the pilot; nothing can be foreseen."
        )
    return notes
