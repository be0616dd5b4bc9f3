"""What the systems did: metrics at every stage, losses, slices, what re-rankers lean on, costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from stagelens.pipeline.report import figures
from stagelens.pipeline.report.section import LOSS_WORDS, LOSSES, Record, Section, stage_word


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
        *_named(systems, r"(ndcg|dcg|hit|mrr|map|recall)@10"),
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
    metrics = _named(systems, r"(ndcg|dcg|hit|mrr|recall|coverage)@10")
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
