"""What approximate indexes cost: the table of the ``index`` block."""

from __future__ import annotations

from stagelens.pipeline.report import figures
from stagelens.pipeline.report.section import Record, Section


def by_degree(summary: Record) -> Section | None:
    """Return gross loss, gain and net of every approximate recall system, whole and by item degree."""
    rows = [row for row in summary.get("index", ()) if row["n"]]
    if not rows:
        return None
    return Section(
        "What the approximate index costs",
        "gross: share of a user's relevant items that exact search finds and the index misses, mean over users; gain: "
        "found only because the index is approximate; net = gross - gain, with its 95 % interval (not simultaneous); "
        "lower is better. item degree: training interactions of the relevant items counted.",
        ("system", "items", "users", "gross", "gain", "net", "95 % interval"),
        tuple(
            (
                str(row["system"]),
                "all" if row["slice"] == "all" else f"{row['slice']} {row['value']}",
                figures.count(row["n"]),
                figures.plain(row["gross"]),
                figures.plain(row["gain"]),
                figures.signed(row["net"]),
                figures.interval(row["low"], row["high"], sign=True),
            )
            for row in rows
        ),
        texts=2,
    )
