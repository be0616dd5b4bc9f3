"""Differences between systems: simultaneous intervals, adjusted p values and verdicts.

Everything is paired by user and clustered by user and item (``clusters``), because users share items: in
worlds where nothing differs, the paired t over users alone calls 8 to 10 % of the comparisons different at a
nominal 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import scipy  # its parts are loaded when first used

from stagelens.pipeline.core import Bool, Float64
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.clusters import Clusters, Estimate, covariance
from stagelens.pipeline.evaluate.power import detectable, skewness_of
from stagelens.pipeline.evaluate.resampling import sign_flips, smallest_p
from stagelens.pipeline.evaluate.truth import Truth

Verdict = Literal["no difference", "helps", "hurts", "cannot tell"]

SIGNS = 200_000_000  # random signs drawn at most by the randomisation test, beyond its first 999 draws


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """One comparison.

    Attributes:
        difference: float64 [S, P]: contribution of every pair to the metric (``metrics.contributions``),
            system minus baseline, one row per seed.
        margin: Smallest effect that matters, in metric units.
        inside: bool [P] where the comparison is about a slice: means run over the users with a pair inside,
            and the contributions are those of the restricted truth (``slices``). None: all pairs.
    """

    difference: Float64
    margin: float
    inside: Bool | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the variance of an estimated difference comes from.

    Attributes:
        users: Falls with the number of users, as 1/n.
        items: Does not fall with users who choose among the same items. Unguarded: below 0 where items vary less
            than chance; the standard error counts it as 0 then.
        items_se: Standard deviation of ``items`` where nothing is owed to them: so much it shows by chance.
        seeds: Variance of the seeds' means over S; 0 with one seed.
        seeds_users: The part of ``seeds`` that falls with the number of users, because a training treats single
            users otherwise and not all alike; an estimate of its own, which may exceed ``seeds``.
        effective_items: G*, of ``clusters``.
        third_users: Third central moment of the mean that users make; falls as 1/n^2.
        third_items: What items add to it; does not fall, and counts where ``items`` is above 0.
    """

    users: float
    items: float
    items_se: float
    seeds: float
    seeds_users: float
    effective_items: float
    third_users: float
    third_items: float

    def skewness(self, se: float) -> float:
        """Return the skewness of the estimated difference."""
        return skewness_of(self.third_users, self.third_items, self.items, se)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What can be said about one comparison.

    Attributes:
        difference: Mean over users, averaged over seeds.
        se: Standard error.
        df: Degrees of freedom.
        low: Lower end of the simultaneous interval.
        high: Upper end.
        p: Two-way clustered t, two-sided, unadjusted.
        p_user: The plain paired t over users.
        p_sign_flip: Randomisation over the signs of the users' differences.
        p_adjusted: From the same max-|t| as the interval, which excludes 0 exactly when this is below alpha.
        margin: As given.
        detectable: True gain found with 80 % power at the simultaneous critical value.
        verdict: ``no difference`` if the interval lies within the margin (asked first), else ``helps`` or
            ``hurts`` if it excludes 0, else ``cannot tell``.
        n: Users.
        seeds: S.
        sources: Parts of the squared standard error.
    """

    difference: float
    se: float
    df: float
    low: float
    high: float
    p: float
    p_user: float
    p_sign_flip: float
    p_adjusted: float
    margin: float
    detectable: float
    verdict: Verdict
    n: int
    seeds: int
    sources: Sources


class Interval(NamedTuple):
    """A mean over users with its interval (not simultaneous); NaN where too little is there."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    """One comparison, estimated."""

    clusters: Clusters
    estimate: Estimate
    seed_means: Float64
    se: float
    df: float
    sources: Sources


def verdict(low: float, high: float, margin: float) -> Verdict:
    """Return what an interval says; NaN ends cannot tell."""
    if -margin < low and high < margin:
        return "no difference"
    if low > 0:
        return "helps"
    if high < 0:
        return "hurts"
    return "cannot tell"


def interval(
    contributions: Float64, truth: Truth, alpha: float = 0.05, inside: Bool | None = None
) -> Interval:
    """Return the mean of one system's metric over users, with its two-way clustered t interval.

    Args:
        contributions: float64 [S, P] or [P].
        truth: The held-out pairs.
        alpha: 1 minus the coverage.
        inside: bool [P]: a slice, as in ``Paired``.

    Raises:
        ConfigError: Two seeds.
        ValueError: A shape does not match the truth.
    """
    clusters = Clusters.of(truth, inside) if inside is not None else _whole(truth)
    member = _estimate(np.atleast_2d(contributions), clusters)
    half = -float(scipy.special.stdtrit(member.df, alpha / 2)) * member.se if member.df >= 1 else float("nan")
    mean = member.estimate.mean
    return Interval(mean, mean - half, mean + half, member.estimate.users)


@lru_cache(maxsize=2)
def _whole(truth: Truth) -> Clusters:
    """Return the clusters of all pairs, which every metric of every system shares."""
    return Clusters.of(truth)


def judge(
    family: Sequence[Paired], truth: Truth, *, alpha: float = 0.05, draws: int = 9999, seed: int = 0
) -> list[Judgement]:
    """Judge a family of comparisons together: the chance of any false one among them is ``alpha``.

    One seed: V is the two-way clustered sampling variance and the statement is about these fitted systems.
    Three or more: V is the sampling variance of the seed-averaged difference plus the variance of the seeds'
    means over S, with Satterthwaite's degrees of freedom.

    The max-|t| bootstrap (``resampling.smallest_p``) draws the J statistics together, from Gaussian
    multipliers with the two-way clustered correlation. Degrees of freedom may differ between members, so the
    maximum is taken on the scale of p: the smallest p of each draw. p_adjusted = (1 + draws whose smallest p
    is at most p) / (1 + draws); the half-width takes the matching order statistic of the same draws.

    Members whose difference has no variance (nothing changed) take no part in the draws.

    Args:
        family: J comparisons over the same truth.
        truth: The held-out pairs.
        alpha: Family-wise error rate.
        draws: Of the bootstrap; the sign flips take as many while Q x draws is at most 2e8, at least 999.
        seed: Moves the draws, nothing else.

    Raises:
        ConfigError: Two seeds, or too few draws for ``alpha``.
        ValueError: A shape does not match the truth, or the numbers of seeds (other than 1) differ.

    References:
        Cameron, Gelbach & Miller 2011, doi:10.1198/jbes.2010.07136; Romano & Wolf 2005,
        doi:10.1198/016214504000000539 (single-step max-|t|); Satterthwaite 1946, doi:10.2307/3002019.
    """
    if not family:
        return []
    if (draws + 1) * alpha <= 1:
        raise ConfigError(
            f"draws = {draws} cannot reach alpha = {alpha}; allowed: more than {math.ceil(1 / alpha) - 1}"
        )
    indexed: dict[int, Clusters] = {}
    members = []
    for paired in family:
        if id(paired.inside) not in indexed:
            indexed[id(paired.inside)] = Clusters.of(truth, paired.inside)
        members.append(_estimate(paired.difference, indexed[id(paired.inside)]))
    if len({len(member.seed_means) for member in members} - {1}) > 1:
        raise ValueError("comparisons of one family must have the same seeds, or one")
    p = np.array([_p_value(member.estimate.mean, member.se, member.df) for member in members])
    live = [j for j, member in enumerate(members) if member.se > 0]
    chosen = [members[j] for j in live]
    correlation = _correlation([family[j] for j in live], chosen) if live else np.empty((0, 0))
    smallest = smallest_p(correlation, np.array([member.df for member in chosen]), draws, seed)
    adjusted = (1 + np.searchsorted(smallest, p, side="right")) / (draws + 1)
    adjusted = np.where(np.isnan(p), np.nan, adjusted)
    # p_adjusted < alpha exactly for p below this order statistic, the first with too many draws at or below
    enough = int(np.searchsorted(np.arange(1, draws + 2) / (draws + 1), alpha, side="left"))
    level = float(smallest[enough - 1])
    totals = np.stack([member.estimate.user_total for member in members], axis=1)
    flips = sign_flips(totals, min(draws, max(999, SIGNS // max(len(truth), 1))), seed)
    return [
        _judged(
            paired, member, level, alpha, p=float(p[j]), adjusted=float(adjusted[j]), flip=float(flips[j])
        )
        for j, (paired, member) in enumerate(zip(family, members, strict=True))
    ]


def _estimate(difference: Float64, clusters: Clusters) -> _Member:
    if difference.ndim != 2 or not len(difference):
        raise ValueError(f"contributions have shape {difference.shape}, expected [seeds, pairs]")
    seeds = len(difference)
    if seeds == 2:
        raise ConfigError(
            "Two seeds give no usable interval over seeds (one degree of freedom): run one seed, for a "
            "statement about these fitted systems, or at least three"
        )
    estimate = clusters.estimate(np.asarray(difference, dtype=np.float64).mean(axis=0))
    means = np.array([np.where(clusters.weight > 0, row, 0.0).sum() for row in difference])
    means /= max(clusters.users, 1)
    between = mixed = 0.0
    if seeds > 1:
        between = float(means.var(ddof=1)) / seeds
        mixed = _seeds_by_users(difference, clusters) / seeds
    variance = estimate.variance + between
    df = estimate.df
    if between > 0 and variance > 0 and df >= 1:
        df = variance**2 / (estimate.variance**2 / df + between**2 / (seeds - 1))
    sources = Sources(
        users=estimate.variance_user,
        items=estimate.excess,
        items_se=estimate.excess_se,
        seeds=between,
        seeds_users=mixed,
        effective_items=estimate.effective_items,
        third_users=estimate.third_user,
        third_items=estimate.third_excess,
    )
    return _Member(clusters, estimate, means, math.sqrt(variance), df, sources)


def _seeds_by_users(difference: Float64, clusters: Clusters) -> float:
    """Return what the seeds' means owe to users that each training treats otherwise: residual variance over n."""
    inside = np.bincount(clusters.row, weights=clusters.weight, minlength=clusters.rows) > 0
    totals = np.stack(
        [
            np.bincount(clusters.row, np.where(clusters.weight > 0, row, 0.0), minlength=clusters.rows)[
                inside
            ]
            for row in difference
        ]
    )
    seeds, users = len(totals), int(inside.sum())
    if users < 2:
        return 0.0
    rest = totals - totals.mean(axis=0) - totals.mean(axis=1, keepdims=True) + totals.mean()
    return float(np.sum(rest**2)) / ((seeds - 1) * (users - 1)) / users


def _p_value(mean: float, se: float, df: float) -> float:
    if not se > 0:
        return float("nan") if math.isnan(se) or math.isnan(mean) else float(mean == 0)
    return float(2 * scipy.special.stdtr(df, -abs(mean) / se))


def _correlation(family: Sequence[Paired], members: Sequence[_Member]) -> Float64:
    """Return float64 [J, J]: of the estimated differences, sampling and seeds together."""
    matrix = covariance(
        [member.clusters for member in members],
        [member.estimate for member in members],
        [paired.difference for paired in family],
    )
    seeds = max(len(member.seed_means) for member in members)
    if seeds > 1:
        spread = np.stack([np.resize(member.seed_means, seeds) for member in members])
        spread = spread - spread.mean(axis=1, keepdims=True)
        matrix = matrix + spread @ spread.T / (seeds - 1) / seeds
    scale = np.array([member.se for member in members])
    correlation = np.clip(matrix / np.outer(scale, scale), -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _judged(
    paired: Paired, member: _Member, level: float, alpha: float, *, p: float, adjusted: float, flip: float
) -> Judgement:
    mean, se, df = member.estimate.mean, member.se, member.df
    critical = -float(scipy.special.stdtrit(df, level / 2)) if df >= 1 else float("nan")
    half = critical * se
    # Rounding must not part the interval from p_adjusted: both say the same about 0.
    if adjusted < alpha and abs(mean) <= half:
        half = math.nextafter(abs(mean), 0.0)
    elif adjusted >= alpha and abs(mean) > half:
        half = abs(mean)
    low, high = mean - half, mean + half
    user_se = math.sqrt(member.estimate.variance_user)
    return Judgement(
        difference=mean,
        se=se,
        df=df,
        low=low,
        high=high,
        p=p,
        p_user=_p_value(mean, user_se, member.estimate.users - 1),
        p_sign_flip=flip,
        p_adjusted=adjusted,
        margin=paired.margin,
        detectable=detectable(se, df, critical, skewness=member.sources.skewness(se)),
        verdict=verdict(low, high, paired.margin),
        n=member.estimate.users,
        seeds=len(member.seed_means),
        sources=member.sources,
    )
