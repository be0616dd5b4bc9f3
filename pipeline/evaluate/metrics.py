"""Ranking metrics as values (``ndcg@10`` parses, prints, compares, hashes) and their per-user figures.

All are computed from ranks int32 [P], one per held-out pair (0: not in the list), with binary relevance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.core import Float64, Int32
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.evaluate.truth import Truth

KINDS = ("recall", "precision", "hit", "mrr", "map", "ndcg", "dcg")


@dataclass(frozen=True, slots=True, order=True)
class Metric:
    """A metric with its cut-off k.

    Per user, with R relevant items and hits at the ranks r <= k:

    - ``recall``: hits / R (R, not min(R, k)).
    - ``precision``: hits / k (k also where the list is shorter).
    - ``hit``: 1 where there is a hit, else 0.
    - ``mrr``: 1 / rank of the first hit.
    - ``map``: sum over the hits of (hits up to r) / r, divided by R (the trec_eval variant).
    - ``ndcg``: sum of 1 / log2(1 + r), divided by the same sum of the ranks 1 .. min(R, k) (linear gain).
    - ``dcg``: the first of these sums alone. It grows with R and passes 1: shown against ``ndcg`` of another system,
      it is the published confound of a forgotten ideal, and it decides nothing here.

    Attributes:
        kind: One of the above.
        k: Cut-off, at least 1.

    Example:
        >>> Metric.parse("ndcg@10"), str(Metric("ndcg", 10))
        (Metric(kind='ndcg', k=10), 'ndcg@10')

    References:
        Järvelin & Kekäläinen 2002, doi:10.1145/582415.582418 (ndcg: binary gain, log2(1 + rank) discount from
        rank 1).
    """

    kind: str
    k: int

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Read ``kind@k``.

        Raises:
            ConfigError: Unknown kind, or a cut-off that is not a whole number of at least 1.
        """
        kind, at, cut = text.partition("@")
        if kind not in KINDS:
            raise ConfigError(nearest("metric", kind, KINDS) + " A metric is written like ndcg@10.")
        if not at or re.fullmatch(r"[1-9][0-9]*", cut) is None:
            raise ConfigError(
                f"Metric {text!r}: the cut-off is {cut!r}, allowed is a whole number of at least 1; "
                f"write for instance {kind}@10."
            )
        return cls(kind, int(cut))

    def __str__(self) -> str:
        return f"{self.kind}@{self.k}"


def measure(ranks: Int32, truth: Truth, names: Sequence[str | Metric]) -> Float64:
    """Return float64 [Q, T]: every metric of every user, in one pass.

    Args:
        ranks: int32 [P] as ``truth.ranks`` gives them.
        truth: The held-out pairs.
        names: T metrics.

    Raises:
        ConfigError: An unknown metric.
        ValueError: ``ranks`` does not belong to this truth.

    Example:
        One user, R = 3, hits at the ranks 1 and 4 (the third is not in the list). recall@5 = 2/3; precision@5
        = 2/5; map@5 = (1/1 + 2/4) / 3 = .5; ndcg@5 = (1 + 1/log2 5) / (1 + 1/log2 3 + 1/log2 4) = 1.4307 /
        2.1309.

        >>> import numpy as np
        >>> from stagelens.pipeline.core import Interactions
        >>> window = Interactions.of(np.array([0, 0, 0]), np.array([2, 5, 8]), n_users=1, n_items=9)
        >>> ranks = np.array([4, 0, 1], dtype=np.int32)
        >>> names = ["recall@5", "precision@5", "hit@5", "mrr@5", "map@5", "ndcg@5", "recall@3"]
        >>> measure(ranks, Truth.of(window), names).round(4).tolist()
        [[0.6667, 0.4, 1.0, 1.0, 0.5, 0.6714, 0.3333]]
    """
    from stagelens.pipeline.evaluate import kernels

    metrics = [_metric(name) for name in names]
    _check(ranks, truth)
    out = np.empty((len(truth), len(metrics)), dtype=np.float64)
    discount, ideal = _discounts(max((metric.k for metric in metrics), default=1))
    kind = np.array([kernels.CODES[metric.kind] for metric in metrics], dtype=np.int64)
    cut = np.array([metric.k for metric in metrics], dtype=np.int64)
    kernels.metrics(np.ascontiguousarray(ranks), truth.relevant.indptr, kind, cut, discount, ideal, out)
    return out


def contributions(ranks: Int32, truth: Truth, name: str | Metric) -> Float64:
    """Return float64 [P]: what each pair adds to its user's metric; they sum to ``measure`` per user.

    recall: 1/R; precision: 1/k; dcg: its discount; ndcg: the same over the ideal sum; map: the precision at its rank
    over R; hit and mrr: all of it to the first hit. They carry the item clusters into the standard errors.

    Raises:
        ConfigError: An unknown metric.
        ValueError: ``ranks`` does not belong to this truth.

    Example:
        >>> import numpy as np
        >>> from stagelens.pipeline.core import Interactions
        >>> window = Interactions.of(np.array([0, 0, 0]), np.array([2, 5, 8]), n_users=1, n_items=9)
        >>> ranks = np.array([4, 0, 1], dtype=np.int32)
        >>> contributions(ranks, Truth.of(window), "map@5").round(4).tolist()
        [0.1667, 0.0, 0.3333]
    """
    from stagelens.pipeline.evaluate import kernels

    metric = _metric(name)
    _check(ranks, truth)
    out = np.empty(truth.pairs, dtype=np.float64)
    discount, ideal = _discounts(metric.k)
    code = kernels.CODES[metric.kind]
    kernels.credits(np.ascontiguousarray(ranks), truth.relevant.indptr, code, metric.k, discount, ideal, out)
    return out


def _metric(name: str | Metric) -> Metric:
    return name if isinstance(name, Metric) else Metric.parse(name)


def _check(ranks: Int32, truth: Truth) -> None:
    if ranks.shape != (truth.pairs,) or ranks.dtype != np.int32:
        raise ValueError(f"ranks are {ranks.dtype} {ranks.shape}, expected int32 {(truth.pairs,)}")


def _discounts(deepest: int) -> tuple[Float64, Float64]:
    """Return float64 [deepest + 1] twice: 1 / log2(1 + rank) by rank (0 at rank 0) and its running sum."""
    discount = np.zeros(deepest + 1, dtype=np.float64)
    discount[1:] = 1.0 / np.log2(1.0 + np.arange(1, deepest + 1))
    return discount, np.cumsum(discount)
