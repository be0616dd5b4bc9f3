"""``simulate certify``: are the instrument's verdicts right?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from stagelens.pipeline.cli.options import STAGES, JsonOption, QuietOption, one_of

EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate certify --quick\n"
    "  simulate certify --stage recall --worlds 500\n"
    "  simulate certify --write docs/certification.md"
)


def certify(
    quick: Annotated[
        bool, typer.Option("--quick", help="Few worlds, under two minutes on two cores: too few to certify.")
    ] = False,
    worlds: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Null worlds; other kinds take a share. [2000]", show_default=False
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            metavar="recall|rerank|both",
            help="Certify one alone; both: end to end. [all three]",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Worlds examined at a time. [all cores]", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of what was found in each world; a run goes on from it. [runs/certify]",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the certificate as Markdown.", show_default=False),
    ] = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Examine many small worlds whose truth is known, and say whether the verdicts are right.

    False verdicts where nothing differs, coverage, bias, power at the reported detectable effect, and the order of
    modalities and stages, each against a bound; and the same for instruments broken on purpose. A run that is stopped
    goes on where it was; more worlds can be added to it.
    """
    from stagelens.pipeline.certify import certificate
    from stagelens.pipeline.certify.certificate import QUICK, WORLDS
    from stagelens.pipeline.cli.console import output, reserved_output
    from stagelens.pipeline.cli.progress import shown
    from stagelens.pipeline.errors import ConfigError

    if quick and worlds is not None:
        raise ConfigError(f"--quick and --worlds {worlds}: --quick is --worlds {QUICK}; give one of the two")
    chosen = one_of("stage", stage, STAGES)
    with reserved_output(json_), shown(quiet) as progress:
        made = certificate.certify(
            QUICK if quick else worlds or WORLDS,
            stages=[one for one in certificate.STAGES if chosen in (None, one)],
            processes=processes,
            out=out or Path("runs/certify"),
            progress=progress,
        )
    from stagelens.pipeline.certify import page

    if write is not None:
        page.write(made, write)
    if json_:
        sys.stdout.write(((out or Path("runs/certify")) / "summary.json").read_text(encoding="utf-8"))
        return
    page.show(made, output())
