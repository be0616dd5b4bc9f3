"""Rate of the ranking metrics against ranx: 25 metrics of 100,000 users' top 100.

Ours is timed from Candidates and Truth, the look-up of the ranks included. ranx is timed on a sample of the
same users and scaled; building its Run and Qrels from dicts is timed beside it. CPU seconds of warm runs,
compilation not counted. Every figure of the sample must agree to 1e-12.

    python benchmarks/metrics_rate.py [--users 100000] [--sample 5000]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np

from stagelens.pipeline.core import Candidates, Float64, Interactions
from stagelens.pipeline.evaluate.metrics import measure
from stagelens.pipeline.evaluate.truth import Truth

CUTS = (1, 5, 10, 20, 100)
NAMES = [f"{kind}@{k}" for kind in ("recall", "ndcg", "map", "mrr", "hit") for k in CUTS]
GOAL = 50


def system(users: int, depth: int = 100, items: int = 50_000, seed: int = 0) -> tuple[Truth, Candidates]:
    """Return 1 to 5 relevant items per user and lists that hold about a third of them."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, items, users)
    item = ((start[:, None] + np.arange(depth) * 7919) % items).astype(np.int32)
    user = np.repeat(np.arange(users), rng.integers(1, 6, users))
    listed = item[user, rng.integers(0, depth, len(user))]
    relevant = np.where(rng.random(len(user)) < 0.3, listed, rng.integers(0, items, len(user)))
    truth = Truth.of(Interactions.of(user, relevant, n_users=users, n_items=items))
    score = np.tile(-np.arange(depth, dtype=np.float32), (users, 1))
    return truth, Candidates.from_channel("a", truth.user, item, score)


def seconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median CPU and wall seconds."""
    spent = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        spent.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu_s, wall_s = np.median(np.array(spent), axis=0).tolist()
    return cpu_s, wall_s


def with_ranx(truth: Truth, lists: Candidates) -> tuple[float, float, Float64]:
    """Return ranx's CPU seconds for evaluate() and for building its inputs, and its figures [Q, T]."""
    import ranx

    names = [name.replace("hit@", "hit_rate@") for name in NAMES]

    def build() -> tuple[ranx.Qrels, ranx.Run]:
        relevant = {
            str(user): {str(item): 1 for item in truth.relevant[row].tolist()}
            for row, user in enumerate(truth.user.tolist())
        }
        run = {
            str(user): {str(item): float(lists.size - place) for place, item in enumerate(row)}
            for user, row in zip(lists.user.tolist(), lists.item.tolist(), strict=True)
        }
        return ranx.Qrels(relevant), ranx.Run(run)

    def evaluate() -> dict[str, Float64]:
        found: dict[str, Float64] = ranx.evaluate(qrels, run, names, return_mean=False)
        return found

    qrels, run = build()
    found = evaluate()  # compiles
    building, _ = seconds(build, 1)
    evaluating, _ = seconds(evaluate, 3)
    order = np.array([int(user) for user in run.keys()])
    figures = np.empty((len(truth), len(NAMES)))
    figures[np.searchsorted(truth.user, order)] = np.column_stack([found[name] for name in names])
    return evaluating, building, figures


def main() -> None:
    """Print the rates and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=5_000)
    given = parser.parse_args()
    truth, lists = system(given.users)
    measure(truth.ranks(lists), truth, NAMES)  # compiles
    cpu_s, wall_s = seconds(lambda: measure(truth.ranks(lists), truth, NAMES), 5)

    rows = np.arange(min(given.sample, given.users))
    part, part_lists = truth.rows(rows), lists.rows(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluating, building, figures = with_ranx(part, part_lists)
    ours = measure(part.ranks(part_lists), part, NAMES)
    apart = float(np.abs(ours - figures).max())
    scale = given.users / len(rows)
    print(f"{len(NAMES)} metrics, {given.users} users x top {lists.size}; ranx on {len(rows)} users, scaled")
    print(f"largest disagreement                {apart:.1e}")
    print(f"ours, from Candidates and Truth     {cpu_s:8.3f} CPU-s  {given.users / cpu_s:12,.0f} users/CPU-s")
    print(f"  wall                              {wall_s:8.3f} s")
    rate = len(rows) / evaluating
    print(f"ranx evaluate(), inputs ready       {evaluating * scale:8.3f} CPU-s  {rate:12,.0f}")
    print(f"ranx building Qrels and Run         {building * scale:8.3f} CPU-s  {len(rows) / building:12,.0f}")
    ratio = evaluating * scale / cpu_s
    print(f"ratio, evaluate() alone             {ratio:8.1f} x  (goal: {GOAL} x)")
    print(f"ratio, with building                {(evaluating + building) * scale / cpu_s:8.1f} x")
    if apart > 1e-12 or ratio < GOAL:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
