"""``simulate attribute``: who gets the credit, and at which stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from stagelens.pipeline.cli.options import Asked, one_of, takes_study_options
from stagelens.pipeline.cli.running import run_study

EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate attribute --dataset path/to/data\n"
    "  simulate attribute --modality text --modality visual --seeds 5\n"
    "  simulate attribute --factor interaction --set recall.size=100"
)


@takes_study_options
def attribute(
    asked: Asked,
    factor: Annotated[
        str | None,
        typer.Option(
            metavar="interaction",
            help="Also switch the interaction signal on and off at each stage.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say what each modality is worth at recall and at re-ranking, in one unit.

    Runs every combination of modalities on and off at the two stages (2^(2M) systems for M modalities), end to end,
    and shares the gain out by Shapley values, with simultaneous intervals over users and trainings.
    """
    if one_of("factor", factor, ("interaction",)):
        asked = replace(asked, modality=[*(asked.modality or ["all"]), "interaction"])
    run_study(asked, kind="attribute")
