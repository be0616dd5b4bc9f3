"""One table of a report, and the words that all tables share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]

LOSSES = ("hit", "overflow", "ranked_below", "index", "recall", "unreachable")
"""The six classes of the loss partition, in the order in which they are drawn; they sum to 1."""

LOSS_WORDS = {
    "hit": "in the final k",
    "overflow": "recalled, but more of them than k places",
    "ranked_below": "recalled, ranked below k",
    "index": "lost by the approximate index",
    "recall": "reachable, not recalled",
    "unreachable": "no channel could ever return it",
}
STAGE_WORDS = {"recall": "recall", "rerank": "re-rank", "both": "end to end"}


@dataclass(frozen=True, slots=True)
class Section:
    """One table of a report.

    Attributes:
        title: Heading.
        explain: One line: what the columns are and what is better.
        columns: Headings, text columns first.
        rows: Cells as they are shown.
        texts: Number of leading columns that hold text.
        lines: The same in sentences, for where a table is too wide.
    """

    title: str
    explain: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1
    lines: tuple[str, ...] = ()


def stage_word(record: Record) -> str:
    """Return the stage of a system or comparison as people say it."""
    stage = str(record.get("stage"))
    return STAGE_WORDS.get(stage, stage)
