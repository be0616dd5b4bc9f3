"""Mean ranks of interaction-only references over data sets, beside the published ones.

Runs ``simulate --config references --protocol full`` on every data set, with so many settings of each system chosen on
valid, and ranks the systems by every metric at every cut-off of every data set. A system that a data set lacks is not
ranked there. A run folder in the place of a data set is read; what was stopped goes on.

    python benchmarks/references.py DATA DATA@leave-last-out RUN ... [--settings 30] [--out runs/mean-ranks]
        [--stage both|recall] [--kinds ndcg,recall] [--markdown]

``--toml`` prints the values chosen in runs with ``references.settings`` instead, as ``configs/references.toml`` holds
them.

References:
    McElfresh et al. 2022, arXiv:2206.11886: mean ranks over 85 data sets and 10 accuracy metrics, among 20 systems,
    tuned with 100 trials, items that a user had not excluded. Only the order compares.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stagelens.pipeline.cli.progress import Lines
from stagelens.pipeline.data.splits import KINDS
from stagelens.pipeline.errors import ConfigError, DataError, MissingExtra
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.references_ranks import PUBLISHED, Standing, agreement, standings
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.recipe import lookup

Cells = list[dict[str, float | None]]


def is_run(source: str) -> bool:
    """Say whether this is a run folder or its summary."""
    return (Path(source) / "summary.json").exists() or Path(source).is_file()


def parts_of(source: str) -> tuple[str, str]:
    """Return the folder and the split of ``DATA`` or ``DATA@SPLIT``."""
    data, _, split = source.rpartition("@")
    return (data, split) if split in KINDS else (source, "auto")


def run(source: str, settings: int, out: Path) -> Path:
    """Return the run folder of ``DATA`` or ``DATA@SPLIT``, made with one seed; a run folder stands for itself."""
    if is_run(source):
        return Path(source)
    data, split = parts_of(source)
    options = {"data.path": data, "data.split": split, "protocol.name": "full", "seeds": [0]}
    options |= {"references.settings": settings, "references.tuned": {}}
    folder = out / f"{Path(data).name}-{split}-{settings}"
    try:
        study = Study.load("references", options)
        return simulate(study, out=folder, progress=Lines(), store=out / ".store").folder
    except (ConfigError, DataError, MissingExtra) as fault:
        sys.exit(str(fault))


def read(folder: Path) -> dict[str, Any]:
    """Return the summary of a run of references."""
    path = folder if folder.is_file() else folder / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "references" not in summary:
        sys.exit(f"{folder}: a run of {summary.get('kind')}, not of references")
    return summary


def cells_of(summary: dict[str, Any], stage: str, kinds: Sequence[str]) -> Cells:
    """Return one cell a metric: system -> mean on test."""
    ranked = summary["references"]["ranked"].get(stage)
    if ranked is None:
        there = ", ".join(summary["references"]["ranked"])
        sys.exit(f"{summary['dataset']['name']}: no stage {stage} in this run; it has {there}")
    systems = {s["system"]: s["metrics"] for s in summary["systems"] if s["stage"] == stage}
    names = [name for name in ranked if not kinds or name.partition("@")[0] in kinds]
    return [{system: metrics[name]["mean"] for system, metrics in systems.items()} for name in names]


def table(found: dict[str, list[Standing]], whole: list[Standing]) -> list[list[str]]:
    """Return the rows: system, mean, best and worst over all, published, then its mean rank on every data set."""
    rows = [["system", "mean", "best", "worst", "cells", "published", *found]]
    for one in whole:
        own = [
            next((f"{s.mean:.1f}" for s in ranks if s.system == one.system), "-") for ranks in found.values()
        ]
        published = f"{PUBLISHED[one.system]:.1f}" if one.system in PUBLISHED else "-"
        rows.append(
            [
                one.system,
                f"{one.mean:.1f}",
                f"{one.best:.1f}",
                f"{one.worst:.1f}",
                str(one.n),
                published,
                *own,
            ]
        )
    return rows


def chosen_values(summary: dict[str, Any]) -> str:
    """Return the split and the chosen value of every field that is searched, as a table of ``references.tuned``."""
    dataset = summary["dataset"]
    name = str(dataset["name"])
    key = name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name)
    lines = [f"[references.tuned.{key}]", f'split = "{dataset["hashes"]["split"]}"']
    for row in summary["references"]["systems"]:
        made = row["recipe"].get("vectors", row["recipe"])
        fields = [f"{key} = {json.dumps(made[key])}" for key in lookup(made["use"]).space]
        if fields and row["settings"] > 1:
            lines.append(f"{row['system']} = {{ {', '.join(fields)} }}")
    return "\n".join(lines)


def drawn(rows: list[list[str]], markdown: bool) -> str:
    """Return the rows as aligned columns or as a pipe table."""
    if markdown:
        rule = ["---", *(["---:"] * (len(rows[0]) - 1))]
        return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if place == 0 else cell.rjust(w)
            for place, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def main(words: Sequence[str] | None = None) -> None:
    """Print the table and the rank correlation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", help="DATA, DATA@SPLIT or a run folder")
    parser.add_argument("--settings", type=int, default=10, help="of each system, its own and draws")
    parser.add_argument("--out", type=Path, default=Path("runs/mean-ranks"))
    parser.add_argument("--stage", choices=("both", "recall"), default="both")
    parser.add_argument("--kinds", default="", help="metrics to rank by, e.g. ndcg,recall; all")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--toml", action="store_true", help="the chosen values, nothing else")
    asked = parser.parse_args(words)
    made = [Path(parts_of(source)[0]).name for source in asked.sources if not is_run(source)]
    if doubled := sorted({name for name in made if made.count(name) > 1}):
        sys.exit(f"{', '.join(doubled)}: given twice; one run a data set")
    runs = [run(source, asked.settings, asked.out) for source in asked.sources]
    if asked.toml:
        found = [read(folder) for folder in runs]
        for summary in found:
            name, why = summary["dataset"]["name"], summary["warnings"]
            if why:  # chosen on test, say: such values are not handed on
                sys.exit(f"{name}: nothing is printed of this run. {why[0]}")
            if any(row["tuned"] for row in summary["references"]["systems"]):
                sys.exit(f"{name}: nothing is printed of a run that began with values of references.tuned")
        print("\n\n".join(map(chosen_values, found)))
        return
    kinds = [kind for kind in asked.kinds.split(",") if kind]
    cells: dict[str, Cells] = {}
    for folder in runs:
        summary = read(folder)
        name, own = str(summary["dataset"]["name"]), summary["protocol"]
        if name in cells:
            sys.exit(f"{folder}: a second run on {name}; give one run a data set")
        cells[name] = cells_of(summary, asked.stage, kinds)
        said = [
            *(f"{row['system']} left out" for row in summary["references"]["left_out"]),
            *summary["warnings"],
        ]
        tuned = sum(row["tuned"] for row in summary["references"]["systems"])
        how = f"protocol {own['name']}, mask {own['mask']}, {tuned} systems tuned"
        print(f"{name}: {how}; {'; '.join(said) or 'complete'}")
    whole = standings([cell for own in cells.values() for cell in own])
    print()
    print(drawn(table({name: standings(own) for name, own in cells.items()}, whole), asked.markdown))
    correlation, n = agreement(whole)
    print(f"\nSpearman's rank correlation with the published mean ranks: {correlation:.2f} over {n} systems")


if __name__ == "__main__":
    main()
