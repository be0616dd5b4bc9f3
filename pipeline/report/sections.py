"""What a report says, free of how it is drawn: titled tables with a line that explains each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stagelens.pipeline.report import figures

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
_STAGES = tuple(STAGE_WORDS)
_CONTRASTS = ("worth", "information", "other")


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


def sections(summary: Record, *, complete: bool = False) -> list[Section]:
    """Return the sections that this summary has something for, in reading order.

    Args:
        summary: As in ``summary.json``.
        complete: For a page: verdicts first, then everything. Else for a terminal, where the last lines are
            read first: verdicts last, without the longest tables, the permuted copies and the second views.
    """
    if not complete:
        summary = headline(summary)
    stages = [recall, rerank, end_to_end, losses]
    rest = [importance, costs]
    order = (
        [verdicts, *stages, other_intervals, slice_verdicts, slices, *rest]
        if complete
        else [*stages, *rest, verdicts]
    )
    return [section for make in order if (section := make(summary)) is not None]


def headline(summary: Record) -> Record:
    """Return the summary without permuted copies (their comparisons stay) and second views of a stage."""
    return {
        **summary,
        "systems": [s for s in summary.get("systems", ()) if not (_permuted(s) or _second(s.get("system")))],
        "comparisons": [c for c in summary.get("comparisons", ()) if not _second(c.get("system"))],
    }


def _permuted(system: Record) -> bool:
    return any("~" in name for name in system.get("modalities", ()))


def _second(name: Any) -> bool:
    return str(name).endswith("]")


def heading(summary: Record, *, notes: bool = True) -> list[str]:
    """Return the opening lines: what ran, on which data, and what its intervals stand for."""
    dataset = summary.get("dataset", {})
    statistics = dataset.get("statistics", {})
    sizes = [
        f"{figures.count(statistics[key])} {word}"
        for key, word in (("users", "users"), ("items", "items"), ("interactions", "interactions"))
        if isinstance(statistics.get(key), int | float)
    ]
    lines = [
        f"{summary.get('name', '')} on {dataset.get('name', '')}"
        + (f": {', '.join(sizes)}." if sizes else ".")
    ]
    lines += [str(note) for note in dataset.get("notes", ()) if notes]
    n_seeds = max((int(c.get("seeds") or 1) for c in summary.get("comparisons", ())), default=1)
    if n_seeds == 1:
        lines.append(
            "One seed: the intervals are for these fitted systems and say nothing of another training. "
            "Use --seeds 3 for intervals over trainings."
        )
    else:
        lines.append(f"{n_seeds} seeds: the intervals cover users and trainings.")
    return lines


def stage_word(record: Record) -> str:
    """Return the stage of a system or comparison as people say it."""
    stage = str(record.get("stage"))
    return STAGE_WORDS.get(stage, stage)


def _at(summary: Record, stage: str) -> list[Record]:
    return [system for system in summary.get("systems", ()) if system.get("stage") == stage]


def _cutoff(metric: str) -> int:
    _, _, k = metric.partition("@")
    return int(k) if k.isdigit() else 0


def _named(systems: Sequence[Record], pattern: str) -> list[str]:
    """Return the metrics that match, by cut-off, each once."""
    names = {name for system in systems for name in system.get("metrics", {}) if re.fullmatch(pattern, name)}
    return sorted(names, key=lambda name: (_cutoff(name), name))


def _mean(system: Record, metric: str) -> Any:
    return (system.get("metrics", {}).get(metric) or {}).get("mean")


def _interval(system: Record, metric: str) -> str:
    value = system.get("metrics", {}).get(metric) or {}
    return figures.interval(value.get("low"), value.get("high"))


def _reads(system: Record) -> str:
    return ", ".join(system.get("modalities", ())) or figures.DASH


def _metric_table(
    systems: Sequence[Record], metrics: Sequence[str], primary: str, title: str, explain: str
) -> Section | None:
    if not systems or not metrics:
        return None
    rows = tuple(
        (
            str(system.get("system")),
            _reads(system),
            *(figures.plain(_mean(system, name)) for name in metrics),
            _interval(system, primary),
        )
        for system in systems
    )
    columns = ("system", "modalities", *metrics, f"95 % of {primary}")
    return Section(title, explain, columns, rows, texts=2)


def recall(summary: Record) -> Section | None:
    """Return the recall stage: recall of the candidate sets, and what their indexes lose."""
    systems = _at(summary, "recall")
    cutoffs = _named(systems, r"recall@\d+")
    if not cutoffs:
        return None
    agreement = _named(systems, r"agreement@\d+")
    return _metric_table(
        systems,
        [*cutoffs, *agreement],
        cutoffs[-1],
        "Recall stage: candidate sets",
        "recall@k: share of a user's relevant items among the first k candidates, mean over users"
        + ("; agreement@k: what the index shares with exact search" if agreement else "")
        + "; higher is better.",
    )


def rerank(summary: Record) -> Section | None:
    """Return the re-rank stage: every re-ranker on the same fixed lists, between floor and ceiling."""
    systems = _at(summary, "rerank")
    metrics = [
        *_named(systems, r"(ndcg|hit|mrr|map|recall)@10"),
        *_named(systems, r"ceiling_ndcg@10"),
    ]
    return _metric_table(
        systems,
        _primary_first(metrics),
        "ndcg@10",
        "Re-rank stage: one fixed list per user",
        "Every re-ranker orders the same lists; ceiling: the best order possible on them; higher is better.",
    )


def end_to_end(summary: Record) -> Section | None:
    """Return both stages together: what a user would be shown."""
    systems = _at(summary, "both")
    metrics = _named(systems, r"(ndcg|hit|mrr|recall|coverage)@10")
    return _metric_table(
        systems,
        _primary_first(metrics),
        "ndcg@10",
        "End to end: recall, then re-rank",
        "The final list against all relevant items, recalled or not; higher is better.",
    )


def _primary_first(metrics: Sequence[str]) -> list[str]:
    return sorted(
        metrics, key=lambda name: (name != "ndcg@10", name.startswith("ceiling"), name != "hit@10", name)
    )


def losses(summary: Record) -> Section | None:
    """Return where relevant items end: six classes that sum to 1 for each system."""
    systems = [system for system in summary.get("systems", ()) if system.get("losses")]
    if not systems:
        return None
    rows = tuple(
        (
            str(system.get("system")),
            f"{stage_word(system)} @{system['losses'].get('k', figures.DASH)}",
            *(figures.share(system["losses"].get(name)) for name in LOSSES),
            figures.share(system["losses"].get("index_gain")),
        )
        for system in systems
    )
    words = "; ".join(f"{name}: {LOSS_WORDS[name]}" for name in LOSSES)
    return Section(
        "Where relevant items are lost",
        f"Each relevant item counts once, shares sum to 100 %; more hit is better. {words}. "
        "index_gain, beside the sum: found only because the index is approximate.",
        ("system", "stage @k", *LOSSES, "index_gain"),
        rows,
        texts=2,
    )


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
    chosen = sorted(judged, key=_order)
    if not chosen:
        return None
    rows = tuple(
        (*_comparison_row(c), figures.probability(c.get("p_adjusted")), figures.verdict(c)) for c in chosen
    )
    return Section(
        "Verdicts",
        "Difference = system minus baseline, paired by user, with the simultaneous 95 % interval; positive "
        "is better. worth: with the modality minus without it; information: real minus shuffled "
        "rows, which alone never says that a modality is worth having.",
        (
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
        texts=5,
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


def slices(summary: Record) -> Section | None:
    """Return the metrics by group of users or items."""
    rows = tuple(
        (
            str(system.get("system")),
            str(part.get("slice")),
            str(part.get("value")),
            str(part.get("metric")),
            figures.plain(part.get("mean")),
            figures.interval(part.get("low"), part.get("high")),
            figures.count(part.get("n")),
        )
        for system in summary.get("systems", ())
        for part in system.get("slices") or ()
    )
    if not rows:
        return None
    return Section(
        "Slices",
        "The same metrics inside groups, with the number in each group; higher is better.",
        ("system", "slice", "group", "metric", "mean", "95 % interval", "n"),
        rows,
        texts=4,
    )


_IMPORTANCE: dict[str, Callable[[Any], str]] = {
    "gain": figures.share,
    "permutation": figures.signed,
    "low": figures.signed,
    "high": figures.signed,
}


def importance(summary: Record) -> Section | None:
    """Return what the re-rankers lean on: gain, and the loss of ndcg when a group is shuffled together."""
    entries = [
        (str(system.get("system")), entry)
        for system in summary.get("systems", ())
        for entry in system.get("importance") or ()
    ]
    if not entries:
        return None
    names = _keys(entry for _, entry in entries)
    texts = [name for name in names if not any(isinstance(e.get(name), int | float) for _, e in entries)]
    measured = [name for name in names if name not in texts]
    rows = tuple(
        (
            system,
            *(str(entry.get(name) or figures.DASH) for name in texts),
            *(_IMPORTANCE.get(name, figures.plain)(entry.get(name)) for name in measured),
        )
        for system, entry in entries
    )
    return Section(
        "What the re-ranker leans on",
        "gain: share of the training gain of a group's columns; permutation: ndcg@10 lost on valid when the "
        "group is shuffled as one; larger means leaned on more, not worth more.",
        ("system", *texts, *measured),
        rows,
        texts=1 + len(texts),
    )


def _keys(entries: Iterable[Record]) -> list[str]:
    names: dict[str, None] = {}
    for entry in entries:
        names.update(dict.fromkeys(entry))
    return list(names)


def costs(summary: Record) -> Section | None:
    """Return what each system costs to fit and to serve."""
    systems = [system for system in summary.get("systems", ()) if system.get("cost")]
    if not systems:
        return None
    rows = []
    for system in systems:
        cost = system["cost"]
        latency = cost.get("latency_ms") or {}
        rows.append(
            (
                str(system.get("system")),
                stage_word(system),
                figures.seconds(cost.get("fit_s")),
                *(figures.plain(latency.get(name), 2) for name in ("p50", "p95", "p99")),
                figures.memory(cost.get("peak_bytes")),
                figures.memory(cost.get("index_bytes")),
                figures.count(cost.get("parameters")),
            )
        )
    return Section(
        "Costs",
        "fit: seconds to train; p50, p95, p99: milliseconds for one user; peak memory: of the stage, beyond the "
        "loaded data; lower is better.",
        ("system", "stage", "fit", "p50 ms", "p95 ms", "p99 ms", "peak memory", "index", "parameters"),
        tuple(rows),
        texts=2,
    )
