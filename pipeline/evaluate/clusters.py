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
        df: Degrees of freedom: the smaller number of clusters less 1.
        user_total: float64 [Q]: the metric of each user, 0 outside the slice.
        user_sum: float64 [Q]: summed influence of each user.
        item_sum: float64 [I']: summed influence of each item code.
    """

    mean: float
    users: int
    variance: float
    variance_user: float
    df: float
    user_total: Float64
    user_sum: Float64
    item_sum: Float64


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """The pairs of a truth, or of a slice of it, as members of two kinds of clusters.

    The mean over n users weighs every user 1, whatever their number R of pairs, so a pair's weight is 1/R and
    the mean is the weighted mean of the pairs. Its influence is z = (d - theta / R) / n for a pair that
    contributes d to its user's metric: the sum over a user's pairs is (D - theta) / n, the usual influence of
    a user; the sum over an item's pairs is what the mean owes to that item. For recall (d = y / R) this is
    the exact linearisation of the weighted mean of y; for the other metrics a user's weight is likewise
    spread evenly over the user's pairs.

    With G clusters and S the sum of squared cluster sums, V = c_user S_user + c_item S_item - c_pair S_pair
    with c = G / (G - 1) each. V is guarded below by its first term: items that happen to vary less than
    chance never make an interval narrower than the paired one.

    Attributes:
        row: int32 [P].
        item: int32 [P].
        weight: float64 [P]: 1/R inside the slice, 0 outside.
        rows: Q.
        users: Users with a pair inside.
        items: Distinct items inside.
        pairs: Pairs inside.

    References:
        Cameron, Gelbach & Miller 2011, doi:10.1198/jbes.2010.07136 (two-way, with a finite-cluster factor per
        term).
    """

    row: Int32
    item: Int32
    weight: Float64
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
        items = np.count_nonzero(np.bincount(item[mask])) if mask.any() else 0
        return cls(row, item, weight, len(truth), int((count > 0).sum()), int(items), int(mask.sum()))

    @property
    def factors(self) -> tuple[float, float, float]:
        """The finite-cluster factors of users, items and pairs; NaN where there is one cluster."""
        return _factor(self.users), _factor(self.items), _factor(self.pairs)

    def influence(self, values: Float64, mean: float, part: slice = slice(None)) -> Float64:
        """Return z float64 of these pairs; ``values`` are those of the same ``part``."""
        weight = self.weight[part]
        return np.where(weight > 0, (values - mean * weight) / max(self.users, 1), 0.0)

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
        user_sum = _sums(self.row, z, self.rows)
        item_sum = _sums(self.item, z, 0)
        by_user, by_item, by_pair = self.factors
        variance_user = by_user * float(np.sum(user_sum**2))
        both = variance_user + by_item * float(np.sum(item_sum**2)) - by_pair * float(np.sum(z**2))
        variance = max(variance_user, both) if np.isfinite(both) else float("nan")
        df = float(min(self.users, self.items) - 1)
        return Estimate(mean, self.users, variance, variance_user, df, user_total, user_sum, item_sum)


def covariance(
    clusters: Sequence[Clusters], estimates: Sequence[Estimate], values: Sequence[Float64]
) -> Float64:
    """Return float64 [J, J]: the two-way clustered covariance of J means over the same truth (no guard).

    Args:
        clusters: Of each mean.
        estimates: Of each mean.
        values: float64 [S, P] or [P] contributions of each; seeds are averaged.
    """
    factors = np.sqrt(np.array([cluster.factors for cluster in clusters]))  # [J, 3]
    user = np.stack([estimate.user_sum for estimate in estimates]) * factors[:, :1]
    item = np.stack([estimate.item_sum for estimate in estimates]) * factors[:, 1:2]
    result: Float64 = user @ user.T + item @ item.T
    pairs = len(clusters[0].row)
    for start in range(0, pairs, CHUNK):
        part = slice(start, start + CHUNK)
        z = np.stack(
            [
                cluster.influence(np.atleast_2d(value)[:, part].mean(axis=0), estimate.mean, part)
                for cluster, estimate, value in zip(clusters, estimates, values, strict=True)
            ]
        )
        z *= factors[:, 2:]
        result -= z @ z.T
    return result


def _factor(clusters: int) -> float:
    return clusters / (clusters - 1) if clusters > 1 else float("nan")


def _sums(key: Int32, values: Float64, length: int) -> Float64:
    return np.bincount(key, weights=values, minlength=length).astype(np.float64, copy=False)
