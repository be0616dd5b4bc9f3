"""Mean ranks of systems over metrics, cut-offs and data sets, and the published ones to put beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.core import Float64

PUBLISHED = {
    "Item-KNN": 2.3,
    "P3alpha": 4.2,
    "SLIM-BPR": 4.7,
    "EASE-R": 5.3,
    "RP3beta": 6.0,
    "SVD": 6.0,
    "SLIM-ElasticNet": 7.0,
    "iALS": 7.0,
    "NMF": 7.1,
    "User-KNN": 7.6,
    "TopPop": 10.4,
    "MF-BPR": 11.2,
    "Random": 16.2,
}
"""Mean rank among 20 systems over 10 accuracy metrics at all cut-offs and 85 data sets, tuned with 100 trials.

McElfresh et al. 2022, arXiv:2206.11886. The seven systems that are not here stand between these, so a mean rank of ours
is comparable in its order alone.
"""
KINDS = ("precision", "recall", "ndcg", "hit", "map", "mrr")
"""Metrics that ranks are taken over."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one system stands.

    Attributes:
        system: Which.
        mean: Mean of its ranks, 1 is best; equals share the mean of their ranks.
        best: The smallest of them.
        worst: The largest.
        n: How many.
    """

    system: str
    mean: float
    best: float
    worst: float
    n: int


def ranks(values: Sequence[float]) -> Float64:
    """Return float64 [N]: the rank of every value, the highest first; equals share the mean of their ranks."""
    given = np.asarray(values, dtype=np.float64)
    _, place, count = np.unique(-given, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    shared: Float64 = (last - (count - 1) / 2)[place]
    return shared


def standings(cells: Iterable[Mapping[str, float | None]]) -> list[Standing]:
    """Return every system's mean rank, the best first.

    Args:
        cells: One for every metric, cut-off and data set: system -> value; None is not ranked, nor is who is absent.
    """
    found: dict[str, list[float]] = {}
    for cell in cells:
        known = {name: value for name, value in cell.items() if value is not None and math.isfinite(value)}
        for name, rank in zip(known, ranks(list(known.values())).tolist(), strict=True):
            found.setdefault(name, []).append(rank)
    made = [
        Standing(name, math.fsum(own) / len(own), min(own), max(own), len(own)) for name, own in found.items()
    ]
    return sorted(made, key=lambda one: (one.mean, one.system))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation, NaN of fewer than three pairs or where one side is constant.

    References:
        Spearman 1904, doi:10.2307/1412159 (ties: mean ranks).
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values against {len(second)}")
    if len(first) < 3:
        return math.nan
    a, b = (ranks(values) - (len(values) + 1) / 2 for values in (first, second))
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread else math.nan


def agreement(found: Iterable[Standing]) -> tuple[float, int]:
    """Return Spearman's correlation of mean ranks with the published ones, and over how many systems."""
    known = [(one.mean, PUBLISHED[one.system]) for one in found if one.system in PUBLISHED]
    return spearman([ours for ours, _ in known], [theirs for _, theirs in known]), len(known)
