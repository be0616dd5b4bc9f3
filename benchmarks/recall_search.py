"""What the Dense channel costs beyond the bare FAISS call that finds its neighbours.

100,000 items of width 64, 10,000 users with 20 items each, depth 200. ``Dense`` makes the query vectors,
searches, scores anew, leaves out what was seen and wraps the lists; the bare call is ``IndexFlatIP.search``
of ready queries at the same over-fetched depth and in the same blocks. Both are timed in turn in one process;
ratios are of medians.

    python benchmarks/recall_search.py [--repeat 5] [--items 100000]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from stagelens.pipeline.core import Interactions, ModalityTable, Queries, TrainingData
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import Dense


def world(items: int, users: int, history: int, width: int) -> tuple[TrainingData, Queries]:
    """Return random content and users who each have ``history`` items."""
    rng = generator(0, "recall-search")
    values = rng.normal(size=(items, width)).astype(np.float32)
    owner = np.repeat(np.arange(users), history)
    had = rng.integers(0, items, users * history)
    window = Interactions.of(owner, had, n_users=users, n_items=items, time=np.arange(len(owner)))
    data = TrainingData(window, {"content": ModalityTable.of("content", values)})
    return data, Queries.of(np.arange(users), window, window, tie_order(0, items))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--history", type=int, default=20)
    parser.add_argument("--depth", type=int, default=200)
    parser.add_argument("--blocks", type=int, nargs="+", default=[2048, 10_000])
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()

    data, queries = world(options.items, options.users, options.history, options.width)
    fitted = Dense(modality="content", device="cpu").fit(data, seed=0)

    import faiss

    from stagelens.recall.search import MARGIN, over_fetch

    bare = faiss.IndexFlatIP(options.width)
    bare.add(fitted.layout.vectors)
    vectors, _ = fitted.query(queries)
    fetch = int(over_fetch(queries.seen.lengths, options.depth).max()) + MARGIN
    fitted.retrieve(queries.rows(np.arange(300)), options.depth)  # compiles
    size = f"{options.items} items x {options.width}, {options.users} queries"
    print(f"{size}, depth {options.depth}, fetched {fetch}")
    for block in options.blocks:
        blocks = list(queries.blocks(block))
        parts = [vectors[start : start + block] for start in range(0, len(vectors), block)]
        times: dict[str, list[tuple[float, float]]] = {"faiss": [], "dense": []}
        for _ in range(options.repeat):
            times["faiss"].append(timed(lambda p=parts: [bare.search(part, fetch) for part in p]))
            times["dense"].append(timed(lambda b=blocks: [fitted.retrieve(one, options.depth) for one in b]))
        median = {name: np.median(np.array(value), axis=0) for name, value in times.items()}
        ratio = median["dense"] / median["faiss"]
        print(
            f"blocks of {block:>6}: faiss {median['faiss'][0]:.2f} s wall, {median['faiss'][1]:.2f} s CPU; "
            f"dense {median['dense'][0]:.2f} s wall, {median['dense'][1]:.2f} s CPU; "
            f"ratio {ratio[0]:.3f} wall, {ratio[1]:.3f} CPU"
        )


if __name__ == "__main__":
    main()
