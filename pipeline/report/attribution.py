"""Who gets the credit: the tables of ``simulate attribute``, the line that answers first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stagelens.pipeline.evaluate.shapley import ANSWERS
from stagelens.pipeline.report import figures
from stagelens.pipeline.report.section import Record, Section, stage_word

PRIMARY, SECONDARY = "ndcg@10", "hit@10"


def effects(summary: Record) -> Section | None:
    """Return the Shapley effect of every modality at each stage, under the answer in one line."""
    block, rows = _block(summary), _rows(summary, "effects")
    if not rows:
        return None
    beside = {(r["modality"], r["stage"]): r for r in block["effects"] if r["metric"] == SECONDARY}
    answer = f"{block['answer']} " if block.get("answer") else ""
    return Section(
        "Attribution",
        f"{answer}effect: what a modality adds to {PRIMARY} at a stage, averaged over all orders of switching things "
        "on (Shapley), with the simultaneous 95 % interval; effects sum to the total; share: of the total, where "
        "that is known to differ from 0; positive is better.",
        ("modality", "stage", "effect", "95 % interval", "p adj.", "share", "verdict", SECONDARY),
        tuple(
            (
                str(row["modality"]),
                stage_word(row),
                figures.signed(row["effect"]),
                _interval(row),
                figures.probability(row.get("p_adjusted")),
                figures.share(row.get("share")),
                figures.verdict(row),
                figures.signed(beside.get((row["modality"], row["stage"]), {}).get("effect")),
            )
            for row in rows
        ),
        texts=2,
        lines=tuple(_effect_line(row) for row in rows),
    )


def contrasts(summary: Record) -> Section | None:
    """Return worth and information of every modality at each stage, side by side."""
    rows = []
    for row in _rows(summary, "effects"):
        worth = _comparison(summary, row.get("without"), "worth")
        information = _comparison(summary, row.get("permuted"), "information")
        if worth or information:
            rows.append((row, worth or {}, information or {}))
    if not rows:
        return None
    return Section(
        "Worth and information at each stage",
        f"Everything on, end to end, in {PRIMARY}. worth: minus everything but this modality at this stage; "
        "information: minus the same with its rows shuffled at this stage. Two contrasts: information alone never says "
        "that a modality is worth having. Simultaneous 95 % intervals; positive is better.",
        (
            "modality",
            "stage",
            "worth",
            "95 % interval",
            "verdict",
            "information",
            "95 % interval",
            "verdict",
        ),
        tuple(
            (
                str(row["modality"]),
                stage_word(row),
                *(cell for one in pair for cell in _contrast(one)),
            )
            for row, *pair in rows
        ),
        texts=2,
        lines=tuple(
            f"{row['modality']} at {stage_word(row)}: worth {' '.join(_contrast(worth))}; information "
            f"{' '.join(_contrast(information))}."
            for row, worth, information in rows
        ),
    )


def stages(summary: Record) -> Section | None:
    """Return the stage difference of every modality: effect at recall minus effect at re-rank."""
    rows = _rows(summary, "stage_difference")
    if not rows:
        return None
    return Section(
        "Recall more than re-ranking?",
        f"Effect at recall minus effect at re-rank in {PRIMARY}, all: summed over content, with the simultaneous "
        "95 % interval; above 0 recall gains more.",
        ("modality", "difference", "95 % interval", "p adj.", "verdict"),
        tuple(
            (
                str(row["modality"]),
                figures.signed(row["difference"]),
                _interval(row),
                figures.probability(row.get("p_adjusted")),
                _answer(row),
            )
            for row in rows
        ),
    )


def interaction(summary: Record) -> Section | None:
    """Return how much more, or less, a modality does at both stages than at each alone."""
    rows = _rows(summary, "interaction")
    if not rows:
        return None
    return Section(
        "Interaction of the stages",
        f"Shapley interaction index of a modality at recall and at re-rank in {PRIMARY}, simultaneous 95 % interval; "
        "above 0 the stages do more together, below 0 one makes up for the other.",
        ("modality", "interaction", "95 % interval"),
        tuple((str(row["modality"]), figures.signed(row["effect"]), _interval(row)) for row in rows),
    )


def cells(summary: Record) -> Section | None:
    """Return every cell of the factorial with what is on in it."""
    found = _block(summary).get("cells")
    if not isinstance(found, list) or not found:
        return None
    return Section(
        "Cells of the factorial",
        "One system each: what is on at recall and at re-rank, means over users end to end; higher is better.",
        ("recall", "re-rank", PRIMARY, SECONDARY),
        tuple(
            (
                *(" + ".join(cell.get(stage, ())) or figures.DASH for stage in ("recall", "rerank")),
                *(figures.plain(cell.get(metric)) for metric in (PRIMARY, SECONDARY)),
            )
            for cell in found
        ),
        texts=2,
    )


def _block(summary: Record) -> Record:
    return summary.get("attribution") or {}


def _rows(summary: Record, kind: str) -> Sequence[Record]:
    return [row for row in _block(summary).get(kind, ()) if row["metric"] == PRIMARY]


def _interval(row: Record) -> str:
    return figures.interval(row.get("low"), row.get("high"), sign=True)


def _comparison(summary: Record, baseline: Any, contrast: str) -> Record | None:
    if baseline is None:
        return None
    for one in summary.get("comparisons", ()):
        named = (one.get("baseline"), one.get("contrast"), one.get("metric"))
        if named == (baseline, contrast, PRIMARY) and not one.get("slice"):
            found: Record = one
            return found
    return None


def _contrast(one: Record) -> tuple[str, str, str]:
    return figures.signed(one.get("difference")), _interval(one), figures.verdict(one)


def _answer(row: Record) -> str:
    return ANSWERS[row["verdict"]] if row["verdict"] in ("helps", "hurts") else figures.verdict(row)


def _effect_line(row: Record) -> str:
    share = figures.share(row.get("share"))
    part = f", {share} of the total" if share != figures.DASH and row["stage"] != "both" else ""
    return (
        f"{row['modality']} at {'both stages' if row['stage'] == 'both' else stage_word(row)}: {figures.verdict(row)}; "
        f"{row['metric']} {figures.signed(row['effect'])} {_interval(row)}, p adj. "
        f"{figures.probability(row.get('p_adjusted'))}{part}."
    )
