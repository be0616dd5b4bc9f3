"""``simulate tune``: the best values of every arm with an equal budget, chosen on valid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np

from stagelens.pipeline.contracts import Reranker
from stagelens.pipeline.core import Dataset, Split
from stagelens.pipeline.data.splits import split as make_split
from stagelens.pipeline.errors import ConfigError, DataError, require
from stagelens.pipeline.evaluate.cost import Phases
from stagelens.pipeline.evaluate.metrics import Metric
from stagelens.pipeline.experiment.arms import Builder, chosen_modalities
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.outputs import RunFolder, default_store, versions
from stagelens.pipeline.experiment.protocols import FIELDS, told
from stagelens.pipeline.experiment.references import named_references, searched_references
from stagelens.pipeline.experiment.runner import SCHEMA_VERSION, Result, said_of
from stagelens.pipeline.experiment.toml import to_toml
from stagelens.pipeline.experiment.tuning_block import (
    Found,
    best_toml,
    searched_under,
    trial_rows,
    tuning_block,
)
from stagelens.pipeline.experiment.tuning_measure import Alone, Examiner, OnLists
from stagelens.pipeline.experiment.tuning_search import run
from stagelens.pipeline.experiment.tuning_space import Searched, searched, space_of
from stagelens.pipeline.experiment.variants import Variant, laid_out
from stagelens.pipeline.progress import Progress, Silent
from stagelens.pipeline.recipe import fingerprint, load
from stagelens.pipeline.store import Store, write_text
from stagelens.pipeline.workbench import Workbench

FILES = ("config.toml", "best.toml", "manifest.json", "summary.json", "trials.parquet")


def tune(
    study: Study, *, out: Path | None = None, progress: Progress | None = None, store: Path | None = None
) -> Result:
    """Tune every arm of ``study.tune`` with the same budget, and write a folder with the block ``tuning``.

    The windows are laid out without the test window, so nothing can read it. Every trial is kept in the store as it
    ends: a run that was killed goes on, and a larger budget goes on from a smaller one.

    Args:
        study: Data, protocol, seeds and ``tune``; re-rankers also read ``recall`` and ``rerank``.
        out: The folder; by default ``runs/tune-<short fingerprint>``.
        progress: Shown while trials run.
        store: Where trials are kept; by default ``runs/.store``.

    Raises:
        ConfigError: A wrong name or option, one that a search never reads, or no trial of any arm succeeded.
        DataError: Data that does not fit the contract, or nothing to choose on.
        MissingExtra: Optuna is not installed.
        OSError: The folder or the store cannot be written.
    """
    refuse_unread(study)
    require("optuna", "tune")
    progress, kept, phases = progress or Silent(), Store(store or default_store()), Phases()
    with phases("load"):
        dataset = study.data.opened()
        split = make_split(dataset, study.data.split, seed=study.data.split_seed)
    for note in (*dataset.notes, *split.notes):
        progress.note(note)
    arms = [arm.within(users=dataset.n_users, items=dataset.n_items) for arm in arms_of(study)]
    benches = benches_of(study, dataset, split, kept)
    examiner = _examiner(study, dataset, benches)
    key = _key(study, arms, examiner, dataset, split)
    folder = RunFolder.of(out, "tune", key)
    with phases("trials"):
        searches = run(arms, examiner, study.tune, seed=study.seeds[0], store=kept, progress=progress)
    found = [Found.of(search) for search in searches]
    if not any(one.best for one in found):
        raise ConfigError(f"No trial of any arm succeeded. The first: {searches[0].trials[0].reason}")
    block = tuning_block(found, study, len(benches[study.seeds[0]].windows.valid))
    for note in block["notes"]:
        progress.note(note)
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": "tune",
        "kind": "tune",
        "fingerprint": key,
        "dataset": said_of(dataset, split),
        "systems": [],
        "comparisons": [],
        "protocol": told(study),
        "tuning": block,
        "manifest": str(folder.path / "manifest.json"),
    }
    manifest = _manifest(study, dataset, split, phases, {one.arm.name: one.kept for one in searches})
    _write(folder.path, found, study, summary, manifest)
    return Result(folder.path, summary, manifest)


def refuse_unread(study: Study) -> None:
    """Refuse the confounds that a search would pass over in silence: it never reads test, nor what serves test.

    Raises:
        ConfigError: One is switched on.
    """
    own, honest = told(study), {**FIELDS["default"], "dcg": "normalised"}
    for name in ("fit_on", "input", "select_on", "dcg"):
        if own[name] != honest[name]:
            where = f"{'measure' if name == 'dcg' else 'protocol'}.{name}"
            raise ConfigError(
                f"{where} = {own[name]} changes nothing in a search: trials are fitted on train, asked with train and "
                f"chosen on valid by {study.tune.target}. Leave it out (it is {honest[name]} then), and set it in the "
                "study that uses best.toml"
            )


def arms_of(study: Study) -> list[Searched]:
    """Return what is tuned; by default the channels of ``recall.base``, or references, that have a search space.

    Raises:
        ConfigError: An unknown name, or nothing to tune.
    """
    options = study.tune
    if options.rerankers:
        return searched(options.rerankers, "rerank", "reranker")
    if named_references(study):
        return searched_references(study)
    words = options.channels or tuple(
        table for table in study.recall.base if space_of(load(table, where="recall.base"), table)
    )
    if not words:
        raise ConfigError(
            "No channel of recall.base has a search space left; name what to tune with --channel"
        )
    return searched(words, "recall", "channel")


def benches_of(study: Study, dataset: Dataset, split: Split, store: Store) -> dict[int, Workbench]:
    """Return a workbench a seed, on windows whose test is empty: it cannot be read by accident.

    Raises:
        DataError: Valid holds nobody.
    """
    if not len(split.valid):
        raise DataError("the valid window holds no interaction, so there is nothing to choose on")
    shut = replace(split, test=split.test.where(np.zeros(len(split.test), dtype=bool)))
    return {
        seed: laid_out(study, dataset, shut, Variant(), seed=seed, store=store, progress=Silent())
        for seed in study.seeds
    }


def _examiner(study: Study, dataset: Dataset, benches: Mapping[int, Workbench]) -> Examiner:
    metric = Metric.parse(study.tune.target)
    if not study.tune.rerankers:
        return Alone(benches, metric)
    on = chosen_modalities(study, dataset)
    builder = Builder(study, dataset)
    recall = builder.union(on)
    reader = cast(Reranker, builder.reranker(recall, on))
    groups = cast("tuple[Any, ...]", reader.features)
    return OnLists(benches, metric, recall, groups)


def _key(study: Study, arms: Sequence[Searched], examiner: Examiner, dataset: Dataset, split: Split) -> str:
    options = study.tune.model_dump(mode="json", exclude={"channels", "rerankers"})
    searched = [
        [arm.name, arm.start, [[path, repr(dimension)] for path, dimension in arm.space.items()]]
        for arm in arms
    ]
    where = [examiner.key(arm.start) for arm in arms]
    base = [] if study.tune.rerankers else list(study.recall.base)
    data = (dataset.name, dataset.hashes(), split.fingerprint(), list(study.seeds))
    return fingerprint("tune", options, study.tune.most, searched, where, base, searched_under(study), *data)


def _manifest(
    study: Study, dataset: Dataset, split: Split, phases: Phases, before: dict[str, int]
) -> dict[str, Any]:
    windows = {name: len(getattr(split, name)) for name in ("history", "labels", "valid", "test")}
    return {
        "versions": {**versions(), "optuna": version("optuna")},
        "seeds": list(study.seeds),
        "dataset": dataset.hashes(),
        "split": {"kind": split.kind, "hash": split.fingerprint(), **windows},
        "test_opened": 0,
        "trials_kept_from_before": before,
        "phases": [
            {"name": p.name, "wall_s": p.wall_s, "cpu_s": p.cpu_s, "peak_bytes": p.peak_bytes}
            for p in phases.done
        ],
        "peak_bytes": max((phase.peak_bytes for phase in phases.done), default=0),
    }


def _write(
    folder: Path,
    found: Sequence[Found],
    study: Study,
    summary: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> None:
    """Write every file, each whole or not at all; ``summary.json`` comes last and says that all are there."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_trials(folder / "trials.parquet", found)
    dataset, key = summary["dataset"], str(summary["fingerprint"])
    write_text(
        folder / "best.toml", best_toml(found, study, dataset["name"], dataset["hashes"]["split"], key)
    )
    write_text(folder / "config.toml", to_toml(study.model_dump(mode="json")))
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1))
    write_text(folder / "summary.json", json.dumps(summary, indent=1))


def _write_trials(path: Path, found: Sequence[Found]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = trial_rows(found)
    columns = {
        "arm": pa.array([name for name, _ in rows], pa.string()),
        "trial": pa.array([trial.number for _, trial in rows], pa.int32()),
        "parameters": pa.array([json.dumps(dict(trial.parameters)) for _, trial in rows], pa.string()),
        "value": pa.array([trial.value for _, trial in rows], pa.float64()),
        "seconds": pa.array([trial.seconds for _, trial in rows], pa.float64()),
        "state": pa.array([trial.state for _, trial in rows], pa.string()),
        "reason": pa.array([trial.reason for _, trial in rows], pa.string()),
    }
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.table(columns), partial, compression="zstd")
    partial.replace(path)
