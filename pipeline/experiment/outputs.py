"""The run folder: written beside its place, then moved, so that nothing is left half-written."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stagelens.pipeline.compose import Then
from stagelens.pipeline.core import Dataset, ModalityTable, Split
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.cost import Phases
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.arms import Plan
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.summary import Finished, Measured, losses_of, user_values
from stagelens.pipeline.experiment.toml import to_toml
from stagelens.pipeline.experiment.variants import kept_by_budgets
from stagelens.pipeline.progress import Progress
from stagelens.pipeline.recipe import dump, fingerprint
from stagelens.pipeline.store import Store, write_text
from stagelens.pipeline.workbench import Workbench

LIBRARIES = (
    "stagelens numpy scipy pandas pyarrow numba pydantic lightgbm faiss-cpu faiss-gpu-cu12 torch"
).split()
GROUP_ROWS = 200_000
"""Rows of ``measurements.parquet`` written together, at least."""
FILES = ("config.toml", "manifest.json", "summary.json", "measurements.parquet", "comparisons.parquet")


def default_store() -> Path:
    """Return where artefacts are kept: ``STAGELENS_STORE``, else ``runs/.store`` below the working folder."""
    return Path(os.environ.get("STAGELENS_STORE") or "runs/.store")


def study_fingerprint(study: Study, plan: Plan, dataset: Dataset, split: Split) -> str:
    """Return the hash of everything that the results follow from (not: name, block size, exports).

    The arms stand in it with every field of their recipes, so a changed default is another study.
    """
    options = study.model_dump(mode="json", exclude={"name", "device", "block", "output", "tune"})
    options["data"].pop("path")
    arms = [
        [*arm.key, arm.system, arm.system.inputs(), arm.variant, *([] if arm.filled else ["unfilled"])]
        for arm in plan.arms
    ]
    variants = {
        name: [
            None if one.protocol is None else one.protocol.model_dump(mode="json"),
            [[a.stage, a.modality, a.when, a.treatment] for a in one.treatments],
            *([] if one.budget is None and not one.held else [one.budget and astuple(one.budget), one.held]),
        ]
        for name, one in plan.variants.items()
    }
    hashes = (dataset.name, dataset.hashes(), split.fingerprint())
    return fingerprint("study", options, arms, variants, *hashes)


def count_opening(store: Store, split: Split, key: str) -> int:
    """Count that a study opens the test window; return how many studies have opened it in this store."""
    path = store.folder / "test-opened" / f"{split.fingerprint()[:32]}.json"
    known: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        known = list(json.loads(path.read_text()))
    if key not in known:
        known.append(key)
        write_text(path, json.dumps(known))
    return len(known)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run is written."""

    path: Path

    @classmethod
    def of(cls, out: Path | None, name: str, key: str) -> RunFolder:
        """Choose the folder and refuse one that holds something else.

        Raises:
            ConfigError: ``out`` is a file, or a folder that is neither empty nor the run of the same study.
        """
        path = (out if out is not None else Path("runs") / f"{name}-{key[:8]}").absolute()
        if path.exists() and not path.is_dir():
            raise ConfigError(f"--out {path} is a file; name a folder that is new, empty or the same study's")
        if path.is_dir() and any(path.iterdir()):
            try:
                held = json.loads((path / "summary.json").read_text()).get("fingerprint", "")
            except (OSError, ValueError):
                held = ""
            if held != key:
                what = f"the run {held[:8]}" if held else "files that are no run"
                raise ConfigError(
                    f"--out {path} holds {what}; this study is {key[:8]}. Nothing was changed: name another folder"
                )
        return cls(path)

    def write(
        self,
        finished: Finished,
        summary: Mapping[str, Any],
        manifest: Mapping[str, Any],
        split: Split,
        benches: Mapping[tuple[str, int], Workbench],
        progress: Progress,
    ) -> None:
        """Write every file beside the folder, then move it into place."""
        import pandas as pd

        study, measured = finished.study, list(finished.measured.values())

        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        for left in self.path.parent.glob(f".{self.path.name}.*.partial"):
            if not _alive(left.name.split(".")[-2]):  # left by a run that was killed
                shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            (partial / "config.toml").write_text(to_toml(study.model_dump(mode="json")), encoding="utf-8")
            (partial / "manifest.json").write_text(
                json.dumps(manifest, indent=1, default=str), encoding="utf-8"
            )
            (partial / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
            pd.DataFrame(finished.records).to_parquet(partial / "comparisons.parquet", index=False)
            write_measurements(
                partial / "measurements.parquet", measured, finished.truth, finished.dataset, split, study
            )
            if study.output.candidates or study.output.trec:
                from stagelens.pipeline.experiment.exports import export_lists

                first = {
                    variant: bench for (variant, seed), bench in benches.items() if seed == study.seeds[0]
                }
                export_lists(partial, study, measured, first, progress)
            if self.path.is_dir():
                for file in sorted(partial.rglob("*")):
                    if file.is_file():
                        place = self.path / file.relative_to(partial)
                        place.parent.mkdir(parents=True, exist_ok=True)
                        file.replace(place)
                shutil.rmtree(partial)
            else:
                partial.rename(self.path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True


def write_measurements(
    path: Path, measured: Sequence[Measured], truth: Truth, dataset: Dataset, split: Split, study: Study
) -> None:
    """Write one row per user, system, metric and seed, in chunks so that memory stays flat."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    user_id = pa.array(dataset.users[truth.user])
    degree = pa.array(split.train.user_degree()[truth.user].astype(np.int32))
    relevant = pa.array(truth.count.astype(np.int32))
    text = pa.dictionary(pa.int16(), pa.string())
    schema = pa.schema(
        [
            ("user_id", user_id.type),
            ("system", text),
            ("stage", text),
            ("view", text),
            ("metric", text),
            ("k", pa.int32()),
            ("seed", pa.int64()),
            ("value", pa.float64()),
            ("user_degree", pa.int32()),
            ("n_relevant", pa.int32()),
        ]
    )

    waiting: list[Any] = []  # written together: systems would make thousands of small row groups
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for one in measured:
            if not one.arm.shown:
                continue
            for seed, metrics, values in user_values(one, truth, study.measure, study.seeds):
                step = max(GROUP_ROWS // len(metrics), 1)
                for start in range(0, len(truth), step):
                    part = values[start : start + step]
                    places = pa.array(np.tile(np.arange(start, start + len(part)), len(metrics)))
                    columns = [
                        user_id.take(places),
                        *(_same(said, len(places)) for said in (one.arm.name, one.arm.stage, one.arm.view)),
                        *_metrics(metrics, len(part)),
                        pa.array(np.full(len(places), seed, dtype=np.int64)),
                        pa.array(part.T.ravel()),
                        degree.take(places),
                        relevant.take(places),
                    ]
                    waiting.append(pa.Table.from_arrays(columns, schema=schema))
                    if sum(map(len, waiting)) >= GROUP_ROWS:
                        writer.write_table(pa.concat_tables(waiting).unify_dictionaries())
                        waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting).unify_dictionaries())


def _same(value: str, n: int) -> Any:
    """Return a column that holds one word."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int16)), [value])


def _metrics(names: Sequence[str], users: int) -> tuple[Any, Any]:
    """Return the columns metric and k of rows that stand metric by metric."""
    import pyarrow as pa

    split = [name.partition("@") for name in names]
    words = list(dict.fromkeys(metric for metric, _, _ in split))
    code = np.array([words.index(metric) for metric, _, _ in split], dtype=np.int16)
    k = np.array([int(k or 0) for _, _, k in split], dtype=np.int32)
    dictionary = pa.DictionaryArray.from_arrays(pa.array(np.repeat(code, users)), words)
    return dictionary, pa.array(np.repeat(k, users))


def manifest_of(
    finished: Finished,
    split: Split,
    benches: Mapping[tuple[str, int], Workbench],
    opened: int,
    phases: Phases,
    store: Store,
    estimate_s: float,
) -> dict[str, Any]:
    """Return ``manifest.json``: what was made from what, by which versions, at what cost."""
    study, plan, measured = finished.study, finished.plan, finished.measured
    first = {variant: bench for (variant, seed), bench in benches.items() if seed == study.seeds[0]}
    return {
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "seeds": list(study.seeds),
        "dataset": finished.dataset.hashes(),
        "split": {
            "kind": split.kind,
            "hash": split.fingerprint(),
            "refit": next(iter(first.values())).windows.refit,
            "history": len(split.history),
            "labels": len(split.labels),
            "valid": len(split.valid),
            "test": len(split.test),
        },
        "variants": {name: bench.windows.refit for name, bench in first.items() if name},
        "budgets": kept_by_budgets(plan.variants, first),
        "treatments": _treatments(finished.dataset, benches),
        "test_opened": opened,
        "valid": {"/".join(key): value for key, value in finished.valid.items()},
        "best_interaction_only": _best(plan, finished.valid),
        "margins": {"/".join(key): value for key, value in finished.margins.items()},
        "weights": {
            under(arm.recall.label, arm.variant): dict(
                zip(
                    [part.label for part in arm.recall.parts],
                    first[arm.variant].weights(arm.recall),
                    strict=True,
                )
            )
            for arm in plan.arms
            if arm.recall.ensemble is None
        },
        "lists": {"/".join(key): one.sets[0].digest for key, one in measured.items()},
        "training_lists": {
            under(label, variant): counts
            for variant, bench in first.items()
            for label, counts in bench.lost_counts.items()
        },
        "rerankers": _rerankers(plan, study.seeds, benches),
        "losses_by_interaction": {
            "/".join(key): losses_of(one, finished.truth)[0].weighted() for key, one in measured.items()
        },
        "systems": {"/".join(arm.key): dump(arm.system) for arm in plan.arms},
        "estimate_s": estimate_s,
        "phases": [
            {"name": p.name, "wall_s": p.wall_s, "cpu_s": p.cpu_s, "peak_bytes": p.peak_bytes}
            for p in phases.done
        ],
        "peak_bytes": max((phase.peak_bytes for phase in phases.done), default=0),
        "made": sum(entry.made for entry in store.ledger.values()),
        "artefacts": [
            {"kind": e.kind, "name": e.name, "key": e.key, "made": e.made, "wall_s": e.wall_s}
            for e in store.ledger.values()
        ],
    }


def under(label: str, variant: str) -> str:
    """Return a label with the variant it holds under."""
    return f"{label} [{variant}]" if variant else label


def _best(plan: Plan, valid: Mapping[tuple[str, str, str], float]) -> dict[str, str]:
    """Return the best interaction-only system of every stage, chosen on valid."""
    found: dict[str, str] = {}
    for stage in ("recall", "rerank", "both"):
        rivals = [arm for arm in plan.arms if arm.stage == stage and plan.interaction_only(arm)]
        if rivals:
            found[stage] = max(rivals, key=lambda arm: valid.get(arm.key, -1.0)).name
    return found


def _rerankers(
    plan: Plan, seeds: Sequence[int], benches: Mapping[tuple[str, int], Workbench]
) -> dict[str, list[str]]:
    """Return how training ended, by arm, one note a seed: its spread is the spread of early stopping."""
    found: dict[str, list[str]] = {}
    for arm in plan.arms:
        if isinstance(arm.system, Then):
            models = [benches[arm.variant, seed].reranker(arm.system) for seed in seeds]
            notes = [getattr(model, "meta", {}).get("note") for model in models]
            if all(notes):
                found["/".join(arm.key)] = [str(note) for note in notes]
    return found


def _treatments(dataset: Dataset, benches: Mapping[tuple[str, int], Workbench]) -> list[dict[str, Any]]:
    from stagelens.pipeline.data.knockout import fixed_points

    found: list[dict[str, Any]] = []

    def entry(name: str, base: str, seed: int, table: ModalityTable, **more: str) -> None:
        before = dataset.modalities[base]
        hashes = {"before": before.digest, "after": table.digest}
        same = float(fixed_points(before, table))
        found.append({"name": name, "seed": seed, **hashes, "fixed_points": same, **more})

    for (variant, seed), bench in benches.items():
        for name, table in bench.dataset.modalities.items():
            base, mark, _ = name.partition("~")
            if mark and base in dataset.modalities and not variant:
                entry(name, base, seed, table)
        for one in bench.treated:
            entry(variant, one.modality, seed, one.table, stage=one.stage, when=one.when)
    return found


def versions() -> dict[str, str]:
    """Return the versions of the libraries that results may depend on, where they are installed."""
    return {name: version for name in LIBRARIES if (version := _version(name))}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
