"""What the comparisons of systems say: verdicts, slices, and intervals outside the family."""

from __future__ import annotations

from stagelens.pipeline.report import figures
from stagelens.pipeline.report.section import STAGE_WORDS, Record, Section, stage_word

_STAGES = tuple(STAGE_WORDS)
_CONTRASTS = ("worth", "information", "other")


def _order(comparison: Record) -> tuple[int, int]:
    contrast, stage = str(comparison.get("contrast")), str(comparison.get("stage"))
    return (
        _CONTRASTS.index(contrast) if contrast in _CONTRASTS else len(_CONTRASTS),
        _STAGES.index(stage) if stage in _STAGES else len(_STAGES),
    )


def _comparison_row(comparison: Record) -> tuple[str, ...]:
    return (
        str(comparison.get("system")),
        str(comparison.get("baseline")),
        stage_word(comparison),
        str(comparison.get("metric")) + (f" | {comparison['slice']}" if comparison.get("slice") else ""),
        str(comparison.get("contrast")),
        figures.signed(comparison.get("difference")),
        figures.interval(comparison.get("low"), comparison.get("high"), sign=True),
    )


def verdicts(summary: Record) -> Section | None:
    """Return the comparisons that carry a verdict, the headline of a report."""
    judged = [
        c for c in summary.get("comparisons", ()) if c.get("verdict") is not None and not c.get("slice")
    ]
    if not judged:
        return None
    families = list(dict.fromkeys(c.get("family") for c in judged))
    chosen = sorted(judged, key=lambda c: (families.index(c.get("family")), *_order(c)))
    mixed = len(families) > 1
    rows = tuple(
        (
            *([str(c.get("family"))] if mixed else []),
            *(*_comparison_row(c), figures.probability(c.get("p_adjusted")), figures.verdict(c)),
        )
        for c in chosen
    )
    return Section(
        "Verdicts",
        "Difference = system minus baseline, paired by user, with the 95 % interval that is simultaneous within a "
        "family; positive is better. worth: with the modality minus without it; information: real minus shuffled "
        "rows, which alone never says that a modality is worth having.",
        (
            *(["family"] if mixed else []),
            "system",
            "baseline",
            "stage",
            "metric",
            "contrast",
            "difference",
            "95 % interval",
            "p adj.",
            "verdict",
        ),
        rows,
        texts=5 + mixed,
        lines=tuple(sentence(c) for c in chosen),
    )


def sentence(comparison: Record) -> str:
    """Return one comparison as a sentence that can stand alone."""
    stage = stage_word(comparison)
    where = "end to end" if stage == "end to end" else f"at {stage}"
    contrast = comparison.get("contrast")
    kind = f" ({contrast})" if contrast in ("worth", "information") else ""
    return (
        f"{comparison.get('system')} against {comparison.get('baseline')} {where}{kind}: "
        f"{figures.verdict(comparison)}; "
        f"{comparison.get('metric')} {figures.signed(comparison.get('difference'))} "
        f"{figures.interval(comparison.get('low'), comparison.get('high'), sign=True)}, "
        f"p adj. {figures.probability(comparison.get('p_adjusted'))}."
    )


def slice_verdicts(summary: Record) -> Section | None:
    """Return what each modality is worth in every slice: a family of its own."""
    chosen = [c for c in summary.get("comparisons", ()) if c.get("slice")]
    if not chosen:
        return None
    return Section(
        "Worth by slice",
        "A second family: its 95 % intervals hold together for all rows of this table; positive is better.",
        (
            "system",
            "baseline",
            "stage",
            "metric",
            "contrast",
            "difference",
            "95 % interval",
            "n",
            "p adj.",
            "verdict",
        ),
        tuple(
            (
                *_comparison_row(c),
                figures.count(c.get("n")),
                figures.probability(c.get("p_adjusted")),
                figures.verdict(c),
            )
            for c in sorted(chosen, key=_order)
        ),
        texts=5,
    )


def other_intervals(summary: Record) -> Section | None:
    """Return the comparisons outside the family: intervals, no verdicts."""
    chosen = [c for c in summary.get("comparisons", ()) if c.get("verdict") is None and not c.get("slice")]
    if not chosen:
        return None
    return Section(
        "Other comparisons",
        "Outside the family of primary comparisons: intervals without a verdict; positive is better.",
        ("system", "baseline", "stage", "metric", "contrast", "difference", "95 % interval", "p"),
        tuple((*_comparison_row(c), figures.probability(c.get("p"))) for c in sorted(chosen, key=_order)),
        texts=5,
    )
