"""The standard error of a mean over users who share items: clustered two ways, by user and by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.core import Bool, Float64, Int32
from stagelens.pipeline.evaluate.truth import Truth

CHUNK = 1 << 16  # pairs whose cross products are taken at once


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A mean over users and its sampling error.

    Attributes:
        mean: Mean over users of the per-user sums.
        users: n, the users behind it.
        variance: Of the mean, clustered by user and item; NaN with fewer than two users or items.
        variance_user: Of the mean, clustered by user only: the plain paired one.
        df: Degrees of freedom of ``variance``.
        user_total: float64 [Q]: the metric of each user, 0 outside the slice.
        user_shift: float64 [Q]: scaled shift of the mean when a user is left out.
        item_shift: float64 [I']: the same for each item code.
        excess: V_item - V_pair, which does not fall with users who choose among the same items; below 0 where
            items vary less than chance.
        excess_se: Standard deviation of ``excess`` where nothing is owed to items.
        effective_items: G*, the effective number of items; NaN like the variance.
        third_user: Third central moment of the mean, clustered by user: the sum of cubed shifts.
        third_excess: That by item less that by pair, as ``excess``.
    """

    mean: float
    users: int
    variance: float
    variance_user: float
    df: float
    user_total: Float64
    user_shift: Float64
    item_shift: Float64
    excess: float
    excess_se: float
    effective_items: float
    third_user: float
    third_excess: float


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """The pairs of a truth, or of a slice of it, as members of two kinds of clusters.

    The mean over n users weighs every user 1, whatever their number R of pairs, so a pair's weight is 1/R and
    the mean theta is the weighted mean of the pairs. The influence of a pair that contributes d to its user's
    metric is z = (d - theta / R) / n: the sum over a user's pairs is (D - theta) / n, the usual influence of
    a user; the sum over an item's pairs is what the mean owes to that item. For recall (d = y / R) this is
    the exact linearisation of the weighted mean of y; for the other metrics a user's weight is likewise
    spread evenly over the user's pairs.

    Leaving out a cluster that holds the share h of all weight moves the mean by s / (1 - h), s being its
    summed influence. Each kind of cluster gives V_kind = (G - 1) / G x sum of (s / (1 - h))^2, and V = V_user
    + V_item - V_pair. With clusters of equal size this is the usual G / (G - 1) x sum of s^2, so V_user is
    the plain paired variance; with a few dominant items, as popularity has it, the usual factor is far too
    small. V is guarded below by V_user: items that happen to vary less than chance never make an interval
    narrower.

    Degrees of freedom are Satterthwaite's for V_user with n - 1 and V_item - V_pair with G* - 1, where G* is
    the effective number of items, 1 / (sum of h^2), at least 2.

    Attributes:
        row: int32 [P].
        item: int32 [P].
        weight: float64 [P]: 1/R inside the slice, 0 outside.
        item_share: float64 [I']: h of each item code.
        rows: Q.
        users: n, the users with a pair inside.
        items: Distinct items inside.
        pairs: Pairs inside.

    References:
        Cameron, Gelbach & Miller 2011, doi:10.1198/jbes.2010.07136 (two-way); MacKinnon, Nielsen & Webb 2023,
        arXiv:2301.04527 (the cluster jackknife, CV3, for each term); Carter, Schnepel & Steigerwald 2017,
        doi:10.1162/REST_a_00639 (effective number of clusters, by size).
    """

    row: Int32
    item: Int32
    weight: Float64
    item_share: Float64
    rows: int
    users: int
    items: int
    pairs: int

    @classmethod
    def of(cls, truth: Truth, inside: Bool | None = None) -> Clusters:
        """Index all pairs, or those of a slice (bool [P])."""
        row, item = truth.pair_row, truth.pair_item
        mask = np.ones(truth.pairs, dtype=bool) if inside is None else inside
        if mask.shape != (truth.pairs,):
            raise ValueError(f"the slice has shape {mask.shape}, the truth has {truth.pairs} pairs")
        count = np.bincount(row[mask], minlength=len(truth))
        weight = np.where(mask, 1.0 / np.maximum(count, 1)[row], 0.0)
        users = int((count > 0).sum())
        share = _sums(item, weight, 1) / max(users, 1)
        return cls(row, item, weight, share, len(truth), users, int((share > 0).sum()), int(mask.sum()))

    def influence(self, values: Float64, mean: float, part: slice = slice(None)) -> Float64:
        """Return z float64 of these pairs; ``values`` are those of the same ``part``."""
        weight = self.weight[part]
        return np.where(weight > 0, (values - mean * weight) / max(self.users, 1), 0.0)

    def pair_shift(self, z: Float64, part: slice = slice(None)) -> Float64:
        """Return the scaled shift of the mean when a pair is left out."""
        return _shift(z, self.weight[part] / max(self.users, 1), self.pairs)

    def estimate(self, values: Float64) -> Estimate:
        """Return the mean over users of contributions float64 [P], with its error.

        Raises:
            ValueError: ``values`` does not have one number per pair.
        """
        if values.shape != self.weight.shape:
            raise ValueError(f"contributions have shape {values.shape}, expected {self.weight.shape}")
        user_total = _sums(self.row, np.where(self.weight > 0, values, 0.0), self.rows)
        mean = float(user_total.sum()) / self.users if self.users else float("nan")
        z = self.influence(values, mean)
        each = np.full(self.rows, 1.0 / max(self.users, 1))
        user_shift = _shift(_sums(self.row, z, self.rows), each, self.users)
        item_shift = _shift(_sums(self.item, z, 1), self.item_share, self.items)
        variance_user = float(np.sum(user_shift**2)) if self.users > 1 else float("nan")
        if self.users < 2 or self.items < 2:
            nan = float("nan")
            shifts = (user_total, user_shift, item_shift)
            return Estimate(mean, self.users, nan, variance_user, nan, *shifts, *([nan] * 5))
        pair_shift = self.pair_shift(z)
        excess = float(np.sum(item_shift**2)) - float(np.sum(pair_shift**2))
        lone = _shift(z, self.item_share[self.item], self.items) ** 2  # of a pair that is its item's only one
        chance = float(np.sum(_sums(self.item, lone, 1) ** 2)) - float(np.sum(lone**2))
        effective = max(2.0, 1.0 / float(np.sum(self.item_share**2)))
        variance = variance_user + max(0.0, excess)
        df = two_way_df(variance_user, excess, self.users, effective)
        shifts = (user_total, user_shift, item_shift)
        excess_se = float(np.sqrt(max(0.0, 2.0 * chance)))
        thirds = float(np.sum(user_shift**3)), float(np.sum(item_shift**3)) - float(np.sum(pair_shift**3))
        return Estimate(
            mean, self.users, variance, variance_user, df, *shifts, excess, excess_se, effective, *thirds
        )


def covariance(
    clusters: Sequence[Clusters], estimates: Sequence[Estimate], values: Sequence[Float64]
) -> Float64:
    """Return float64 [J, J]: the two-way clustered covariance of J means over the same truth (no guard).

    Args:
        clusters: Of each mean.
        estimates: Of each mean.
        values: float64 [S, P] contributions of each; seeds are averaged.
    """
    user = np.stack([estimate.user_shift for estimate in estimates])
    item = np.stack([estimate.item_shift for estimate in estimates])
    result: Float64 = user @ user.T + item @ item.T
    for start in range(0, len(clusters[0].row), CHUNK):
        part = slice(start, start + CHUNK)
        pair = np.stack(
            [
                cluster.pair_shift(cluster.influence(value[:, part].mean(axis=0), estimate.mean, part), part)
                for cluster, estimate, value in zip(clusters, estimates, values, strict=True)
            ]
        )
        result -= pair @ pair.T
    return result


def two_way_df(variance_user: float, excess: float, users: float, effective_items: float) -> float:
    """Return Satterthwaite's degrees of freedom of V_user + excess; an excess below 0 counts as none."""
    df = users - 1
    if not excess > 0:
        return float(df)
    return float((variance_user + excess) ** 2 / (variance_user**2 / df + excess**2 / (effective_items - 1)))


def _shift(influence: Float64, share: Float64, clusters: int) -> Float64:
    """Return the shift without each cluster, times the root of (G - 1) / G; zeros with fewer than two."""
    if clusters < 2:
        return np.zeros_like(influence)
    shift: Float64 = influence / (1.0 - share) * np.sqrt((clusters - 1) / clusters)
    return shift


def _sums(key: Int32, values: Float64, length: int) -> Float64:
    return np.bincount(key, weights=values, minlength=length).astype(np.float64, copy=False)
