"""From ranks to what is reported: systems, comparisons and per-user rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stagelens.pipeline.core import Bool, Dataset, Float64, Int32, Int64
from stagelens.pipeline.evaluate.corrections import benjamini_hochberg, holm
from stagelens.pipeline.evaluate.lists import value_hit
from stagelens.pipeline.evaluate.losses import CLASSES, Losses, partition
from stagelens.pipeline.evaluate.metrics import contributions, measure
from stagelens.pipeline.evaluate.power import too_small
from stagelens.pipeline.evaluate.resampling import rank_test
from stagelens.pipeline.evaluate.significance import Interval, Judgement, Paired, interval, judge
from stagelens.pipeline.evaluate.slices import Slice, slice_contributions, slice_metric
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.arms import Arm, Comparison, Plan
from stagelens.pipeline.experiment.measure import CandidateSet
from stagelens.pipeline.experiment.options import MeasureOptions, Study, read_margin

JUDGED_EPOCH = 6
"""Raise when what is said of the same measurements changes (statistics, records, blocks): the store keeps it."""
FINAL_K = 10
"""Length of the final list that losses at and after the re-rank stage refer to."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One arm on one window.

    Attributes:
        arm: Which.
        ranks: int32 [S, P]: the arm's own order, one row a seed.
        sets: S candidate sets, those of the arm's recall.
        exposure: int64 [S, I]: how often each item stands in the first 10.
        cost: As in ``summary.json``.
        importance: One record a feature group, where the arm has them.
    """

    arm: Arm
    ranks: Int32
    sets: tuple[CandidateSet, ...]
    exposure: Int64
    cost: Mapping[str, Any] = field(default_factory=dict)
    importance: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, eq=False)
class Finished:
    """A study after measuring and judging: what blocks, reports and files are made from.

    Attributes:
        study: Its options.
        dataset: Untreated.
        plan: Arms, comparisons, variants.
        measured: Every arm on test.
        valid: Mean of the primary metric on valid, for arms asked there.
        margins: Smallest effect that matters, for the same arms, in metric units.
        truth: The held-out pairs of test.
        parts: Slices.
        records: Entries of ``comparisons.parquet``.
    """

    study: Study
    dataset: Dataset
    plan: Plan
    measured: Mapping[tuple[str, str, str], Measured]
    valid: Mapping[tuple[str, str, str], float]
    margins: Mapping[tuple[str, str, str], float]
    truth: Truth
    parts: Sequence[Slice]
    records: list[dict[str, Any]]


def primary_metric(arm: Arm) -> str:
    """Return the metric of the arm's stage that verdicts are about."""
    return f"recall@{arm.recall.size}" if arm.stage == "recall" else f"ndcg@{FINAL_K}"


def metric_names(arm: Arm, options: MeasureOptions) -> list[str]:
    """Return the per-user metrics of an arm."""
    size = arm.recall.size
    recalls = [f"recall@{k}" for k in sorted({*options.recall_k, size}) if k <= size]
    if arm.stage == "recall":
        return recalls
    kinds = ["ndcg", "hit", "recall", "mrr", "map", "precision", *(["dcg"] if options.dcg == "raw" else [])]
    names = [f"{kind}@{k}" for kind in kinds for k in sorted({*options.rank_k, FINAL_K}) if k <= size]
    return [*names, *(name for name in recalls if name == f"recall@{size}" and name not in names)]


def losses_of(measured: Measured, truth: Truth) -> list[Losses]:
    """Return the loss partition of every seed; at the recall stage k = size."""
    k = measured.arm.recall.size if measured.arm.stage == "recall" else FINAL_K
    return [
        partition(ranks, found.ranks > 0, found.exact, found.reachable, truth, k)
        for ranks, found in zip(measured.ranks, measured.sets, strict=True)
    ]


def system_record(
    measured: Measured,
    truth: Truth,
    options: MeasureOptions,
    degree: Int64,
    parts: Sequence[Slice],
) -> dict[str, Any]:
    """Return one entry of ``systems``."""
    arm = measured.arm
    losses = [one.mean() for one in losses_of(measured, truth)]
    sections = {name: float(np.mean([one[name] for one in losses])) for name in (*CLASSES, "index_gain")}
    k = arm.recall.size if arm.stage == "recall" else FINAL_K
    primary = primary_metric(arm)
    slices = [
        {
            "slice": found.slice,
            "value": found.value,
            "metric": found.metric,
            "mean": found.mean,
            "low": found.low,
            "high": found.high,
            "n": found.n,
        }
        for part in parts
        for found in slice_metric(measured.ranks, truth, [primary], part, options.alpha)
    ]
    record: dict[str, Any] = {
        "system": arm.name,
        "stage": arm.stage,
        "modalities": list(arm.modalities),
        "integration": arm.integration,
        "metrics": _metrics(measured, truth, options, degree),
        "losses": {"k": k, "size": arm.recall.size, **sections},
        "slices": slices,
        "cost": dict(measured.cost),
    }
    if measured.importance:
        record["importance"] = list(measured.importance)
    return record


def _metrics(measured: Measured, truth: Truth, options: MeasureOptions, degree: Int64) -> dict[str, Any]:
    arm, n = measured.arm, len(truth)
    found: dict[str, Any] = {}
    for name in metric_names(arm, options):
        values = np.stack([contributions(ranks, truth, name) for ranks in measured.ranks])
        found[name] = _estimate(interval(values, truth, options.alpha))
    if arm.stage != "recall":
        best = np.stack([truth.oracle(one.ranks > 0) for one in measured.sets])
        values = np.stack([contributions(ranks, truth, "ndcg@10") for ranks in best])
        found["ceiling_ndcg@10"] = _estimate(interval(values, truth, options.alpha))
        values = np.stack([value_hit(ranks, truth, FINAL_K) for ranks in measured.ranks])
        found["value_hit@10"] = _estimate(interval(values, truth, options.alpha))
        inside = np.logical_and.reduce([_recalled_users(one, truth) for one in measured.sets])
        values = np.stack([contributions(ranks, truth, "ndcg@10") for ranks in measured.ranks])
        found["recalled_ndcg@10"] = _estimate(interval(values, truth, options.alpha, inside))
    for name in sorted({name for one in measured.sets for name in one.agreement}):
        mean = float(np.mean([one.agreement[name] for one in measured.sets]))
        worst = found.get(f"agreement@{min(100, arm.recall.size)}", {"mean": math.inf})["mean"]
        if mean < worst:  # the least exact of several approximate channels
            found[f"agreement@{min(100, arm.recall.size)}"] = _single(mean, n)
    shown = measured.exposure.astype(np.float64)
    coverage, popularity = (shown > 0).mean(), (shown @ degree / np.maximum(shown.sum(axis=1), 1)).mean()
    if not arm.filled:  # what was counted are the filled lists
        coverage = popularity = math.nan
    found["coverage@10"] = _single(float(coverage), n)
    found["popularity@10"] = _single(float(popularity), n)
    found["filled_share"] = _single(float(np.mean([one.filled for one in measured.sets])), n)
    found["tied_share"] = _single(float(np.mean([one.tied for one in measured.sets])), n)
    return found


def _recalled_users(found: CandidateSet, truth: Truth) -> Bool:
    """Return bool [P]: pairs of users with at least one recalled item."""
    users = np.bincount(truth.pair_row, weights=found.ranks > 0, minlength=len(truth)) > 0
    return np.asarray(users[truth.pair_row])


def _estimate(value: Interval) -> dict[str, Any]:
    return {"mean": _known(value.mean), "low": _known(value.low), "high": _known(value.high), "n": value.n}


def _single(mean: float, n: int) -> dict[str, Any]:
    return {"mean": _known(mean), "low": None, "high": None, "n": n}


def _known(value: float) -> float | None:
    return None if math.isnan(value) or math.isinf(value) else float(value)


def margin_of(text: str, valid_mean: float) -> float:
    """Return the smallest effect that matters, in metric units."""
    value, share = read_margin(text)
    return value * valid_mean if share else value


def comparison_records(
    plan: Plan,
    measured: Mapping[tuple[str, str, str], Measured],
    margins: Mapping[tuple[str, str, str], float],
    truth: Truth,
    options: MeasureOptions,
    parts: Sequence[Slice] = (),
) -> list[dict[str, Any]]:
    """Return the entries of ``comparisons``, with more for the file.

    The plan's families, each judged together on the primary metrics, with verdicts; a family of what is judged in
    slices, by default every primary ``worth`` in every slice; and the secondary metrics of the primary family, each by
    itself, with an interval and no verdict.
    """

    def paired(comparison: Comparison, part: Slice | None = None) -> Paired:
        values = _difference(comparison, comparison.metric, part, measured, truth)
        return Paired(values, _margin(comparison, margins), None if part is None else part.pairs)

    records: list[dict[str, Any]] = []
    for family in dict.fromkeys(c.family for c in plan.comparisons):
        members = [c for c in plan.comparisons if c.family == family]
        judged = judge([paired(c) for c in members], truth, alpha=options.alpha, draws=options.draws)
        made = _records(members, judged, primary=family == "primary")
        for comparison, record in zip(members, made, strict=True):
            record["p_rank"] = _rank_p(comparison, measured, truth)
        records += made
    first = [c for c in plan.comparisons if c.family == "primary"]
    sliced = [(c, part) for c in plan.comparisons for part in parts if c.within(part.name)]
    filled = [(c, part) for c, part in sliced if part.pairs.any()]
    second = [paired(c, part) for c, part in filled]
    judged = judge(second, truth, alpha=options.alpha, draws=options.draws)
    for (comparison, part), one in zip(filled, judged, strict=True):
        records += _records([comparison], [one], primary=False, part=part)
    for comparison in first:
        metric = SECONDARY[comparison.system[0]]
        values = _difference(comparison, metric, None, measured, truth)
        [one] = judge([Paired(values, math.nan)], truth, alpha=options.alpha, draws=999)
        records += _records([comparison], [one], primary=False, metric=metric)
    return records


def _difference(
    comparison: Comparison,
    metric: str,
    part: Slice | None,
    measured: Mapping[tuple[str, str, str], Measured],
    truth: Truth,
) -> Float64:
    """Return float64 [S, P]: what every pair adds to the difference, in a slice where one is given."""

    def side(key: tuple[str, str, str]) -> Float64:
        return np.stack([_adds(ranks, truth, metric, part) for ranks in measured[key].ranks])

    (weight, baseline, system), *rest = comparison.sum
    total = side(system) - side(baseline)
    if rest:
        total *= weight
    for weight, baseline, system in rest:
        total += weight * (side(system) - side(baseline))
    return total


def _margin(comparison: Comparison, margins: Mapping[tuple[str, str, str], float]) -> float:
    """Return the smallest effect that matters; of a weighted sum, the weighted mean over its terms."""
    if not comparison.terms:
        return margins[comparison.baseline]
    sizes = [(abs(weight), margins[baseline]) for weight, baseline, _ in comparison.terms]
    return math.fsum(size * one for size, one in sizes) / math.fsum(size for size, _ in sizes)


def _adds(ranks: Int32, truth: Truth, metric: str, part: Slice | None) -> Float64:
    if part is None:
        return contributions(ranks, truth, metric)
    return slice_contributions(ranks, truth, metric, part)


def _records(
    comparisons: Sequence[Comparison],
    judged: Sequence[Judgement],
    *,
    primary: bool,
    part: Slice | None = None,
    metric: str | None = None,
) -> list[dict[str, Any]]:
    holm_p = holm(np.array([one.p for one in judged]))
    bh_p = benjamini_hochberg(np.array([one.p for one in judged]))
    return [
        {
            "baseline": comparison.baseline[2],
            "system": comparison.system[2],
            "stage": comparison.system[0],
            "metric": metric or comparison.metric,
            "contrast": comparison.contrast,
            "slice": None if part is None else f"{part.name} {part.value}",
            "primary": primary,
            "n": one.n,
            "seeds": one.seeds,
            "difference": _known(one.difference),
            "low": _known(one.low),
            "high": _known(one.high),
            "p": _known(one.p),
            "p_adjusted": None if metric else _known(one.p_adjusted),
            "margin": None if metric else _known(one.margin),
            "detectable": _known(one.detectable),
            "verdict": None if metric else one.verdict,
            "too_small": None
            if metric
            else too_small(one.verdict, _known(one.margin), _known(one.detectable)),
            "se": _known(one.se),
            "df": _known(one.df),
            "p_user": _known(one.p_user),
            "p_sign_flip": _known(one.p_sign_flip),
            "p_holm": _known(float(holm_p[place])),
            "p_bh": _known(float(bh_p[place])),
            "p_rank": None,
            "variance_users": _known(one.sources.users),
            "variance_items": _known(one.sources.items),
            "variance_items_se": _known(one.sources.items_se),
            "variance_seeds": _known(one.sources.seeds),
            "variance_seeds_users": _known(one.sources.seeds_users),
            "effective_items": _known(one.sources.effective_items),
            "third_users": _known(one.sources.third_users),
            "third_items": _known(one.sources.third_items),
            "view": comparison.system[1],
            "family": comparison.family if part is None else "slices",
        }
        for place, (comparison, one) in enumerate(zip(comparisons, judged, strict=True))
    ]


SECONDARY = {"recall": "recall@50", "rerank": "hit@10", "both": "hit@10"}
"""The metric shown beside the primary one of each stage, with an interval and no verdict."""

IN_SUMMARY = (
    "baseline system stage metric contrast slice primary n seeds difference low high p p_adjusted margin detectable "
    "verdict too_small family"
).split()


def _rank_p(
    comparison: Comparison, measured: Mapping[tuple[str, str, str], Measured], truth: Truth
) -> float | None:
    """Return the exact rank test of the real system against its permuted copies, where there are several."""
    if len(comparison.copies) < 2:
        return None

    def mean(key: tuple[str, str, str]) -> float:
        ranks = measured[key].ranks
        return float(np.mean([measure(one, truth, [comparison.metric]).mean() for one in ranks]))

    return float(rank_test(mean(comparison.system), [mean(key) for key in comparison.copies]))


def user_values(
    measured: Measured, truth: Truth, options: MeasureOptions, seeds: Sequence[int]
) -> Iterator[tuple[int, list[str], Float64]]:
    """Yield (seed, metrics, values [Q, metrics]) for ``measurements.parquet``, losses included."""
    names = metric_names(measured.arm, options)
    for seed, ranks, losses in zip(seeds, measured.ranks, losses_of(measured, truth), strict=True):
        shares = np.column_stack([losses.shares, losses.index_gain])
        columns = [*names, *(f"loss_{name}@{losses.k}" for name in (*CLASSES, "index_gain"))]
        yield seed, columns, np.column_stack([measure(ranks, truth, names), shares])
