"""``simulate list``: what there is."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

EXAMPLES = "\b\nExamples:\n  simulate list\n  simulate list recall"


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="recall, rerank, fusion, pipeline, worlds, presets or formats. [all]",
            show_default=False,
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List recipes by room, worlds, presets and formats of data import, each with one line."""
    from stagelens.pipeline.cli.vocabulary import vocabulary
    from stagelens.pipeline.errors import ConfigError, nearest

    found = vocabulary()
    if kind is not None:
        if kind not in found:
            raise ConfigError(nearest("kind", kind, found))
        found = {kind: found[kind]}
    if json_:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    from rich.table import Table
    from rich.text import Text

    from stagelens.pipeline.cli.console import output
    from stagelens.pipeline.report.tables import draw

    console = output()
    for heading, entries in found.items():
        if not entries:
            continue
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        for name, line in entries.items():
            table.add_row(Text(name), Text(line))
        console.print(Text(heading, style="bold"))
        draw(table, console)
    console.print("\nDetails: simulate show NAME")
