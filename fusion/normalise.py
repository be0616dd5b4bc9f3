"""Normalisation of scored lists, so that members that count in different units can be added.

Every list (one query, one member) is normalised on its own, so neither a block nor another member moves it. What a
member did not score stays NaN: what absence counts is the rule's to say, never this module's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from stagelens.pipeline.core import Float32, Float64, Int32

Normalise = Literal["raw", "min-max", "z-score", "rank"]


def normalised(score: Float32, rank: Int32, how: Normalise) -> Float64:
    """Return float64 [Q, K, C]: the scores of every member in one unit, NaN where it has none.

    Args:
        score: float32 [Q, K, C], NaN where the member did not score the item.
        rank: int32 [Q, K, C], from 1; 0 where the member did not score the item.
        how: ``raw`` changes nothing; ``min-max``, ``z-score`` and ``rank`` are the functions below.
    """
    change: dict[str, Callable[[], Float64]] = {
        "raw": lambda: score.astype(np.float64),
        "min-max": lambda: min_max(score),
        "z-score": lambda: z_score(score),
        "rank": lambda: by_rank(rank),
    }
    return change[how]()


def min_max(score: Float32) -> Float64:
    """Return float64 [Q, K, C]: (score - lowest) / (highest - lowest); a constant list is 0, as in ranx.

    The last item of a list counts 0, as much as an item that the list does not hold.

    Example:
        >>> import numpy as np
        >>> one = np.array([[[4.0], [2.0], [np.nan], [1.0]]], dtype=np.float32)  # one query, one member
        >>> min_max(one)[0, :, 0].round(4).tolist()
        [1.0, 0.3333, nan, 0.0]

    References:
        Lee 1997, doi:10.1145/258525.258587.
    """
    value = _lists(score)
    low = np.fmin.reduce(value, axis=2, keepdims=True, initial=np.inf)
    high = np.fmax.reduce(value, axis=2, keepdims=True, initial=-np.inf)
    return _back((value - low) / np.where(high > low, high - low, 1.0))


def z_score(score: Float32) -> Float64:
    """Return float64 [Q, K, C]: (score - mean) / standard deviation (of the list); a constant list is 0.

    Where absence counts nothing, an item below the mean of a list counts less than one that the list does not hold:
    the unit suits members that score everything.

    Example:
        >>> import numpy as np
        >>> one = np.array([[[3.0], [np.nan], [1.0]]], dtype=np.float32)
        >>> z_score(one)[0, :, 0].tolist()
        [1.0, nan, -1.0]

    References:
        Montague & Aslam 2001, doi:10.1145/502585.502657 (zero mean, unit variance).
    """
    value = _lists(score)
    there = ~np.isnan(value)
    count = np.maximum(there.sum(axis=2, keepdims=True), 1)
    offset = value - np.where(there, value, 0.0).sum(axis=2, keepdims=True) / count
    variance = np.square(np.where(there, offset, 0.0)).sum(axis=2, keepdims=True) / count
    deviation = np.sqrt(variance)
    return _back(offset / np.where(deviation > 0, deviation, 1.0))


def by_rank(rank: Int32) -> Float64:
    """Return float64 [Q, K, C]: 1 - (rank - 1) / n with n the deepest rank of the list; NaN where rank is 0.

    Example:
        >>> import numpy as np
        >>> by_rank(np.array([[[1], [0], [3], [2]]], dtype=np.int32))[0, :, 0].round(4).tolist()
        [1.0, nan, 0.3333, 0.6667]

    References:
        Renda & Straccia 2003, doi:10.1145/952532.952698.
    """
    deepest = np.maximum(rank.max(axis=1, keepdims=True, initial=0), 1)
    return np.where(rank > 0, 1.0 - (rank - 1) / deepest, np.nan)


def _lists(score: Float32) -> Float64:
    """Return float64 [Q, C, K]: each list in one run of memory, so that its sums do not depend on the block."""
    return np.ascontiguousarray(np.moveaxis(score, 2, 1), dtype=np.float64)


def _back(value: Float64) -> Float64:
    return np.moveaxis(value, 1, 2)
