"""The kernel that sends rows down trees."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def traverse(values, rows, root, feature, threshold, nan_left, left, right, leaf, out):  # type: ignore[no-untyped-def]  # numba types it
    """Add the leaf of each row to ``out``, tree after tree (LightGBM's order of sums)."""
    step = 64  # rows whose values stay in the first cache while all trees pass
    for start in range(0, len(rows), step):
        for tree in range(len(root)):
            for place in range(start, min(start + step, len(rows))):
                row = rows[place]
                node = root[tree]
                while node >= 0:
                    value = values[row, feature[node]]
                    if value <= threshold[node] or (nan_left[node] and value != value):
                        node = left[node]
                    else:
                        node = right[node]
                out[place] += leaf[~node]
