"""What makes the figures of an estimate less sure is said."""

from __future__ import annotations

import pytest

from stagelens.pipeline.data.splits import split
from stagelens.pipeline.experiment.pilot import Pilot
from stagelens.pipeline.experiment.pilot_costs import Spent
from stagelens.pipeline.experiment.pilot_notes import notes_of

WORDS = {
    "roughly": "what its error owes to items is known roughly",
    "few": "learned from",
    "apart": "another sample might say twice as much or half",
    "carried": "owe more than 75 % of the error's square to items",
    "equal": "1 comparisons: the systems were equal in the pilot",
}


def row(detectable=0.01, factor=1.5, items=0.1):
    parts = None if detectable is None else {"users": 1.0, "items": items, "seeds": 0.0}
    low, high = (None, None) if detectable is None else (detectable / factor, detectable * factor)
    return {"family": "primary", "detectable": detectable, "low": low, "high": high, "parts": parts}


def pilot(users: int, measured: int) -> Pilot:
    return Pilot(users, measured, 3, [], Spent(None, {}, {}, {}))


@pytest.mark.parametrize(
    ("said", "rows", "union"),
    [
        ((), [row()], pilot(190, 120)),
        (("roughly",), [row()], pilot(190, 9)),
        (("few",), [row()], pilot(50, 40)),
        (("apart",), [row(), row(factor=2.1)], pilot(190, 120)),
        (("carried",), [row(items=3.5)], pilot(190, 120)),
        (("equal",), [row(), row(detectable=None)], pilot(190, 120)),
        (tuple(WORDS), [row(factor=3.0, items=9.0), row(detectable=None)], pilot(20, 9)),
    ],
)
def test_each_doubt_is_said_where_it_holds_and_nowhere_else(said, rows, union, tiny):
    windows = split(tiny)
    notes = notes_of(rows, union, 100, 200, windows)
    assert notes[0].startswith("Measured on valid users")
    for name, words in WORDS.items():
        assert any(words in note for note in notes) == (name in said), (name, notes)


def test_a_later_test_window_is_said(make_world):
    for kind, later in (("global-time", True), ("leave-last-out", False)):
        notes = notes_of([row()], pilot(190, 120), 100, 200, split(make_world(2), kind))
        assert any("Test lies later than valid" in note for note in notes) == later


def test_another_number_of_held_out_items_is_said(make_world):
    windows = split(make_world(2), "leave-last-out")
    assert not any("held-out items" in note for note in notes_of([row()], pilot(190, 120), 100, 200, windows))
    timed = split(make_world(2))
    per_user = [len(one) / len(one.users()) for one in (timed.valid, timed.test)]
    told = any("held-out items" in note for note in notes_of([row()], pilot(190, 120), 100, 200, timed))
    assert told == (max(per_user) > 1.25 * min(per_user))
