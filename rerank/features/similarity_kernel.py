"""The gather-dot kernel of the similarity features."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def similarities(indptr, history, items, vectors, usable, weights, out):  # type: ignore[no-untyped-def]  # numba types it
    """Fill ``out[q, k, :3]`` with mean, max and weighted similarity; cells without one are left as they are.

    The history's vectors are packed once a query, so that one row of the table is read per candidate. Sums
    may be reordered (vector lanes), by the width alone: the same for every block.
    """
    width = vectors.shape[1]
    longest = len(weights)
    packed = np.empty((longest, width), np.float32)
    for q in range(items.shape[0]):
        n = 0
        total = np.float32(0)
        place = indptr[q + 1] - 1
        while place >= indptr[q] and n < longest:  # from the latest item back
            row = history[place]
            if usable[row]:
                for d in range(width):
                    packed[n, d] = vectors[row, d]
                total += weights[n]
                n += 1
            place -= 1
        if n == 0:
            continue
        for k in range(items.shape[1]):
            item = items[q, k]
            if item < 0 or not usable[item]:
                continue
            mean = np.float32(0)
            recent = np.float32(0)
            best = np.float32(-2)
            for j in range(n):
                dot = np.float32(0)
                for d in range(width):
                    dot += vectors[item, d] * packed[j, d]
                mean += dot
                recent += weights[j] * dot
                best = max(best, dot)
            out[q, k, 0] = mean / np.float32(n)
            out[q, k, 1] = best
            out[q, k, 2] = recent / total
