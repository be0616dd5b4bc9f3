"""Compiled loops of the measurement: look-ups of held-out pairs and the metrics of every user.

Import this module inside functions only: numba takes a second to load.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

RECALL, PRECISION, HIT, MRR, MAP, NDCG, DCG = range(7)
CODES = {
    "recall": RECALL,
    "precision": PRECISION,
    "hit": HIT,
    "mrr": MRR,
    "map": MAP,
    "ndcg": NDCG,
    "dcg": DCG,
}

SHORT = 12  # up to here a plain scan per relevant item vectorises and beats a binary search per candidate


@njit(cache=True, nogil=True)
def ranks(item: Any, indptr: Any, relevant: Any, out: Any) -> None:
    """Fill int32 [P] with the 1-based place of every relevant item in its list, 0 where it is not there."""
    depth = item.shape[1]
    for q in range(item.shape[0]):
        start, end = indptr[q], indptr[q + 1]
        if end - start <= SHORT:
            for p in range(start, end):
                target = relevant[p]
                place = 0
                for j in range(depth):
                    place = max(place, (j + 1) * (item[q, j] == target))
                out[p] = place
        else:
            for j in range(depth):
                code = item[q, j]
                if code < 0:
                    break
                p = start + np.searchsorted(relevant[start:end], code)
                if p < end and relevant[p] == code:
                    out[p] = j + 1


@njit(cache=True, nogil=True)
def metrics(ranks: Any, indptr: Any, kind: Any, cut: Any, discount: Any, ideal: Any, out: Any) -> None:
    """Fill float64 [Q, T]; ``kind``, ``cut`` int64 [T]; ``discount``, ``ideal`` reach the deepest cut."""
    deepest = len(discount) - 1
    hits = np.empty(deepest, np.int64)
    for q in range(len(indptr) - 1):
        n = 0
        for p in range(indptr[q], indptr[q + 1]):
            rank = ranks[p]
            if 0 < rank <= deepest:
                j = n
                while j > 0 and hits[j - 1] > rank:
                    hits[j] = hits[j - 1]
                    j -= 1
                hits[j] = rank
                n += 1
        relevant = indptr[q + 1] - indptr[q]
        for t in range(len(kind)):
            k = cut[t]
            found, gain, precisions = 0, 0.0, 0.0
            while found < n and hits[found] <= k:
                gain += discount[hits[found]]
                precisions += (found + 1) / hits[found]
                found += 1
            value = 0.0
            if found > 0:
                if kind[t] == RECALL:
                    value = found / relevant
                elif kind[t] == PRECISION:
                    value = found / k
                elif kind[t] == HIT:
                    value = 1.0
                elif kind[t] == MRR:
                    value = 1.0 / hits[0]
                elif kind[t] == MAP:
                    value = precisions / relevant
                elif kind[t] == DCG:
                    value = gain
                else:
                    value = gain / ideal[min(relevant, k)]
            out[q, t] = value


@njit(cache=True, nogil=True)
def credits(ranks: Any, indptr: Any, kind: int, k: int, discount: Any, ideal: Any, out: Any) -> None:
    """Fill float64 [P]: what each pair adds to its user's metric."""
    for q in range(len(indptr) - 1):
        start, end = indptr[q], indptr[q + 1]
        relevant = end - start
        first = k + 1
        for p in range(start, end):
            if 0 < ranks[p] < first:
                first = ranks[p]
        for p in range(start, end):
            rank = ranks[p]
            value = 0.0
            if 0 < rank <= k:
                if kind == RECALL:
                    value = 1.0 / relevant
                elif kind == PRECISION:
                    value = 1.0 / k
                elif kind == HIT:
                    value = 1.0 if rank == first else 0.0
                elif kind == MRR:
                    value = 1.0 / rank if rank == first else 0.0
                elif kind == MAP:
                    before = 0
                    for other in range(start, end):
                        before += 0 < ranks[other] <= rank
                    value = before / rank / relevant
                elif kind == DCG:
                    value = discount[rank]
                else:
                    value = discount[rank] / ideal[min(relevant, k)]
            out[p] = value
