"""Corrections of p values for display."""

from __future__ import annotations

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
