"""Exactly null worlds: two arms that differ only in which of two row permutations of one table they read.

Every small seeded world gets two independent row permutations of its text. Both know nothing and are alike in all
else, so the true difference of the arms is 0, and whatever two-way clustered interval of nominal 95 % leaves 0 out is
wrong. Three comparisons a world, merge weights equal so that both copies are always used:

- recall: base + one copy against base + the other, recall@20;
- rerank: a re-ranker with each copy on the base list, ndcg@10;
- both: each copy at recall and at re-rank, ndcg@10 end to end.

Writes one JSON line a world, so that a run goes on where it stopped and more worlds can be added. Prints how often 0
was left out, with Wilson's 95 % interval, and how often the verdict was a false one.

    python benchmarks/exact_null.py [--worlds 1000] [--processes 2] [--weights equal|valid] [--seeds 1|3]
        [--out exact_null.jsonl]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # inherited by the processes, before any native library

import numpy as np

from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.core import Dataset, Split
from stagelens.pipeline.data.knockout import PermuteRows, renamed
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.evaluate.metrics import contributions, measure
from stagelens.pipeline.evaluate.proportions import wilson
from stagelens.pipeline.evaluate.significance import Paired, judge
from stagelens.pipeline.experiment.measure import candidate_set, final_lists
from stagelens.pipeline.experiment.summary import margin_of
from stagelens.pipeline.recipe import Recipe, load
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.store import Store
from stagelens.pipeline.windows import Window
from stagelens.pipeline.workbench import Workbench, temporary_store
from stagelens.pipeline.worlds.world import World

SIZE = 20
COPIES = ("text~a", "text~b")
STAGES = ("recall", "rerank", "both")
NULL = ("no difference", "cannot tell")
METRICS = {"recall": f"recall@{SIZE}", "rerank": "ndcg@10", "both": "ndcg@10"}

Found = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What holds for all worlds of a file.

    Attributes:
        weights: Merge weights: ``equal`` always uses the copies; ``valid``, the default of studies, mostly refuses
            them, and then the arms do not differ at all.
        seeds: Training seeds of every arm.
        alpha: 1 minus the nominal coverage.
    """

    weights: Literal["equal", "valid"] = "equal"
    seeds: int = 1
    alpha: float = 0.05


def small_world(seed: int) -> Dataset:
    """Return a world of 200 users and 150 items."""
    modalities: Any = {"text": {"width": 8, "signal": 0.5}}
    sizes = {"users": 200, "items": 150, "activity": 15, "factors": 4, "categories": 5}
    return World(**sizes, modalities=modalities).generate(seed)


def _union(setting: Setting, *modalities: str) -> Union:
    parts = [load({"use": "recall.Popular"}), load({"use": "recall.ItemKNN"})]
    parts += [load({"use": "recall.Dense", "modality": name, "device": "cpu"}) for name in modalities]
    return Union(parts=tuple(parts), size=SIZE, weights=setting.weights)


def _reranker(modality: str) -> Recipe:
    groups = [{"use": f"rerank.{name}"} for name in ("Evidence", "History", "Popularity")]
    groups.append({"use": "rerank.Similarity", "modality": modality})
    return load(
        {"use": "rerank.LambdaMART", "trees": 30, "min_trees": 10, "min_rows_leaf": 20, "features": groups}
    )


def _with_copies(dataset: Dataset, windows: Split, world: int, seed: int) -> Dataset:
    data = dataset.training(windows.train)
    for name in COPIES:
        made = PermuteRows().apply(dataset.modalities["text"], data, seed=derive(seed, "null", world, name))
        dataset = dataset.with_modality(renamed(made, name))
    return dataset


def compare(
    world: int,
    setting: Setting | None = None,
    stages: Sequence[str] = STAGES,
    names: tuple[str, str] = COPIES,
) -> Found:
    """Compare one permutation with the other in one world, at every stage.

    With ``names = ("text~a", "text")`` the comparison is not null, to see that the interval can leave 0 out.
    """
    setting = setting or Setting()
    dataset, store = small_world(world), temporary_store()
    windows = split(dataset)
    ranks: dict[tuple[str, str], list[Any]] = {(stage, name): [] for stage in stages for name in names}
    valid: dict[str, list[float]] = {stage: [] for stage in stages}
    try:
        artefacts = Store(store)
        for seed in range(setting.seeds):
            treated = _with_copies(dataset, windows, world, seed)
            bench = Workbench.of(treated, windows, seed=seed, store=artefacts)
            for stage in stages:
                at_valid = _ranks(bench, setting, stage, bench.windows.valid, names[:1])[names[0]]
                mean = measure(at_valid, bench.windows.valid.truth, [METRICS[stage]]).mean()
                valid[stage].append(float(mean))
                for name, one in _ranks(bench, setting, stage, bench.windows.test, names).items():
                    ranks[stage, name].append(one)
        truth = bench.windows.test.truth
    finally:
        shutil.rmtree(store, ignore_errors=True)
    found: Found = {"world": world, "setting": asdict(setting)}
    for stage in stages:
        sides = [
            np.stack([contributions(one, truth, METRICS[stage]) for one in ranks[stage, name]])
            for name in names
        ]
        margin = margin_of("2%", float(np.mean(valid[stage])))
        [one] = judge([Paired(sides[1] - sides[0], margin)], truth, alpha=setting.alpha, draws=1999)
        found[stage] = {
            "difference": one.difference,
            "se": one.se,
            "p": one.p,
            "p_user": one.p_user,
            "verdict": one.verdict,
            "differs": bool((sides[0] != sides[1]).any()),
        }
    return found


def _ranks(
    bench: Workbench, setting: Setting, stage: str, window: Window, names: Sequence[str]
) -> dict[str, Any]:
    if stage == "recall":
        return {name: candidate_set(bench, _union(setting, name), window).ranks for name in names}
    if stage == "rerank":  # one fixed list, so that features are computed once for both
        systems = [Then(recall=_union(setting), rerank=_reranker(name)) for name in names]
        lists = final_lists(bench, systems, window)
    else:
        lists = [
            final_lists(bench, [Then(recall=_union(setting, name), rerank=_reranker(name))], window)[0]
            for name in names
        ]
    return {name: one.ranks for name, one in zip(names, lists, strict=True)}


# ---------------------------------------------------------------- many worlds


def _one_thread() -> None:
    from stagelens.pipeline.native import set_threads

    set_threads(1)


def read(path: Path, setting: Setting) -> dict[int, Found]:
    """Return the worlds of a file by number; a line that a killed run left unfinished is passed over.

    Raises:
        ValueError: The file was made under another setting.
    """
    worlds: dict[int, Found] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if found["setting"] != asdict(setting):
            raise ValueError(
                f"{path} holds worlds of {found['setting']}, not {asdict(setting)}: name another file"
            )
        worlds[found["world"]] = found
    return worlds


def run(path: Path, worlds: int, setting: Setting, processes: int) -> dict[int, Found]:
    """Make the worlds that the file lacks, one line each; return all."""
    done = read(path, setting)
    missing = [world for world in range(worlds) if world not in done]
    started = time.perf_counter()
    with (
        ProcessPoolExecutor(processes, get_context("spawn"), _one_thread) as pool,
        path.open("a", encoding="utf-8") as file,
    ):
        file.write("\n" if path.stat().st_size else "")  # ends what a killed run left unfinished
        tasks = [pool.submit(compare, world, setting) for world in missing]
        for place, task in enumerate(as_completed(tasks), start=1):
            found = task.result()
            done[found["world"]] = found
            file.write(json.dumps(found) + "\n")
            file.flush()
            if place % 25 == 0 or place == len(tasks):
                rate = place / (time.perf_counter() - started)
                print(f"{place} of {len(tasks)} worlds, {rate:.2f} a second", flush=True)
    return {world: done[world] for world in sorted(done) if world < worlds}


def table(found: Iterable[Mapping[str, Any]], alpha: float = 0.05) -> str:
    """Return one line a stage: non-coverage of 0 with Wilson's interval, verdicts, the plain paired t beside it."""
    worlds = list(found)
    lines = [
        f"{len(worlds)} worlds; nominal {alpha:.3f}",
        f"{'stage':<8}{'0 left out':>12}  {'Wilson 95 %':<16}{'false verdicts':>16}{'users only':>12}{'differ':>9}",
    ]
    for stage in STAGES:
        rows = [world[stage] for world in worlds if stage in world]
        if not rows:
            continue
        out = sum(row["p"] < alpha for row in rows)
        low, high = wilson(out, len(rows))
        false = sum(row["verdict"] not in NULL for row in rows)
        users = sum(row["p_user"] < alpha for row in rows)
        differ = sum(row["differs"] for row in rows)
        lines.append(
            f"{stage:<8}{out / len(rows):>12.4f}  [{low:.4f}, {high:.4f}]{false / len(rows):>16.4f}"
            f"{users / len(rows):>12.4f}{differ / len(rows):>9.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Make the worlds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--weights", choices=("equal", "valid"), default="equal")
    parser.add_argument("--seeds", type=int, choices=(1, 3), default=1)
    parser.add_argument("--out", type=Path, default=Path("exact_null.jsonl"))
    given = parser.parse_args()
    setting = Setting(given.weights, given.seeds)
    print(table(run(given.out, given.worlds, setting, given.processes).values(), setting.alpha))


if __name__ == "__main__":
    main()
