"""The hot loop of tuning an ensemble (numba; imported only inside functions)."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def pair_ranks(value: Any, weight: Any, row: Any, place: Any) -> Any:
    """Rank int32 [P] of listed pairs in the weighted sum of member scores; 0 where no weighted member has one.

    ``value`` float64 [Q, K, C] with NaN for absent; ``row`` and ``place`` [P]: where a pair stands, rows
    not falling. Ties go by the place in the list.
    """
    size, members = value.shape[1], value.shape[2]
    ranks = np.zeros(len(row), np.int32)
    score = np.empty(size, np.float32)
    scored = -1
    for p in range(len(row)):
        q = row[p]
        if q != scored:
            scored = q
            for k in range(size):
                total, known = 0.0, False
                for c in range(members):
                    if weight[c] > 0.0 and not np.isnan(value[q, k, c]):
                        total += weight[c] * value[q, k, c]
                        known = True
                score[k] = total if known else np.nan
        mine = score[place[p]]
        if not np.isnan(mine):
            ahead = 0
            for k in range(size):
                if score[k] > mine or (score[k] == mine and k < place[p]):
                    ahead += 1
            ranks[p] = ahead + 1
    return ranks
