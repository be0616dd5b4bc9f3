"""Does a study see what its estimate foresaw, and take as long?

Runs ``simulate estimate`` and then the study itself, each from an empty store, and prints for every kind of comparison
how the foreseen smallest detectable effect compares with the one that the study reports: the median ratio, the ratio of
the root mean squares, how many lie within 25 %, and how many lie in the range that the estimate gave. Then time and
memory, foreseen and used.

    python benchmarks/estimate.py world:ecommerce [--kind stages|attribute|compare] [--seeds 1] [--pilot N]
        [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.pilot_study import estimate
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.report.figures import memory, seconds

Record = dict[str, Any]


def reported(summary: Record) -> dict[tuple[Any, ...], Record]:
    """Return what a study reports, by what it is about."""
    found = {}
    for one in summary["comparisons"]:
        if one["primary"] or one["slice"]:
            family = "slices" if one["slice"] else "primary"
            found[family, one["stage"], one["contrast"], one["slice"], one["baseline"], one["system"]] = one
    for kind, contrast in (("effects", "effect"), ("stage_difference", "stage_difference")):
        for one in summary.get("attribution", {}).get(kind, ()):
            if one["metric"] == "ndcg@10":
                found["effects", one.get("stage", "both"), contrast, one["modality"]] = one
    return found


def pairs(foreseen: Record, summary: Record) -> Iterator[tuple[str, Record, float]]:
    """Yield (kind of comparison, what was foreseen, what was reported)."""
    known = reported(summary)
    for row in foreseen["estimate"]["detectable"]:
        key: tuple[Any, ...] = (row["family"], row["stage"], row["contrast"])
        key += (
            (row["system"],) if row["family"] == "effects" else (row["slice"], row["baseline"], row["system"])
        )
        found = known.get(key, {}).get("detectable")
        if found and row["detectable"]:
            name = f"{row['family']} {row['stage']} {row['contrast']}"
            yield name, row, float(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--kind", default="stages")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--pilot", type=int)
    parser.add_argument("--set", action="append", default=[], dest="assign")
    asked = parser.parse_args()
    options = {"data.path": asked.dataset, "kind": asked.kind, "seeds": tuple(range(asked.seeds))}
    study = Study.load(None, options, tuple(asked.assign))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        foreseen = estimate(
            study, users=asked.pilot, out=folder / "estimate", store=folder / "pilots"
        ).summary
        done = simulate(study, out=folder / "study", store=folder / "store")
    groups: dict[str, list[tuple[Record, float]]] = {}
    for name, row, found in pairs(foreseen, done.summary):
        groups.setdefault(name, []).append((row, found))
    print(f"{'foreseen / reported':34}    n  median  rms ratio  within 25 %  in range")
    for name, members in groups.items():
        made = np.array([row["detectable"] for row, _ in members])
        real = np.array([found for _, found in members])
        near = np.abs(np.log(made / real)) < np.log(1.25)
        held = [row["low"] <= found <= (row["high"] or np.inf) for row, found in members]
        print(
            f"{name:34} {len(members):4d} {np.median(made / real):7.2f} "
            f"{np.sqrt((made**2).mean() / (real**2).mean()):10.2f} {100 * near.mean():10.0f} % "
            f"{100 * np.mean(held):8.0f} %"
        )
    time, held_bytes = foreseen["estimate"]["time"], foreseen["estimate"]["memory"]
    took = sum(phase["wall_s"] for phase in done.manifest["phases"])
    low, expected, high = (seconds(time[name] + time["load"]) for name in ("low", "expected", "high"))
    print(
        f"time: {expected} foreseen ({low} to {high}), {seconds(took)} taken; from fixed rates "
        f"{seconds(done.manifest['estimate_s'])}; pilots took {seconds(foreseen['estimate']['pilot']['seconds'])}"
    )
    low, expected, high = (memory(held_bytes[name]) for name in ("low", "expected", "high"))
    print(f"memory: {expected} foreseen ({low} to {high}), {memory(done.manifest['peak_bytes'])} used")


if __name__ == "__main__":
    main()
