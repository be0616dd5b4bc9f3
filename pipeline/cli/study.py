"""``simulate``: run the two-stage study and show what each stage did."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stagelens.pipeline.cli.options import STAGES, Asked, StageOption, one_of, takes_study_options
from stagelens.pipeline.cli.running import run_study

HELP = """Run a two-stage recommender and say what each modality is worth at each stage.

Recall hands candidate sets to a re-ranker. Without options the study runs on a small
world that is made on the spot: no download, under a minute.

\b
Examples:
  simulate
  simulate --stage recall --modality visual --dataset path/to/data
  simulate --dataset path/to/data --set data.positive=4 --seeds 3 --out runs/mine
  simulate --config quickstart --json > summary.json

\b
Exit status: 0 done, 2 wrong name or option, 3 data, 4 missing extra,
5 input/output or disk, 130 interrupted.
"""


@takes_study_options
def simulate(
    asked: Asked,
    ctx: typer.Context,
    stage: StageOption = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Read the options, run the study, show it."""
    if ctx.invoked_subcommand is not None:
        return
    if version:
        from importlib.metadata import version as installed

        sys.stdout.write(f"stagelens {installed('stagelens')}\n")
        return
    run_study(asked, stage=one_of("stage", stage, STAGES))
