"""Pilots: the study itself on samples of users, measured on valid, so that the study to come can be foreseen.

Two disjoint samples, then both together: three runs of the study's own code. The two tell how far such figures can be
trusted, the union gives the best of them, and the two sizes tell what grows. Test is not opened: a pilot has no test
interactions at all, and what it measures on are those valid users who tune nothing in it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Dataset, Int32, Split
from stagelens.pipeline.evaluate.cost import Phases, resident_bytes
from stagelens.pipeline.evaluate.significance import Judgement
from stagelens.pipeline.experiment.attribution import PRIMARY, judged_effects
from stagelens.pipeline.experiment.estimate import Work
from stagelens.pipeline.experiment.factorial import Factorial
from stagelens.pipeline.experiment.integration_parts import ComparePlan
from stagelens.pipeline.experiment.kinds import KINDS
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.outputs import RunFolder
from stagelens.pipeline.experiment.pilot_costs import Spent
from stagelens.pipeline.experiment.pilot_sample import disjoint_samples, sample_of
from stagelens.pipeline.experiment.runner import Run
from stagelens.pipeline.experiment.summary import Finished
from stagelens.pipeline.native import release_memory, threads
from stagelens.pipeline.progress import Progress, Silent
from stagelens.pipeline.recipe import fingerprint
from stagelens.pipeline.store import Store
from stagelens.pipeline.workbench import temporary_store

Record = dict[str, Any]

EPOCH = 4
"""Raise when a pilot of the same study says something else: the store keeps it."""
SAMPLES = 2
"""Disjoint samples, beside their union."""
LEAN = {"latency_queries": 0, "importance": False}
"""What the single samples leave out: it costs the same whatever the size."""
NOT_OF_A_SAMPLE = {"truth": 0}
"""What no pilot can tell: a world knows the truth of all of its users."""


@dataclass(frozen=True, slots=True)
class Pilot:
    """What one run on a sample of users said.

    Attributes:
        users: Sampled users.
        measured: Those who were measured.
        arms: Systems.
        records: One a judged difference: what it is about, its error and the sources of that.
        spent: Time and memory.
    """

    users: int
    measured: int
    arms: int
    records: list[Record]
    spent: Spent

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Pilot:
        """Read what the store kept."""
        spent = dict(table["spent"])
        return cls(**{**table, "spent": Spent(**{**spent, "work": Work(**spent["work"])})})


def pilots(
    study: Study, dataset: Dataset, split: Split, key: str, users: int, progress: Progress, store: Store
) -> tuple[list[Pilot], int]:
    """Run the study on two disjoint samples and on both together; kept in the store.

    Returns the pilots, and the resident bytes of the whole data set with its windows, on which nothing is fitted.

    Args:
        study: Which.
        dataset: The whole.
        split: Its windows.
        key: The study's fingerprint.
        users: Sampled in all.
        progress: Shown.
        store: Keeps what is found; the artefacts of the runs are thrown away, so that every time is one of making.

    Raises:
        DataError: Too few users for a pilot.
    """
    samples = disjoint_samples(split, users, SAMPLES, study.data.split_seed)
    samples.append(np.sort(np.concatenate(samples)).astype(np.int32))
    said = fingerprint("pilot", EPOCH, key, users, SAMPLES, threads(), study.device)

    def make() -> Saved:
        made, loaded_bytes = [], _loaded_bytes(study, dataset, split, store)
        with progress.task("pilots", len(samples)) as task:
            for place, sample in enumerate(samples):
                lean = place < SAMPLES
                made.append(asdict(_pilot(study, dataset, split, sample, lean)))
                task.advance()
        return Saved({}, {"pilots": made, "loaded_bytes": loaded_bytes})

    meta = store.saved("pilot", study.name, said, make).meta
    return [Pilot.read(table) for table in meta["pilots"]], int(meta["loaded_bytes"])


def _loaded_bytes(study: Study, dataset: Dataset, split: Split, store: Store) -> int:
    run = Run(study, dataset, split, KINDS[study.kind].plan(study, dataset), Silent(), Phases(), store)
    bench = run.bench("", study.seeds[0])
    bench.windows.complete()
    release_memory()
    return resident_bytes()


def _pilot(study: Study, dataset: Dataset, split: Split, users: Int32, lean: bool) -> Pilot:
    small, windows = sample_of(dataset, split, users, study.data.split_seed)
    left_out = {**NOT_OF_A_SAMPLE, **(LEAN if lean else {})}
    study = study.model_copy(update={"measure": study.measure.model_copy(update=left_out)})
    kind, phases, store = KINDS[study.kind], Phases(), Store(temporary_store())
    try:
        started = time.perf_counter()
        run = Run(study, small, windows, kind.plan(study, small), Silent(), phases, store)
        means = run.settled(kind)
        finished, judged = run.examined(kind, "pilot", means)
        folder = RunFolder(store.folder / "run")
        run.written(finished, judged, "pilot", folder, opened=0, seconds=0.0)
        wall_s = time.perf_counter() - started
        rows = [window.name for window in run.bench("", study.seeds[0]).windows.rows]
        spent = Spent.of(Work.of(study, windows), phases.done, list(store.ledger.values()), rows, wall_s)
        spent = replace(spent, loaded_bytes=run.loaded_bytes, pairs=finished.truth.pairs)
        return Pilot(len(users), len(finished.truth), len(finished.plan.arms), _records(finished), spent)
    finally:
        shutil.rmtree(store.folder, ignore_errors=True)


def _records(finished: Finished) -> list[Record]:
    """Return one record a judged difference; the kinds of a comparison stand for the systems chosen in each run."""
    plan, chosen = finished.plan, {}
    if isinstance(plan, ComparePlan):
        chosen = {key: f"best {kind}" for (_, kind), key in plan.best.items()}
    made = []
    for record in finished.records:
        keys = [(record["stage"], record["view"], record[side]) for side in ("baseline", "system")]
        primary = record["family"] == "primary"
        if primary and not record["primary"]:
            continue  # the metric beside
        names = [chosen.get(key, key[2]) if primary else key[2] for key in keys]
        made.append(
            {
                **{name: record[name] for name in _KEPT},
                "half": _half(record["low"], record["high"]),
                "baseline": names[0],
                "system": names[1],
                "reference": finished.valid.get(keys[0]),
            }
        )
    if finished.study.kind == "attribute":
        made += _effects(finished)
    return made


_KEPT = (
    "family stage view metric contrast slice n seeds se df margin variance_users variance_items variance_items_se "
    "variance_seeds variance_seeds_users effective_items third_users third_items"
).split()
IDENTITY = ("family", "stage", "view", "metric", "contrast", "slice", "baseline", "system")
"""What tells one record of a pilot from another; the same in every pilot of a study."""


def _effects(finished: Finished) -> list[Record]:
    """Return the family of effects, stage differences and interactions: everything off is what they are a share of."""
    weights, judged = judged_effects(finished)
    off = next(Factorial.of(finished.study, finished.plan.modalities).cells())
    return [
        {
            "family": "effects",
            "stage": name.stage,
            "view": "own",
            "metric": PRIMARY,
            "contrast": name.kind,
            "slice": None,
            "baseline": off.name,
            "system": name.modality,
            "reference": finished.valid.get(off.key),
            **_said(one),
        }
        for name, one in zip(weights.names, judged, strict=True)
    ]


def _said(one: Judgement) -> Record:
    return {
        "n": one.n,
        "seeds": one.seeds,
        "se": one.se,
        "df": one.df,
        "margin": one.margin,
        "half": _half(one.low, one.high),
        "variance_users": one.sources.users,
        "variance_items": one.sources.items,
        "variance_items_se": one.sources.items_se,
        "variance_seeds": one.sources.seeds,
        "variance_seeds_users": one.sources.seeds_users,
        "effective_items": one.sources.effective_items,
        "third_users": one.sources.third_users,
        "third_items": one.sources.third_items,
    }


def _half(low: float | None, high: float | None) -> float | None:
    return None if low is None or high is None else (high - low) / 2
