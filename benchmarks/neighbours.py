"""What Item-KNN and User-KNN cost beside implicit and sparse_dot_topn, and how the sparse channels grow.

Fit and the best ``--depth`` for every user, one after the other in one process; CPU seconds of all threads and
ratios of medians. All keep ``--neighbours`` by the plain cosine. Ours leaves out what a user has seen; so does
implicit for Item-KNN. The others do not, which spares them work: sparse_dot_topn knows no mask, and implicit has no
User-KNN, so its own parts are put together for one (neighbours of the transposed matrix, then its scorer over the
neighbours' rows). With ``--asked`` a sample of users is asked, after a fit on all: User-KNN works then, so a large
set can be judged without days; implicit's neighbours come from its scorer too, its own fit knows no sample.

    python benchmarks/neighbours.py --dataset FOLDER [--repeat 5]
    python benchmarks/neighbours.py --users 1000000 --items 100000 --interactions 20000000 --recipes UserKNN \
        --asked 20000 --repeat 1
    python benchmarks/neighbours.py --users 1000000 --items 100000 --interactions 20000000 --alone --depth 200 \
        --recipes ItemKNN RP3beta IALS

Recipes of vectors (IALS, PureSVD, ...) keep their defaults and are served by an exact search.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def ours(recipe: Any, window: Interactions, asked: NDArray[Any], depth: int) -> Any:
    """Fit, ask; return the first block of items."""
    fitted = recipe.fit(TrainingData(window), seed=0)
    tie = tie_order(0, window.n_items)
    first = None
    for start in range(0, len(asked), BLOCK):
        some = asked[start : start + BLOCK]
        found = fitted.retrieve(Queries.of(some, window, window, tie), depth).item
        first = found if first is None else first
    return first


def unit_rows(matrix: Any) -> Any:
    """Return the rows at length 1."""
    from scipy.sparse import csr_matrix, diags_array

    length = np.sqrt(np.maximum(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel(), 1.0))
    return csr_matrix(diags_array((1.0 / length).astype(np.float32)) @ matrix)


def scored_by_implicit(rows: Any, table: Any, depth: int) -> tuple[Any, Any]:
    """Return the best columns of ``rows @ table`` and their values by implicit's scorer, which takes square tables."""
    from implicit.nearest_neighbours import ItemItemRecommender, NearestNeighboursScorer
    from scipy.sparse import csr_matrix

    size = max(table.shape)
    serve = ItemItemRecommender(num_threads=0)
    serve.similarity = csr_matrix(
        (table.data.astype(np.float64), table.indices, grown(table, size)), (size, size)
    )
    serve.scorer = NearestNeighboursScorer(serve.similarity)
    asking = csr_matrix((rows.data.astype(np.float64), rows.indices, rows.indptr), (rows.shape[0], size))
    told = {"N": depth, "filter_already_liked_items": False}
    return serve.recommend(np.arange(rows.shape[0]), asking, **told)


def grown(matrix: Any, size: int) -> Any:
    """Return the row pointers of the matrix with empty rows behind it."""
    return np.concatenate(
        [matrix.indptr, np.full(size - matrix.shape[0], matrix.indptr[-1], matrix.indptr.dtype)]
    )


def of_implicit(by_user: bool, matrix: Any, asked: NDArray[Any], neighbours: int, depth: int) -> Any:
    """Do the same with implicit."""
    from implicit.nearest_neighbours import CosineRecommender
    from scipy.sparse import csr_matrix

    near = CosineRecommender(K=neighbours + OWN, num_threads=0)
    if not by_user:
        near.fit(matrix, show_progress=False)
        return near.recommend(asked, matrix[asked], N=depth)[0]
    if len(asked) == matrix.shape[0]:
        near.fit(csr_matrix(matrix.T), show_progress=False)
        return scored_by_implicit(near.similarity, matrix, depth)[0]
    unit = unit_rows(matrix)
    user, value = scored_by_implicit(unit[asked], csr_matrix(unit.T), neighbours + OWN)
    kept = user >= 0
    parts = (value[kept], (np.nonzero(kept)[0], user[kept]))
    return scored_by_implicit(csr_matrix(parts, (len(asked), matrix.shape[0])), matrix, depth)[0]


def of_sparse_dot_topn(by_user: bool, matrix: Any, asked: NDArray[Any], neighbours: int, depth: int) -> Any:
    """Do the same with two products of sparse_dot_topn."""
    from scipy.sparse import csr_matrix
    from sparse_dot_topn import sp_matmul_topn

    unit = unit_rows(matrix if by_user else csr_matrix(matrix.T))
    threads = stagelens.pipeline.native.threads()
    asking = unit[asked] if by_user else unit
    near = sp_matmul_topn(asking, csr_matrix(unit.T), top_n=neighbours + OWN, n_threads=threads)
    sides = (near, matrix) if by_user else (matrix[asked], near)
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
    parser.add_argument("--asked", type=int, help="a sample of so many users; without it everybody")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    warnings.filterwarnings(
        "ignore", message="Method expects CSR input"
    )  # implicit warns of its own transposes
    window = read(options)
    print(
        f"{window.n_users} users, {window.n_items} items, {len(window)} interactions, depth {options.depth}"
    )
    asked: NDArray[Any] = np.arange(window.n_users)
    if options.asked:
        if not 0 < options.asked <= window.n_users:
            parser.error(f"--asked {options.asked}: there are {window.n_users} users")
        asked = np.sort(generator(0, "neighbours-asked").choice(asked, options.asked, replace=False))
        print(f"{options.asked} users are asked")
    small = synthetic(300, 200, 3000)
    for name in options.recipes:
        recipe = channel(name, options.neighbours)
        work: dict[str, Callable[[], Any]] = {
            "stagelens": partial(ours, recipe, window, asked, options.depth)
        }
        if name in RIVALLED and not options.alone:
            from scipy.sparse import csr_matrix

            matrix = csr_matrix(window.matrix())
            matrix.indptr, matrix.indices = matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)
            told = (name == "UserKNN", matrix, asked, options.neighbours, options.depth)
            work |= {
                "sparse_dot_topn": partial(of_sparse_dot_topn, *told),
                "implicit": partial(of_implicit, *told),
            }
        ours(recipe, small, np.arange(300), 10)  # compiles
        times: dict[str, list[tuple[float, float]]] = {key: [] for key in work}
        for round_ in range(options.repeat):
            for key, do in work.items():
                times[key].append(timed(do))
                took = f"{times[key][-1][1]:.2f} s CPU"
                print(f"{name}, {key}, {round_ + 1} of {options.repeat}: {took}", file=sys.stderr, flush=True)
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
