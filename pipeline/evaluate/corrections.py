"""Corrections of p values for display, and the rank test against permuted copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from stagelens.pipeline.core import Float64


def holm(p: ArrayLike) -> Float64:
    """Return p values adjusted for the family-wise error rate, in the order given.

    Example:
        Sorted .01, .02, .04: times 3, 2, 1, then never falling.

        >>> holm([0.04, 0.01, 0.02]).tolist()
        [0.04, 0.03, 0.04]

    References:
        Holm 1979, Scandinavian Journal of Statistics 6(2), 65-70 (step-down Bonferroni).
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Float64:
    """Return p values adjusted for the false discovery rate, in the order given.

    Example:
        Sorted .01, .02, .04: times 3/1, 3/2, 3/3, then never rising towards the small end.

        >>> benjamini_hochberg([0.04, 0.01, 0.02]).tolist()
        [0.04, 0.03, 0.03]

    References:
        Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x (step-up).
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * (len(values) / np.arange(1, len(values) + 1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return adjusted


def rank_test(real: float, copies: Sequence[float]) -> float:
    """Return the exact one-sided p value of ``real`` against independently permuted copies.

    If the modality carried nothing, its figure and those of the n copies would be exchangeable, and every
    place among the n + 1 equally likely: p = (1 + copies at least as good) / (n + 1). The smallest p is 1 /
    (n + 1): .05 takes 19 copies.

    Raises:
        ValueError: No copy.

    Example:
        >>> rank_test(0.3, [0.1, 0.2, 0.4])
        0.5
    """
    if not len(copies):
        raise ValueError("a rank test needs at least one permuted copy")
    return (1 + sum(copy >= real for copy in copies)) / (len(copies) + 1)
