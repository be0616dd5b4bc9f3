"""``simulate knockouts``: is a modality used at all, and at which stage?"""

from __future__ import annotations

from typing import Annotated

import typer

from stagelens.pipeline.cli.options import STAGES, Asked, StageOption, all_of, one_of, takes_study_options
from stagelens.pipeline.cli.running import run_study

EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate knockouts --dataset path/to/data --modality text\n"
    "  simulate knockouts --when serve --setting single\n"
    "  simulate knockouts --set 'knockouts.treatments=[{use=\"pipeline.Availability\", dose=0.5}]'"
)


@takes_study_options
def knockouts(
    asked: Asked,
    stage: StageOption = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="single|whole|alone",
            help="Treat one modality, all, or all but one; repeatable. [single whole]",
            show_default=False,
        ),
    ] = None,
    when: Annotated[
        list[str] | None,
        typer.Option(
            metavar="fit|serve|both",
            help="Treat what is learned from, what is served from, or both; repeatable. [both]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say whether a modality is used at all: the same system with the modality's vectors made worthless.

    Vectors become zero, noise or another item's, at recall, at re-rank or both; what the system loses is what it had
    from them.
    """
    run_study(
        asked,
        kind="knockouts",
        stage=one_of("stage", stage, STAGES),
        **{
            "knockouts.settings": all_of("setting", setting, ("single", "whole", "alone")),
            "knockouts.when": all_of("when", when, ("fit", "serve", "both")),
        },
    )
