"""What IALS and MFBPR cost beside implicit alone: fit, then 100 items for every user.

Bare: ``implicit`` fits the train window of the data set's split and recommends from its own user factors.
StageLens: the same parameters through ``Dense``, with the queries folded in (IALS) or compared with the fit
window (MFBPR) and searched. Both run in one process, in turn, with one BLAS thread and as many others as there
are cores, except MFBPR, which trains in one. implicit draws negatives by popularity: ``MFBPR-popular`` does the same
work, ``MFBPR`` draws evenly. Seconds are medians over seeds; Recall@20 (a mean over seeds) is that of the valid
window, of test with --test: it says whether the same work was done.

    python benchmarks/factors.py DATASET [--repeat 3] [--factors 64] [--model IALS MFBPR MFBPR-popular]
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from stagelens.pipeline.core import Int32, Interactions, Queries, TrainingData
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.native import threads
from stagelens.pipeline.seeds import tie_order
from stagelens.recall import IALS, MFBPR, Dense

DEPTH = 100
BLOCK = 8192
MODELS = {"IALS": IALS(), "MFBPR-popular": MFBPR(negatives="popular"), "MFBPR": MFBPR()}


def bare(recipe: Any, window: Interactions, seed: int) -> Int32:
    """Return int32 [U, DEPTH] as implicit finds them."""
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    matrix = csr_matrix(window.matrix())
    options = {"factors": recipe.factors, "regularization": recipe.regularisation, "random_state": seed}
    with threadpool_limits(1, "blas"):
        if isinstance(recipe, IALS):
            matrix.data += recipe.alpha
            model = AlternatingLeastSquares(iterations=recipe.iterations, num_threads=threads(), **options)
        else:
            model = BayesianPersonalizedRanking(
                iterations=recipe.iterations,
                learning_rate=recipe.learning_rate,
                num_threads=threads(),
                **options,
            )
        model.fit(matrix, show_progress=False)
        users = np.arange(window.n_users)
        found: Int32 = model.recommend(users, matrix, N=DEPTH, filter_already_liked_items=True)[0]
    return found


def ours(recipe: Any, window: Interactions, seed: int) -> Int32:
    """Return int32 [U, DEPTH] as the channel finds them."""
    fitted = Dense(vectors=recipe, device="cpu").fit(TrainingData(window), seed=seed)
    queries = Queries.of(np.arange(window.n_users), window, window, tie_order(0, window.n_items))
    return np.concatenate([fitted.retrieve(part, DEPTH).item for part in queries.blocks(BLOCK)])


def recall(found: Int32, train: Interactions, held: Interactions, k: int = 20) -> float:
    """Return the mean share of held-out items among the first ``k``, over users with a history."""
    lists = held.lists()
    users = np.intersect1d(held.users(), train.users())
    return float(np.mean([np.isin(lists[user], found[user, :k]).mean() for user in users]))


def timed(work: Callable[[int], Int32], seed: int) -> tuple[float, float, Int32]:
    """Return wall and processor seconds and the result."""
    wall, processor = time.perf_counter(), time.process_time()
    found = work(seed)
    return time.perf_counter() - wall, time.process_time() - processor, found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--model", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--test", action="store_true", help="measure on the test window")
    asked = parser.parse_args()

    dataset = load_dataset(asked.dataset)
    windows = split(dataset)
    train, held = windows.train, windows.test if asked.test else windows.valid
    print(f"{dataset.name}: {train.n_users} users, {train.n_items} items, {len(train)} interactions")
    for name in asked.model:
        recipe: Any = dataclasses.replace(MODELS[name], factors=asked.factors)
        small = train.where(train.user < 50)
        ours(dataclasses.replace(recipe, iterations=1), small, 0)  # compiles
        works = {"implicit": partial(bare, recipe, train), "stagelens": partial(ours, recipe, train)}
        made: dict[str, list[tuple[float, float, Int32]]] = {who: [] for who in works}
        for seed in range(asked.repeat):
            for who, work in works.items():
                made[who].append(timed(work, seed))
        seconds = {who: np.median([run[:2] for run in runs], axis=0) for who, runs in made.items()}
        for who, (wall, processor) in seconds.items():
            hits = np.mean([recall(run[2], train, held) for run in made[who]])
            print(
                f"{name:>13} {who:<9} {processor:7.2f} s processor, {wall:7.2f} s wall, recall@20 {hits:.4f}"
            )
        ratio = seconds["stagelens"] / seconds["implicit"]
        print(f"{name:>13} ratio {ratio[1]:.3f} processor, {ratio[0]:.3f} wall")


if __name__ == "__main__":
    main()
