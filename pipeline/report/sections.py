"""What a report says, free of how it is drawn: its opening lines and its tables, in reading order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stagelens.pipeline.report import (
    attribution,
    comparisons,
    estimate,
    figures,
    index_loss,
    integration,
    references,
    sparsity,
    sparsity_groups,
    systems,
    tuning,
    world_truth,
)
from stagelens.pipeline.report.section import Record, Section

Make = Callable[[Record], Section | None]


def sections(summary: Record, *, complete: bool = False) -> list[Section]:
    """Return the sections that this summary has something for, in reading order.

    Args:
        summary: As in ``summary.json``.
        complete: For a page: verdicts first, then everything. Else for a terminal, where the last lines are
            read first: verdicts last, without the longest tables, the permuted copies and the second views.
    """
    if not complete:
        summary = headline(summary)
    if summary.get("estimate"):
        return _present(_foreseen(complete), summary)
    if summary.get("tuning"):
        return _present([tuning.best, tuning.so_far] if complete else [tuning.so_far, tuning.best], summary)
    if summary.get("references"):
        return _references(summary, complete)
    stages = [systems.recall, systems.rerank, systems.end_to_end, systems.losses]
    rest = [index_loss.by_degree, systems.importance, systems.costs]
    credit: list[Make] = [attribution.effects, attribution.contrasts, attribution.stages]
    more: list[Make] = [attribution.interaction, attribution.cells]
    credit += [integration.answer, integration.side_by_side, integration.confounds]
    more += [integration.pairs, integration.trials]
    credit += [sparsity.over_all, sparsity.worth, sparsity.curves, sparsity_groups.marked]
    more += [sparsity.lost, sparsity_groups.for_whom, sparsity_groups.cross, sparsity_groups.index]
    compared: list[Make] = [comparisons.verdicts]
    thinned = summary.get("sparsity_study")
    if thinned is not None and not thinned["worth"]:  # without content: what thinning costs is the answer
        more.remove(sparsity.lost)
        credit.insert(0, sparsity.lost)
    others = [comparisons.other_intervals, comparisons.slice_verdicts, systems.slices]
    if complete:
        order = [*credit, *more, *compared, world_truth.beside, *stages, *others, *rest]
    else:  # the tables of these blocks hold the verdicts of their comparisons
        own = summary.get("attribution") or summary.get("integration") or summary.get("sparsity_study")
        before = [*stages, *rest] if thinned is None else [sparsity_groups.index]
        if thinned is not None and not thinned["worth"]:
            before.append(_primary_verdicts)
        order = [*before, world_truth.beside, *reversed(credit if own else compared)]
    return _present(order, summary)


def _references(summary: Record, complete: bool) -> list[Section]:
    own = references.systems(summary, complete=complete)
    if not complete:
        return [*_present([references.loo99, references.mean_ranks], summary), *own[-1:]]
    others: list[Make] = [
        comparisons.verdicts,
        systems.recall,
        systems.end_to_end,
        systems.losses,
        systems.slices,
    ]
    first = _present([references.mean_ranks, references.loo99], summary)
    return [*reversed(own), *first, *_present([*others, world_truth.beside, systems.costs], summary)]


def _primary_verdicts(summary: Record) -> Section | None:
    rows = [row for row in summary.get("comparisons", ()) if row.get("primary")]
    return comparisons.verdicts({**summary, "comparisons": rows})


def _present(order: list[Make], summary: Record) -> list[Section]:
    return [section for make in order if (section := make(summary)) is not None]


def _foreseen(complete: bool) -> list[Make]:
    """Return the tables of an estimate: the answer first on a page, last in a terminal."""
    if complete:
        return [estimate.stages, estimate.comparisons, estimate.sizes, estimate.costs, estimate.slices]
    return [estimate.widest_slices, estimate.costs, estimate.comparisons, estimate.sizes, estimate.stages]


def headline(summary: Record) -> Record:
    """Return the summary without permuted copies (their comparisons stay), second views, and truths not primary."""
    truths = summary.get("world_truth")
    primary = {} if truths is None else {"world_truth": [row for row in truths if row["family"] == "primary"]}
    return {
        **summary,
        **primary,
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
    lines += [str(warning) for warning in summary.get("warnings", ())]
    own = summary.get("protocol") or {}
    if own.get("name", "default") != "default":
        fields = ", ".join(f"{key} {value}" for key, value in own.items() if key not in ("name", "dcg"))
        lines.append(f"Protocol {own['name']}: {fields}.")
    lines += [str(note) for note in dataset.get("notes", ()) if notes]
    if summary.get("tuning"):
        return [*lines, *(tuning.notes(summary) if notes else [])]
    foreseen = summary.get("estimate") or {}
    lines += [str(note) for note in foreseen.get("notes", ())]
    lines += references.notes(summary)
    seeds = [int(c.get("seeds") or 1) for c in summary.get("comparisons", ())]
    n_seeds = max([*seeds, foreseen.get("study", {}).get("seeds", 1)])
    if n_seeds == 1:
        lines.append(
            "One seed: the intervals are for these fitted systems and say nothing of another training. "
            "Use --seeds 3 for intervals over trainings."
        )
    else:
        lines.append(f"{n_seeds} seeds: the intervals cover users and trainings.")
    return lines
