"""``simulate data check``: what is wrong with a data set, and a mended copy of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stagelens.pipeline.cli.data import Assign, Json, PathArgument, data_options

if TYPE_CHECKING:
    from stagelens.pipeline.data.faults import Fault
    from stagelens.pipeline.data.mend import Mended
    from stagelens.pipeline.experiment.options import DataOptions

EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate data check path/to/data\n"
    "  simulate data check path/to/data --set data.columns.value=stars\n"
    "  simulate data check path/to/data --fix path/to/mended"
)
SCHEMA_VERSION = 1
"""Of what ``--json`` prints; its schema is check.schema.json beside this file."""
_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def check(
    path: PathArgument,
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write a mended copy here: what can be mended without a guess.",
            show_default=False,
        ),
    ] = None,
    assign: Assign = None,
    json_: Json = False,
) -> None:
    """Count and explain what is wrong or odd in a data set, and mend what needs no guess.

    Exit status 3 when it cannot be used as it is; with --fix, when the mended copy cannot.
    """
    from stagelens.pipeline.cli.console import reserved_output

    options = data_options(path, assign)
    if fix is not None:
        _mendable(options, fix)
    with reserved_output(json_):
        faults, done, left = _faults(options), None, None
        if fix is not None:
            done = _mended(options, fix)
            left = _faults(options, str(fix))
    if json_:
        said = _summary(path, faults) | {"fix": None}
        if left is not None:
            said["fix"] = {"mended": [_entry(entry) for entry in done or []]} | _summary(str(fix), left)
        sys.stdout.write(json.dumps(said, indent=2) + "\n")
    elif left is None:
        _print_faults(path, faults)
    else:
        _print_mended(path, done or [])
        _print_faults(str(fix), left)
    if any(fault.severity == "error" for fault in (faults if left is None else left)):
        raise typer.Exit(3)


def _faults(options: DataOptions, path: str | None = None) -> list[Fault]:
    from stagelens.pipeline.data.check import check as run
    from stagelens.pipeline.data.check import check_dataset
    from stagelens.pipeline.data.splits import split as divide
    from stagelens.pipeline.worlds.world import PREFIX

    if options.path.startswith(PREFIX) and path is None:
        dataset = options.opened()
        return check_dataset(dataset, divide(dataset, options.split, seed=options.split_seed))
    return run(
        path or options.path,
        positive=options.positive,
        weight=options.weight,
        columns=options.columns,
        item_columns=options.item_columns,
        user_columns=options.user_columns,
        split=options.split,
        split_seed=options.split_seed,
    )


def _mendable(options: DataOptions, target: Path) -> None:
    from stagelens.pipeline.errors import ConfigError
    from stagelens.pipeline.worlds.world import PREFIX

    if options.path.startswith(PREFIX):
        raise ConfigError(f"--fix {target}: {options.path} is generated; there is no folder to mend")


def _mended(options: DataOptions, target: Path) -> list[Mended]:
    from stagelens.pipeline.data.mend import mend

    return mend(options.path, target, columns=options.columns)


def _entry(value: Fault | Mended) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(value)


def _counts(faults: list[Fault]) -> dict[str, int]:
    return {word: sum(fault.severity == word for fault in faults) for word in _STYLES}


def _summary(path: str, faults: list[Fault]) -> dict[str, Any]:
    counts = _counts(faults)
    return {
        "schema_version": SCHEMA_VERSION,
        "path": path,
        "usable": not counts["error"],
        "errors": counts["error"],
        "warnings": counts["warning"],
        "notes": counts["note"],
        "faults": [_entry(fault) for fault in faults],
    }


def _print_faults(path: str, faults: list[Fault]) -> None:
    from rich.text import Text

    from stagelens.pipeline.cli.console import output

    console = output()
    for fault in faults:
        head = f" {fault.code} ({_counted(fault.count, fault.unit)})"
        console.print(Text.assemble((fault.severity, _STYLES[fault.severity]), head))
        console.print(Text(f"  {fault.where}: {fault.found}{_examples(fault)}."))
        console.print(Text(f"  Effect: {fault.effect}"))
        if not fault.is_fine:
            console.print(Text(f"  Remedy: {fault.remedy}"))
        if fault.mend:
            console.print(Text(f"  --fix: {fault.mend}"))
    counts = _counts(faults)
    said = ", ".join(
        f"{number} {word}{'s' if number != 1 else ''}" for word, number in counts.items() if number
    )
    verdict = "cannot be used as it is" if counts["error"] else "can be used"
    console.print(Text(f"{path}: {said or 'nothing to report'}; the data set {verdict}."))


def _counted(count: int, unit: str) -> str:
    if count == 1:
        unit = f"{unit[:-3]}y" if unit.endswith("ies") else unit[:-1]
    return f"{count:,} {unit}"


def _examples(fault: Fault) -> str:
    news = fault.shown()
    return f" (e.g. {', '.join(news)})" if news else ""


def _print_mended(path: str, done: list[Mended]) -> None:
    from rich.text import Text

    from stagelens.pipeline.cli.console import output
    from stagelens.pipeline.data.codes import KINDS

    console = output()
    console.print(Text(f"{path}: mended {len(done)} {'fault' if len(done) == 1 else 'faults'}"))
    for entry in done:
        console.print(
            Text.assemble(
                ("mended", "green"), f" {entry.code} ({_counted(entry.count, KINDS[entry.code].unit)})"
            )
        )
        console.print(Text(f"  {entry.where}: {entry.done}"))
    console.print(Text("What remains:"))
