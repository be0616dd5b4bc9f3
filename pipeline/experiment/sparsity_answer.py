"""What a sparsity study says in words, and where one curve overtakes another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from stagelens.pipeline.core import Float64
from stagelens.pipeline.evaluate.curves import Axis, Joint, crossings
from stagelens.pipeline.evaluate.power import in_words

Record = dict[str, Any]
GROWTH = {
    "helps": "more than",
    "hurts": "less than",
    "no difference": "no more and no less than",
    "cannot tell": "not tellably more or less than",
}


def crossing_record(share: Float64, lead: Joint, axis: Axis, *, alpha: float, draws: int) -> Record:
    """Return where a lead turns from interaction to content, and the share of drawn curves in which it does.

    A curve crosses where interaction leads with everything kept and content at the smallest budget. The limits hold
    1 - alpha of the places of those that cross; null where the estimate itself does not and fewer than half do.
    """
    drawn = crossings(share, lead.drawn(draws), axis)
    [at] = crossings(share, lead.mean[None], axis)
    crossed = drawn[np.isfinite(drawn)]
    part = len(crossed) / len(drawn)
    low = high = math.nan
    if len(crossed) and (math.isfinite(at) or part >= 0.5):
        low, high = np.quantile(crossed, [alpha / 2, 1 - alpha / 2])
    record: Record = {"budget": _known(at), "low": _known(low), "high": _known(high)}
    return record | {"share": part, "ahead": _ahead(lead.mean), "draws": len(drawn)}


def _ahead(lead: Float64) -> str:
    """Return who leads over the whole range; ``neither`` where the lead changes."""
    if (lead > 0).all():
        return "content"
    return "interaction" if (lead <= 0).all() else "neither"


def answer_of(
    losses: Sequence[Record],
    area: Sequence[Record],
    growth: Sequence[Record],
    primary: Sequence[Record],
) -> str:
    """Return the answer: what the base loses at every budget, then what content is worth, and where.

    Args:
        losses: Every system against itself with everything kept.
        area: Under every worth curve.
        growth: Of the same.
        primary: The judged primary family, where there is no content.
    """
    said = []
    for stage in dict.fromkeys(row["stage"] for row in losses):
        own = [row for row in losses if (row["system"], row["stage"]) == ("base", stage)]
        if own:
            at = "; ".join(f"{row['label']} {_change(row)}" for row in own)
            said.append(f"The base against itself with everything kept, {own[0]['metric']}: {at}.")
    said += [
        f"{row['system']} against {row['baseline']}, {row['metric']}: {_change(row)}." for row in primary
    ]
    for whole, more in zip(area, growth, strict=True):
        if whole["difference"] is None:
            continue
        who = whole["modality"] or "all content together"
        said.append(
            f"{who}, {whole['metric']}: over these budgets worth {whole['difference']:+.4f} on average "
            f"{_ends(whole)}, {_words(whole)}; {GROWTH[more['verdict']]} with everything kept "
            f"({more['difference']:+.4f} {_ends(more)}, {_words(more)})."
        )
    return " ".join(said)


def _change(row: Record) -> str:
    if row["difference"] is None:
        return "not known"
    return f"{row['difference']:+.4f} ({_words(row)})"


def _words(row: Record) -> str | None:
    return in_words(row["verdict"], row["margin"], row["detectable"])


def _ends(row: Record) -> str:
    if row["low"] is None or row["high"] is None:
        return "(no interval)"
    return f"[{row['low']:+.4f}, {row['high']:+.4f}]"


def _known(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
