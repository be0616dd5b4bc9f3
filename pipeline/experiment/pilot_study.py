"""``simulate estimate``: what a study would see and cost, before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stagelens.pipeline.core import Dataset, Split
from stagelens.pipeline.data.splits import split as make_split
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.evaluate.cost import Phases
from stagelens.pipeline.experiment.kinds import KINDS
from stagelens.pipeline.experiment.options import Study, read_margin
from stagelens.pipeline.experiment.outputs import (
    RunFolder,
    default_store,
    study_fingerprint,
    versions,
)
from stagelens.pipeline.experiment.pilot import EPOCH, pilots
from stagelens.pipeline.experiment.pilot_block import Asked, estimate_block
from stagelens.pipeline.experiment.pilot_sample import active_users, measured_users
from stagelens.pipeline.experiment.runner import SCHEMA_VERSION, Result, said_of
from stagelens.pipeline.experiment.toml import to_toml
from stagelens.pipeline.progress import Progress, Silent
from stagelens.pipeline.recipe import fingerprint
from stagelens.pipeline.store import Store, write_text

MEASURED = 1000
"""Users that a pilot measures at least, where there are so many."""
SHARE = 0.1
"""Share of the users that a pilot takes at least: from fewer, what the error owes to items is hardly known."""
FORESEEN = ("stages", "attribute", "compare", "knockouts")
"""Kinds of studies that a pilot can stand for; sparsity thins the data itself."""
MOST = 100_000
"""Users that a pilot takes at most by itself."""


def estimate(
    study: Study,
    *,
    users: int | None = None,
    effect: str | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
    store: Path | None = None,
) -> Result:
    """Foresee a study from pilots on samples of its users, and write a folder with the block ``estimate``.

    Args:
        study: The study to come.
        users: Users of the pilots in all; by default enough to measure ``MEASURED``, and a tenth.
        effect: The effect to be seen, like ``0.005`` or ``2%`` of the baseline's mean; by default the margin.
        out: The folder; by default ``runs/estimate-<short fingerprint>``.
        progress: Shown while pilots run.
        store: Where pilots are kept; by default ``runs/.store``.

    Raises:
        ConfigError: A wrong name or option, or two seeds.
        DataError: Data that does not fit the contract, or too few users for a pilot.
        OSError: The folder or the store cannot be written.
    """
    _check(study, effect)
    progress, kept, phases = progress or Silent(), Store(store or default_store()), Phases()
    with phases("load"):
        options = study.data
        dataset = options.opened()
        split = make_split(dataset, options.split, seed=options.split_seed)
        key = study_fingerprint(study, KINDS[study.kind].plan(study, dataset), dataset, split)
    for note in (*dataset.notes, *split.notes):
        progress.note(note)
    users = default_users(split, options.split_seed) if users is None else users
    own = fingerprint("estimate", EPOCH, key, users, effect)
    folder = RunFolder.of(out, "estimate", own)
    found, loaded_bytes = pilots(study, dataset, split, key, users, progress, kept)
    block = estimate_block(Asked.of(study, dataset, split, effect), found, split, loaded_bytes)
    block["time"]["load"] = phases.done[0].wall_s
    return _written(folder, own, key, study, dataset, split, block)


def _written(
    folder: RunFolder, own: str, key: str, study: Study, dataset: Dataset, split: Split, block: dict[str, Any]
) -> Result:
    """Write the folder of an estimate: no system and no comparison stands in it, only what is foreseen of them."""
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": "estimate",
        "kind": study.kind,
        "fingerprint": own,
        "dataset": said_of(dataset, split),
        "systems": [],
        "comparisons": [],
        "estimate": block,
        "manifest": str(folder.path / "manifest.json"),
    }
    manifest = {
        "study": key,
        "versions": versions(),
        "seeds": list(study.seeds),
        "dataset": dataset.hashes(),
        "split": {"kind": split.kind, "hash": split.fingerprint()},
        "test_opened": 0,
    }
    write_text(folder.path / "config.toml", to_toml(study.model_dump(mode="json")))
    write_text(folder.path / "manifest.json", json.dumps(manifest, indent=1))
    write_text(folder.path / "summary.json", json.dumps(summary, indent=1))
    return Result(folder.path, summary, manifest)


def default_users(split: Split, seed: int) -> int:
    """Return how many users the pilots of a split take in all."""
    active = len(active_users(split))
    rate = float(measured_users(split, seed).sum()) / max(active, 1)
    wanted = max(MEASURED / rate if rate else active, SHARE * active)
    return int(min(wanted, MOST, active))


def _check(study: Study, effect: str | None) -> None:
    if study.kind not in FORESEEN:
        raise ConfigError(nearest("kind of study that can be foreseen", study.kind, FORESEEN))
    if len(study.seeds) == 2:
        raise ConfigError(
            "Two seeds give no usable interval over seeds: run one, for these fitted systems, or three or more"
        )
    if effect is not None:
        try:
            read_margin(effect)
        except ValueError as error:
            raise ConfigError(f"--effect {effect!r}: {error}") from error
