"""What EASE costs beside cornac's: fit, then the best 100 for every user; time and memory.

Each runs in a process of its own, one after the other, and says what its fit took (wall and processor seconds, all
threads), what asking for everybody took, and by how much its resident memory rose at most over what it held with the
data loaded. cornac may live in another environment, because it asks for other versions: --cornac names its Python. Its
scores come a user at a time; its own seen items are left out by hand before the best are taken, as ours are.

    python benchmarks/ease.py DATASET [--cornac PYTHON] [--l2 500] [--repeat 3]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DEPTH = 100


def resident() -> int:
    """Return the bytes this process holds now."""
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * 4096


class Peak:
    """Looks every 5 ms at what the process holds."""

    def __init__(self) -> None:
        self.before = self.most = resident()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.over.wait(0.005):
            self.most = max(self.most, resident())

    def rise(self) -> int:
        """Stop looking and return by how many bytes it rose."""
        self.most = max(self.most, resident())
        self.over.set()
        self.thread.join()
        return self.most - self.before


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result, wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    made = work()
    return made, time.perf_counter() - wall, time.process_time() - processor


def ours(user: Any, item: Any, shape: tuple[int, int], l2: float) -> dict[str, Any]:
    """Fit and ask with recall.EASE."""
    from stagelens.pipeline.core import Interactions, Queries, TrainingData
    from stagelens.pipeline.seeds import tie_order
    from stagelens.recall import EASE

    window = Interactions.of(user, item, n_users=shape[0], n_items=shape[1])
    small = Interactions.of(user[:50] % 7, item[:50] % 11, n_users=7, n_items=11)
    tie = tie_order(0, shape[1])

    def ask(fitted: Any, log: Any, order: Any) -> Any:
        queries = Queries.of(np.arange(log.n_users), log, log, order)
        return np.concatenate([fitted.retrieve(part, DEPTH).item for part in queries.blocks(8192)])

    for precision in ("float32", "float64"):  # compiles
        ask(EASE(l2=l2, precision=precision).fit(TrainingData(small), seed=0), small, tie_order(0, 11))
    peak = Peak()
    fitted, fit_wall, fit_cpu = timed(lambda: EASE(l2=l2).fit(TrainingData(window), seed=0))
    rise = peak.rise()
    peak = Peak()
    found, ask_wall, ask_cpu = timed(lambda: ask(fitted, window, tie))
    return {"fit": [fit_wall, fit_cpu], "ask": [ask_wall, ask_cpu], "bytes": rise, "found": found}


def of_cornac(user: Any, item: Any, shape: tuple[int, int], l2: float) -> dict[str, Any]:
    """Fit and ask with cornac, negative weights kept as in the paper."""
    from cornac.data import Dataset
    from cornac.models import EASE

    triples = list(zip(user.tolist(), item.tolist(), [1.0] * len(user), strict=True))
    uids = {one: one for one in range(shape[0])}
    iids = {one: one for one in range(shape[1])}
    data = Dataset.build(triples, global_uid_map=uids, global_iid_map=iids)
    matrix = data.matrix
    peak = Peak()
    model, fit_wall, fit_cpu = timed(lambda: EASE(lamb=l2, posB=False, verbose=False).fit(data))
    rise = peak.rise()

    def ask() -> Any:
        lists = np.full((shape[0], DEPTH), -1, np.int32)
        for one in range(shape[0]):
            score = np.asarray(model.score(one)).ravel()
            score[matrix.indices[matrix.indptr[one] : matrix.indptr[one + 1]]] = -np.inf
            best = np.argpartition(-score, DEPTH)[:DEPTH]
            lists[one] = best[np.argsort(-score[best], kind="stable")]
        return lists

    found, ask_wall, ask_cpu = timed(ask)
    return {"fit": [fit_wall, fit_cpu], "ask": [ask_wall, ask_cpu], "bytes": rise, "found": found}


def child(who: str, folder: Path) -> None:
    """Do one side's work on the interactions in a folder and leave the figures there."""
    held = np.load(folder / "log.npz")
    work = {"stagelens": ours, "cornac": of_cornac}[who]
    told = work(held["user"], held["item"], tuple(held["shape"].tolist()), float(held["l2"]))
    np.save(folder / f"{who}.npy", told.pop("found"))
    (folder / f"{who}.json").write_text(json.dumps(told), encoding="utf-8")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--cornac", default=sys.executable, help="Python that has cornac")
    parser.add_argument("--l2", type=float, default=500.0)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    from stagelens.pipeline.data.datasets import load_dataset
    from stagelens.pipeline.data.splits import split

    train = split(load_dataset(asked.dataset)).train
    kept = np.flatnonzero(train.item_degree())  # cornac's matrix has the items of its events alone
    item = np.searchsorted(kept, train.item)
    print(f"{train.n_users:,} users, {len(kept):,} items with events, {len(train):,} interactions")
    told: dict[str, list[dict[str, Any]]] = {"stagelens": [], "cornac": []}
    lists = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(
            folder / "log.npz", user=train.user, item=item, shape=[train.n_users, len(kept)], l2=asked.l2
        )
        for _ in range(asked.repeat):
            for who, python in (("stagelens", sys.executable), ("cornac", asked.cornac)):
                subprocess.run([python, __file__, "--child", who, name], check=True)
                told[who].append(json.loads((folder / f"{who}.json").read_text(encoding="utf-8")))
                lists[who] = np.load(folder / f"{who}.npy")
    same = np.mean([np.isin(a, b).mean() for a, b in zip(lists["stagelens"], lists["cornac"], strict=True)])
    figures = {}
    for who, runs in told.items():
        middle = {key: np.median([run[key] for run in runs], axis=0) for key in ("fit", "ask", "bytes")}
        whole = middle["fit"] + middle["ask"]
        figures[who] = (middle["fit"][0], middle["fit"][1], whole[0], whole[1], middle["bytes"] / 2**20)
        print(
            f"{who:<10} fit {middle['fit'][0]:.2f} s wall, {middle['fit'][1]:.2f} s processor; with lists "
            f"{whole[0]:.2f} s, {whole[1]:.2f} s; fit takes {middle['bytes'] / 2**20:,.0f} MiB"
        )
    names = ("fit wall", "fit processor", "all wall", "all processor", "memory of the fit")
    ratio = np.array(figures["stagelens"]) / np.array(figures["cornac"])
    print("ratio: " + ", ".join(f"{name} {value:.3f}" for name, value in zip(names, ratio, strict=True)))
    print(f"the same items in the lists: {same:.4f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
