"""Health of vectors and lists: agreement of an index with exact search, norms, duplicates, ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.core import Candidates, Float32, Float64, ModalityTable


def agreement(approx_score: Float32, exact_score: Float32, k: int, tolerance: float = 1e-5) -> Float64:
    """Return float64 [Q]: the share of the k exact neighbours that the approximate search is as good as.

    An approximate neighbour counts when its true score reaches the k-th best exact score less the tolerance,
    so ties and duplicates are fair; comparing ids would punish them. NaN where a query has no exact neighbour
    at all.

    Args:
        approx_score: float32 [Q, K1]: true (not quantised) scores of the approximate neighbours, -inf on
            padding.
        exact_score: float32 [Q, K2], best first, -inf on padding.
        k: Neighbours looked at; fewer where exact search finds fewer.
        tolerance: Of the score, multiplied by the threshold's size where that is above 1.

    Raises:
        ValueError: Different numbers of queries.

    Example:
        The second neighbour found is not the exact one, but a duplicate with the same score.

        >>> import numpy as np
        >>> agreement(np.array([[0.9, 0.5]]), np.array([[0.9, 0.5, 0.5]]), k=2).tolist()
        [1.0]

    References:
        Aumüller, Bernhardsson & Faithfull 2020, doi:10.1016/j.is.2019.02.006 (distance-threshold recall).
    """
    if len(approx_score) != len(exact_score):
        raise ValueError(f"{len(approx_score)} approximate queries against {len(exact_score)} exact ones")
    exact = exact_score[:, :k].astype(np.float64)
    size = np.isfinite(exact).sum(axis=1)
    last = np.take_along_axis(exact, np.maximum(size - 1, 0)[:, None], axis=1)[:, 0]
    threshold = np.where(size > 0, last - tolerance * np.maximum(1.0, np.abs(last)), np.inf)
    good = (approx_score[:, :k].astype(np.float64) >= threshold[:, None]).sum(axis=1)
    share: Float64 = np.minimum(good, size) / np.maximum(size, 1)
    share[size == 0] = np.nan
    return share


def tied_share(candidates: Candidates) -> Float64:
    """Return float64 [Q]: the share of candidates whose score another of their list has; 0 if empty."""
    found = candidates.found
    equal = (candidates.score[:, 1:] == candidates.score[:, :-1]) & found[:, 1:]
    tied = np.zeros(found.shape, dtype=bool)
    tied[:, 1:] |= equal
    tied[:, :-1] |= equal
    share: Float64 = tied.sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    return share


@dataclass(frozen=True, slots=True)
class TableHealth:
    """What a modality table is worth as search vectors; shares are of all rows unless said.

    Attributes:
        rows: I.
        width: D.
        present: Share of rows that hold a vector.
        zero: Share of all-zero rows (they have no direction, hence no neighbours).
        not_finite: Share of rows with NaN or infinity.
        duplicate: Share of the present rows whose vector another present row has too.
        constant: Share of the present rows whose entries are all equal.
        norm_low: 1st percentile of the present rows' L2 norms; NaN where none is present.
        norm_median: Their median.
        norm_high: Their 99th percentile.
    """

    rows: int
    width: int
    present: float
    zero: float
    not_finite: float
    duplicate: float
    constant: float
    norm_low: float
    norm_median: float
    norm_high: float

    @property
    def norm_spread(self) -> float:
        """The 99th over the 1st percentile of the norms: far from 1, an inner product ranks by length."""
        return self.norm_high / self.norm_low if self.norm_low > 0 else float("nan")


def table_health(table: ModalityTable, *, chunk: int = 4096) -> TableHealth:
    """Read a table once, in chunks, so that memory maps stay on disk."""
    n = len(table.values)
    zero, finite, constant = (np.empty(n, dtype=bool) for _ in range(3))
    norm, print_of = np.empty(n, dtype=np.float64), np.empty(n, dtype=np.uint64)
    # Odd 64-bit multipliers: equal rows always collide, others with a probability below 2^-40.
    odd = np.random.default_rng(0).integers(0, 2**63, table.width, dtype=np.uint64) * 2 + 1
    for start in range(0, n, chunk):
        part = slice(start, start + chunk)
        rows = np.asarray(table.values[part], dtype=np.float32) + np.float32(0)  # -0 becomes 0
        zero[part] = ~rows.any(axis=1)
        finite[part] = np.isfinite(rows).all(axis=1)
        constant[part] = (rows == rows[:, :1]).all(axis=1)
        norm[part] = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        bits = np.ascontiguousarray(rows).view(np.uint32).astype(np.uint64)
        print_of[part] = (bits * odd).sum(axis=1, dtype=np.uint64)
    present = table.present
    _, place, times = np.unique(print_of[present], return_inverse=True, return_counts=True)
    some = bool(present.any())
    low, median, high = np.percentile(norm[present], [1, 50, 99]) if some else (np.nan,) * 3
    return TableHealth(
        n,
        table.width,
        float(present.mean()) if n else 0.0,
        float(zero.mean()) if n else 0.0,
        float((~finite).mean()) if n else 0.0,
        float((times[place] > 1).mean()) if some else 0.0,
        float(constant[present].mean()) if some else 0.0,
        float(low),
        float(median),
        float(high),
    )
