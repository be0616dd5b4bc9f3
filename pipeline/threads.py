"""Independent rows on a few threads: compiled loops release the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable

from stagelens.pipeline.native import threads

STEPS_WORTH_A_THREAD = 250_000
"""Elementary steps below which starting a thread costs more than it saves."""


def over_rows(rows: int, work: Callable[[int, int], object], *, steps: float = 1000.0) -> None:
    """Call ``work(start, stop)`` so that every row in ``range(rows)`` is covered once.

    Each row writes only its own results, so neither the cuts nor the thread count can change them.

    Args:
        rows: Number of rows.
        work: Does the rows in ``range(start, stop)``.
        steps: Elementary steps of an average row, roughly.
    """
    count = min(threads(), rows, int(rows * steps / STEPS_WORTH_A_THREAD))
    if count <= 1:
        work(0, rows)
        return
    from concurrent.futures import ThreadPoolExecutor

    edges = [rows * part // count for part in range(count + 1)]
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(work, edges[part], edges[part + 1]) for part in range(count)]:
            future.result()
