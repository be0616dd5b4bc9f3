"""Independent rows on a few threads: compiled loops release the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from stagelens.pipeline.core import Int64
from stagelens.pipeline.native import threads

STEPS_WORTH_A_THREAD = 250_000
"""Elementary steps below which starting a thread costs more than it saves."""
RUN = 1 << 25
"""Elementary steps of one call, about: a tenth of a second, after which an interrupt is heard."""
SHARES = 8
"""Calls a thread gets at least where there is work enough, so that dear rows do not keep one thread alone busy."""


def over_rows(rows: int, work: Callable[[int, int], object], *, steps: float | Int64 = 1000.0) -> None:
    """Call ``work(start, stop)`` so that every row in ``range(rows)`` is covered once.

    Each row writes only its own results, so neither the cuts nor the thread count can change them.

    Args:
        rows: Number of rows.
        work: Does the rows in ``range(start, stop)``.
        steps: Elementary steps of an average row, roughly; or int64 [rows], of every row.
    """
    each = np.full(rows, float(steps)) if isinstance(steps, int | float) else steps + 1.0
    ends = np.cumsum(each)
    whole = float(ends[-1]) if rows else 0.0
    count = max(min(threads(), rows, int(whole / STEPS_WORTH_A_THREAD)), 1)
    calls = max(
        count, int(whole / RUN), min(SHARES * count, int(whole / STEPS_WORTH_A_THREAD)) if count > 1 else 1
    )
    cuts = np.searchsorted(ends, whole * np.arange(1, calls) / calls)
    edges = np.unique([0, *cuts, rows]).tolist()
    if count == 1:
        for start, stop in pairwise(edges) if rows else [(0, 0)]:
            work(start, stop)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        waiting = [pool.submit(work, start, stop) for start, stop in pairwise(edges)]
        try:
            for future in waiting:
                future.result()
        finally:
            for future in waiting:
                future.cancel()
