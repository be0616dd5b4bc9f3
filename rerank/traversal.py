"""The kernel that sends rows down trees."""

from __future__ import annotations

import numpy as np
from numba import njit

ZERO = 1e-35
"""LightGBM reads smaller numbers as zero."""


@njit(cache=True, nogil=True)
def traverse(values, rows, root, feature, threshold, kind, left, right, leaf, out):  # type: ignore[no-untyped-def]
    """Add the leaf of each row to ``out``, tree after tree (LightGBM's order of sums)."""
    step = 64  # rows whose values stay in the first cache while all trees pass
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        for tree in range(len(root)):
            for place in range(start, stop):
                row = rows[place]
                node = root[tree]
                while node >= 0:
                    value = np.float64(values[row, feature[node]])
                    missing = (kind[node] >> 2) & 3
                    if np.isnan(value) and missing != 2:
                        value = np.float64(0.0)
                    if (missing == 2 and np.isnan(value)) or (missing == 1 and abs(value) <= ZERO):
                        node = left[node] if kind[node] & 2 else right[node]
                    elif value <= threshold[node]:
                        node = left[node]
                    else:
                        node = right[node]
                out[place] += leaf[~node]
