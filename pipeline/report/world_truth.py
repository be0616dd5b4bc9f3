"""The table of the ``world_truth`` block: what was measured beside what is true."""

from __future__ import annotations

from stagelens.pipeline.report import figures
from stagelens.pipeline.report.section import Record, Section, stage_word

COVERED = {True: "yes", False: "no", None: figures.DASH}


def beside(summary: Record) -> Section | None:
    """Return every comparison as measured and as it truly is in its world."""
    rows = summary.get("world_truth") or ()
    if not rows:
        return None
    even, mixed = any("even" in row for row in rows), len({row["family"] for row in rows}) > 1
    told = (
        "; even: on logs in which all items are examined alike, so true less even is the bias of the policy"
    )
    return Section(
        "Measured and true",
        "true: the mean over fresh logs of the same world and policy, the systems as fitted, with its Monte-Carlo "
        "error; bias: measured less true; covered: the interval holds the truth (of several seeds it holds training "
        f"noise too, which this truth does not){told if even else ''}.",
        (
            *(["family"] if mixed else []),
            *("system", "baseline", "stage", "metric", "measured", "95 % interval", "true", "error", "bias"),
            *(["even"] if even else []),
            "covered",
        ),
        tuple(
            (
                *([str(row["family"])] if mixed else []),
                *(str(row["system"]), str(row["baseline"]), stage_word(row), str(row["metric"])),
                figures.signed(row["measured"]),
                figures.interval(row["low"], row["high"], sign=True),
                figures.signed(row["true"]),
                figures.plain(row["true_error"]),
                figures.signed(row["bias"]),
                *([figures.signed(row.get("even"))] if even else []),
                COVERED[row["covered"]],
            )
            for row in rows
        ),
        texts=4 + mixed,
    )
