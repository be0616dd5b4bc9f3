"""What Item-KNN and User-KNN cost beside implicit and sparse_dot_topn, and how the sparse channels grow.

Fit and the best ``--depth`` for every user, one after the other in one process; CPU seconds of all threads and
ratios of medians. All keep ``--neighbours`` by the plain cosine. Ours leaves out what a user has seen; so does
implicit for Item-KNN. The others do not, which spares them work: sparse_dot_topn knows no mask, and implicit has no
User-KNN, so its own parts are put together for one (neighbours of the transposed matrix, then its scorer over the
neighbours' rows).

    python benchmarks/neighbours.py --dataset FOLDER [--repeat 5]
    python benchmarks/neighbours.py --users 1000000 --items 100000 --interactions 20000000 --alone --depth 200 \
        --recipes ItemKNN RP3beta IALS

Recipes of vectors (IALS, PureSVD, ...) keep their defaults and are served by an exact search.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import stagelens.recall
from stagelens.pipeline.core import Interactions, Queries, TrainingData
from stagelens.pipeline.seeds import generator, tie_order

BLOCK = 1 << 16
OWN = 1
"""The neighbour that the rivals keep beyond ours: oneself."""
RIVALLED = ("ItemKNN", "UserKNN")


def synthetic(users: int, items: int, interactions: int) -> Interactions:
    """Return lognormal activity and Zipf popularity (exponent .75); codes do not follow popularity."""
    rng = generator(0, "neighbours-benchmark")
    active = rng.lognormal(sigma=1.0, size=users)
    user = np.repeat(np.arange(users), rng.multinomial(interactions, active / active.sum()))
    chance = np.arange(1, items + 1) ** -0.75
    item = np.searchsorted(np.cumsum(chance / chance.sum()), rng.random(interactions)).clip(max=items - 1)
    return Interactions.of(user, rng.permutation(items)[item], n_users=users, n_items=items)


def ours(recipe: Any, window: Interactions, depth: int) -> Any:
    """Fit, ask for everybody; return the first block of items."""
    fitted = recipe.fit(TrainingData(window), seed=0)
    tie = tie_order(0, window.n_items)
    first = None
    for start in range(0, window.n_users, BLOCK):
        asked = np.arange(start, min(start + BLOCK, window.n_users))
        found = fitted.retrieve(Queries.of(asked, window, window, tie), depth).item
        first = found if first is None else first
    return first


def of_implicit(by_user: bool, matrix: Any, neighbours: int, depth: int) -> Any:
    """Do the same with implicit."""
    from implicit.nearest_neighbours import CosineRecommender, ItemItemRecommender, NearestNeighboursScorer
    from scipy.sparse import csr_matrix

    near = CosineRecommender(K=neighbours + OWN, num_threads=0)
    everybody = np.arange(matrix.shape[0])
    if not by_user:
        near.fit(matrix, show_progress=False)
        return near.recommend(everybody, matrix, N=depth)[0]
    near.fit(csr_matrix(matrix.T), show_progress=False)
    serve = ItemItemRecommender()
    serve.similarity = matrix.astype(np.float64)
    serve.scorer = NearestNeighboursScorer(serve.similarity)
    return serve.recommend(everybody, near.similarity, N=depth, filter_already_liked_items=False)[0]


def of_sparse_dot_topn(by_user: bool, matrix: Any, neighbours: int, depth: int) -> Any:
    """Do the same with two products of sparse_dot_topn."""
    from scipy.sparse import csr_matrix, diags_array
    from sparse_dot_topn import sp_matmul_topn

    rows = matrix if by_user else csr_matrix(matrix.T)
    length = np.sqrt(np.maximum(np.asarray(rows.multiply(rows).sum(axis=1)).ravel(), 1.0))
    unit = csr_matrix(diags_array((1.0 / length).astype(np.float32)) @ rows)
    threads = stagelens.pipeline.native.threads()
    near = sp_matmul_topn(unit, csr_matrix(unit.T), top_n=neighbours + OWN, n_threads=threads)
    sides = (near, matrix) if by_user else (matrix, near)
    return sp_matmul_topn(*sides, top_n=depth, sort=True, n_threads=threads)


def channel(name: str, neighbours: int) -> Any:
    """Return the channel of this name, as it is compared; vectors are searched exactly."""
    made = getattr(stagelens.recall, name)
    if made.role == "vectors":
        return stagelens.recall.Dense(vectors=made(), device="cpu")
    plain = {"shrink": 0.0} if name in RIVALLED else {}
    return made(neighbours=neighbours, **plain)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def read(options: argparse.Namespace) -> Interactions:
    """Return the window: the training part of a data set, or a made one."""
    if options.dataset is None:
        return synthetic(options.users, options.items, options.interactions)
    from stagelens.pipeline.data.datasets import load_dataset
    from stagelens.pipeline.data.splits import split

    return split(load_dataset(options.dataset)).train


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", help="a folder; without it a made one")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--interactions", type=int, default=200_000)
    parser.add_argument("--recipes", nargs="+", default=["ItemKNN", "UserKNN"])
    parser.add_argument("--alone", action="store_true", help="no rivals; memory is then ours")
    parser.add_argument("--neighbours", type=int, default=100)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    warnings.filterwarnings(
        "ignore", message="Method expects CSR input"
    )  # implicit warns of its own transposes
    window = read(options)
    print(
        f"{window.n_users} users, {window.n_items} items, {len(window)} interactions, depth {options.depth}"
    )
    small = synthetic(300, 200, 3000)
    for name in options.recipes:
        recipe = channel(name, options.neighbours)
        work: dict[str, Callable[[], Any]] = {"stagelens": partial(ours, recipe, window, options.depth)}
        if name in RIVALLED and not options.alone:
            from scipy.sparse import csr_matrix

            matrix = csr_matrix(window.matrix())
            matrix.indptr, matrix.indices = matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)
            told = (name == "UserKNN", matrix, options.neighbours, options.depth)
            work |= {
                "implicit": partial(of_implicit, *told),
                "sparse_dot_topn": partial(of_sparse_dot_topn, *told),
            }
        ours(recipe, small, 10)  # compiles
        times: dict[str, list[tuple[float, float]]] = {key: [] for key in work}
        for _ in range(options.repeat):
            for key, do in work.items():
                times[key].append(timed(do))
        median = {key: np.median(np.array(value), axis=0) for key, value in times.items()}
        for key, (wall, cpu) in median.items():
            ratio = (
                ""
                if key == "stagelens"
                else f"; ours costs {median['stagelens'][1] / cpu:.2f} of its CPU time"
            )
            print(f"{name:>8}, {key}: {wall:.2f} s wall, {cpu:.2f} s CPU{ratio}")
        if options.alone:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{name:>8}: at most {peak:.2f} GiB held so far, the interactions included")


if __name__ == "__main__":
    main()
