"""LambdaMART and the MLP on the same lists: ndcg@10 with its interval, seconds to fit, latency of a score.

Both are tuned with as many trials (``simulate tune``, ndcg@10 on valid); then each is fitted with its best values and
both order the same candidate sets of test, which is opened here once. Trials and recall are kept in ``--store``: a
run that was stopped goes on.

    python benchmarks/rerankers.py FOLDER ... [--trials 8] [--size 100] [--max-rows 400000]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.stats import t as student

from stagelens.pipeline.cli.progress import Lines
from stagelens.pipeline.contracts import FittedReranker, Reranker
from stagelens.pipeline.core import Candidates, Features
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.evaluate.metrics import Metric, measure
from stagelens.pipeline.experiment.arms import Builder, chosen_modalities
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.tuning import tune
from stagelens.pipeline.experiment.variants import Variant, laid_out
from stagelens.pipeline.recipe import load
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.store import Store

NAMES = ("LambdaMART", "MLP")
SINGLE = 200
"""Lists scored one by one for the latency."""
COLUMNS = (
    "data set",
    "re-ranker",
    "valid, defaults",
    "valid, tuned",
    "test ndcg@10",
    "95 % interval",
    "of LambdaMART",
    "fit CPU s",
    "fit s",
    "tuning s",
    "score ms p50",
    "numbers",
)


def tuned(study: Study, out: Path, store: Path) -> dict[str, dict[str, Any]]:
    """Return the record of every re-ranker's search, with the table of its best values as ``table``."""
    block = tune(study, out=out, store=store, progress=Lines()).summary["tuning"]
    found = {}
    for one in block["arms"]:
        name = one["arm"].partition("(")[0]
        found[name] = {**one, "table": {"use": f"rerank.{name}", **one["parameters"]}}
    return found


def ordered(study: Study, found: dict[str, dict[str, Any]], store: Path) -> tuple[dict[str, Any], str]:
    """Return by name the values of every test user, seconds and latency; and the sizes, in words."""
    dataset = study.data.opened()
    windows = split(dataset, study.data.split, seed=study.data.split_seed)
    bench = laid_out(study, dataset, windows, Variant(), seed=0, store=Store(store), progress=Lines())
    builder, on = Builder(study, dataset), chosen_modalities(study, dataset)
    recall = builder.union(on)
    groups = cast("tuple[Any, ...]", cast(Reranker, builder.reranker(recall, on)).features)
    train, valid = bench.training_rows(recall, groups)
    names = bench.columns(groups, recall)
    train, valid = train.columns(names), valid.columns(names)
    made: dict[str, Any] = {}
    models: dict[str, FittedReranker] = {}
    for name in NAMES:
        recipe = cast(Reranker, load({**found[name]["table"], "features": groups}))
        begin = time.process_time(), time.perf_counter()
        models[name] = recipe.fit(train, valid, seed=derive(bench.seed, "rerank", recipe.label))
        spent = time.process_time() - begin[0], time.perf_counter() - begin[1]
        made[name] = {"cpu_s": spent[0], "wall_s": spent[1], "parameters": models[name].parameters}
    window, ranks = bench.windows.test, {name: [] for name in NAMES}
    for start, stop, queries, _, evidence, columns in bench.read(recall, groups, window):
        truth = window.truth.rows(np.arange(start, stop))
        for name, model in models.items():
            ranks[name].append(truth.ranks(evidence.rescored(model.score(evidence, columns), queries.tie)))
        if not start:
            for name, model in models.items():
                made[name]["ms"] = latency(model, evidence, columns)
    for name in NAMES:
        values = measure(np.concatenate(ranks[name]), window.truth, [Metric.parse("ndcg@10")])
        made[name]["values"] = np.asarray(values, dtype=np.float64).ravel()
    said = (
        f"{dataset.name}: {len(train.label):,} training rows in {len(train.group):,} lists, {len(names)} columns; "
        f"{len(valid.group):,} valid lists; {len(window):,} test users; {study.recall.size} candidates"
    )
    return made, said


def latency(model: FittedReranker, lists: Candidates, columns: Features) -> float:
    """Return the median milliseconds of scoring one list, its columns given."""
    took = []
    for row in range(min(SINGLE, len(lists))):
        one = lists.rows(slice(row, row + 1))
        values = Features(columns.names, columns.values[row : row + 1])
        begin = time.perf_counter()
        model.score(one, values)
        took.append((time.perf_counter() - begin) * 1e3)
    return float(np.median(took))


def interval(values: Any) -> tuple[float, float, float]:
    """Return mean, low and high of the mean over users."""
    mean, half = (
        values.mean(),
        student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)),
    )
    return float(mean), float(mean - half), float(mean + half)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--max-rows", type=int, default=400_000)
    parser.add_argument("--store", type=Path, default=Path("runs/rerankers"))
    given = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---|---|" + "---:|" * (len(COLUMNS) - 2))
    told = []
    for folder in given.folders:
        options = {
            "data.path": str(folder),
            "recall.size": given.size,
            "protocol.max_rows": given.max_rows,
            "tune.rerankers": list(NAMES),
            "tune.trials": given.trials,
        }
        study = Study.load(None, options)
        found = tuned(study, given.store / f"tune-{folder.name}", given.store)
        made, sizes = ordered(study, found, given.store)
        told.append(sizes)
        base = made["LambdaMART"]["values"]
        for name in NAMES:
            mean, low, high = interval(made[name]["values"])
            one = found[name]
            cells = [
                folder.name,
                name,
                f"{one['default']:.4f}",
                f"{one['best']:.4f}",
                f"{mean:.4f}",
                f"{low:.4f} to {high:.4f}",
                f"{mean / base.mean():.1%}",
                f"{made[name]['cpu_s']:.1f}",
                f"{made[name]['wall_s']:.1f}",
                f"{one['seconds']:.0f}",
                f"{made[name]['ms']:.2f}",
                f"{made[name]['parameters']:,}",
            ]
            print("| " + " | ".join(cells) + " |", flush=True)
            told.append(f"{folder.name}, {name}: {found[name]['table']}")
        mean, low, high = interval(made["MLP"]["values"] - base)
        told.append(
            f"{folder.name}: MLP - LambdaMART {mean:+.4f} [{low:+.4f}, {high:+.4f}] over users, one training"
        )
    print("\n" + "\n".join(told))


if __name__ == "__main__":
    main()
