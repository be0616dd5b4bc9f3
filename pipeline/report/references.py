"""The tables of a study of references: every system, the best first; mean ranks; and the sampled protocol apart."""

from __future__ import annotations

from typing import Any

from stagelens.pipeline.report import figures
from stagelens.pipeline.report.section import Record, Section

STAGES = {
    "recall": (
        "References: recall channels",
        "Each as a recall channel, by what it returns itself: short lists are not filled.",
    ),
    "both": (
        "References: one-stage rankers",
        "Each as a one-stage ranker: its own list of the whole catalogue is the final one; no candidates, no "
        "re-ranker.",
    ),
}
RANKED = {"recall": "as recall channels", "both": "as one-stage rankers"}
CUTS = (5, 10, 20, 50, 100, 200)
"""Cut-offs on a page; the files hold all."""
SHORT = ("hit@10", "recall@10", "mrr@10", "recall@20", "recall@50")
"""Further metrics in a terminal."""
BASELINE = "the baseline"


def systems(summary: Record, *, complete: bool = False) -> list[Section]:
    """Return a table of every stage: metrics, verdict against the baseline and times, the best system first."""
    block = summary.get("references")
    if not block:
        return []
    return [_systems(summary, block, stage, complete) for stage in STAGES if stage in block["ranked"]]


def _systems(summary: Record, block: Record, stage: str, complete: bool) -> Section:
    found = [system for system in summary["systems"] if system["stage"] == stage]
    verdicts = {
        row["system"]: row for row in summary["comparisons"] if row["stage"] == stage and row["primary"]
    }
    primary = "ndcg@10" if stage == "both" else str(block["ranked"][stage][-1])
    found.sort(key=lambda system: _mean(system, primary), reverse=True)
    shown = _shown(block["ranked"][stage], found, primary, complete)
    rows = []
    for system in found:
        name, cost, own = str(system["system"]), system["cost"], system["metrics"].get(primary) or {}
        said = BASELINE if name == block["baseline"] else figures.verdict(verdicts.get(name, {}))
        rows.append(
            (
                name,
                figures.plain(own.get("mean")),
                figures.interval(own.get("low"), own.get("high")),
                *(figures.plain(_known(system, metric)) for metric in shown),
                figures.seconds(cost["fit_s"]),
                figures.plain((cost["latency_ms"] or {}).get("p50"), 2),
                said if complete else said.partition(" (")[0],
            )
        )
    title, what = STAGES[stage]
    more = f"{shown[0]} {{}}; " if shown else ""
    return Section(
        title,
        f"{what} Best {primary} first; verdict: against {block['baseline']}, all in one family; fit: seconds to train; "
        "p50: milliseconds for one user.",
        ("system", primary, "95 % interval", *shown, "fit", "p50 ms", "verdict"),
        tuple(rows),
        lines=tuple(
            f"{row[0]}: {primary} {row[1]} {row[2]}; {more.format(row[3])}fit {row[-3]}; {row[-1]}"
            for row in rows
        ),
    )


def _shown(ranked: list[str], found: list[Record], primary: str, complete: bool) -> list[str]:
    """Return further metrics; dcg first where it was asked for."""
    raw = [name for name in (found[0]["metrics"] if found else ()) if name == "dcg@10"]
    if not complete:
        return [*raw, *(name for name in SHORT if name in ranked and name != primary)]
    return [*raw, *(name for name in ranked if _cut(name) in CUTS and name != primary)]


def _cut(metric: str) -> int:
    return int(metric.partition("@")[2])


def _mean(system: Record, metric: str) -> float:
    value = _known(system, metric)
    return -1.0 if value is None else float(value)


def _known(system: Record, metric: str) -> Any:
    return (system["metrics"].get(metric) or {}).get("mean")


def mean_ranks(summary: Record) -> Section | None:
    """Return mean ranks over metrics and cut-offs, beside the published ones."""
    block = summary.get("references")
    if not block:
        return None
    order = block["published_order"][-1]
    stage = order["stage"]
    metrics = len(block["ranked"][stage])
    return Section(
        f"Mean ranks {RANKED[stage]}",
        f"Rank by each of {metrics} metrics and cut-offs on this data set alone, 1 is best, equals share. published: "
        "mean over 85 data sets among 20 systems (McElfresh et al. 2022), so only its order compares: rank correlation "
        f"{figures.plain(order['spearman'], 2)} over {order['systems']} systems.",
        ("system", "mean", "best", "worst", "published"),
        tuple(
            (
                str(row["system"]),
                *(figures.plain(row[key], 1) for key in ("mean", "best", "worst", "published")),
            )
            for row in block["mean_ranks"]
            if row["stage"] == stage
        ),
    )


def loo99(summary: Record) -> Section | None:
    """Return the sampled protocol, labelled for what it is not."""
    block = summary.get("loo99")
    if not block:
        return None
    names = ("hit@10", "ndcg@10")
    rows = tuple(
        (
            str(row["system"]),
            *(
                cell
                for name in names
                for cell in (
                    figures.plain(row[name]["mean"]),
                    figures.interval(row[name]["low"], row[name]["high"]),
                )
            ),
        )
        for row in sorted(block["systems"], key=lambda row: -float(row["ndcg@10"]["mean"]))
    )
    return Section(
        f"Among {block['negatives']} sampled negatives (not a re-rank measure)",
        str(block["note"]) + f" {figures.count(block['pairs'])} held-out items; intervals, no verdict.",
        ("system", "hit@10 of 100", "95 %", "ndcg@10 of 100", "95 %"),
        rows,
    )


def notes(summary: Record) -> list[str]:
    """Return what to know before trusting the values."""
    return [str(note) for note in (summary.get("references") or {}).get("notes", ())]
