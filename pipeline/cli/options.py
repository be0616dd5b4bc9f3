"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DatasetOption = Annotated[
    str | None,
    typer.Option(metavar="PATH|world:NAME", help="Folder with a data set, or a world.", show_default=False),
]
StageOption = Annotated[
    str | None,
    typer.Option(metavar="recall|rerank|both", help="Stages to measure. [both]", show_default=False),
]
ModalityOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Modality under test; repeatable. 'all'; or 'interaction': the base alone. [all]",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|PRESET", help="A TOML file or a preset; see 'simulate list'.", show_default=False
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set one option, e.g. recall.size=500; repeatable.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="First study seed. [0]", show_default=False)
]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of seeds: SEED .. SEED+N-1; 1, or 3 and more. [1; studies: 3]",
        show_default=False,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the run. [runs/NAME-FINGERPRINT]", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", help="No progress, no notes: results, warnings and errors only.")
]
MarginOption = Annotated[
    str | None,
    typer.Option(
        metavar="X|X%",
        help="Smallest effect that matters: metric units, or a share of the baseline. [2%]",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(metavar="auto|cpu|cuda", help="Where FAISS searches. [auto]", show_default=False),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads of every library. [all cores]", show_default=False),
]
