"""Fusion or ensemble: the tables of ``simulate compare``, the lines that answer first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stagelens.pipeline.report import figures
from stagelens.pipeline.report.comparisons import sentence
from stagelens.pipeline.report.section import Record, Section, stage_word

_AGAINST = {"itself": "its honest self", "rival": "the rival kind's best"}


def answer(summary: Record) -> Section | None:
    """Return the best ensemble against the best fusion at every stage, and both against the references."""
    block = _block(summary)
    rows = [row for row in _judged(summary) if block and row.get("primary")]
    if not rows:
        return None
    said = " ".join((_sentences(block.get("warnings", ())), *block.get("answer", {}).values())).lstrip()
    return Section(
        "Fusion or ensemble?",
        f"{said} Same signals, same size, at most as many settings for every system, the best of each kind chosen on "
        "valid; difference = system minus baseline with the simultaneous 95 % interval; positive is better.",
        _COMPARED,
        tuple(_compared(row) for row in rows),
        texts=3,
        lines=tuple(sentence(row) for row in rows),
    )


def side_by_side(summary: Record) -> Section | None:
    """Return every fusion and ensemble with its setting, trials, parameters and value."""
    rows = _block(summary).get("arms", ())
    if not rows:
        return None
    found = {(s["stage"], s["system"]): s["metrics"] for s in summary.get("systems", ())}
    notes = _block(summary).get("notes", ())
    return Section(
        "Fusions and ensembles side by side",
        "trials: settings tried on valid; valid: the value that chose the setting, first seed; parameters: learned "
        f"numbers; test: recall@size at recall, ndcg@10 elsewhere; higher is better. {_sentences(notes)}".rstrip(),
        ("system", "stage", "setting", "trials", "valid", "parameters", "test", "95 % interval"),
        tuple(
            (
                str(row["system"]),
                stage_word(row),
                str(row.get("setting") or figures.DASH),
                figures.count(row.get("trials")),
                figures.plain(row.get("valid")),
                figures.count(row.get("parameters")),
                *_measured(found.get((row["stage"], row["system"]), {}), row["stage"]),
            )
            for row in rows
        ),
        texts=3,
    )


def confounds(summary: Record) -> Section | None:
    """Return how much advantage each confound manufactures."""
    rows = _block(summary).get("confounds", ())
    if not rows:
        return None
    warnings = _sentences(_block(summary).get("warnings", ()))
    return Section(
        "What confounds manufacture",
        f"{warnings} One system alone under a published confound: against its honest self (the manufactured "
        "advantage), and against the best of the rival kind (what a paper would print); never a result.".lstrip(),
        ("confound", "system", "against", *_COMPARED[2:]),
        tuple(
            (
                str(row["confound"]),
                str(row["system"]),
                f"{_AGAINST[row['against']]}: {row['baseline']}",
                *_compared(row)[2:],
            )
            for row in rows
        ),
        texts=4,
        lines=tuple(
            f"{row['confound']}, {stage_word(row)}: {row['system']} against {_AGAINST[row['against']]} "
            f"({row['baseline']}): {figures.verdict(row)}; {row['metric']} {figures.signed(row['difference'])} "
            f"{figures.interval(row['low'], row['high'], sign=True)}."
            for row in rows
        ),
    )


def pairs(summary: Record) -> Section | None:
    """Return all pairs of fusions and ensembles at a stage: a family of its own."""
    names = {(row["stage"], row["system"]) for row in _block(summary).get("arms", ())}
    rows = [
        c
        for c in _judged(summary)
        if not c.get("primary") and {(c["stage"], c["system"]), (c["stage"], c["baseline"])} <= names
    ]
    if not rows:
        return None
    return Section(
        "All pairs of fusions and ensembles",
        "A second family: its 95 % intervals hold together for all rows of this table; difference = system minus "
        "baseline; positive is better.",
        _COMPARED,
        tuple(_compared(row) for row in rows),
        texts=3,
    )


def trials(summary: Record) -> Section | None:
    """Return every setting that was tried, with its value on valid."""
    rows = _block(summary).get("trials", ())
    if not rows:
        return None
    return Section(
        "Settings tried",
        "Value on valid, first seed; the chosen setting is held for every seed. trials: more than 1 where the rule "
        "tunes itself on valid.",
        ("system", "stage", "setting", "chosen", "trials", "valid"),
        tuple(
            (
                str(row["system"]),
                stage_word(row),
                str(row["setting"]),
                "chosen" if row["chosen"] else "",
                figures.count(row["trials"]),
                figures.plain(row["valid"]),
            )
            for row in rows
        ),
        texts=4,
    )


_COMPARED = ("system", "baseline", "stage", "metric", "difference", "95 % interval", "p adj.", "verdict")


def _compared(row: Record) -> tuple[str, ...]:
    return (
        str(row["system"]),
        str(row["baseline"]),
        stage_word(row),
        str(row["metric"]),
        figures.signed(row.get("difference")),
        figures.interval(row.get("low"), row.get("high"), sign=True),
        figures.probability(row.get("p_adjusted")),
        figures.verdict(row),
    )


def _block(summary: Record) -> Record:
    return summary.get("integration") or {}


def _judged(summary: Record) -> Sequence[Record]:
    return [c for c in summary.get("comparisons", ()) if c.get("verdict") is not None and not c.get("slice")]


def _measured(metrics: Record, stage: str) -> tuple[str, str]:
    names = [name for name in metrics if name.startswith("recall@")] if stage == "recall" else ["ndcg@10"]
    deepest = max(names, key=lambda name: int(name.partition("@")[2]), default="")
    value: dict[str, Any] = metrics.get(deepest) or {}
    return figures.plain(value.get("mean")), figures.interval(value.get("low"), value.get("high"))


def _sentences(notes: Sequence[str]) -> str:
    return " ".join(f"{note}." for note in notes)
