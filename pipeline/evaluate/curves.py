"""Curves over budgets: the area under one, where one overtakes another, and draws of a whole curve.

A curve's points are estimated on the same users and items, so they move together. Draws keep that: the estimates plus
their standard errors times t variables, each with its own degrees of freedom, correlated as the estimates are (a
Gaussian copula with the two-way clustered correlation, seeds included). Errors and degrees of freedom are those of
``significance``; what differs is only that several figures are read off one draw. Users are not resampled: that would
keep the items and seeds that all of them share, and its errors would not be those of the verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # its parts are loaded when first used

from stagelens.pipeline.core import Bool, Float64
from stagelens.pipeline.evaluate.clusters import Clusters, covariance
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.seeds import generator

Scale = Literal["log", "linear", "count"]


@dataclass(frozen=True, slots=True)
class Axis:
    """Where budgets stand, for areas and crossings.

    Attributes:
        scale: ``log``, ``linear``: of the share kept. ``count``: log(1 + interactions kept of each user or item).
        degree: Interactions of each user or item with everything kept, on average; for ``count``.

    Example:
        >>> Axis("count", degree=7.0).places(np.array([1.0, 0.0])).round(3).tolist()
        [2.079, 0.0]
    """

    scale: Scale
    degree: float = 1.0

    def places(self, share: Float64) -> Float64:
        """Return the places of shares; shares are above 0 on a log scale."""
        if self.scale == "count":
            return np.log1p(self.degree * share)
        return np.log(share) if self.scale == "log" else np.asarray(share, dtype=np.float64)

    def shares(self, place: Float64) -> Float64:
        """Return the shares that stand at places."""
        if self.scale == "count":
            return np.expm1(place) / self.degree
        return np.exp(place) if self.scale == "log" else place


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """J means over users, estimated together.

    Attributes:
        mean: float64 [J].
        covariance: float64 [J, J], two-way clustered, seeds included; its diagonal is the guarded variance.
        df: float64 [J].
        n: Users behind each.
    """

    mean: Float64
    covariance: Float64
    df: Float64
    n: tuple[int, ...]

    def combined(self, weights: Float64) -> tuple[float, float, float]:
        """Return a linear combination's mean, standard error and the smallest df of what is in it."""
        variance = float(weights @ self.covariance @ weights)
        return float(weights @ self.mean), math.sqrt(max(variance, 0.0)), float(self.df[weights != 0].min())

    def drawn(self, draws: int, seed: int = 0) -> Float64:
        """Return float64 [draws, J]: draws of all means together."""
        se = np.sqrt(np.diag(self.covariance))
        live = se > 0
        out = np.tile(self.mean, (draws, 1))
        if live.any():
            correlation = self.covariance[np.ix_(live, live)] / np.outer(se[live], se[live])
            values, vectors = np.linalg.eigh(np.clip(correlation, -1.0, 1.0))
            root = vectors * np.sqrt(np.clip(values, 0.0, None))
            root /= np.sqrt((root**2).sum(axis=1, keepdims=True))
            normal = generator(seed, "curve").standard_normal((draws, int(live.sum()))) @ root.T
            place = scipy.special.ndtr(np.clip(normal, -7.0, 7.0))
            out[:, live] += se[live] * scipy.special.stdtrit(self.df[live], place)
        return out


def joint(values: Sequence[Float64], truth: Truth, inside: Sequence[Bool | None] | None = None) -> Joint:
    """Estimate means over users together.

    Args:
        values: J times float64 [S, P]: what every held-out pair contributes, one row a seed; S is 1 or at least 3.
        truth: The held-out pairs.
        inside: J times bool [P] or None: a slice, as in ``significance.Paired``.

    Raises:
        ValueError: A shape does not match the truth.
    """
    parts = list(inside or [None] * len(values))
    known = {id(part): Clusters.of(truth, part) for part in {id(part): part for part in parts}.values()}
    clusters = [known[id(part)] for part in parts]
    estimates = [one.estimate(value.mean(axis=0)) for one, value in zip(clusters, values, strict=True)]
    matrix = covariance(clusters, estimates, values)
    guarded = np.array([one.variance for one in estimates])
    df = np.array([one.df for one in estimates])
    seeds = len(values[0])
    if seeds > 1:
        means = np.stack(
            [
                np.where(one.weight > 0, value, 0.0).sum(axis=1) / max(one.users, 1)
                for one, value in zip(clusters, values, strict=True)
            ]
        )
        spread = means - means.mean(axis=1, keepdims=True)
        between = spread @ spread.T / (seeds - 1) / seeds
        matrix, own = matrix + between, np.diag(between)
        whole = guarded + own
        with np.errstate(divide="ignore", invalid="ignore"):
            pooled = whole**2 / (guarded**2 / df + own**2 / (seeds - 1))
        df = np.where((own > 0) & (df >= 1), pooled, df)
        guarded = whole
    matrix = _scaled(matrix, guarded)
    return Joint(np.array([one.mean for one in estimates]), matrix, df, tuple(one.users for one in estimates))


def _scaled(matrix: Float64, variance: Float64) -> Float64:
    """Return the covariance with this diagonal and the correlations of ``matrix`` under it."""
    scale = np.sqrt(np.nan_to_num(variance))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.clip(np.nan_to_num(matrix / np.outer(scale, scale)), -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation * np.outer(scale, scale))


def area_weights(share: Float64, axis: Axis) -> Float64:
    """Return float64 [B]: weights whose sum with a curve is the area under it over its range, its mean height.

    Trapezoids between neighbouring budgets, on the axis given; they sum to 1. Equal where there is no range.

    Args:
        share: float64 [B], falling; above 0 on a log scale.
        axis: Where they stand.

    Example:
        >>> area_weights(np.array([1.0, 0.5, 0.0]), Axis("linear")).tolist()
        [0.25, 0.5, 0.25]
    """
    place = axis.places(share)
    width = -np.diff(place)
    if not width.sum() > 0:
        return np.full(len(place), 1.0 / len(place))
    weights = np.zeros(len(place))
    weights[:-1] += width / 2
    weights[1:] += width / 2
    return np.asarray(weights / width.sum())


def crossings(share: Float64, lead: Float64, axis: Axis) -> Float64:
    """Return float64 [draws]: the share at which a lead turns from 0 or less to above 0, going down; NaN: nowhere.

    A curve crosses where its lead is below 0 with everything kept and above 0 at the smallest budget; of several such
    turns the first counts. Straight lines between neighbouring budgets on the axis given.

    Args:
        share: float64 [B], falling.
        lead: float64 [draws, B].
        axis: Where budgets stand.

    Example:
        >>> lead = np.array([[-1.0, -0.5, 0.5], [-1, -2, -3], [-1, 1, -1]])
        >>> crossings(np.array([1.0, 0.5, 0.25]), lead, Axis("linear")).tolist()
        [0.375, nan, nan]
    """
    place = axis.places(share)
    turns = (lead[:, :-1] <= 0) & (lead[:, 1:] > 0)
    row = np.flatnonzero((lead[:, 0] < 0) & (lead[:, -1] > 0))
    if not len(row):
        return np.full(len(lead), np.nan)
    first = turns[row].argmax(axis=1)
    before, after = lead[row, first], lead[row, first + 1]
    at = place[first] - before / (after - before) * (place[first + 1] - place[first])
    found = np.full(len(lead), np.nan)
    found[row] = axis.shares(at)
    return found
