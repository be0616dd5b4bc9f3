"""Features and rows of 2M candidates against LightGBM's training on them.

Says what building about 30 ranker columns and the training table costs beside 50 trees (LambdaMART, 31
leaves) on the same rows, in CPU seconds and wall seconds of one process. Run: ``python
benchmarks/features_rows.py``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from stagelens.pipeline.core import (
    Candidates,
    Features,
    Float32,
    Interactions,
    ModalityTable,
    Queries,
    Rows,
    TrainingData,
)
from stagelens.pipeline.native import set_threads, threads
from stagelens.pipeline.rows import joined, no_rows, rows_of
from stagelens.pipeline.seeds import tie_order
from stagelens.rerank import Evidence, History, LambdaMART, Popularity, Similarity

CHANNELS = ("Popular", "ItemKNN", "Dense(text)")
CELLS = 200_000  # candidates whose features exist at once, as in a run


def world(
    users: int, items: int, size: int, seed: int = 0
) -> tuple[TrainingData, Queries, Candidates, Float32]:
    """Return histories of about 20 items, two modalities of width 64, candidates with evidence, gains."""
    rng = np.random.default_rng(seed)
    length = rng.poisson(20, users)
    user = np.repeat(np.arange(users), length)
    item = np.minimum((items * rng.random(len(user)) ** 2).astype(np.int64), items - 1)
    time_of = rng.integers(1_600_000_000, 1_700_000_000, len(user))
    window = Interactions.of(user, item, n_users=users, n_items=items, time=time_of)
    tables = {}
    for name in ("text", "visual"):
        values = rng.standard_normal((items, 64)).astype(np.float32)
        tables[name] = ModalityTable.of(name, values)
    data = TrainingData(window, tables)
    nothing = window.where(np.zeros(0, dtype=np.int64))
    queries = Queries.of(np.arange(users), window, nothing, tie_order(seed, items))
    step = np.arange(size) * (items // size)
    listed = ((rng.integers(0, items, (users, 1)) + step) % items).astype(np.int32)
    score = -np.sort(-rng.random((users, size)).astype(np.float32), axis=1)
    found = rng.random((users, size, 3)) < 0.7
    channel_score = np.where(found, rng.random((users, size, 3)), np.nan).astype(np.float32)
    rank = np.where(found, rng.integers(1, size + 1, (users, size, 3)), 0).astype(np.int32)
    signal = np.nan_to_num(channel_score[..., 2]) + 2 * rng.random((users, size))
    gains = (signal > np.quantile(signal, 0.98)).astype(np.float32)
    return data, queries, Candidates(queries.user, listed, score, CHANNELS, channel_score, rank), gains


def build(data: TrainingData, queries: Queries, candidates: Candidates, gains: Float32) -> Rows:
    """Fit the groups, compute them in blocks, and write the rows into one table."""
    groups = (
        Evidence(),
        History(),
        Popularity(),
        Similarity(modality="text"),
        Similarity(modality="visual"),
    )
    fitted: list[Any] = [group.fit(data, CHANNELS, seed=0) for group in groups]

    def parts() -> Any:
        step = CELLS // candidates.size
        for start in range(0, len(candidates), step):
            rows = np.arange(start, min(start + step, len(candidates)))
            asked, block = queries.rows(rows), candidates.rows(rows)
            features = Features.joined([group.compute(asked, block) for group in fitted])
            yield rows_of(block, features, gains[rows], seed=0)

    return joined(parts(), capacity=candidates.item.size)


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Return the median CPU and wall seconds of the runs, and the last result."""
    cpu, wall = [], []
    for _ in range(repeats):
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        result = function()
        after = resource.getrusage(resource.RUSAGE_SELF)
        wall.append(time.perf_counter() - start)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(cpu), statistics.median(wall), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    set_threads()
    small = world(50, 2000, 20)
    warm_cpu, warm_wall, rows = timed(lambda: build(*small), 1)
    recipe = LambdaMART(trees=50, min_trees=50)
    recipe.fit(rows, no_rows(rows.names), seed=0)
    large = world(options.users, 20_000, 200)
    build_cpu, build_wall, rows = timed(lambda: build(*large), options.repeats)
    train_cpu, train_wall, fitted = timed(lambda: recipe.fit(rows, no_rows(rows.names), seed=0), 1)
    figures = {
        "rows": len(rows.label),
        "columns": len(rows.names),
        "trees": fitted.meta["best_iteration"],
        "threads": threads(),
        "first_build_cpu_s": warm_cpu,
        "first_build_wall_s": warm_wall,
        "build_cpu_s": build_cpu,
        "build_wall_s": build_wall,
        "train_cpu_s": train_cpu,
        "train_wall_s": train_wall,
        "cpu_ratio": build_cpu / train_cpu,
        "wall_ratio": build_wall / train_wall,
        "allowed_cpu_ratio": 0.10,
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
